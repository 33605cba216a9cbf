package path

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"

	"weir/bench/topo"
)

// Names of the paths of pods to a host that has no route back to them.
const (
	Masqueraded      = "Weir, masqueraded"
	MasqueradedAgain = "Weir, masqueraded, another pod (A/A)"
	MasqueradedNft   = "nftables masquerade"
	MasqueradedIpt   = "iptables MASQUERADE"
	NotMasqueraded   = "routed by the kernel, nothing masquerades"
	NoNode           = "one veth and no node: what the sockets cost"
)

// MakeMasquerade makes the paths of pods to the world: Weir's, and those of nodes
// on which the kernel routes and netfilter masquerades by one rule, the least that
// any such node has. Beside them what is left when nothing masquerades, and when
// there is no node. Close it in any case.
func MakeMasquerade(ctx context.Context, prefix, dir, bin string) (*Set, error) {
	s := &Set{prefix: prefix, dir: dir, bin: bin}
	return s, s.make(ctx, s.weirMasquerade,
		func(context.Context) error { return s.netfilter(MasqueradedNft, 1, nftRule) },
		func(context.Context) error { return s.netfilter(MasqueradedIpt, 2, iptRule) },
		s.routed,
		func(context.Context) error { return s.direct(NoNode, "nn") })
}

// routed is a node that does nothing but route: the host outside knows the way back.
func (s *Set) routed(context.Context) error {
	r, err := s.router(NotMasqueraded, 3)
	if err != nil {
		return err
	}
	return r.far.Route(r.pods, r.addr.String(), "eth0")
}

func (s *Set) weirMasquerade(ctx context.Context) error {
	c, err := s.weirOf(ctx, "wm", 1, true, 90, 0)
	if err != nil {
		return err
	}
	a, err1 := s.weirPod(c, 0, "a")
	b, err2 := s.weirPod(c, 0, "b")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	s.add(Masqueraded, a.Netns, c.Outside(), c.Far().String())
	s.add(MasqueradedAgain, b.Netns, c.Outside(), c.Far().String())
	return nil
}

// netfilter is a node that masquerades by a rule that the command makes.
func (s *Set) netfilter(name string, number byte, rule func(pods string) *exec.Cmd) error {
	r, err := s.router(name, number)
	if err != nil {
		return err
	}
	return run(r.node, rule(r.pods))
}

// router is a node that forwards between a pod and a host outside.
type router struct {
	node, far topo.Netns
	addr      netip.Addr // the node's, on the side of the host
	pods      string
}

// router makes one, and a path from its pod to the host.
func (s *Set) router(name string, number byte) (r router, err error) {
	short := fmt.Sprintf("nf%d", number)
	r.pods = fmt.Sprintf("10.45.%d.0/24", number)
	if r.node, err = s.node(short + "-n1"); err != nil {
		return r, err
	}
	if r.far, r.addr, err = s.peerUnderlay(r.node, short, 200+number); err != nil {
		return r, err
	}
	client, err := s.pod(r.node, short+"-a", "pod1", fmt.Sprintf("10.45.%d.1", number), 1500)
	if err != nil {
		return r, err
	}
	s.add(name, client, r.far, fmt.Sprintf("172.29.%d.254", 200+number))
	return r, nil
}

func nftRule(pods string) *exec.Cmd {
	return exec.Command("nft", fmt.Sprintf("table ip nat { chain post { type nat hook postrouting priority srcnat; ip saddr %s ip daddr != %s masquerade; }; }", pods, pods))
}

func iptRule(pods string) *exec.Cmd {
	return exec.Command("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", pods, "!", "-d", pods, "-j", "MASQUERADE")
}

func run(in topo.Netns, cmd *exec.Cmd) error {
	return in.Inside(func() error {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", cmd, err, out)
		}
		return nil
	})
}

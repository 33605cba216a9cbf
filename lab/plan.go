package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"weir/agent/config"
	"weir/operator"
)

const (
	maxNodes    = 200
	underlayNS  = "underlay"
	worldName   = "world"
	defaultMTU  = 1500
	worldHost   = 254
	maxExtraNIC = 8
)

// The underlay networks: the k-th is 172.(18+k).0.0/16 and
// fc00:f853:ccd:e793+k::/64, as kind lays them out. Outside is an address of
// the world that is on none of them, so that only a default route leads to it.
var (
	firstUnderlay4 = netip.MustParsePrefix("172.18.0.0/16")
	firstUnderlay6 = netip.MustParsePrefix("fc00:f853:ccd:e793::/64")
	outside        = []netip.Prefix{netip.MustParsePrefix("198.51.100.1/32"), netip.MustParsePrefix("2001:db8::1/128")}
)

// families returns, IPv4 first, whether the address family is IPv4 for each
// one that the lab uses.
func (s Spec) families() []bool {
	var out []bool
	if *s.IPv4 {
		out = append(out, true)
	}
	if *s.IPv6 {
		out = append(out, false)
	}
	return out
}

// check reports everything that is wrong with a spec that has its defaults.
func (s Spec) check() error {
	errs := []error{checkName("lab name", s.Name, maxLabName)}
	if s.Mode != ModeVXLAN && s.Mode != ModeNative {
		errs = append(errs, fmt.Errorf("mode %q: use %q or %q", s.Mode, ModeVXLAN, ModeNative))
	}
	if len(s.families()) == 0 {
		errs = append(errs, errors.New("ipv4 and ipv6 are both false: leave one of them"))
	}
	if s.MTU < 1280 || s.MTU > 65535 {
		errs = append(errs, fmt.Errorf("mtu %d: 1280 to 65535 are possible", s.MTU))
	}
	if len(s.Nodes) > maxNodes {
		errs = append(errs, fmt.Errorf("%d nodes: at most %d are possible", len(s.Nodes), maxNodes))
	}
	seen := map[string]bool{worldName: true, underlayNS: true}
	for _, n := range s.Nodes {
		errs = append(errs, checkName("node name", n.Name, maxNodeName))
		if seen[n.Name] {
			errs = append(errs, fmt.Errorf("node name %q is taken: choose another", n.Name))
		}
		seen[n.Name] = true
		if n.NICs < 0 || n.NICs > maxExtraNIC {
			errs = append(errs, fmt.Errorf("node %s: nics %d: 0 to %d are possible", n.Name, n.NICs, maxExtraNIC))
		}
	}
	return errors.Join(append(errs, s.Nodes.checkPodCIDRs())...)
}

// checkPodCIDRs reports pod CIDRs that two nodes claim. Those of one node are
// the agent's own check's matter.
func (n NodeSpecs) checkPodCIDRs() error {
	var errs []error
	for i, a := range n {
		for _, b := range n[i+1:] {
			for _, p := range a.PodCIDRs {
				for _, q := range b.PodCIDRs {
					if p.Overlaps(q) {
						errs = append(errs, fmt.Errorf("pod CIDR %s of node %s overlaps %s of node %s: give each node its own", p, a.Name, q, b.Name))
					}
				}
			}
		}
	}
	return errors.Join(errs...)
}

// underlay returns the k-th underlay network of the family.
func underlay(k int, is4 bool) netip.Prefix {
	p := firstUnderlay6
	at := 7
	if is4 {
		p, at = firstUnderlay4, 1
	}
	b := p.Addr().AsSlice()
	b[at] += byte(k)
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, p.Bits())
}

// hostAddr returns the address of the host in an underlay network.
func hostAddr(network netip.Prefix, host byte) netip.Prefix {
	b := network.Addr().AsSlice()
	b[len(b)-1] = host
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, network.Bits())
}

// addresses returns what the k-th NIC of a host gets. The i-th node is host
// 2+i of each network; the first address belongs to whoever bridges it.
func (s Spec) addresses(k int, host byte) []netip.Prefix {
	var out []netip.Prefix
	for _, is4 := range s.families() {
		out = append(out, hostAddr(underlay(k, is4), host))
	}
	return out
}

func nodeHost(i int) byte { return byte(2 + i) }

// nics is how many networks the underlay consists of.
func (s Spec) networks() int {
	most := 0
	for _, n := range s.Nodes {
		most = max(most, n.NICs)
	}
	return 1 + most
}

// podCIDRs deals out the pools as an operator does.
func (s Spec) podCIDRs() (map[string][]netip.Prefix, error) {
	var pools []operator.Pool
	for _, is4 := range s.families() {
		cidrs, mask := s.Pools.IPv6, s.Pools.IPv6MaskSize
		if is4 {
			cidrs, mask = s.Pools.IPv4, s.Pools.IPv4MaskSize
		}
		for _, c := range cidrs {
			pools = append(pools, operator.Pool{CIDR: c, Mask: mask})
		}
	}
	var names []string
	fixed := map[string][]netip.Prefix{}
	for _, n := range s.Nodes {
		names = append(names, n.Name)
		if len(n.PodCIDRs) > 0 {
			fixed[n.Name] = n.PodCIDRs
		}
	}
	return operator.PodCIDRs(pools, names, fixed)
}

// layout plans the nodes: their names, folders, addresses and pod CIDRs.
func (s Spec) layout() ([]Node, error) {
	cidrs, err := s.podCIDRs()
	if err != nil {
		return nil, err
	}
	groups := labCgroup(s.Name)
	nodes := make([]Node, len(s.Nodes))
	for i, n := range s.Nodes {
		nodes[i] = Node{
			Name:     n.Name,
			Netns:    netnsName(s.Name, n.Name),
			Dir:      filepath.Join(labDir(s.Name), n.Name),
			Cgroup:   filepath.Join(groups, n.Name),
			NICs:     n.NICs,
			PodCIDRs: cidrs[n.Name],
		}
		for _, p := range s.addresses(0, nodeHost(i)) {
			nodes[i].Addresses = append(nodes[i].Addresses, p.Addr())
		}
		if err := s.checkNode(nodes[i]); err != nil {
			return nil, err
		}
	}
	if err := s.checkRanges(nodes); err != nil {
		return nil, err
	}
	return nodes, nil
}

// checkNode lets the agent's own check look at the configuration and the pod
// CIDRs before anything is made.
func (s Spec) checkNode(n Node) error {
	data, err := s.agentConfig(n)
	if err != nil {
		return err
	}
	cfg, _, err := config.Parse("agent", data)
	if err != nil {
		return fmt.Errorf("configuration of node %s: %w", n.Name, err)
	}
	var nets []netip.Prefix
	for k := range s.networks() {
		nets = append(nets, s.addresses(k, 0)...)
	}
	return config.CheckNode(cfg, n.PodCIDRs, nets)
}

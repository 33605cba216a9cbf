package path

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"weir/bench/cluster"
	"weir/bench/services"
	"weir/bench/topo"
)

// Names of the paths of services are made of who translates, and for how many
// services.
const (
	Sockets   = "Weir, by sockets"
	Again     = "Weir, by sockets, another client (A/A)"
	Packets   = "Weir, by packets"
	PodItself = "Weir, the pod itself"
	AtNode    = "Weir, NodePort from outside"
)

// Of is the name of a path in a cluster with so many services.
func Of(name string, count int) string { return fmt.Sprintf("%s, %d services", name, count) }

// MakeServices makes the paths of services for each count: Weir's, with a pod that
// asks, one that answers and a host outside, and the peers' of the same kind. Close
// it in any case.
func MakeServices(ctx context.Context, prefix, dir, bin string, peers []Peer, counts []int) (*Set, error) {
	s := &Set{prefix: prefix, dir: dir, bin: bin, Took: map[string]time.Duration{}}
	for i, count := range counts {
		if err := s.weirServices(ctx, i, count); err != nil {
			return s, err
		}
		for j, p := range peers {
			if p.Most > 0 && count > p.Most {
				continue
			}
			if err := s.peer(ctx, p, byte(16*i+j), count); err != nil {
				return s, fmt.Errorf("%s with %d services: %w", p.Name, count, err)
			}
		}
	}
	return s, nil
}

func (s *Set) weirServices(ctx context.Context, i, count int) error {
	short := fmt.Sprintf("ws%d", i)
	c, err := cluster.Up(ctx, cluster.Spec{Name: s.prefix + "-" + short, Dir: filepath.Join(s.dir, short), Bin: s.bin, Nodes: 1, Second: byte(70 + i)})
	if err != nil {
		return fmt.Errorf("cluster %s: %w", short, err)
	}
	s.undo = append(s.undo, c.Down)
	s.Clusters = append(s.Clusters, c)
	// A client of its own by packets: a port of a pod whose connection to a backend was
	// translated a moment ago is not free for one that is not.
	var pods [4]cluster.Pod
	for i, name := range []string{"client", "other", "packets", "server"} {
		if pods[i], err = s.weirPod(c, 0, name); err != nil {
			return err
		}
	}
	client, other, packets, server := pods[0], pods[1], pods[2], pods[3]
	n := c.Nodes[0]
	if err := c.WriteServices(services.Objects(count, server.IPs[0], n.Name)); err != nil {
		return err
	}
	if err := n.ServicesInForce(ctx, count); err != nil {
		return err
	}
	p := Path{Client: client.Netns, Server: server.Netns, Addr: server.IPs[0]}
	add := func(name string, client topo.Netns, cgroup string, at []netip.AddrPort) {
		p.Name, p.Client, p.Cgroup, p.Services = Of(name, count), client, cgroup, at
		s.Paths = append(s.Paths, p)
	}
	if n.Cgroup != "" {
		add(Sockets, client.Netns, n.Cgroup, services.At())
		add(Again, other.Netns, n.Cgroup, services.At())
	}
	add(Packets, packets.Netns, "", services.At())
	add(PodItself, client.Netns, n.Cgroup, services.AtPod(server.IPs[0]))
	add(AtNode, c.Outside(), "", services.AtNode(n.Addrs[0]))
	return nil
}

// peerUnderlay joins the peer's node to a host outside, as that of Weir's is.
func (s *Set) peerUnderlay(node topo.Netns, short string, number byte) (outside topo.Netns, addr netip.Addr, err error) {
	if outside, err = s.netns(short + "-far"); err != nil {
		return outside, addr, err
	}
	addr = netip.AddrFrom4([4]byte{172, 29, number, 1})
	err = topo.Veth(topo.End{In: node, Name: "eth0", Addrs: []string{addr.String() + "/24"}},
		topo.End{In: outside, Name: "eth0", Addrs: []string{fmt.Sprintf("172.29.%d.254/24", number)}}, 1500)
	return outside, addr, err
}

// peerPods are a client and a server that the kernel routes for.
func (s *Set) peerPods(node topo.Netns, short string, number byte) (client, server topo.Netns, addr netip.Addr, err error) {
	client, err1 := s.pod(node, short+"-a", "pod1", fmt.Sprintf("10.44.%d.1", number), 1500)
	addr = netip.AddrFrom4([4]byte{10, 44, number, 2})
	server, err2 := s.pod(node, short+"-b", "pod2", addr.String(), 1500)
	return client, server, addr, errors.Join(err1, err2)
}

package path

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"weir/bench/cluster"
	"weir/bench/live"
	"weir/bench/services"
	"weir/bench/topo"
	"weir/test/kubeproxy"
)

// NodePort is a node that sends on what comes for a NodePort whose backends are
// elsewhere, on a host of the underlay that also asks.
type NodePort struct {
	Name string
	Wire *live.Wire
}

// Names of the ways to translate. Peers have their own.
const (
	ByXDP   = "Weir, XDP"
	ByTC    = "Weir, tc"
	ByTCAA  = "Weir, tc, another node (A/A)"
	Wire    = "mirror in XDP: the wire alone"
	WireTC  = "mirror in tc: the way there and back"
	askedBy = 40000 // the client's port
)

// elsewhere are the pods of the other node.
func elsewhere(number byte) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 46, number, 0}), 24)
}

// MakeNodePorts makes them: Weir's by XDP and by tc, those of peers, and two that
// translate nothing. Close the set in any case.
func MakeNodePorts(ctx context.Context, prefix, dir, bin string, peers []Peer) (*Set, []NodePort, error) {
	s := &Set{prefix: prefix, dir: dir, bin: bin}
	var out []NodePort
	for i, name := range []string{ByTC, ByTCAA, ByXDP} {
		w, err := s.weirNodePort(ctx, byte(i), name == ByXDP)
		if err != nil {
			return s, nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, NodePort{name, w})
	}
	for i, p := range peers {
		w, err := s.peerNodePort(ctx, p, byte(100+i))
		if err != nil {
			return s, nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		out = append(out, NodePort{p.Name, w})
	}
	for i, name := range []string{Wire, WireTC} {
		w, err := s.mirror(byte(200+i), name == Wire)
		if err != nil {
			return s, nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, NodePort{name, w})
	}
	return s, out, nil
}

// mirror is a node that sends frames back as they are.
func (s *Set) mirror(number byte, xdp bool) (*live.Wire, error) {
	short := fmt.Sprintf("np%d", number)
	node, err := s.node(short + "-n1")
	if err != nil {
		return nil, err
	}
	far, addr, err := s.peerUnderlay(node, short, number)
	if err != nil {
		return nil, err
	}
	w, err := s.wire(far, node, netip.AddrFrom4([4]byte{172, 29, number, 254}), addr, true)
	if err != nil {
		return w, err
	}
	if xdp {
		return w, w.MirrorXDP(node, "eth0")
	}
	return w, w.MirrorTC(node, "eth0")
}

func (s *Set) weirNodePort(ctx context.Context, number byte, xdp bool) (*live.Wire, error) {
	spec := cluster.Spec{Name: fmt.Sprintf("%s-np%d", s.prefix, number), Dir: filepath.Join(s.dir, fmt.Sprintf("np%d", number)), Bin: s.bin,
		Native: true, Nodes: 1, Second: 94 + number, Elsewhere: elsewhere(number)}
	if xdp {
		spec.Acceleration = "native"
	}
	c, err := cluster.Up(ctx, spec)
	if err != nil {
		return nil, err
	}
	s.undo = append(s.undo, c.Down)
	objects := datagrams(services.Objects(services.Measured, elsewhere(number).Addr().Next(), cluster.Other))
	if err := c.WriteServices(objects); err != nil {
		return nil, err
	}
	n := c.Nodes[0]
	if err := n.ServicesInForce(ctx, services.Measured); err != nil {
		return nil, err
	}
	return s.wire(c.Outside(), n.Netns, c.Far(), n.Addrs[0], xdp)
}

func (s *Set) peerNodePort(ctx context.Context, p Peer, number byte) (w *live.Wire, err error) {
	short := fmt.Sprintf("np%d", number)
	node, err := s.node(short + "-n1")
	if err != nil {
		return nil, err
	}
	far, addr, err := s.peerUnderlay(node, short, number)
	if err != nil {
		return nil, err
	}
	client := netip.AddrFrom4([4]byte{172, 29, number, 254})
	pods := elsewhere(number)
	if err := node.Route(pods.String(), client.String(), "eth0"); err != nil {
		return nil, err
	}
	api := kubeproxy.New()
	objects := datagrams(services.Objects(services.Measured, pods.Addr().Next(), cluster.Other))
	if err := api.Put(append(objects, nodeObject("n1", addr))...); err != nil {
		return nil, err
	}
	proxy, err := kubeproxy.Start(api, kubeproxy.Options{Binary: p.Binary, Dir: filepath.Join(s.dir, short), Node: "n1", Mode: p.Mode, Legacy: p.Legacy,
		Clusters: []string{pods.String()}, Inside: node.Inside})
	defer func() { err = errors.Join(err, proxy.Stop()) }()
	if err != nil {
		return nil, err
	}
	if w, err = s.wire(far, node, client, addr, false); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, peerLimit)
	defer cancel()
	return w, proxy.Await(ctx, "datagrams go on", func() bool {
		_, _, err := w.Rate(1)
		return err == nil
	})
}

// wire leads from the host outside to the node's first NodePort. What has XDP of its
// own takes frames from a driver already.
func (s *Set) wire(far, node topo.Netns, client, at netip.Addr, xdp bool) (*live.Wire, error) {
	_, mac, err := node.Index("eth0")
	if err != nil {
		return nil, err
	}
	w, err := live.New(far, "eth0", mac, netip.AddrPortFrom(client, askedBy), netip.AddrPortFrom(at, services.NodePort))
	s.undo = append(s.undo, w.Close)
	if err == nil && !xdp {
		err = w.Pass(node, "eth0")
	}
	return w, err
}

// datagrams makes services of UDP.
func datagrams(objects []kubeproxy.Object) []kubeproxy.Object {
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Service:
			o.Spec.Ports[0].Protocol = corev1.ProtocolUDP
		case *discoveryv1.EndpointSlice:
			o.Ports[0].Protocol = new(corev1.ProtocolUDP)
		}
	}
	return objects
}

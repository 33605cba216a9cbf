package path

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/bench/services"
	"weir/bench/topo"
	"weir/test/kubeproxy"
)

// Peer is a way in which kube-proxy does what services need.
type Peer struct {
	Name   string
	Binary string // kube-proxy's
	Mode   string
	Legacy bool // iptables by the kernel's old interface
	Most   int  // services that it can do in reasonable time; 0: any number
}

// Service is the name of its path to services.
func (p Peer) Service(count int) string { return Of(p.Name, count) }

// Pod is the path to the pod itself.
func (p Peer) Pod(count int) string { return Of(p.Name+", the pod itself", count) }

// Node is the path from outside.
func (p Peer) Node(count int) string { return Of(p.Name+", NodePort from outside", count) }

// peerLimit is how long kube-proxy may take to write its rules.
const peerLimit = 10 * time.Minute

// peer is a node on which the kernel routes and kube-proxy translates. Once it
// has written its rules it is ended: it takes no part in what packets cost, and
// its periodic work would be in the figures of all.
func (s *Set) peer(ctx context.Context, p Peer, number byte, count int) (err error) {
	short := fmt.Sprintf("kp%d", number)
	node, err := s.node(short + "-n1")
	if err != nil {
		return err
	}
	outside, nodeAddr, err := s.peerUnderlay(node, short, number)
	if err != nil {
		return err
	}
	client, server, addr, err := s.peerPods(node, short, number)
	if err != nil {
		return err
	}
	api := kubeproxy.New()
	if err := api.Put(append(services.Objects(count, addr, "n1"), nodeObject("n1", nodeAddr))...); err != nil {
		return err
	}
	began := time.Now()
	proxy, err := kubeproxy.Start(api, kubeproxy.Options{Binary: p.Binary, Dir: filepath.Join(s.dir, short), Node: "n1", Mode: p.Mode, Legacy: p.Legacy,
		Clusters: []string{fmt.Sprintf("10.44.%d.0/24", number)}, Inside: node.Inside})
	defer func() { err = errors.Join(err, proxy.Stop()) }()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, peerLimit)
	defer cancel()
	at := services.At()
	if err := proxy.Await(ctx, "services are there", func() bool { return Answers(client, at[len(at)-1]) }); err != nil {
		return err
	}
	s.Took[p.Service(count)] = time.Since(began)
	base := Path{Server: server, Addr: addr}
	add := func(name string, client topo.Netns, at []netip.AddrPort) {
		base.Name, base.Client, base.Services = name, client, at
		s.Paths = append(s.Paths, base)
	}
	add(p.Service(count), client, at)
	add(p.Pod(count), client, services.AtPod(addr))
	add(p.Node(count), outside, services.AtNode(nodeAddr))
	return nil
}

// Answers reports whether somebody at an address does, if only to refuse: a pod
// that does not listen yet is there.
func Answers(client topo.Netns, at netip.AddrPort) bool {
	err := client.Inside(func() error {
		c, err := net.DialTimeout("tcp4", at.String(), time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
	return err == nil || errors.Is(err, syscall.ECONNREFUSED)
}

func nodeObject(name string, addr netip.Addr) *corev1.Node {
	return &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: addr.String()}}}}
}

package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"weir/api/peer"
	"weir/api/wire"
	"weir/observe"
	"weir/state"
)

// cluster is three nodes that share what is known of pods.
type cluster struct {
	peer.UnimplementedPeerServer
	nodes  []*node
	ends   map[string]end // by namespace and workload, or the name of what is no pod
	rules  *rules
	opened atomic.Uint32 // connections: each has another port
}

// node is an agent as the relay sees it.
type node struct {
	name, socket string
	observer     *observe.Observer
	mu           sync.Mutex // Add is for one at a time
	server       *grpc.Server
}

// end is who may speak.
type end struct {
	addrs    [2]netip.Addr // IPv4, IPv6
	identity uint32
	endpoint uint32 // of a pod
	node     int
	service  [2]netip.Addr // that stands before it
}

// workload is a pod of the cluster, and of what.
type workload struct {
	space, name, kind, pod string
	labels                 map[string]string
	service                bool
}

// hostile is text that a page must not take for more.
const hostile = `<img src=x onerror=window.pwned=1>`

var workloads = []workload{
	{"shop", "frontend", "Deployment", "frontend-6d8f7c9b54-x2vqp", map[string]string{"tier": "web"}, true},
	{"shop", "catalog", "Deployment", "catalog-7f6b5d4c88-m4ktz", nil, true},
	{"shop", "cart", "Deployment", "cart-5c9d8b7f66-9zlwr", nil, true},
	{"shop", "checkout", "Deployment", "checkout-84b6d9f7c5-tq7hn", nil, true},
	{"payments", "gateway", "Deployment", "gateway-6b7c8d9f55-kk2mx", map[string]string{"pci": "true"}, true},
	{"payments", "ledger", "StatefulSet", "ledger-0", map[string]string{"pci": "true"}, true},
	{"data", "postgres", "StatefulSet", "postgres-0", nil, true},
	{"data", "redis", "StatefulSet", "redis-0", nil, true},
	{"monitoring", "prometheus", "StatefulSet", "prometheus-0", nil, false},
	{"kube-system", "coredns", "Deployment", "coredns-7c65d6cfc9-5wz2d", nil, true},
	{"evil", hostile, "Deployment", hostile + "-0", map[string]string{"app": `"><script>window.pwned=2</script>`, "note": "</td></table><h1>gone</h1>"}, false},
	{"evil", "<b>bold</b>&amp;" + strings.Repeat("long", 15), "Deployment", "javascript:alert(1)", nil, false},
}

// rules are the policies of the cluster, by number.
type rules struct{}

const (
	letsShopOut = 11 + iota
	letsShopIn
	keepsOut
	hostileRule
)

var policies = map[uint32]state.PolicyKey{
	letsShopOut: {Kind: state.KindNetworkPolicy, Namespace: "shop", Name: "shop-to-backends"},
	letsShopIn:  {Kind: state.KindCNP, Namespace: "payments", Name: "from-checkout"},
	keepsOut:    {Kind: state.KindCNP, Namespace: "data", Name: "only-applications"},
	hostileRule: {Kind: state.KindCNP, Namespace: "evil", Name: "</p><script>window.pwned=3</script>"},
}

// Version implements observe.Rules.
func (*rules) Version() uint64 { return 1 }

// Rule implements observe.Rules.
func (*rules) Rule(id uint32) observe.Rule {
	return observe.Rule{Policies: []state.PolicyKey{policies[id]}, Match: 2}
}

// Isolated implements observe.Rules.
func (*rules) Isolated(uint32, bool) []state.PolicyKey {
	return []state.PolicyKey{{Kind: state.KindNetworkPolicy, Namespace: "payments", Name: "default-deny"}}
}

func newCluster(folder string) *cluster {
	t := state.New()
	t.Identities.Put(state.AllReserved()...)
	c := &cluster{ends: map[string]end{}, rules: &rules{}}
	for i := range 3 {
		name := fmt.Sprint("n", i+1)
		t.Nodes.Put(state.Node{Name: name, Cluster: "east", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 168, 0, byte(i + 1)})}})
		c.nodes = append(c.nodes, &node{name: name, socket: filepath.Join(folder, name+".sock"),
			observer: observe.New(observe.Options{Cluster: "east", Node: name, Version: "1.2.3", Flows: 4095}, t, c.rules)})
	}
	for i, w := range workloads {
		c.put(t, uint32(i+1), w)
	}
	kubernetes := [2]netip.Addr{netip.MustParseAddr("10.96.1.1"), netip.MustParseAddr("fd00:96::1:1")}
	for name, e := range map[string]end{
		"world":          {addrs: [2]netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")}, identity: uint32(state.IdentityWorld)},
		"host":           {addrs: [2]netip.Addr{netip.MustParseAddr("192.168.0.1"), netip.MustParseAddr("fd00:1::1")}, identity: uint32(state.IdentityHost)},
		"kube-apiserver": {addrs: [2]netip.Addr{netip.MustParseAddr("192.168.0.10"), netip.MustParseAddr("fd00:1::10")}, identity: uint32(state.IdentityKubeAPI), service: kubernetes},
	} {
		c.ends[name] = e
	}
	t.Services.Put(state.Service{Name: state.ServiceName{Namespace: "default", Name: "kubernetes"}, ClusterIPs: kubernetes[:], Ports: []state.ServicePort{{Proto: 6, Port: 443}}})
	t.Endpoints.MarkSynced()
	return c
}

// put adds a pod with both its addresses, and the service before it.
func (c *cluster) put(t *state.Tables, number uint32, w workload) {
	e := end{identity: 1000 + number, endpoint: number, node: int(number) % len(c.nodes)}
	e.addrs = [2]netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(e.node), byte(number)}), netip.MustParseAddr(fmt.Sprintf("fd00::%d:%d", e.node, number))}
	labels := map[string]string{"app": w.name}
	for k, v := range w.labels {
		labels[k] = v
	}
	pod := state.PodName{Namespace: w.space, Name: w.pod}
	t.Pods.Put(state.Pod{Name: pod, Labels: labels, Workload: state.Workload{Kind: w.kind, Name: w.name}})
	t.Endpoints.Put(state.Endpoint{ID: state.EndpointID(number), Pod: pod, Device: fmt.Sprintf("weir%08x", number*2654435761)})
	for _, a := range e.addrs {
		t.IPs.Put(state.IP{Prefix: netip.PrefixFrom(a, a.BitLen()), Identity: state.IdentityID(e.identity), Endpoint: state.EndpointID(number), Source: state.IPEndpoint, Of: pod.String()})
	}
	if w.service {
		e.service = [2]netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(number)}), netip.MustParseAddr(fmt.Sprintf("fd00:96::%d", number))}
		t.Services.Put(state.Service{Name: state.ServiceName{Namespace: w.space, Name: w.name}, ClusterIPs: e.service[:], Ports: []state.ServicePort{{Proto: 6, Port: 80}, {Proto: 17, Port: 53}}})
	}
	c.ends[w.space+"/"+w.name] = e
}

// start makes the agent one that can be asked.
func (n *node) start() error {
	os.Remove(n.socket)
	l, err := net.Listen("unix", n.socket)
	if err != nil {
		return err
	}
	n.server = wire.Server(nil)
	n.observer.Register(n.server, observe.PeerOptions{})
	go func() { _ = n.server.Serve(l) }()
	return nil
}

// stop is the end of the agent.
func (n *node) stop() { n.server.Stop() }

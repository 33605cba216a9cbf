// Command flowserver serves a few flows as an agent and as a relay do, for test/hubble, which
// is another module: Hubble's own types cannot be in one program with ours. It ends when
// its standard input does.
//
//	flowserver FOLDER     makes FOLDER/agent.sock and FOLDER/relay.sock
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"weir/api/peer"
	"weir/api/wire"
	"weir/bpf"
	"weir/observe"
	"weir/relay"
	"weir/state"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: flowserver FOLDER")
		os.Exit(2)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := serve(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "flowserver:", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func serve(ctx context.Context, folder string) error {
	tables := cluster()
	o := observe.New(observe.Options{Cluster: "east", Node: "n1", Version: "1.2.3", Flows: 4095}, tables, rules{})
	agent := filepath.Join(folder, "agent.sock")
	if err := listen(agent, func(s *grpc.Server) { o.Register(s, observe.PeerOptions{Port: 4244, TLS: true}) }); err != nil {
		return err
	}
	go func() { _ = o.Run(ctx) }()
	tables.Endpoints.MarkSynced()
	for _, e := range events() {
		o.Add(&e)
	}
	o.Lost(3)
	directory := filepath.Join(folder, "peers.sock")
	if err := listen(directory, func(s *grpc.Server) { peer.RegisterPeerServer(s, nodes{agent: "unix://" + agent}) }); err != nil {
		return err
	}
	r := relay.New(slog.New(slog.NewTextHandler(os.Stderr, nil)), relay.Options{PeerService: "unix://" + directory, Plain: true, Version: "1.2.3"})
	go func() { _ = r.Run(ctx) }()
	for end := time.Now().Add(10 * time.Second); !r.Ready(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("the relay has found nobody")
		}
	}
	return listen(filepath.Join(folder, "relay.sock"), func(s *grpc.Server) { r.Register(s) })
}

func listen(path string, register func(*grpc.Server)) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	s := wire.Server(nil)
	register(s)
	go func() { _ = s.Serve(l) }()
	return nil
}

// nodes tells of the agent and of one that is not there.
type nodes struct {
	peer.UnimplementedPeerServer
	agent string
}

// Notify implements peer.PeerServer.
func (n nodes) Notify(_ *peer.NotifyRequest, out grpc.ServerStreamingServer[peer.ChangeNotification]) error {
	for name, address := range map[string]string{"east/n1": n.agent, "east/n2": ""} {
		if err := out.Send(&peer.ChangeNotification{Name: name, Address: address, Type: peer.ChangeNotificationType_PEER_ADDED}); err != nil {
			return err
		}
	}
	<-out.Context().Done()
	return nil
}

// The numbers of rules and endpoints.
const (
	letsOut  = 11
	letsIn   = 22
	keepsOut = 33
	web      = 7
)

type rules struct{}

// Version implements observe.Rules.
func (rules) Version() uint64 { return 1 }

// Rule implements observe.Rules.
func (rules) Rule(id uint32) observe.Rule {
	name := map[uint32]string{letsOut: "lets-out", letsIn: "lets-in", keepsOut: "keeps-out"}[id]
	return observe.Rule{Policies: []state.PolicyKey{{Kind: state.KindCNP, Namespace: "shop", Name: name}}, Match: 2}
}

// Isolated implements observe.Rules.
func (rules) Isolated(uint32, bool) []state.PolicyKey {
	return []state.PolicyKey{{Kind: state.KindNetworkPolicy, Namespace: "shop", Name: "isolates"}}
}

func cluster() *state.Tables {
	t := state.New()
	t.Identities.Put(state.AllReserved()...)
	t.Nodes.Put(state.Node{Name: "n1", Cluster: "east", Local: true, Addresses: []netip.Addr{netip.MustParseAddr("192.168.0.1")}, Labels: map[string]string{"zone": "a"}})
	put := func(name, ip string, id state.IdentityID, endpoint state.EndpointID) {
		pod := state.PodName{Namespace: "shop", Name: name}
		t.Pods.Put(state.Pod{Name: pod, Labels: map[string]string{"app": name}, Workload: state.Workload{Kind: "Deployment", Name: name}})
		t.Endpoints.Put(state.Endpoint{ID: endpoint, Pod: pod, Device: "weir" + name})
		t.IPs.Put(state.IP{Prefix: netip.PrefixFrom(netip.MustParseAddr(ip), 32), Identity: id, Endpoint: endpoint, Source: state.IPEndpoint, Of: pod.String()})
	}
	put("client", "10.0.0.5", 1001, 5)
	put("web", "10.0.0.7", 1002, web)
	t.Services.Put(state.Service{Name: state.ServiceName{Namespace: "shop", Name: "web"}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, Ports: []state.ServicePort{{Proto: 6, Port: 80}}})
	return t
}

// events are one of each kind that the test looks at, a second apart.
func events() []bpf.Event {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	addr := func(s string) bpf.Addr { return bpf.AddrFrom(netip.MustParseAddr(s)) }
	base := bpf.Event{Src: addr("10.0.0.5"), Dst: addr("10.0.0.7"), SrcIdentity: 1001, DstIdentity: 1002, Sport: bpf.Network(43210), Dport: bpf.Network(8080), Family: 2, Proto: 6,
		TCPFlags: 2, Ifindex: uint32(bpf.IfindexBase) + 5, Kind: uint8(bpf.EventNew), Reason: uint8(bpf.ReasonToEndpoint), Place: uint8(bpf.PlaceFromPod), Rule: [2]uint32{letsOut, letsIn}}
	asked := base
	asked.Asked, asked.AskedPort, asked.Taken = addr("10.96.0.10"), bpf.Network(80), addr("192.168.0.1")
	answer := base
	answer.Src, answer.Dst, answer.SrcIdentity, answer.DstIdentity, answer.Sport, answer.Dport = base.Dst, base.Src, 1002, 1001, base.Dport, base.Sport
	answer.Kind, answer.Reply, answer.TCPFlags, answer.Asked, answer.AskedPort = uint8(bpf.EventGoing), 1, 0x12, asked.Asked, asked.AskedPort
	denied := base
	denied.Kind, denied.Reason, denied.Rule, denied.Direction, denied.Endpoint = uint8(bpf.EventDrop), uint8(bpf.DropPolicyDeny), [2]uint32{0, keepsOut}, 1, web
	isolated := denied
	isolated.Reason, isolated.Rule = uint8(bpf.DropPolicy), [2]uint32{}
	ours := base
	ours.Kind, ours.Reason, ours.Place, ours.Rule = uint8(bpf.EventDrop), uint8(bpf.DropTunnelSource), uint8(bpf.PlaceFromOverlay), [2]uint32{}
	world := base
	world.Dst, world.DstIdentity, world.Proto, world.Reason, world.Rule = addr("192.0.2.1"), 2, 17, uint8(bpf.ReasonToNetwork), [2]uint32{}
	ping := bpf.Event{Src: addr("fd00::5"), Dst: addr("fd00::7"), SrcIdentity: 1001, DstIdentity: 1002, Dport: bpf.Network(128), Family: 10, Proto: 58, Kind: uint8(bpf.EventNew),
		Reason: uint8(bpf.ReasonToOverlay), Place: uint8(bpf.PlaceFromPod)}
	sctp := world
	sctp.Proto, sctp.Reason = 132, uint8(bpf.ReasonToStack)
	out := []bpf.Event{asked, answer, denied, isolated, ours, world, ping, sctp}
	for i := range out {
		out[i].Time = uint64(now.Nano() - int64(len(out)-i)*int64(time.Second))
	}
	return out
}

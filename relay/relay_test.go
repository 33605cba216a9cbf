package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"weir/api/flow"
	"weir/api/observer"
	"weir/api/peer"
	"weir/api/relay"
	"weir/api/wire"
	"weir/bpf"
	"weir/internal/certs"
	"weir/observe"
	"weir/state"
)

// rules are those of nodes without policy.
type rules struct{}

func (rules) Version() uint64                         { return 1 }
func (rules) Rule(uint32) observe.Rule                { return observe.Rule{} }
func (rules) Isolated(uint32, bool) []state.PolicyKey { return nil }

// node is an agent's flows, served at an address.
type node struct {
	*observe.Observer
	name    string
	address string
	server  *grpc.Server
	stop    context.CancelFunc
}

func startNode(t *testing.T, name, network, address string, certs *wire.Certificates) *node {
	t.Helper()
	tables := state.New()
	tables.Nodes.Put(state.Node{Name: name, Local: true})
	tables.IPs.Put(state.IP{Prefix: netip.MustParsePrefix("10.0.0.5/32"), Identity: 1001, Source: state.IPPod, Of: "ns-" + name + "/pod"})
	n := &node{Observer: observe.New(observe.Options{Node: name, Version: "1", Flows: 5000}, tables, rules{}), name: name}
	n.serve(t, network, address, certs)
	return n
}

func (n *node) serve(t *testing.T, network, address string, certs *wire.Certificates) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	n.address = l.Addr().String()
	if network == "unix" {
		n.address = "unix://" + n.address
	}
	var ctx context.Context
	ctx, n.stop = context.WithCancel(context.Background())
	n.server = wire.Server(certs)
	n.Register(n.server, observe.PeerOptions{})
	go n.server.Serve(l)
	go n.Run(ctx)
	t.Cleanup(n.end)
}

func (n *node) end() {
	n.server.Stop()
	n.stop()
}

// add adds a flow that happened so long ago, and carries a number as its port.
func (n *node) add(ago time.Duration, number uint16) {
	var mono unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono)
	n.Add(&bpf.Event{Time: uint64(mono.Nano() - int64(ago)), Src: bpf.AddrFrom(netip.MustParseAddr("10.0.0.5")), Dst: bpf.AddrFrom(netip.MustParseAddr("10.0.0.7")),
		Sport: bpf.Network(number), Dport: bpf.Network(80), Family: 2, Proto: 6, Kind: uint8(bpf.EventNew), Reason: uint8(bpf.ReasonToOverlay), Place: uint8(bpf.PlaceFromPod)})
}

// directory tells where nodes are.
type directory struct {
	peer.UnimplementedPeerServer
	changes chan *peer.ChangeNotification
}

func (d *directory) Notify(_ *peer.NotifyRequest, out grpc.ServerStreamingServer[peer.ChangeNotification]) error {
	for {
		select {
		case <-out.Context().Done():
			return nil
		case c := <-d.changes:
			if err := out.Send(c); err != nil {
				return err
			}
		}
	}
}

func (d *directory) tell(n *node, kind peer.ChangeNotificationType, serverName string) {
	c := &peer.ChangeNotification{Name: n.name, Address: n.address, Type: kind}
	if serverName != "" {
		c.Tls = &peer.TLS{ServerName: serverName}
	}
	d.changes <- c
}

// startRelay returns a relay that a directory tells of nodes, and a client of it.
func startRelay(t *testing.T, opts Options) (*Relay, *directory, observer.ObserverClient) {
	t.Helper()
	dir := short(t)
	d := &directory{changes: make(chan *peer.ChangeNotification)}
	serve := func(name string, register func(*grpc.Server)) string {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		s := wire.Server(nil)
		register(s)
		go s.Serve(l)
		t.Cleanup(s.Stop)
		return "unix://" + l.Addr().String()
	}
	opts.PeerService = serve("peers", func(s *grpc.Server) { peer.RegisterPeerServer(s, d) })
	r := New(slog.New(slog.NewTextHandler(io.Discard, nil)), opts)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	conn, err := wire.Dial(serve("relay", func(s *grpc.Server) { r.Register(s) }), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return r, d, observer.NewObserverClient(conn)
}

// short is a folder whose name leaves room for a socket's.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "relay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func added(t *testing.T, r *Relay, d *directory, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		d.tell(n, peer.ChangeNotificationType_PEER_ADDED, "")
	}
	await(t, "all nodes are known", func() bool {
		r.peers.mu.Lock()
		defer r.peers.mu.Unlock()
		return !slices.ContainsFunc(nodes, func(n *node) bool { return r.peers.known[n.name] == nil })
	})
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// reply is what came of a relay: the numbers of flows, and what was said of nodes.
func reply(t *testing.T, c observer.ObserverClient, q *observer.GetFlowsRequest) (numbers []uint32, said []string) {
	t.Helper()
	s, err := c.GetFlows(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return numbers, said
		}
		if err != nil {
			t.Fatal(err)
		}
		if f := m.GetFlow(); f != nil {
			numbers = append(numbers, f.L4.GetTCP().SourcePort)
		}
		if n := m.GetNodeStatus(); n != nil {
			said = append(said, n.StateChange.String()+" "+strings.Join(n.NodeNames, ","))
		}
	}
}

func TestFlowsOfNodesAreMergedByTime(t *testing.T) {
	r, d, c := startRelay(t, Options{Plain: true, Version: "1"})
	dir := short(t)
	var nodes []*node
	for i := range 3 {
		nodes = append(nodes, startNode(t, fmt.Sprint("n", i), "unix", filepath.Join(dir, fmt.Sprint(i)), nil))
	}
	for i := range 300 {
		nodes[i*7%3].add(time.Duration(300-i)*10*time.Millisecond, uint16(i+1))
	}
	added(t, r, d, nodes...)
	upTo := func(from, to uint32) (out []uint32) {
		for i := from; i <= to; i++ {
			out = append(out, i)
		}
		return out
	}
	for name, x := range map[string]struct {
		q    *observer.GetFlowsRequest
		want []uint32
	}{
		"all":    {&observer.GetFlowsRequest{}, upTo(1, 300)},
		"last":   {&observer.GetFlowsRequest{Number: 50}, upTo(251, 300)},
		"first":  {&observer.GetFlowsRequest{Number: 50, First: true}, upTo(1, 50)},
		"some":   {&observer.GetFlowsRequest{Whitelist: []*flow.FlowFilter{{SourcePort: []string{"100-120"}}}}, upTo(100, 120)},
		"a node": {&observer.GetFlowsRequest{Number: 2, Whitelist: []*flow.FlowFilter{{NodeName: []string{"n1"}}}}, []uint32{296, 299}},
	} {
		got, said := reply(t, c, x.q)
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: got %v, want %v", name, got, x.want)
		}
		if !slices.Equal(said, []string{"NODE_CONNECTED n0,n1,n2"}) {
			t.Errorf("%s: said %q", name, said)
		}
	}
}

func TestTheClusterInOneAnswer(t *testing.T) {
	r, d, c := startRelay(t, Options{Plain: true, Version: "relay-1"})
	dir := short(t)
	a, b := startNode(t, "a", "unix", filepath.Join(dir, "a"), nil), startNode(t, "b", "unix", filepath.Join(dir, "b"), nil)
	away := &node{name: "c", address: "127.0.0.1:1"}
	for i := range 5 {
		a.add(time.Second, uint16(i+1))
	}
	b.add(time.Second, 9)
	added(t, r, d, a, b, away)
	await(t, "c is known to be away", func() bool { return r.peers.all()[2].away() != "" })
	s, err := c.ServerStatus(t.Context(), &observer.ServerStatusRequest{})
	if err != nil || s.NumFlows != 6 || s.MaxFlows != 10000 || s.NumConnectedNodes.GetValue() != 2 || s.NumUnavailableNodes.GetValue() != 1 || !slices.Equal(s.UnavailableNodes, []string{"c"}) || s.Version != "relay-1" {
		t.Errorf("status %v, %v", s, err)
	}
	nodes, err := c.GetNodes(t.Context(), &observer.GetNodesRequest{})
	if err != nil || len(nodes.Nodes) != 3 || nodes.Nodes[0].NumFlows != 5 || nodes.Nodes[0].State != relay.NodeState_NODE_CONNECTED || nodes.Nodes[2].State != relay.NodeState_NODE_UNAVAILABLE {
		t.Errorf("nodes %v, %v", nodes, err)
	}
	names, err := c.GetNamespaces(t.Context(), &observer.GetNamespacesRequest{})
	if err != nil || len(names.Namespaces) != 2 || names.Namespaces[0].Namespace != "ns-a" {
		t.Errorf("namespaces %v, %v", names, err)
	}
	got, said := reply(t, c, &observer.GetFlowsRequest{})
	if len(got) != 6 || !slices.Equal(said, []string{"NODE_CONNECTED a,b", "NODE_UNAVAILABLE c"}) {
		t.Errorf("got %v, said %q", got, said)
	}
	stream, err := c.GetAgentEvents(t.Context(), &observer.GetAgentEventsRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "ask the agent of a node") {
		t.Errorf("agent events: %v", err)
	}
}

func TestABrokenFilterIsRefusedAsByANode(t *testing.T) {
	r, d, c := startRelay(t, Options{Plain: true})
	added(t, r, d, startNode(t, "a", "unix", filepath.Join(short(t), "a"), nil))
	for says, q := range map[string]*observer.GetFlowsRequest{
		`whitelist[0].source_ip: "x" is neither`: {Follow: true, Whitelist: []*flow.FlowFilter{{SourceIp: []string{"x"}}}},
		"number: 100000: a relay tells at most":  {Number: 100000},
	} {
		s, err := c.GetFlows(t.Context(), q)
		for err == nil {
			_, err = s.Recv()
		}
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}

// Of a node that could not be asked at first, a reader misses nothing since then.
func TestANodeThatIsLateTellsWhatCameSince(t *testing.T) {
	r, d, c := startRelay(t, Options{Plain: true})
	address := filepath.Join(short(t), "a")
	a := startNode(t, "a", "unix", address, nil)
	a.end()
	added(t, r, d, a)
	await(t, "a is known to be away", func() bool { return r.peers.all()[0].away() != "" })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := c.GetFlows(ctx, &observer.GetFlowsRequest{Follow: true})
	if err == nil {
		_, err = s.Recv() // that it is away
	}
	if err != nil {
		t.Fatal(err)
	}
	a.add(0, 1)
	a.serve(t, "unix", address, nil)
	for {
		m, err := s.Recv()
		if err != nil {
			t.Fatalf("its flow never came: %v", err)
		}
		if m.GetFlow().GetL4().GetTCP().GetSourcePort() == 1 {
			return
		}
	}
}

// A node that goes is said, the others' flows go on, and it is asked again when it is back.
func TestANodeThatGoesAndComesBack(t *testing.T) {
	r, d, c := startRelay(t, Options{Plain: true})
	dir := short(t)
	a, b := startNode(t, "a", "unix", filepath.Join(dir, "a"), nil), startNode(t, "b", "unix", filepath.Join(dir, "b"), nil)
	added(t, r, d, a, b)
	s, err := c.GetFlows(t.Context(), &observer.GetFlowsRequest{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	messages := make(chan *observer.GetFlowsResponse, 1000)
	go func() {
		for {
			m, err := s.Recv()
			if err != nil {
				return
			}
			messages <- m
		}
	}()
	next := func(what string, is func(*observer.GetFlowsResponse) bool) {
		t.Helper()
		end := time.After(30 * time.Second)
		for {
			select {
			case m := <-messages:
				if is(m) {
					return
				}
			case <-end:
				t.Fatalf("waited in vain for %s", what)
			}
		}
	}
	state := func(want relay.NodeState, node string) func(*observer.GetFlowsResponse) bool {
		return func(m *observer.GetFlowsResponse) bool {
			n := m.GetNodeStatus()
			return n != nil && n.StateChange == want && slices.Contains(n.NodeNames, node)
		}
	}
	numbered := func(want uint32) func(*observer.GetFlowsResponse) bool {
		return func(m *observer.GetFlowsResponse) bool { return m.GetFlow().GetL4().GetTCP().GetSourcePort() == want }
	}
	next("both", state(relay.NodeState_NODE_CONNECTED, "b"))
	time.Sleep(200 * time.Millisecond) // they follow
	b.end()
	next("b away", state(relay.NodeState_NODE_UNAVAILABLE, "b"))
	a.add(0, 1)
	next("a's flow without b", numbered(1))
	b.serve(t, "unix", filepath.Join(dir, "b"), nil)
	next("b back", state(relay.NodeState_NODE_CONNECTED, "b"))
	b.add(0, 2)
	next("b's flow", numbered(2))
	d.tell(a, peer.ChangeNotificationType_PEER_DELETED, "")
	next("a gone", state(relay.NodeState_NODE_GONE, "a"))
	b.add(0, 3)
	next("b's flow without a", numbered(3))
}

// certificates makes an authority, and files of certificates that it signs.
func certificates(t *testing.T, names ...string) map[string]*wire.Certificates {
	t.Helper()
	authority, err := certs.New(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*wire.Certificates{}
	for _, name := range names {
		pair, err := authority.Issue(name, name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = &wire.Certificates{CAFile: authority.File, CertFile: pair.Cert, KeyFile: pair.Key}
	}
	return out
}

func TestNodesHaveToBeWhoTheySay(t *testing.T) {
	const all = "*.default.hubble-grpc.cilium.io"
	certs, others := certificates(t, all, "relay"), certificates(t, all, "relay")
	r, d, c := startRelay(t, Options{Certificates: certs["relay"]})
	good := startNode(t, "good", "tcp", "127.0.0.1:0", certs[all])
	good.add(time.Second, 1)
	stranger := startNode(t, "stranger", "tcp", "127.0.0.1:0", others[all])
	stranger.add(time.Second, 2)
	other := startNode(t, "other", "tcp", "127.0.0.1:0", certs[all])
	other.add(time.Second, 3)
	plain := startNode(t, "plain", "tcp", "127.0.0.1:0", nil)
	plain.add(time.Second, 4)
	d.tell(good, peer.ChangeNotificationType_PEER_ADDED, "good.default.hubble-grpc.cilium.io")
	d.tell(stranger, peer.ChangeNotificationType_PEER_ADDED, "stranger.default.hubble-grpc.cilium.io")
	d.tell(other, peer.ChangeNotificationType_PEER_ADDED, "other.east.hubble-grpc.cilium.io")
	d.tell(plain, peer.ChangeNotificationType_PEER_ADDED, "")
	await(t, "all but one are away", func() bool {
		list := r.peers.all()
		return len(list) == 4 && list[0].away() == "" && list[1].away() != "" && list[2].away() != "" && list[3].away() != ""
	})
	got, said := reply(t, c, &observer.GetFlowsRequest{})
	slices.Sort(said)
	if !slices.Equal(got, []uint32{1}) || len(said) != 4 || said[0] != "NODE_CONNECTED good" {
		t.Errorf("got %v, said %q", got, said)
	}
	// And the nodes want to know who asks.
	conn, err := wire.Dial(good.address, others["relay"], "good.default.hubble-grpc.cilium.io")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := observer.NewObserverClient(conn).ServerStatus(t.Context(), &observer.ServerStatusRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a client of another authority: %v", err)
	}
}

// Certificates are read again when they change.
func TestCertificatesAreRenewedWithoutARestart(t *testing.T) {
	old, renewed := certificates(t, "server", "client"), certificates(t, "server", "client")
	files := &wire.Certificates{CAFile: filepath.Join(t.TempDir(), "ca"), CertFile: filepath.Join(t.TempDir(), "crt"), KeyFile: filepath.Join(t.TempDir(), "key")}
	use := func(from *wire.Certificates) {
		for to, have := range map[string]string{files.CAFile: from.CAFile, files.CertFile: from.CertFile, files.KeyFile: from.KeyFile} {
			text, err := os.ReadFile(have)
			if err == nil {
				err = os.WriteFile(to, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	use(old["server"])
	n := startNode(t, "n", "tcp", "127.0.0.1:0", files)
	asks := func(as *wire.Certificates) error {
		conn, err := wire.Dial(n.address, as, "server")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = observer.NewObserverClient(conn).ServerStatus(t.Context(), &observer.ServerStatusRequest{})
		return err
	}
	if err := asks(old["client"]); err != nil {
		t.Fatal(err)
	}
	use(renewed["server"])
	if err := asks(renewed["client"]); err != nil {
		t.Errorf("after the renewal: %v", err)
	}
	if err := asks(old["client"]); err == nil {
		t.Error("the old authority is believed still")
	}
}

func TestNextIsTheEarliestOnceAllHaveTold(t *testing.T) {
	now := time.Now()
	head := func(ago time.Duration) *lane {
		l := &lane{asked: now.Add(-time.Hour)}
		l.came(&observer.GetFlowsResponse{Time: timestamppb.New(now.Add(-ago))}, now)
		return l
	}
	early, late, ahead := head(400*time.Millisecond), head(200*time.Millisecond), head(-time.Hour)
	silent, asked := &lane{asked: now.Add(-time.Hour)}, &lane{asked: now}
	for what, c := range map[string]struct {
		lanes    []*lane
		after    time.Duration
		patience time.Duration
		want     *lane
	}{
		"the earliest has its turn":              {[]*lane{late, early}, 0, 0, early},
		"without patience all are waited for":    {[]*lane{late, early, silent}, time.Hour, 0, nil},
		"it is not old enough":                   {[]*lane{late, early, silent}, 500 * time.Millisecond, time.Second, nil},
		"it is old enough":                       {[]*lane{late, early, silent}, 600 * time.Millisecond, time.Second, early},
		"who was just asked is waited for":       {[]*lane{late, early, asked}, 600 * time.Millisecond, time.Second, nil},
		"but not for ever":                       {[]*lane{late, early, asked}, time.Second, time.Second, early},
		"a clock that is ahead, not old enough":  {[]*lane{ahead, silent}, 900 * time.Millisecond, time.Second, nil},
		"a clock that is ahead holds nothing up": {[]*lane{ahead, silent}, time.Second, time.Second, ahead},
		"nobody has told anything":               {[]*lane{silent}, time.Hour, time.Second, nil},
	} {
		if got := next(c.lanes, now.Add(c.after), c.patience); got != c.want {
			t.Errorf("%s: got %v, want %v", what, got, c.want)
		}
	}
}

// However much one node tells, it comes as fast when another one has nothing to tell.
func TestASilentNodeHoldsNobodyUp(t *testing.T) {
	for name, ago := range map[string]time.Duration{"": 0, " whose clock is ahead": -time.Hour} {
		t.Run("a node"+name, func(t *testing.T) {
			r, d, c := startRelay(t, Options{Plain: true})
			dir := short(t)
			a, b := startNode(t, "a", "unix", filepath.Join(dir, "a"), nil), startNode(t, "b", "unix", filepath.Join(dir, "b"), nil)
			added(t, r, d, a, b)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			const many = 1000
			s, err := c.GetFlows(ctx, &observer.GetFlowsRequest{Follow: true, Number: many}) // those, too, that are there before it is asked
			if err == nil {
				_, err = s.Recv() // who is there
			}
			if err != nil {
				t.Fatal(err)
			}
			for n := range uint16(many) {
				a.add(ago, n)
			}
			for n := range many {
				if _, err := s.Recv(); err != nil {
					t.Fatalf("%d flows of %d came: %v", n, many, err)
				}
			}
		})
	}
}

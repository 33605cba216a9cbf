package packets

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"weir/api/agent"
	"weir/api/flow"
	"weir/api/observer"
	"weir/api/wire"
)

// crowd are clients of one node's flows and events, none of which reads what it asked for.
type crowd struct {
	served           []*slowReader
	refused          int
	monitors         []net.Conn
	monitorsRefused  int
	conns            []*grpc.ClientConn
	oldest, notAfter uint64 // the first record that they may have been told, and the last one that may be the first
}

// slowReader asked for everything there is and will be.
type slowReader struct {
	stream grpc.ServerStreamingClient[observer.GetFlowsResponse]
	told   account
}

// account is what became of the records of a node's flows: each is a flow that was told, a
// note of events that the programs have lost, or was overtaken.
type account struct{ flows, notes, overtaken uint64 }

func (a *account) add(m *observer.GetFlowsResponse) {
	switch l := m.GetLostEvents(); {
	case m.GetFlow() != nil:
		a.flows++
	case l.GetSource() == flow.LostEventSource_HUBBLE_RING_BUFFER:
		a.overtaken += l.NumEventsLost
	default:
		a.notes++
	}
}

func (a account) records() uint64 { return a.flows + a.notes + a.overtaken }

func everything() *observer.GetFlowsRequest {
	return &observer.GetFlowsRequest{Since: &timestamppb.Timestamp{Nanos: 1}, Follow: true}
}

// gather makes a crowd: so many ask for all flows, some before them for what hardly ever
// comes, so that each record costs the agent work, and more follow events than may.
func (c *cluster) gather(t *testing.T, node string, all, idle, monitors int) *crowd {
	t.Helper()
	if err := c.exchange(t, "a", "c", true, 1000); err != nil { // what the idle ones are told
		t.Fatal(err)
	}
	out := &crowd{oldest: c.oldestFlow(t, node)}
	const each = 200 // on one connection
	for i := range idle {
		s, err := out.client(t, c, node, i%each == 0).GetFlows(t.Context(), &observer.GetFlowsRequest{Since: &timestamppb.Timestamp{Nanos: 1}, Follow: true,
			Whitelist: []*flow.FlowFilter{{SourcePod: []string{"default/a"}, DestinationLabel: []string{"k8s:app in (c)"}, Protocol: []string{"tcp"}}}})
		if err == nil {
			_, err = s.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range all {
		s, err := out.client(t, c, node, i%each == 0).GetFlows(t.Context(), everything())
		r := &slowReader{stream: s}
		if err == nil {
			err = r.read()
		}
		switch {
		case err == nil:
			out.served = append(out.served, r)
		case status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "256 clients read here already"):
			out.refused++
		default:
			t.Fatalf("reader %d: %v", i, err)
		}
	}
	out.notAfter = c.oldestFlow(t, node)
	for range monitors {
		out.follow(t, c.node(t, node).Socket())
	}
	return out
}

// client is one on the latest connection, or on another.
func (w *crowd) client(t *testing.T, c *cluster, node string, another bool) observer.ObserverClient {
	t.Helper()
	if another {
		conn, err := wire.Dial("unix://"+c.flowSocket(t, node), nil, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		w.conns = append(w.conns, conn)
	}
	return observer.NewObserverClient(w.conns[len(w.conns)-1])
}

func (c *cluster) flowSocket(t *testing.T, node string) string {
	t.Helper()
	return filepath.Join(filepath.Dir(c.node(t, node).Socket()), "hubble.sock")
}

// oldestFlow is the number of the oldest record that is kept.
func (c *cluster) oldestFlow(t *testing.T, node string) uint64 {
	t.Helper()
	client, end := c.observer(t, node)
	defer end()
	s, err := client.ServerStatus(t.Context(), &observer.ServerStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return s.SeenFlows - s.NumFlows
}

// follow asks for all events, and reads no more than that they are told.
func (w *crowd) follow(t *testing.T, socket string) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: weir\r\n\r\n", agent.PathMonitor) // else there is no answer
	conn.SetReadDeadline(time.Now().Add(patience))
	answer, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode == http.StatusOK {
		w.monitors = append(w.monitors, conn)
		return
	}
	why, _ := io.ReadAll(io.LimitReader(answer.Body, 1000)) // none is not the reason that is wanted
	if !strings.Contains(string(why), "16 clients follow events already") {
		t.Fatalf("%s: %s", answer.Status, why)
	}
	w.monitorsRefused++
	conn.Close()
}

func (r *slowReader) read() error {
	m, err := r.stream.Recv()
	if err == nil {
		r.told.add(m)
	}
	return err
}

// wantTheRest reads what a slow reader was kept from, until it has been told of so many
// records, with those that are lost.
func (w *crowd) wantTheRest(t *testing.T, r *slowReader, seen uint64, now func() uint64) {
	t.Helper()
	for w.notAfter+r.told.records() < seen {
		if err := r.read(); err != nil {
			t.Fatalf("a slow reader, after %+v of %d records: %v", r.told, seen, err)
		}
	}
	if r.told.overtaken == 0 || w.oldest+r.told.records() > now() {
		t.Errorf("a slow reader is told %+v of %d records: want some overtaken, and each told of once", r.told, seen)
	}
}

// leave ends all of them without a word.
func (w *crowd) leave() {
	for _, c := range w.conns {
		c.Close()
	}
	for _, c := range w.monitors {
		c.Close()
	}
}

// vanish starts clients and kills each when it has been told something.
func (c *cluster) vanish(t *testing.T, node string, clients int) {
	t.Helper()
	for n := range clients {
		argv := [][]string{{"weir", "observe", "--follow", "-o", "json"}, {"weir", "monitor", "-o", "json"}}[n%2]
		out := make(chan error, 1)
		cmd, err := c.Start(t.Context(), node, argv, func(cmd *exec.Cmd) {
			pipe, err := cmd.StdoutPipe()
			if err != nil {
				out <- err
				return
			}
			go func() { _, err := io.ReadFull(pipe, make([]byte, 100)); out <- err }()
		})
		if err != nil {
			t.Error(err)
			return
		}
		select {
		case err = <-out:
		case <-time.After(2 * patience):
			err = errors.New("it is told nothing")
		}
		cmd.Process.Signal(syscall.SIGKILL) // one that has ended said why
		cmd.Wait()
		if err != nil {
			t.Errorf("%s: %v", strings.Join(argv, " "), err)
		}
	}
}

// bogus are requests that mean nothing, and the code that each is answered with.
func bogus() map[*observer.GetFlowsRequest]codes.Code {
	of := func(f *flow.FlowFilter) *observer.GetFlowsRequest {
		return &observer.GetFlowsRequest{Whitelist: []*flow.FlowFilter{f}, Follow: true}
	}
	many := func(n int) []*flow.FlowFilter { return slices.Repeat([]*flow.FlowFilter{{}}, n) }
	return map[*observer.GetFlowsRequest]codes.Code{
		of(&flow.FlowFilter{DnsQuery: []string{"("}}):                                               codes.InvalidArgument,
		of(&flow.FlowFilter{DnsQuery: []string{strings.Repeat("(a+)+", 50)}}):                       codes.InvalidArgument,
		of(&flow.FlowFilter{DnsQuery: []string{"(a{1000}){1000}"}}):                                 codes.InvalidArgument,
		of(&flow.FlowFilter{SourceIp: []string{"10.0.0.0/99"}}):                                     codes.InvalidArgument,
		of(&flow.FlowFilter{SourceLabel: []string{"((" + strings.Repeat("a in (b),", 100)}}):        codes.InvalidArgument,
		of(&flow.FlowFilter{SourcePort: []string{"-1"}, DestinationPort: []string{"4294967297"}}):   codes.InvalidArgument,
		{Since: &timestamppb.Timestamp{Seconds: math.MaxInt64, Nanos: math.MaxInt32}, Follow: true}: codes.InvalidArgument,
		{Whitelist: many(2000), Follow: true}:                                                       codes.InvalidArgument,
		{Blacklist: many(500000), Follow: true}:                                                     codes.ResourceExhausted,
		{Number: math.MaxUint64}:                                                                    codes.OK,
		{Number: math.MaxUint64, First: true, Since: timestamppb.New(time.Unix(1<<32, 0))}:          codes.OK,
	}
}

// askBogus asks each so often. Without room for readers those that are good are refused.
func (c *cluster) askBogus(t *testing.T, node string, times int) {
	t.Helper()
	client, end := c.observer(t, node)
	defer end()
	all := bogus()
	for range times {
		for q, want := range all {
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			s, err := client.GetFlows(ctx, q)
			for err == nil {
				_, err = s.Recv()
			}
			cancel()
			if got := status.Code(err); errors.Is(err, io.EOF) && want != codes.OK || !errors.Is(err, io.EOF) && got != want {
				t.Errorf("request of %d filters, number %d: %.300v: want %s", len(q.Whitelist)+len(q.Blacklist), q.Number, err, want)
				return
			}
		}
	}
}

// noise writes what is no request to each of the agent's sockets, and some connections say
// nothing at all.
func (c *cluster) noise(t *testing.T, node string, times int) {
	t.Helper()
	tcp := netip.AddrPortFrom(c.addr(t, node, true), 4244).String()
	begins := []string{"", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nHost: ",
		"POST " + agent.PathCNIAdd + " HTTP/1.1\r\nHost: weir\r\nContent-Length: 99999999999\r\n\r\n", "\x16\x03\x01\xff\xff"}
	r := rand.NewChaCha8([32]byte{2})
	var silent []net.Conn
	for n := range times {
		var conn net.Conn
		var err error
		switch n % 5 {
		case 0, 1:
			conn, err = net.Dial("unix", c.flowSocket(t, node))
		case 2, 3:
			conn, err = net.Dial("unix", c.node(t, node).Socket())
		case 4:
			conn, err = dial(c.netns(t, node), "tcp", tcp)
		}
		if err != nil {
			t.Error(err)
			return
		}
		b := make([]byte, 1+n%2000)
		r.Read(b)
		conn.Write(append([]byte(begins[n/5%len(begins)]), b...)) // the agent may have closed it
		if n%7 == 0 {
			silent = append(silent, conn)
			continue
		}
		conn.Close()
	}
	for _, conn := range silent {
		conn.Close()
	}
}

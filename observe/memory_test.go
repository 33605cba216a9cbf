package observe

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"weir/api/flow"
	"weir/api/observer"
	"weir/bpf"
	"weir/internal/heaptest"
)

// A flood of drops of which no two have anything in common: addresses, ports, identities,
// rules and endpoints.
func TestAFloodOfDropsMakesNothingGrow(t *testing.T) {
	o := newObserver(t, 10000)
	r := rand.New(rand.NewPCG(1, 2))
	flood := func(events int) {
		for i := range events {
			o.Add(packet(dropped(bpf.DropPolicy), func(e *bpf.Event) {
				for _, a := range []*bpf.Addr{&e.Src, &e.Dst} {
					for w := range a.W {
						a.W[w] = r.Uint32()
					}
				}
				e.SrcIdentity, e.DstIdentity = r.Uint32(), r.Uint32()
				e.Sport, e.Dport, e.Ifindex = uint16(r.Uint32()), uint16(r.Uint32()), r.Uint32()
				e.Endpoint, e.Direction, e.Rule[0] = r.Uint32(), uint8(i&1), r.Uint32()
			}))
		}
	}
	flood(10000) // the ring is full
	before := heaptest.Alive()
	flood(700000)
	heaptest.Within(t, "after 700,000 drops", before, 40) // 65,536 rules may be remembered
	runtime.KeepAlive(o)
}

// Requests that mean nothing are refused, and nothing is left of them, nor of what is no
// request at all.
func TestBogusRequestsMakeNothingGrow(t *testing.T) {
	o := newObserver(t, 1000)
	for range 1000 {
		o.Add(packet())
	}
	conn := serve(t, o, PeerOptions{})
	c := observer.NewObserverClient(conn)
	filter := func(f *flow.FlowFilter) *observer.GetFlowsRequest {
		return &observer.GetFlowsRequest{Whitelist: []*flow.FlowFilter{f}}
	}
	bogus := []*observer.GetFlowsRequest{
		filter(&flow.FlowFilter{SourceIp: []string{"10.0.0.0/99"}}), filter(&flow.FlowFilter{SourceLabel: []string{"((" + strings.Repeat("a in (b),", 100)}}),
		filter(&flow.FlowFilter{DnsQuery: []string{strings.Repeat("(a+)+", 50)}}), filter(&flow.FlowFilter{SourcePort: []string{"-1"}}),
		filter(&flow.FlowFilter{TcpFlags: []*flow.TCPFlags{{}}, Protocol: []string{"none"}}),
		{FieldMask: &fieldmaskpb.FieldMask{Paths: []string{"no.such.field"}}},
		{Since: timestamppb.New(time.Unix(2, 0)), Until: timestamppb.New(time.Unix(1, 0))}, {Since: &timestamppb.Timestamp{Seconds: 1 << 60}},
	}
	ask := func(times int) {
		for i := range times {
			s, err := c.GetFlows(t.Context(), bogus[i%len(bogus)])
			if err == nil {
				_, err = s.Recv()
			}
			if status.Code(err) != codes.InvalidArgument {
				t.Fatalf("request %v: %v, want it to be refused", bogus[i%len(bogus)], err)
			}
		}
	}
	address := strings.TrimPrefix(conn.Target(), "unix://")
	noise := func(times int) {
		for i := range times {
			raw, err := net.Dial("unix", address)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 512)
			for j := 0; j < len(b); j += 8 {
				binary.NativeEndian.PutUint64(b[j:], uint64(i*j)*0x9e3779b97f4a7c15)
			}
			raw.Write(b) // the server may have closed it
			raw.Close()
		}
	}
	ask(500)
	noise(100)
	before, goroutines := heaptest.Alive(), runtime.NumGoroutine()
	ask(10000)
	noise(2000)
	heaptest.Within(t, "after 10,000 bogus requests and 2,000 connections of noise", before, 4)
	for end := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > goroutines+20; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, before %d", runtime.NumGoroutine(), goroutines)
		}
	}
	if got := flowsOf(t, o, &observer.GetFlowsRequest{Number: 5}); len(got) != 5 || o.readers.Count() != 0 {
		t.Errorf("%d flows for who asks well, %d readers: want 5 and none", len(got), o.readers.Count())
	}
}

// A filter takes a hundred times the memory of what it is on the wire, so a request has to be
// refused for its size before it is read.
func TestARequestOfManyFiltersTakesLittleMemory(t *testing.T) {
	o := newObserver(t, 10)
	o.Add(packet())
	c := observer.NewObserverClient(serve(t, o, PeerOptions{}))
	ask := func(filters int, f *flow.FlowFilter) (err error) {
		s, err := c.GetFlows(t.Context(), &observer.GetFlowsRequest{Whitelist: slices.Repeat([]*flow.FlowFilter{f}, filters)})
		for err == nil {
			_, err = s.Recv()
		}
		return err
	}
	// As much as is possible: 32 octets each.
	if err := ask(maxFilters-1, &flow.FlowFilter{SourceIp: []string{"2001:db8:1234:5678::abcd/128"}}); !errors.Is(err, io.EOF) {
		t.Errorf("filters of nearly 32 KiB: %v, want them to be taken", err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := ask(500000, &flow.FlowFilter{})
	runtime.ReadMemStats(&after)
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("500,000 filters: %v, want them to be refused", err)
	}
	if taken := (after.TotalAlloc - before.TotalAlloc) >> 20; taken > 64 {
		t.Errorf("500,000 filters that are refused take %d MiB, want 64 at most", taken)
	}
}

package packets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"weir/api/agent"
	"weir/api/flow"
	"weir/api/observer"
	"weir/api/wire"
)

// flowsOf are the flows that a node keeps of one moment on between two addresses.
func (c *cluster) flowsOf(t *testing.T, node string, since time.Time, one, other netip.Addr) []*flow.Flow {
	t.Helper()
	conn, err := wire.Dial("unix://"+filepath.Join(filepath.Dir(c.node(t, node).Socket()), "hubble.sock"), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	both := []*flow.FlowFilter{{SourceIp: []string{one.String()}, DestinationIp: []string{other.String()}}, {SourceIp: []string{other.String()}, DestinationIp: []string{one.String()}}}
	s, err := observer.NewObserverClient(conn).GetFlows(ctx, &observer.GetFlowsRequest{Since: timestamppb.New(since), Whitelist: both})
	if err != nil {
		t.Fatal(err)
	}
	var out []*flow.Flow
	for {
		r, err := s.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return out
		case err != nil:
			t.Fatalf("flows of %s: %v", node, err)
		case r.GetLostEvents() != nil:
			t.Fatalf("flows of %s: %d are lost", node, r.GetLostEvents().NumEventsLost)
		}
		out = append(out, r.GetFlow())
	}
}

// identityOf is what the agent's ipcache has of an address.
func (c *cluster) identityOf(t *testing.T, node string, a netip.Addr) uint32 {
	t.Helper()
	var rows []agent.IP
	c.get(t, node, agent.PathIPs, &rows)
	for _, r := range rows {
		if r.Prefix == netip.PrefixFrom(a, a.BitLen()).String() {
			return r.Identity
		}
	}
	t.Fatalf("%s does not know %s", node, a)
	return 0
}

// ports are the opener's and the other's: they tell connections apart.
type ports struct{ opener, other uint32 }

// connection is what a node's flows say of one.
type connection map[string]int

// connectionsOf sorts flows by connection, and looks at the names and identities of each.
func (c *cluster) connectionsOf(t *testing.T, node string, flows []*flow.Flow, opener, other string, is4 bool) map[ports]connection {
	t.Helper()
	ends := map[string]string{c.addr(t, opener, is4).String(): opener, c.addr(t, other, is4).String(): other}
	ids := map[string]uint32{}
	for a, name := range ends {
		ids[name] = c.identityOf(t, node, netip.MustParseAddr(a))
	}
	out := map[ports]connection{}
	for _, f := range flows {
		for _, e := range []struct {
			end  *flow.Endpoint
			addr string
		}{{f.Source, f.IP.Source}, {f.Destination, f.IP.Destination}} {
			if name := ends[e.addr]; e.end.GetPodName() != name || e.end.Namespace != "default" || e.end.Identity != ids[name] {
				t.Errorf("%s: %s is %s/%s with identity %d, want default/%s with %d", node, e.addr, e.end.Namespace, e.end.PodName, e.end.Identity, name, ids[name])
			}
		}
		of := ports{f.L4.GetTCP().GetSourcePort(), f.L4.GetTCP().GetDestinationPort()}
		if ends[f.IP.Source] == other {
			of = ports{of.other, of.opener}
		}
		if out[of] == nil {
			out[of] = connection{}
		}
		reply := f.IsReply.GetValue()
		if reply != (ends[f.IP.Source] == other) {
			t.Errorf("%s: a flow of %s has is_reply %v", node, ends[f.IP.Source], reply)
		}
		what := f.TraceObservationPoint.String()
		if f.L4.GetTCP().GetFlags().GetSYN() {
			what += " SYN"
		}
		out[of][strings.ToLower(fmt.Sprintf("%s %s %s", f.Verdict, f.TraceReason, what))]++
	}
	return out
}

// What flows say is what was sent: each connection once, on each node that it crosses, and
// no other; the names are the pods', the identities those that the packets were judged by.
func TestFlowsAreWhatWasSent(t *testing.T) {
	const connections = 40
	eachMode(t, dualStack, func(t *testing.T, c *cluster) {
		elsewhere := "to_overlay"
		if c.spec.Mode == "native" {
			elsewhere = "to_network"
		}
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			since := time.Now()
			for range connections {
				for _, to := range []string{"b", "c"} {
					if err := c.exchange(t, "a", to, is4, 1000); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, x := range []struct{ node, other, way, back string }{
				{"n1", "b", "to_endpoint", "to_endpoint"}, {"n1", "c", elsewhere, "to_endpoint"}, {"n2", "c", "to_endpoint", elsewhere},
			} {
				want := connection{"forwarded new " + x.way + " syn": 1, "forwarded reply " + x.back + " syn": 1, "forwarded established " + x.way: 1, "forwarded reply " + x.back: 1}
				var wrong []string
				complete := func() bool {
					wrong = nil
					got := c.connectionsOf(t, x.node, c.flowsOf(t, x.node, since, c.addr(t, "a", is4), c.addr(t, x.other, is4)), "a", x.other, is4)
					if len(got) != connections {
						wrong = append(wrong, fmt.Sprintf("%d connections, want %d", len(got), connections))
					}
					for of, has := range got {
						if !sameLife(has, want) {
							wrong = append(wrong, fmt.Sprintf("of ports %v %v, want %v", of, has, want))
						}
					}
					return len(wrong) == 0
				}
				if !await(patience, complete) {
					slices.Sort(wrong)
					t.Errorf("%s, a to %s:\n%s", x.node, x.other, strings.Join(wrong, "\n"))
				}
			}
		})
	})
}

// sameLife allows for what the clock decides: a mark of time may fall within a connection,
// and a packet after the opener's FIN may be one more.
func sameLife(has, want connection) bool {
	for what, n := range want {
		if has[what] < n || strings.HasSuffix(what, "syn") && has[what] != n {
			return false
		}
	}
	for what := range has {
		if want[what] == 0 {
			return false
		}
	}
	return true
}

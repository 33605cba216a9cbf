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

	"weir/api/flow"
	"weir/api/observer"
	"weir/api/wire"
	"weir/test/policy/oracle"
)

// opened is a connection that was opened, or tried.
type opened struct {
	intent
	src, dst netip.AddrPort // the backend's, if a service was asked
	came     []packetOf     // what the ends have sent that is worth a flow, if nobody denied it
}

// packetOf is one of a connection.
type packetOf struct {
	reply bool
	flags string // of TCP
	kind  uint32 // of ICMP
	error bool   // it is an error that the other end's kernel has sent about a packet
}

// noPoint is that of flows that are no traces.
const noPoint = "UNKNOWN_POINT"

// line is a flow in words: all that truth is about.
type line struct {
	verdict, kind, direction, point string
	reply                           string
	from, to                        string // name, endpoint, identity
	src, dst                        string
	proto                           string
	taken, asked, answers, by       string
}

func (l line) String() string {
	return strings.Join([]string{l.src, ">", l.dst, l.proto, l.from, ">", l.to, l.verdict, l.kind, l.direction, l.reply, l.point,
		"taken=" + l.taken, "asked=" + l.asked, "answers=" + l.answers, "by=" + l.by}, " ")
}

// wanted are the flows that docs/flows.md promises of all that was opened.
func (tr *truth) wanted(t *testing.T) map[string]bag {
	t.Helper()
	out := map[string]bag{"n1": {}, "n2": {}}
	for _, o := range tr.opened {
		if err := tr.want(o, out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// want adds those of one connection.
func (tr *truth) want(o *opened, out map[string]bag) error {
	near, far := tr.nodes[o.from], tr.nodes[o.to] // the world is on none
	path := []string{near}
	if far != "" && far != near {
		path = append(path, far)
	}
	for _, node := range path {
		egress, ingress := tr.judge(node, o)
		first := tr.line(node, o, packetOf{flags: "SYN", kind: o.echo(false)})
		if !egress.Passes() || !ingress.Passes() {
			first.taken = "" // it goes nowhere
		}
		verdict := func(direction string, j oracle.Judgement) {
			l := first
			l.kind, l.point, l.direction, l.by, l.verdict = "policy-verdict", noPoint, direction, direction+" FORWARDED by "+by(j), "FORWARDED"
			if !j.Passes() {
				l.verdict, l.by = "DROPPED "+reasonOf(j), direction+" DROPPED by "+by(j)
			}
			out[node][l.String()] += o.timesIf(!egress.Passes() || !ingress.Passes())
		}
		if egress.Verdict == oracle.Allowed || !egress.Passes() {
			verdict("EGRESS", egress)
		}
		if egress.Passes() && (ingress.Verdict == oracle.Allowed || !ingress.Passes()) {
			verdict("INGRESS", ingress)
		}
		for direction, j := range map[string]oracle.Judgement{"EGRESS": egress, "INGRESS": ingress} {
			if j.Passes() || direction == "INGRESS" && !egress.Passes() {
				continue
			}
			l := first
			l.verdict, l.kind, l.point, l.direction, l.by = "DROPPED "+reasonOf(j), "drop", noPoint, direction, direction+" DROPPED by "+by(j)
			out[node][l.String()] += o.times
		}
		if !egress.Passes() || !ingress.Passes() {
			return nil
		}
		for _, p := range o.came {
			out[node][tr.line(node, o, p).String()]++
		}
		if len(o.came) == 0 { // it is denied further on
			out[node][first.String()]++
		}
	}
	return nil
}

func (o *opened) timesIf(denied bool) int {
	if denied {
		return o.times
	}
	return 1
}

func reasonOf(j oracle.Judgement) string {
	if j.Verdict == oracle.RuleDeny {
		return "POLICY_DENY"
	}
	return "POLICY_DENIED"
}

// echo is the type of ICMP that the connection has.
func (o *opened) echo(reply bool) uint32 {
	switch {
	case o.proto != "icmp":
		return 0
	case o.is4 && reply:
		return 0
	case o.is4:
		return 8
	case reply:
		return 129
	}
	return 128
}

// line is the trace of a packet on a node.
func (tr *truth) line(node string, o *opened, p packetOf) line {
	end := func(name string) string {
		if name == "world" {
			return fmt.Sprintf("world/0/%d", tr.identity(name, o.is4))
		}
		id := uint32(0)
		if tr.nodes[name] == node {
			id = tr.endpoints[name]
		}
		if !strings.Contains(name, "/") {
			name = "default/" + name
		}
		return fmt.Sprintf("%s/%d/%d", name, id, tr.identity(strings.TrimPrefix(name, "default/"), o.is4))
	}
	l := line{verdict: "FORWARDED", kind: "trace", from: end(o.from), to: end(o.to), src: o.src.String(), dst: o.dst.String()}
	here, there := tr.nodes[o.from] == node, tr.nodes[o.to] == node
	goesTo := there
	if p.reply {
		goesTo = here
	}
	switch {
	case goesTo:
		l.point = "TO_ENDPOINT"
	case tr.spec.Mode == "native" || o.to == "world":
		l.point = "TO_NETWORK"
	default:
		l.point = "TO_OVERLAY"
	}
	l.direction = "EGRESS"
	if there && (!here || !p.reply) {
		l.direction = "INGRESS"
	}
	switch {
	case p.error: // a packet of its own, with its own direction
		l.reply, l.direction = "forward RELATED", "EGRESS"
		if goesTo {
			l.direction = "INGRESS"
		}
	case p.reply:
		l.reply = "reply REPLY"
	case o.proto == "tcp" && p.flags != "SYN":
		l.reply = "forward ESTABLISHED"
	default:
		l.reply = "forward NEW"
	}
	switch {
	case p.error || o.proto == "icmp":
		l.proto = fmt.Sprintf("icmp %d", p.kind)
	case o.proto == "tcp":
		l.proto = "tcp " + p.flags
	default:
		l.proto = "udp"
	}
	if o.to == "world" && here && !p.reply {
		l.taken = tr.takes[node][o.is4].String()
	}
	if o.service != "" && here && !p.reply {
		l.asked = "default/" + o.service
	}
	if o.service != "" && here && p.reply && !p.error {
		l.answers = "default/" + o.service
	}
	if o.proto == "icmp" || p.error { // flows do not have the ports
		l.src, l.dst = o.src.Addr().String(), o.dst.Addr().String()
	}
	if p.reply {
		l.src, l.dst, l.from, l.to = l.dst, l.src, l.to, l.from
	}
	return l
}

// told are the flows of a node in words, and how many of them only the clock has made.
func (tr *truth) told(t *testing.T, node string, since time.Time) (out bag, marks int) {
	t.Helper()
	out = bag{}
	tr.eachFlow(t, node, since, nil, func(f *flow.Flow) {
		switch {
		case isChatter(f):
		case isMark(f):
			marks++
		default:
			out[words(f).String()]++
		}
	}, nil)
	return out, marks
}

// eachFlow calls see for each flow of a node, and lost for what is missing; nil: nothing
// may be.
func (c *cluster) eachFlow(t *testing.T, node string, since time.Time, of []*flow.FlowFilter, see func(*flow.Flow), lost func(*flow.LostEvent)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 12*patience)
	defer cancel()
	client, end := c.observer(t, node)
	defer end()
	s, err := client.GetFlows(ctx, &observer.GetFlowsRequest{Since: timestamppb.New(since), Whitelist: of})
	for err == nil {
		var r *observer.GetFlowsResponse
		if r, err = s.Recv(); err != nil {
			break
		}
		switch {
		case r.GetFlow() != nil:
			see(r.GetFlow())
		case lost != nil:
			lost(r.GetLostEvents())
		default:
			t.Fatalf("flows of %s: %v", node, r)
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatalf("flows of %s: %v", node, err)
	}
}

// flowsLost is how many events readers are told that programs have lost.
func (c *cluster) flowsLost(t *testing.T, node string, since time.Time) (lost uint64) {
	t.Helper()
	nothing := []*flow.FlowFilter{{NodeName: []string{"none/of-them"}}}
	c.eachFlow(t, node, since, nothing, func(f *flow.Flow) { t.Fatalf("%s: unwanted %v", node, f) }, func(l *flow.LostEvent) {
		if l.Source != flow.LostEventSource_PERF_EVENT_RING_BUFFER {
			t.Fatalf("%s: %v: the flows' ring is too small for this test", node, l)
		}
		lost += l.NumEventsLost
	})
	return lost
}

// flowsSeen is how many flows there ever were.
func (c *cluster) flowsSeen(t *testing.T, node string) uint64 {
	t.Helper()
	client, end := c.observer(t, node)
	defer end()
	s, err := client.ServerStatus(t.Context(), &observer.ServerStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return s.SeenFlows
}

func (c *cluster) observer(t *testing.T, node string) (client observer.ObserverClient, end func()) {
	t.Helper()
	conn, err := wire.Dial("unix://"+filepath.Join(filepath.Dir(c.node(t, node).Socket()), "hubble.sock"), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	return observer.NewObserverClient(conn), func() { conn.Close() }
}

// isChatter is what kernels send by themselves to find each other.
func isChatter(f *flow.Flow) bool {
	if kind := f.L4.GetICMPv6().GetType(); kind >= 130 && kind <= 137 || kind == 143 {
		return true
	}
	a, err := netip.ParseAddr(f.GetIP().GetDestination())
	return err == nil && a.IsMulticast()
}

// isMark is a packet of a connection that goes on, with nothing new but the time.
func isMark(f *flow.Flow) bool {
	tcp := f.L4.GetTCP().GetFlags()
	return f.EventType.Type == 4 && (tcp != nil && !tcp.SYN && !tcp.FIN && !tcp.RST || f.L4.GetUDP() != nil && f.TraceReason == flow.TraceReason_ESTABLISHED)
}

func words(f *flow.Flow) line {
	end := func(e *flow.Endpoint) string {
		if e.GetPodName() == "" {
			return fmt.Sprintf("world/%d/%d", e.GetID(), e.GetIdentity())
		}
		return fmt.Sprintf("%s/%s/%d/%d", e.Namespace, e.PodName, e.ID, e.Identity)
	}
	service := func(s *flow.Service) string {
		if s == nil {
			return ""
		}
		return s.Namespace + "/" + s.Name
	}
	l := line{verdict: f.Verdict.String(), point: f.TraceObservationPoint.String(), direction: f.TrafficDirection.String(), from: end(f.Source), to: end(f.Destination), src: f.IP.Source, dst: f.IP.Destination,
		taken: f.IP.SourceXlated, asked: service(f.DestinationService), answers: service(f.SourceService)}
	if f.Verdict == flow.Verdict_DROPPED {
		l.verdict += " " + f.DropReasonDesc.String()
	}
	l.reply = "forward"
	if f.IsReply == nil {
		l.reply = "unknown"
	} else if f.IsReply.Value {
		l.reply = "reply"
	}
	switch f.EventType.Type {
	case 1:
		l.kind, l.reply = "drop", l.reply+" NEW"
	case 4:
		l.kind, l.reply = "trace", l.reply+" "+f.TraceReason.String()
	case 5:
		l.kind, l.reply = "policy-verdict", l.reply+" NEW"
	}
	ports := func(src, dst uint32) {
		l.src, l.dst = hostPort(netip.MustParseAddr(l.src), uint16(src)), hostPort(netip.MustParseAddr(l.dst), uint16(dst))
	}
	switch p := f.L4.GetProtocol().(type) {
	case *flow.Layer4_TCP:
		ports(p.TCP.SourcePort, p.TCP.DestinationPort)
		l.proto = "tcp " + flagWords(p.TCP.Flags)
	case *flow.Layer4_UDP:
		ports(p.UDP.SourcePort, p.UDP.DestinationPort)
		l.proto = "udp"
	case *flow.Layer4_ICMPv4:
		l.proto = fmt.Sprintf("icmp %d", p.ICMPv4.Type)
	case *flow.Layer4_ICMPv6:
		l.proto = fmt.Sprintf("icmp %d", p.ICMPv6.Type)
	}
	for field, list := range map[string][]*flow.Policy{"EGRESS FORWARDED": f.EgressAllowedBy, "INGRESS FORWARDED": f.IngressAllowedBy, "EGRESS DROPPED": f.EgressDeniedBy, "INGRESS DROPPED": f.IngressDeniedBy} {
		if len(list) > 0 {
			l.by += field + " by " + policyWords(list)
		}
	}
	return l
}

// flagWords are those that open and end.
func flagWords(f *flow.TCPFlags) string {
	var out []string
	for name, on := range map[string]bool{"SYN": f.SYN, "FIN": f.FIN, "RST": f.RST, "ACK": f.SYN && f.ACK} {
		if on {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func policyWords(list []*flow.Policy) string {
	var out []string
	for _, p := range list {
		out = append(out, p.Kind+" "+p.Namespace+"/"+p.Name)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

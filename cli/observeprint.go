package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"weir/api/flow"
	"weir/api/observer"
	"weir/api/relay"
)

// flowPrinter prints replies in the form that was asked for.
type flowPrinter struct {
	nodes, policies, numeric bool

	form      string
	out, errs io.Writer
	location  *time.Location
	table     grid
	began     bool
	away      map[string]bool // nodes, by what the relay said last
}

// The forms of flows.
const (
	formCompact = "compact"
	formTab     = "tab"
	formDict    = "dict"
	formJSONPB  = "jsonpb"
)

func (p *flowPrinter) choose(env *Env) error {
	p.form, p.out, p.errs, p.location = env.output, env.Stdout, env.Stderr, env.Now().Location()
	switch env.output {
	case outputTable:
		p.form = formCompact
	case formCompact, formTab, formDict, outputJSON, formJSONPB:
	default:
		return usage{fmt.Errorf("output %q: known are compact, tab, dict, json and jsonpb", env.output)}
	}
	return nil
}

// reply prints one. Nodes that come and go are said apart, unless a program reads.
func (p *flowPrinter) reply(r *observer.GetFlowsResponse) error {
	if p.form == outputJSON || p.form == formJSONPB {
		return printJSONLine(p.out, r)
	}
	switch r := r.ResponseTypes.(type) {
	case *observer.GetFlowsResponse_NodeStatus:
		p.nodeStatus(r.NodeStatus)
		return nil
	case *observer.GetFlowsResponse_LostEvents:
		return p.line([]string{"", "EVENTS LOST", r.LostEvents.Source.String(), strconv.FormatUint(r.LostEvents.NumEventsLost, 10)},
			fmt.Sprintf("EVENTS LOST: %s %d", r.LostEvents.Source, r.LostEvents.NumEventsLost))
	}
	if r.GetFlow() == nil {
		return nil
	}
	return p.flow(r.GetFlow())
}

// printJSONLine leaves out the spaces that protojson adds by chance.
func printJSONLine(w io.Writer, r *observer.GetFlowsResponse) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(r)
	if err != nil {
		return err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil {
		return err
	}
	line.WriteByte('\n')
	_, err = w.Write(line.Bytes())
	return err
}

// nodeStatus says which nodes are away, and which are back.
func (p *flowPrinter) nodeStatus(s *relay.NodeStatusEvent) {
	if p.away == nil {
		p.away = map[string]bool{}
	}
	var names []string
	for _, name := range s.NodeNames {
		there := s.StateChange == relay.NodeState_NODE_CONNECTED
		if !there || p.away[name] {
			names = append(names, name)
		}
		p.away[name] = !there
	}
	if len(names) == 0 {
		return
	}
	fmt.Fprintln(p.errs, "weir:", oneLine(nodeStatusText(s, names)))
}

func nodeStatusText(s *relay.NodeStatusEvent, names []string) string {
	out := fmt.Sprintf("%s %s", strings.Join(names, ", "), strings.ToLower(strings.TrimPrefix(strings.ReplaceAll(s.StateChange.String(), "_", " "), "NODE ")))
	if s.Message != "" {
		out += ": " + s.Message
	}
	return out
}

const flowTime = "Jan _2 15:04:05.000"

func (p *flowPrinter) flow(f *flow.Flow) error {
	at := f.Time.AsTime().In(p.location).Format(flowTime)
	source, dest := p.end(f, f.Source, f.IP.GetSource(), true), p.end(f, f.Destination, f.IP.GetDestination(), false)
	sourceID, destID := identityText(f.Source), identityText(f.Destination)
	kind, verdict := flowType(f), p.verdict(f)
	if p.form == formCompact {
		node := ""
		if p.nodes {
			node = fmt.Sprintf(" [%s]", f.NodeName)
		}
		arrow := "->"
		switch {
		case f.IsReply == nil:
			arrow = "<>"
		case f.IsReply.Value:
			arrow, source, dest, sourceID, destID = "<-", dest, source, destID, sourceID
		}
		return p.line(nil, fmt.Sprintf("%s%s: %s%s %s %s%s %s %s (%s)", at, node, source, sourceID, arrow, dest, destID, kind, verdict, f.Summary))
	}
	cells := []string{at, source, dest, kind, verdict, f.Summary}
	names := []string{"TIMESTAMP", "SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"}
	if p.nodes {
		cells, names = append([]string{at, f.NodeName}, cells[1:]...), append([]string{"TIMESTAMP", "NODE"}, names[1:]...)
	}
	if p.form == formTab {
		if len(p.table) == 0 {
			p.table.add(names...)
		}
		return p.line(cells, "")
	}
	return p.dict(names, cells)
}

func (p *flowPrinter) dict(names, cells []string) error {
	var out strings.Builder
	if p.began {
		out.WriteString("------------\n")
	}
	p.began = true
	for i, name := range names {
		fmt.Fprintf(&out, "%11s: %s\n", name, oneLine(cells[i]))
	}
	_, err := io.WriteString(p.out, out.String())
	return err
}

// tableAtOnce is how many rows are aligned with each other.
const tableAtOnce = 256

// line prints a line, or keeps the cells until there are enough to align.
func (p *flowPrinter) line(cells []string, text string) error {
	if p.form != formTab {
		_, err := fmt.Fprintln(p.out, oneLine(text))
		return err
	}
	if p.table.add(cells...); len(p.table) >= tableAtOnce {
		return p.flush()
	}
	return nil
}

func (p *flowPrinter) flush() error {
	p.table.print(p.out, "")
	p.table = grid{p.table[0]}
	return nil
}

// finish prints what is kept.
func (p *flowPrinter) finish() error {
	if len(p.table) > 1 {
		return p.flush()
	}
	return nil
}

// end is one side of a flow: a pod, a service, names of DNS or an address, with its port.
func (p *flowPrinter) end(f *flow.Flow, e *flow.Endpoint, ip string, source bool) string {
	port := portOf(f.L4, source)
	name := ""
	if service := f.DestinationService; !source && !p.numeric && e.GetPodName() == "" && service.GetName() != "" {
		name = service.Namespace + "/" + service.Name
	}
	if e.GetPodName() != "" && !p.numeric {
		name = e.Namespace + "/" + e.PodName
	}
	if name == "" && !p.numeric {
		name = dnsNames(f, source)
	}
	switch {
	case name == "" && ip == "":
		return "<none>"
	case name == "" && port != "":
		return net.JoinHostPort(ip, port)
	case name == "":
		return ip
	case port != "":
		return name + ":" + port
	}
	return name
}

// dnsNames are those of a side's address. A server may be another's: what cannot be
// printed is left out.
func dnsNames(f *flow.Flow, source bool) string {
	names := f.DestinationNames
	if source {
		names = f.SourceNames
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.Join(names, ","))
}

func portOf(l4 *flow.Layer4, source bool) string {
	type ports interface {
		GetSourcePort() uint32
		GetDestinationPort() uint32
	}
	var has ports
	switch {
	case l4.GetTCP() != nil:
		has = l4.GetTCP()
	case l4.GetUDP() != nil:
		has = l4.GetUDP()
	case l4.GetSCTP() != nil:
		has = l4.GetSCTP()
	default:
		return ""
	}
	if source {
		return strconv.Itoa(int(has.GetSourcePort()))
	}
	return strconv.Itoa(int(has.GetDestinationPort()))
}

// identityText is " (ID:1234)", or " (world)" for a reserved one.
func identityText(e *flow.Endpoint) string {
	switch {
	case e == nil:
		return ""
	case e.Identity == 0:
		return " (unknown)"
	}
	for _, label := range e.Labels {
		if name, ok := strings.CutPrefix(label, "reserved:"); ok && e.Identity < 256 {
			return " (" + name + ")"
		}
	}
	return fmt.Sprintf(" (ID:%d)", e.Identity)
}

// matchNames are by policy_match_type.
var matchNames = []string{"none", "L3-Only", "L3-L4", "L4-Only", "all", "L3-Proto", "Proto-Only"}

func flowType(f *flow.Flow) string {
	switch f.EventType.GetType() {
	case typeDrop:
		return f.DropReasonDesc.Text()
	case typeVerdict:
		match := strconv.Itoa(int(f.PolicyMatchType))
		if int(f.PolicyMatchType) < len(matchNames) {
			match = matchNames[f.PolicyMatchType]
		}
		return "policy-verdict:" + match + " " + f.TrafficDirection.String()
	case typeLayer7:
		out := strings.ToLower(f.L7.GetType().String())
		if dns := f.L7.GetDns(); dns != nil {
			return strings.TrimSuffix("dns-"+out+" "+dns.ObservationSource, " ")
		}
		return out
	case typeTrace:
		return strings.ToLower(strings.ReplaceAll(f.TraceObservationPoint.String(), "_", "-"))
	}
	return "unknown"
}

// verdict is that of a flow; of a policy it has words of its own.
func (p *flowPrinter) verdict(f *flow.Flow) string {
	if f.EventType.GetType() != typeVerdict {
		return f.Verdict.String()
	}
	out, by := "ALLOWED", append(f.EgressAllowedBy, f.IngressAllowedBy...)
	if f.Verdict == flow.Verdict_DROPPED {
		out, by = "DENIED", append(f.EgressDeniedBy, f.IngressDeniedBy...)
	}
	if !p.policies || len(by) == 0 {
		return out
	}
	var names []string
	for _, policy := range by {
		name := policy.Name
		if policy.Namespace != "" {
			name = policy.Namespace + "/" + name
		}
		names = append(names, fmt.Sprintf("%s (%s)", name, policy.Kind))
	}
	return out + " BY " + strings.Join(names, ", ")
}

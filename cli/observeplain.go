package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"weir/api/flow"
)

// plain is a condition that is not about an end.
type plain struct {
	name, help string
	make       func(value string) (*flow.FlowFilter, error)
}

func (s *flowFilters) plainFlags(f *pflag.FlagSet) {
	for _, p := range []plain{
		{"verdict", "FORWARDED, DROPPED, ...", ofVerdict},
		{"drop-reason-desc", "why it was dropped: POLICY_DENIED, or \"Policy denied\"", ofDropReason},
		{"protocol", "tcp, udp, sctp, icmp, icmpv4, icmpv6, dns", text(func(f *flow.FlowFilter) *[]string { return &f.Protocol })},
		{"tcp-flags", "that are set: SYN or SYN,ACK", ofTCPFlags},
		{"type", "trace, drop, policy-verdict, l7, or trace:to-endpoint and the like", ofType},
		{"dns-query", "regular expression of a name that DNS was asked for: ^web\\.", text(func(f *flow.FlowFilter) *[]string { return &f.DnsQuery })},
		{"traffic-direction", "of the connection, as this node's endpoint sees it: ingress, egress", ofDirection},
		{"policy", "[NAMESPACE/]NAME of a policy that allowed or denied", text(func(f *flow.FlowFilter) *[]string { return &f.Policy })},
		{"node-name", "[CLUSTER/]NAME of the node that tells; * is any characters", text(func(f *flow.FlowFilter) *[]string { return &f.NodeName })},
		{"node-label", "selector of labels of that node", text(func(f *flow.FlowFilter) *[]string { return &f.NodeLabels })},
		{"interface", "name of the device", func(value string) (*flow.FlowFilter, error) {
			return &flow.FlowFilter{Interface: []*flow.NetworkInterface{{Name: value}}}, nil
		}},
		{"snat-ip", "address or CIDR that takes the sender's place", text(func(f *flow.FlowFilter) *[]string { return &f.SourceIpXlated })},
		{"uuid", "of one flow", text(func(f *flow.FlowFilter) *[]string { return &f.Uuid })},
		{"ip-version", "4 or 6", ofIPVersion},
	} {
		f.VarP(flagValue{strings.ToUpper(p.name), func(value string) error {
			way, err := p.make(value)
			if err == nil {
				s.take(condition{p.name, []*flow.FlowFilter{way}})
			}
			return err
		}}, p.name, shorthands[p.name], p.help)
	}
	s.switchFlag(f, "reply", "", "answers only", &flow.FlowFilter{Reply: []bool{true}})
	s.switchFlag(f, "not-reply", "", "what the opener sends only", &flow.FlowFilter{Reply: []bool{false}})
	s.switchFlag(f, "ipv4", "4", "IPv4 only", &flow.FlowFilter{IpVersion: []flow.IPVersion{flow.IPVersion_IPv4}})
	s.switchFlag(f, "ipv6", "6", "IPv6 only", &flow.FlowFilter{IpVersion: []flow.IPVersion{flow.IPVersion_IPv6}})
}

// switchFlag adds a flag that has no value.
func (s *flowFilters) switchFlag(f *pflag.FlagSet, name, short, help string, way *flow.FlowFilter) {
	f.VarPF(flagValue{"bool", func(value string) error {
		if on, err := strconv.ParseBool(value); err != nil || !on {
			return fmt.Errorf("%q: leave the flag out, or write --not --%s", value, name)
		}
		s.take(condition{name, []*flow.FlowFilter{way}})
		return nil
	}}, name, short, help).NoOptDefVal = "true"
}

func text(field func(*flow.FlowFilter) *[]string) func(string) (*flow.FlowFilter, error) {
	return func(value string) (*flow.FlowFilter, error) {
		out := &flow.FlowFilter{}
		*field(out) = []string{value}
		return out, nil
	}
}

// named finds the number of a name, in whichever case and with - for _.
func named[T ~int32](value string, numbers map[string]int32, not ...string) (T, error) {
	n, ok := numbers[strings.ToUpper(strings.ReplaceAll(value, "-", "_"))]
	if !ok {
		known := slices.DeleteFunc(slices.Sorted(maps.Keys(numbers)), func(name string) bool { return slices.Contains(not, name) })
		return 0, fmt.Errorf("%q is none of %s", value, strings.Join(known, ", "))
	}
	return T(n), nil
}

func ofVerdict(value string) (*flow.FlowFilter, error) {
	v, err := named[flow.Verdict](value, flow.Verdict_value, "VERDICT_UNKNOWN")
	return &flow.FlowFilter{Verdict: []flow.Verdict{v}}, err
}

// ofDropReason reads a name of the API, or the text that flows are printed with.
func ofDropReason(value string) (*flow.FlowFilter, error) {
	if r, ok := flow.DropReasonOf(value); ok {
		return &flow.FlowFilter{DropReasonDesc: []flow.DropReason{r}}, nil
	}
	v, err := named[flow.DropReason](value, flow.DropReason_value, "DROP_REASON_UNKNOWN")
	return &flow.FlowFilter{DropReasonDesc: []flow.DropReason{v}}, err
}

func ofDirection(value string) (*flow.FlowFilter, error) {
	v, err := named[flow.TrafficDirection](value, flow.TrafficDirection_value, "TRAFFIC_DIRECTION_UNKNOWN")
	return &flow.FlowFilter{TrafficDirection: []flow.TrafficDirection{v}}, err
}

func ofIPVersion(value string) (*flow.FlowFilter, error) {
	v, ok := map[string]flow.IPVersion{"4": flow.IPVersion_IPv4, "6": flow.IPVersion_IPv6}[strings.TrimPrefix(strings.ToLower(value), "v")]
	if !ok {
		return nil, fmt.Errorf("%q is neither 4 nor 6", value)
	}
	return &flow.FlowFilter{IpVersion: []flow.IPVersion{v}}, nil
}

func ofTCPFlags(value string) (*flow.FlowFilter, error) {
	out := &flow.TCPFlags{}
	for name := range strings.SplitSeq(value, ",") {
		field := map[string]*bool{"FIN": &out.FIN, "SYN": &out.SYN, "RST": &out.RST, "PSH": &out.PSH, "ACK": &out.ACK, "URG": &out.URG,
			"ECE": &out.ECE, "CWR": &out.CWR}[strings.ToUpper(strings.TrimSpace(name))]
		if field == nil {
			return nil, fmt.Errorf("%q is no flag of TCP: write FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, with commas between", name)
		}
		*field = true
	}
	return &flow.FlowFilter{TcpFlags: []*flow.TCPFlags{out}}, nil
}

// eventTypes are those that Weir's flows have.
var eventTypes = map[string]int32{"drop": typeDrop, "trace": typeTrace, "policy-verdict": typeVerdict, "l7": typeLayer7}

// Types of flow.CiliumEventType.
const (
	typeDrop    = 1
	typeTrace   = 4
	typeVerdict = 5
	typeLayer7  = 129
)

// ofType reads "trace" or "trace:to-endpoint".
func ofType(value string) (*flow.FlowFilter, error) {
	name, sub, both := strings.Cut(value, ":")
	kind, ok := eventTypes[name]
	if !ok {
		return nil, fmt.Errorf("%q is none of %s", name, strings.Join(slices.Sorted(maps.Keys(eventTypes)), ", "))
	}
	e := &flow.EventTypeFilter{Type: kind, MatchSubType: both}
	if both && kind == typeTrace {
		point, err := named[flow.TraceObservationPoint](sub, flow.TraceObservationPoint_value, "UNKNOWN_POINT")
		if err != nil {
			return nil, err
		}
		if e.SubType = int32(point); point == flow.TraceObservationPoint_TO_ENDPOINT {
			e.SubType = 0 // the one whose number differs
		}
	} else if both {
		n, err := strconv.ParseUint(sub, 10, 8)
		if err != nil {
			return nil, fmt.Errorf("%q is not the number of a %s", sub, name)
		}
		e.SubType = int32(n)
	}
	return &flow.FlowFilter{EventType: []*flow.EventTypeFilter{e}}, nil
}

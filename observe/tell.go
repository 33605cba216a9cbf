package observe

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir/api/flow"
	"weir/bpf"
	"weir/state"
)

// tell makes a flow of a record that is one.
func (v *view) tell() *flow.Flow {
	kind, sub := v.eventType()
	f := &flow.Flow{
		Time: timestamppb.New(time.Unix(0, v.when)), Uuid: v.uuid(), Emitter: v.o.emitter(), NodeName: v.o.nodeName(), NodeLabels: v.o.nodeLabels(),
		Verdict: v.verdict(), DropReason: uint32(v.dropReason()), DropReasonDesc: v.dropReasonDesc(),
		Type: flow.FlowType_L3_L4, EventType: &flow.CiliumEventType{Type: kind, SubType: sub},
		TrafficDirection: v.direction(), TraceObservationPoint: v.point(), TraceReason: v.traceReason(),
		Source: v.endpoint(sender), Destination: v.endpoint(receiver), SourceNames: v.namesOf(sender), DestinationNames: v.namesOf(receiver),
		SourceService: v.serviceOf(sender), DestinationService: v.serviceOf(receiver),
		Interface: v.device(), Summary: v.summary(),
	}
	if reply, known := v.isReply(); known {
		f.IsReply, f.Reply = wrapperspb.Bool(reply), reply
	}
	if v.event.Family != 0 {
		f.IP = &flow.IP{Source: v.addr(sender).String(), Destination: v.addr(receiver).String(), IpVersion: v.ipVersion()}
		if t := v.taken(); t.IsValid() {
			f.IP.SourceXlated = t.String()
		}
		f.L4 = v.layer4()
	}
	if f.L7 = v.layer7(); f.L7 != nil {
		f.Type = flow.FlowType_L7
	}
	v.tellPolicies(f)
	return f
}

// uuid is the same for the same record, and another's on no node: RFC 9562, version 8,
// out of when the observer began, the node's name, and the number.
func (v *view) uuid() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], v.o.seed)
	binary.BigEndian.PutUint64(b[8:], v.number)
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (o *Observer) nodeName() string { return NodeName(o.opts.Cluster, o.opts.Node) }

// nodeLabels are this node's, sorted. They are looked at again every second.
func (o *Observer) nodeLabels() []string {
	if known := o.labels.Load(); known != nil && time.Since(known.found) < time.Second {
		return known.list
	}
	n, _ := o.tables.Nodes.Get(o.opts.Node)
	now := &nodeLabels{found: time.Now()}
	for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
		now.list = append(now.list, k+"="+n.Labels[k])
	}
	o.labels.Store(now)
	return now.list
}

type nodeLabels struct {
	found time.Time
	list  []string // never changes
}

// nodeLabels are the same, with a source, for selectors.
func (v *view) nodeLabels() state.Labels {
	var out state.Labels
	for _, label := range v.o.nodeLabels() {
		out = append(out, "k8s:"+label)
	}
	return out
}

func (v *view) traceReason() flow.TraceReason {
	switch {
	case v.part != trace:
		return flow.TraceReason_TRACE_REASON_UNKNOWN
	case v.reply():
		return flow.TraceReason_REPLY
	case bpf.EventKind(v.event.Kind) == bpf.EventNew:
		return flow.TraceReason_NEW
	case bpf.EventKind(v.event.Kind) == bpf.EventGoing, v.event.Flags != 0:
		return flow.TraceReason_ESTABLISHED
	case isError(v.event.Proto, uint8(bpf.Host(v.event.Dport))):
		return flow.TraceReason_RELATED
	}
	return flow.TraceReason_TRACE_REASON_UNKNOWN // it is of no connection
}

// isError reports whether a type of ICMP tells of another packet (RFC 792, RFC 4443).
func isError(proto, kind uint8) bool {
	switch proto {
	case protoICMP:
		return kind == 3 || kind == 4 || kind == 5 || kind == 11 || kind == 12
	case protoICMPv6:
		return kind < 128
	}
	return false
}

// endpoint is an end as it is told. The identity is that which the packet was judged by,
// whoever has the address.
func (v *view) endpoint(end int) *flow.Endpoint {
	p := v.ends[end]
	if p == nil {
		return nil
	}
	id := v.identity(end)
	if id == p.identity {
		return p.told
	}
	return &flow.Endpoint{ID: p.told.ID, Identity: id, ClusterName: p.told.ClusterName, Namespace: p.told.Namespace, Labels: p.told.Labels,
		PodName: p.told.PodName, Workloads: p.told.Workloads}
}

func (v *view) ipVersion() flow.IPVersion {
	a := v.addr(sender)
	switch {
	case v.event.Family == 0:
		return flow.IPVersion_IP_NOT_USED
	case a.Is4():
		return flow.IPVersion_IPv4
	}
	return flow.IPVersion_IPv6
}

// taken is the address that takes the sender's place; not valid: none does.
func (v *view) taken() netip.Addr {
	if v.reply() {
		return netip.Addr{} // it is the opener's that was taken
	}
	return v.event.Taken.Netip()
}

// device is where the program runs that said it.
func (v *view) device() *flow.NetworkInterface {
	out := &flow.NetworkInterface{Index: v.event.Ifindex}
	for _, p := range v.ends {
		if p != nil && p.endpoint != 0 && v.event.Ifindex == uint32(bpf.IfindexBase)+p.endpoint {
			out.Name = p.device
			return out
		}
	}
	out.Name = v.o.devices.Name(int(v.event.Ifindex))
	return out
}

func (v *view) layer4() *flow.Layer4 {
	source, dest := uint32(v.port(sender)), uint32(v.port(receiver))
	kind := uint32(bpf.Host(v.event.Dport)) // of ICMP; the code is not in events
	switch v.event.Proto {
	case protoTCP:
		return &flow.Layer4{Protocol: &flow.Layer4_TCP{TCP: &flow.TCP{SourcePort: source, DestinationPort: dest, Flags: flags(v.event.TCPFlags)}}}
	case protoUDP:
		return &flow.Layer4{Protocol: &flow.Layer4_UDP{UDP: &flow.UDP{SourcePort: source, DestinationPort: dest}}}
	case protoSCTP:
		return &flow.Layer4{Protocol: &flow.Layer4_SCTP{SCTP: &flow.SCTP{SourcePort: source, DestinationPort: dest}}}
	case protoICMP:
		return &flow.Layer4{Protocol: &flow.Layer4_ICMPv4{ICMPv4: &flow.ICMPv4{Type: kind}}}
	case protoICMPv6:
		return &flow.Layer4{Protocol: &flow.Layer4_ICMPv6{ICMPv6: &flow.ICMPv6{Type: kind}}}
	}
	return nil
}

func flags(bits uint8) *flow.TCPFlags {
	on := func(i int) bool { return bits&(1<<i) != 0 }
	return &flow.TCPFlags{FIN: on(0), SYN: on(1), RST: on(2), PSH: on(3), ACK: on(4), URG: on(5), ECE: on(6), CWR: on(7)}
}

func flagBits(f *flow.TCPFlags) uint8 {
	var out uint8
	for i, on := range []bool{f.FIN, f.SYN, f.RST, f.PSH, f.ACK, f.URG, f.ECE, f.CWR} {
		if on {
			out |= 1 << i
		}
	}
	return out
}

// summary is layer 4 in a few words.
func (v *view) summary() string {
	switch {
	case v.part == dnsAnswer:
		return v.said.Answer.String()
	case v.event.Family == 0:
		return fmt.Sprintf("EtherType %#04x", bpf.Host(v.event.Protocol))
	case v.event.Proto == protoTCP:
		var on []string
		for i, name := range bpf.TCPFlags {
			if v.event.TCPFlags&(1<<i) != 0 {
				on = append(on, name)
			}
		}
		return "TCP Flags: " + strings.Join(on, ", ")
	case v.event.Proto == protoICMP, v.event.Proto == protoICMPv6:
		return state.ProtoName(v.event.Proto) + " " + icmpName(v.event.Proto, uint8(bpf.Host(v.event.Dport)))
	}
	return state.ProtoName(v.event.Proto)
}

// icmpNames are the types that people meet (RFC 792, RFC 4443, RFC 4861).
var icmpNames = map[uint8]map[uint8]string{
	protoICMP:   {0: "EchoReply", 3: "DestinationUnreachable", 5: "Redirect", 8: "EchoRequest", 11: "TimeExceeded", 12: "ParameterProblem"},
	protoICMPv6: {1: "DestinationUnreachable", 2: "PacketTooBig", 3: "TimeExceeded", 4: "ParameterProblem", 128: "EchoRequest", 129: "EchoReply", 133: "RouterSolicitation", 134: "RouterAdvertisement", 135: "NeighborSolicitation", 136: "NeighborAdvertisement"},
}

func icmpName(proto, kind uint8) string {
	if name, ok := icmpNames[proto][kind]; ok {
		return name
	}
	return fmt.Sprintf("type %d", kind)
}

// tellPolicies names who allowed or denied.
func (v *view) tellPolicies(f *flow.Flow) {
	if v.policies == nil {
		return
	}
	list := v.policies.get().told
	ingress := v.part == verdictIngress || v.part == drop && v.event.Direction == 1
	switch denied := v.part == drop || v.denies(); {
	case denied && ingress:
		f.IngressDeniedBy = list
	case denied:
		f.EgressDeniedBy = list
	case ingress:
		f.IngressAllowedBy = list
	default:
		f.EgressAllowedBy = list
	}
	if v.part != drop {
		f.PolicyMatchType = uint32(v.policies.get().match)
	}
}

package observe

import (
	"net/netip"

	"weir/api/flow"
	"weir/bpf"
	"weir/observe/dns"
)

// part is what of an event a record tells.
type part uint8

const (
	trace          part = iota // a packet went on
	drop                       // a packet did not
	verdictEgress              // what the sender's policy said
	verdictIngress             // what the receiver's policy said
	dnsAnswer                  // what DNS answered, to a pod of this node
	lost                       // events are missing here
)

// record is a flow as it is kept. What it points to never changes.
type record struct {
	event    bpf.Event
	when     int64         // nanoseconds since 1970
	ends     [2]*party     // sender and receiver
	service  *flow.Service // that the opener asked; nil: none
	policies *policies     // that allowed or denied; nil: nobody knows, or nobody was asked
	said     *dns.Said     // by DNS: names of the address of the end named, or the answer; nil: nothing
	part     part
	named    uint8
	lost     uint32 // how many, of the part lost
}

// The ends of a packet.
const (
	sender   = 0
	receiver = 1
)

// view is a record as readers see it.
type view struct {
	record
	number uint64 // of all that were put, from 0
	o      *Observer
}

func (v *view) reason() bpf.Reason { return bpf.Reason(v.event.Reason) }
func (v *view) place() bpf.Place   { return bpf.Place(v.event.Place) }
func (v *view) reply() bool        { return v.event.Reply != 0 }

// addr is an end's address; not valid of what is no IP.
func (v *view) addr(end int) netip.Addr {
	if v.event.Family == 0 {
		return netip.Addr{}
	}
	if end == sender {
		return v.event.Src.Netip()
	}
	return v.event.Dst.Netip()
}

// hasPorts reports whether the protocol has them.
func (v *view) hasPorts() bool {
	switch v.event.Proto {
	case protoTCP, protoUDP, protoSCTP:
		return v.event.Family != 0
	}
	return false
}

// port is an end's, in host byte order; 0: the protocol has none.
func (v *view) port(end int) uint16 {
	if !v.hasPorts() {
		return 0
	}
	if end == sender {
		return bpf.Host(v.event.Sport)
	}
	return bpf.Host(v.event.Dport)
}

// identity is what the packet was judged by or, if it was dropped before, what the
// tables say.
func (v *view) identity(end int) uint32 {
	id := v.event.SrcIdentity
	if end == receiver {
		id = v.event.DstIdentity
	}
	if p := v.ends[end]; id == 0 && p != nil {
		return p.identity
	}
	return id
}

// serviceOf is the service that an end stands for: the receiver or, of an answer, the
// sender.
func (v *view) serviceOf(end int) *flow.Service {
	if (end == sender) != v.reply() {
		return nil
	}
	return v.service
}

func (v *view) verdict() flow.Verdict {
	switch v.part {
	case drop:
		return flow.Verdict_DROPPED
	case verdictEgress, verdictIngress:
		if v.denies() {
			return flow.Verdict_DROPPED
		}
	}
	return flow.Verdict_FORWARDED
}

// denies reports whether the record is the verdict of a policy that denied.
func (r *record) denies() bool {
	return byPolicy(&r.event) && (r.event.Direction == 1) == (r.part == verdictIngress) && r.part != trace && r.part != drop
}

// dropReason is 0 of what was not dropped.
func (v *view) dropReason() uint8 {
	if v.part == drop || v.denies() {
		return v.event.Reason
	}
	return 0
}

// direction is that of the connection, as the endpoint of this node sees it that the
// packet comes from or goes to.
func (v *view) direction() flow.TrafficDirection {
	ingress := false
	switch {
	case v.part == verdictEgress:
		return flow.TrafficDirection_EGRESS
	case v.part == verdictIngress:
		return flow.TrafficDirection_INGRESS
	case v.part == drop && byPolicy(&v.event):
		ingress = v.event.Direction == 1
		if ingress {
			return flow.TrafficDirection_INGRESS
		}
		return flow.TrafficDirection_EGRESS
	case v.reason() == bpf.ReasonToEndpoint, v.reason() == bpf.ReasonToHost, v.place() == bpf.PlaceToPod, v.place() == bpf.PlaceToHost:
		ingress = true
	case v.place() == bpf.PlaceFromPod, v.place() == bpf.PlaceFromHost:
	case v.isHere(receiver):
		ingress = true
	case !v.isHere(sender):
		return flow.TrafficDirection_TRAFFIC_DIRECTION_UNKNOWN
	}
	if ingress != v.reply() {
		return flow.TrafficDirection_INGRESS
	}
	return flow.TrafficDirection_EGRESS
}

// isHere reports whether an end is an endpoint of this node, or the node.
func (v *view) isHere(end int) bool {
	return v.ends[end] != nil && v.ends[end].endpoint != 0 || v.identity(end) == uint32(bpf.IdentityHost)
}

// pointOfReason is where what is let on goes.
var pointOfReason = map[bpf.Reason]flow.TraceObservationPoint{
	bpf.ReasonToEndpoint: flow.TraceObservationPoint_TO_ENDPOINT,
	bpf.ReasonToOverlay:  flow.TraceObservationPoint_TO_OVERLAY,
	bpf.ReasonToNetwork:  flow.TraceObservationPoint_TO_NETWORK,
	bpf.ReasonToStack:    flow.TraceObservationPoint_TO_STACK,
	bpf.ReasonFragmented: flow.TraceObservationPoint_TO_STACK,
	bpf.ReasonToHost:     flow.TraceObservationPoint_TO_HOST,
}

// pointOfPlace is where whatever else happened was seen.
var pointOfPlace = map[bpf.Place]flow.TraceObservationPoint{
	bpf.PlaceFromPod:     flow.TraceObservationPoint_FROM_ENDPOINT,
	bpf.PlaceToPod:       flow.TraceObservationPoint_TO_ENDPOINT,
	bpf.PlaceFromOverlay: flow.TraceObservationPoint_FROM_OVERLAY,
	bpf.PlaceToOverlay:   flow.TraceObservationPoint_TO_OVERLAY,
	bpf.PlaceFromNetdev:  flow.TraceObservationPoint_FROM_NETWORK,
	bpf.PlaceToNetdev:    flow.TraceObservationPoint_TO_NETWORK,
	bpf.PlaceFromHost:    flow.TraceObservationPoint_FROM_HOST,
	bpf.PlaceToHost:      flow.TraceObservationPoint_TO_HOST,
	bpf.PlaceFromXDP:     flow.TraceObservationPoint_FROM_NETWORK,
}

func (v *view) point() flow.TraceObservationPoint {
	if v.part != trace {
		return flow.TraceObservationPoint_UNKNOWN_POINT
	}
	if p, ok := pointOfReason[v.reason()]; ok {
		return p
	}
	return pointOfPlace[v.place()]
}

// Kinds of messages of Cilium's monitor, which event_type has.
const (
	typeDrop    = 1
	typeTrace   = 4
	typeVerdict = 5
	typeLayer7  = 129
)

// eventType is what clients tell flows apart by.
func (v *view) eventType() (kind, sub int32) {
	switch v.part {
	case drop:
		return typeDrop, int32(v.event.Reason)
	case verdictEgress, verdictIngress:
		return typeVerdict, 0
	case dnsAnswer:
		return typeLayer7, 0
	}
	point := v.point()
	if point == flow.TraceObservationPoint_TO_ENDPOINT {
		return typeTrace, 0 // the one whose number there is not that of the enum
	}
	return typeTrace, int32(point)
}

// isReply says whether the packet is an answer; unknown: it was dropped before that was
// looked at.
func (v *view) isReply() (reply, known bool) {
	return v.reply(), v.part != drop || v.reply() || byPolicy(&v.event)
}

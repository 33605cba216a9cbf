package agent

import (
	"fmt"
	"hash/fnv"
	"net/netip"

	"golang.org/x/sys/unix"

	api "weir/api/agent"
	"weir/bpf"
	"weir/state"
)

// eventOf is an event with the names that count now.
func (a *Agent) eventOf(e *bpf.Event) api.Event {
	out := api.Event{Time: wallClock(e.Time), Kind: kindNames[bpf.EventKind(e.Kind)], Reason: bpf.Reason(e.Reason).String(), Cause: e.Cause(), To: toOf(e),
		Place: bpf.Place(e.Place).String(), Device: a.deviceName(e.Ifindex), Length: e.Len, State: connState(e),
		SourceID: e.SrcIdentity, DestID: e.DstIdentity}
	if e.Family == 0 {
		out.Proto = fmt.Sprintf("EtherType %#04x", bpf.Host(e.Protocol))
		return out
	}
	src, dst := e.Src.Netip(), e.Dst.Netip()
	out.Flow, out.Proto = flowOf(e), state.ProtoName(e.Proto)
	out.Source, out.Dest = endText(e, e.Src, e.Sport), endText(e, e.Dst, e.Dport)
	if e.Asked != (bpf.Addr{}) {
		out.Asked = endText(e, e.Asked, e.AskedPort)
	}
	if e.Taken != (bpf.Addr{}) {
		out.Taken = endText(e, e.Taken, e.TakenPort)
	}
	if e.Proto == unix.IPPROTO_TCP {
		out.TCPFlags = tcpFlags(e.TCPFlags)
	}
	if isICMP(e.Proto) {
		kind := uint8(bpf.Host(e.Dport))
		out.ICMPType = &kind
	}
	from, to := a.rowOf(src), a.rowOf(dst)
	out.SourceName, out.SourceEndpoint = a.nameOf(state.IdentityID(e.SrcIdentity), from), uint32(from.Endpoint)
	out.DestName, out.DestEndpoint = a.nameOf(state.IdentityID(e.DstIdentity), to), uint32(to.Endpoint)
	if isPolicys(bpf.Reason(e.Reason)) {
		out.Direction = [...]string{"egress", "ingress"}[e.Direction&1]
	}
	out.Egress, out.Ingress = a.behind(e.Rule[0]), a.behind(e.Rule[1])
	return out
}

// behind are the objects behind a rule.
func (a *Agent) behind(rule uint32) []string {
	if r, ok := a.policy.DecideRule(rule); ok && rule != 0 {
		return r.Origins
	}
	return nil
}

func isICMP(proto uint8) bool { return proto == unix.IPPROTO_ICMP || proto == unix.IPPROTO_ICMPV6 }

func isPolicys(r bpf.Reason) bool {
	return r == bpf.DropPolicy || r == bpf.DropPolicyDeny || r == bpf.DropNoPolicy
}

// endText is an address, with its port where the protocol has ports.
func endText(e *bpf.Event, addr bpf.Addr, port uint16) string {
	ip := addr.Netip()
	switch e.Proto {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP:
		return netip.AddrPortFrom(ip, bpf.Host(port)).String()
	}
	return ip.String()
}

// toOf is where a packet went, as Cilium's monitor names it.
func toOf(e *bpf.Event) string {
	switch bpf.Reason(e.Reason) {
	case bpf.ReasonToEndpoint:
		return "endpoint"
	case bpf.ReasonToOverlay:
		return "overlay"
	case bpf.ReasonToNetwork:
		return "network"
	case bpf.ReasonToHost:
		return "host"
	case bpf.ReasonToStack, bpf.ReasonFragmented:
		return "stack"
	}
	if bpf.Reason(e.Reason).Drop() {
		return "drop"
	}
	switch bpf.Place(e.Place) { // it only passed
	case bpf.PlaceToOverlay:
		return "overlay"
	case bpf.PlaceToNetdev:
		return "network"
	case bpf.PlaceToHost:
		return "host"
	}
	return "stack"
}

// connState is that of the packet's connection, as far as its event has it.
func connState(e *bpf.Event) string {
	switch {
	case bpf.EventKind(e.Kind) == bpf.EventNew:
		return "new"
	case e.Reply != 0:
		return "reply"
	case bpf.EventKind(e.Kind) == bpf.EventGoing || e.Flags != 0:
		return "established"
	case isICMP(e.Proto) && isError(e.Proto, uint8(bpf.Host(e.Dport))):
		return "related"
	}
	return "unknown"
}

// isError reports whether an ICMP message is about another packet (RFC 792, RFC 4443).
func isError(proto, kind uint8) bool {
	if proto == unix.IPPROTO_ICMPV6 {
		return kind >= 1 && kind <= 4
	}
	return kind == 3 || kind == 11 || kind == 12
}

// flowOf is a number of the connection, the same for both directions and on every
// node: of the two ends that it is judged by.
func flowOf(e *bpf.Event) string {
	one, other := end{e.Src, e.Sport}, end{e.Dst, e.Dport}
	if isICMP(e.Proto) {
		one.port, other.port = 0, 0
	}
	return fmt.Sprintf("0x%08x", one.hash(e.Proto)+other.hash(e.Proto))
}

type end struct {
	addr bpf.Addr
	port uint16
}

func (e end) hash(proto uint8) uint32 {
	h := fnv.New32a()
	a := e.addr.Netip().As16()
	h.Write(a[:])
	h.Write([]byte{byte(e.port), byte(e.port >> 8), proto})
	return h.Sum32()
}

// deviceName is that of a device of this node, or what tells it from others.
func (a *Agent) deviceName(index uint32) string {
	if name := a.devices.Name(int(index)); name != "" {
		return name
	}
	return fmt.Sprintf("device %d", index)
}

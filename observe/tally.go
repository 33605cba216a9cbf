package observe

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"weir/api/flow"
	"weir/bpf"
)

// What of flows can be counted, by the names that Hubble's configuration has.
const (
	CountDrops = "drop"
	CountFlows = "flow"
	CountTCP   = "tcp"
	CountICMP  = "icmp"
	CountPorts = "port-distribution"
	CountDNS   = "dns"
	CountLost  = "lost" // always
)

// What comes with CountDNS.
const (
	CountDNSQueries = "dns-queries"
	CountDNSTypes   = "dns-response-types"
)

// Countable are those that Options.Count may have.
func Countable() []string {
	return []string{CountDrops, CountFlows, CountTCP, CountICMP, CountPorts, CountDNS}
}

// tally counts flows. Add alone writes, what readers miss apart; anybody may read
// meanwhile. A flow costs a few additions to numbers that have their places already.
type tally struct {
	flows *[maxKinds][protocols]atomic.Uint64 // nil, as the others: not wanted
	drops *[256][protocols]atomic.Uint64      // by reason
	tcp   *[tcpFlags][families]atomic.Uint64
	icmp  *[families][256]atomic.Uint64 // by type
	ports *ports
	dns   *answers
	lost  [lossSources]atomic.Uint64
}

func newTally(wanted []string) *tally {
	t := &tally{}
	for _, w := range wanted {
		switch w {
		case CountFlows:
			t.flows = new([maxKinds][protocols]atomic.Uint64)
		case CountDrops:
			t.drops = new([256][protocols]atomic.Uint64)
		case CountTCP:
			t.tcp = new([tcpFlags][families]atomic.Uint64)
		case CountICMP:
			t.icmp = new([families][256]atomic.Uint64)
		case CountPorts:
			t.ports = newPorts()
		case CountDNS:
			t.dns = newAnswers()
		}
	}
	return t
}

// Protocols, as they are told.
const (
	otherProtocol = iota
	tcp
	udp
	sctp
	icmpV4
	icmpV6
	dnsLayer
	protocols
)

var (
	protocolLabels = [protocols]string{"Unknown", "TCP", "UDP", "SCTP", "ICMPv4", "ICMPv6", "DNS"}
	protoOf        = [256]uint8{protoTCP: tcp, protoUDP: udp, protoSCTP: sctp, protoICMP: icmpV4, protoICMPv6: icmpV6}
)

// Families, as they are told.
const (
	ipV4 = iota
	ipV6
	families
)

var familyLabels = [families]string{"IPv4", "IPv6"}

// Flags of TCP that are told apart: a packet has one, the first that it has.
const (
	noFlag = iota
	flagRST
	flagFIN
	flagSYNACK
	flagSYN
	tcpFlags
)

var (
	flagLabels = [tcpFlags]string{"", "RST", "FIN", "SYN-ACK", "SYN"}
	flagOf     = makeFlags()
)

func makeFlags() (out [256]uint8) {
	const fin, syn, rst, ack = 1, 2, 4, 16
	for bits := range out {
		switch {
		case bits&rst != 0:
			out[bits] = flagRST
		case bits&fin != 0:
			out[bits] = flagFIN
		case bits&(syn|ack) == syn|ack:
			out[bits] = flagSYNACK
		case bits&syn != 0:
			out[bits] = flagSYN
		}
	}
	return out
}

// Who loses flows.
const (
	lostByRings   = iota // of the programs
	lostByReaders        // each of whom was too slow
	lossSources
)

var lossLabels = [lossSources]string{"perf_event_ring_buffer", "hubble_ring_buffer"}

// count takes a record that is kept.
func (t *tally) count(r *record) {
	e := &r.event
	proto := otherProtocol
	if e.Family != 0 {
		proto = int(protoOf[e.Proto])
	}
	if r.part == dnsAnswer {
		proto = dnsLayer
	}
	if t.flows != nil {
		t.flows[kindOf(r)][proto].Add(1)
	}
	switch {
	case r.part == drop && t.drops != nil:
		t.drops[e.Reason][proto].Add(1)
	case r.part == dnsAnswer && t.dns != nil:
		t.dns.count(r.said.Answer)
	case r.part == trace:
		t.packet(r, proto)
	}
}

// packet takes a packet that went on. Verdicts are of the same packets.
func (t *tally) packet(r *record, proto int) {
	e := &r.event
	family := ipV4
	if e.Family == unix.AF_INET6 {
		family = ipV6
	}
	switch proto {
	case tcp:
		if flag := flagOf[e.TCPFlags]; t.tcp != nil && flag != noFlag {
			t.tcp[flag][family].Add(1)
		}
	case icmpV4, icmpV6:
		if t.icmp != nil {
			t.icmp[family][uint8(bpf.Host(e.Dport))].Add(1)
		}
	}
	if t.ports != nil && proto >= tcp && proto <= sctp {
		t.ports.count(r, proto)
	}
}

// kind is what a flow is.
type kind struct{ typ, subtype, verdict string }

// Kinds of flows; from kindPoint on traces by where they were seen.
const (
	kindTrace = iota // nowhere that is known
	kindDrop
	kindAllowed
	kindDenied
	kindDNS
	kindPoint
	maxKinds = 32
)

var kinds, kindOfReason, kindOfPlace = makeKinds()

func makeKinds() (all []kind, byReason, byPlace [256]uint8) {
	forwarded, dropped := flow.Verdict_FORWARDED.String(), flow.Verdict_DROPPED.String()
	all = []kind{kindTrace: {"Trace", "", forwarded}, kindDrop: {"Drop", "", dropped},
		kindAllowed: {"PolicyVerdict", "", forwarded}, kindDenied: {"PolicyVerdict", "", dropped}, kindDNS: {"L7", "DNS", forwarded}}
	number := map[flow.TraceObservationPoint]uint8{}
	of := func(p flow.TraceObservationPoint) uint8 {
		if number[p] == 0 {
			number[p] = uint8(len(all))
			all = append(all, kind{"Trace", dashed(p.String()), forwarded})
		}
		return number[p]
	}
	for r, p := range pointOfReason {
		byReason[r] = of(p)
	}
	for place, p := range pointOfPlace {
		byPlace[place] = of(p)
	}
	return all, byReason, byPlace
}

// kindOf is the place of a record's kind in kinds.
func kindOf(r *record) uint8 {
	switch {
	case r.part == drop:
		return kindDrop
	case r.denies():
		return kindDenied
	case r.part == dnsAnswer:
		return kindDNS
	case r.part != trace:
		return kindAllowed
	case kindOfReason[r.event.Reason] != 0:
		return kindOfReason[r.event.Reason]
	}
	return kindOfPlace[r.event.Place]
}

package oracle

import (
	"encoding/json"
	"strconv"
	"strings"
)

const (
	protoICMP   uint8 = 1
	protoTCP    uint8 = 6
	protoUDP    uint8 = 17
	protoICMPv6 uint8 = 58
	protoSCTP   uint8 = 132
)

var protocols = map[string]uint8{
	"ICMP": protoICMP, "IGMP": 2, "IPIP": 4, "TCP": protoTCP, "UDP": protoUDP, "IPV6": 41, "GRE": 47,
	"ESP": 50, "AH": 51, "ICMPV6": protoICMPv6, "VRRP": 112, "SCTP": protoSCTP,
}

// protoNumber returns the IP protocol of a name; absent is the default's.
func protoNumber(name, absent string) uint8 {
	if name == "" {
		name = absent
	}
	return protocols[strings.ToUpper(name)]
}

// hasNamed: does the packet go to a port that has this name at the end which
// receives it? Whom a rule names by address has no named ports, except that for
// ingress it is the subject that receives.
func (q question) hasNamed(name string, byAddress bool) bool {
	if q.dir == Ingress {
		return q.Port != 0 && q.subject.namedPort(name, q.Proto) == q.Port
	}
	return !byAddress && q.Port != 0 && q.peer.namedPort(name, q.Proto) == q.Port
}

// portsMatch: without toPorts and icmps every protocol and port; otherwise any
// entry.
func (r rule) portsMatch(q question, byAddress bool) bool {
	if r.ToPorts == nil && r.ICMPs == nil {
		return true
	}
	for _, e := range r.ToPorts {
		if e.enforced() && e.matches(q, byAddress) {
			return true
		}
	}
	for _, e := range r.ICMPs {
		for _, f := range e.Fields {
			proto := protoICMP
			if f.Family == "IPv6" {
				proto = protoICMPv6
			}
			if proto == q.Proto && icmpType(f.Type, f.Family) == int(q.Port) {
				return true
			}
		}
	}
	return false
}

// enforced: what is above ports is not enforced yet, and allows nothing. Rules
// without any kind of them are none.
func (e portRule) enforced() bool {
	var kinds map[string]json.RawMessage
	if e.Rules != nil && (json.Unmarshal(e.Rules, &kinds) != nil || len(kinds) > 0) {
		return false
	}
	for _, part := range []json.RawMessage{e.ServerNames, e.Listener, e.TerminatingTLS, e.OriginatingTLS} {
		if part != nil {
			return false
		}
	}
	return true
}

// matches: an entry that has no list of ports means every protocol and port.
func (e portRule) matches(q question, byAddress bool) bool {
	if e.Ports == nil {
		return true
	}
	for _, p := range e.Ports {
		if !protoMatches(p.Protocol, q.Proto) {
			continue
		}
		first, err := strconv.Atoi(p.Port)
		switch {
		case p.Port == "" || err == nil && first == 0: // every port of the protocol
			return true
		case err != nil:
			if q.hasNamed(p.Port, byAddress) {
				return true
			}
		case first <= int(q.Port) && int(q.Port) <= max(first, p.EndPort):
			return true
		}
	}
	return false
}

// protoMatches: no protocol and ANY are TCP, UDP and SCTP.
func protoMatches(name string, proto uint8) bool {
	if name == "" || name == "ANY" {
		return proto == protoTCP || proto == protoUDP || proto == protoSCTP
	}
	return protoNumber(name, "") == proto
}

// The names of ICMP types that the generator writes.
var icmpNames = map[string]map[string]int{
	"IPv4": {"EchoReply": 0, "DestinationUnreachable": 3, "Redirect": 5, "Echo": 8, "EchoRequest": 8, "TimeExceeded": 11, "Timestamp": 13},
	"IPv6": {"DestinationUnreachable": 1, "PacketTooBig": 2, "TimeExceeded": 3, "EchoRequest": 128, "EchoReply": 129},
}

func icmpType(raw json.RawMessage, family string) int {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	if family == "" {
		family = "IPv4"
	}
	if n, ok := icmpNames[family][text]; ok {
		return n
	}
	return -1
}

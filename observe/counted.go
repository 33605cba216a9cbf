package observe

import (
	"strconv"
	"strings"

	"weir/api/flow"
)

// Counted gives what was counted since the observer began: which of the Count names, how
// many, and the labels of Hubble's metric of it:
//
//	drop               reason, protocol
//	flow               protocol, type, subtype, verdict
//	tcp                flag, family
//	icmp               type, family
//	port-distribution  protocol, port
//	dns                rcode, qtypes, ips_returned
//	dns-queries        likewise
//	dns-response-types type, qtypes
//	lost               source
//
// What has not happened yet is not given, losses apart.
func (o *Observer) Counted(put func(what string, n uint64, labels ...string)) {
	t := o.tally
	for i := range t.lost {
		put(CountLost, t.lost[i].Load(), lossLabels[i])
	}
	if t.drops != nil {
		for reason := range t.drops {
			for p := range t.drops[reason] {
				if n := t.drops[reason][p].Load(); n > 0 {
					put(CountDrops, n, flow.DropReason(reason).String(), protocolLabels[p])
				}
			}
		}
	}
	if t.flows != nil {
		for i, k := range kinds {
			for p := range t.flows[i] {
				if n := t.flows[i][p].Load(); n > 0 {
					put(CountFlows, n, protocolLabels[p], k.typ, k.subtype, k.verdict)
				}
			}
		}
	}
	t.layer4(put)
}

// layer4 gives what was counted of packets that went on.
func (t *tally) layer4(put func(what string, n uint64, labels ...string)) {
	if t.tcp != nil {
		for flag := range t.tcp {
			for f := range t.tcp[flag] {
				if n := t.tcp[flag][f].Load(); n > 0 {
					put(CountTCP, n, flagLabels[flag], familyLabels[f])
				}
			}
		}
	}
	if t.icmp != nil {
		for f, proto := range [families]uint8{ipV4: protoICMP, ipV6: protoICMPv6} {
			for typ := range t.icmp[f] {
				if n := t.icmp[f][typ].Load(); n > 0 {
					put(CountICMP, n, icmpName(proto, uint8(typ)), familyLabels[f])
				}
			}
		}
	}
	if t.ports != nil {
		t.ports.counted(put)
	}
	if t.dns != nil {
		t.dns.counted(put)
	}
}

func (p *ports) counted(put func(what string, n uint64, labels ...string)) {
	for at, key := range p.keys[:p.used.Load()] {
		if n := p.n[at].Load(); n > 0 {
			put(CountPorts, n, protocolLabels[key>>16], strconv.Itoa(int(key&0xffff)))
		}
	}
	for proto := range p.other {
		if n := p.other[proto].Load(); n > 0 {
			put(CountPorts, n, protocolLabels[proto], "other")
		}
	}
}

// dashed is a name of an enum as labels have it: TO_ENDPOINT, to-endpoint.
func dashed(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "-")) }

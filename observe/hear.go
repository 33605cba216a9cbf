package observe

import (
	"net/netip"
	"slices"
	"time"

	"weir/api/flow"
	"weir/bpf"
	"weir/observe/dns"
)

// Hear takes an answer of DNS that a pod of this node gets: one flow, and names for those
// that follow. It is copied. Calls come between those of Add, in the order of time.
func (o *Observer) Hear(x *bpf.DNSAnswer) {
	o.names.refresh()
	a, err := dns.Read(x.Payload[:min(int(x.Copied), len(x.Payload))])
	if err != nil {
		return // whatever it is, it is no answer
	}
	r := record{when: o.clock.wall(x.Time), part: dnsAnswer, said: &dns.Said{Answer: a}}
	r.event = bpf.Event{Time: x.Time, Src: x.Src, Dst: x.Dst, Sport: x.Sport, Dport: x.Dport, SrcIdentity: x.SrcIdentity, DstIdentity: x.DstIdentity,
		Family: x.Family, Proto: protoUDP, Place: x.Place, Ifindex: x.Ifindex, Kind: uint8(bpf.EventPacket), Reason: uint8(bpf.ReasonToEndpoint), Reply: 1,
		Len: uint32(x.Len), Endpoint: uint32(bpf.EndpointsMax)}
	if x.Asked != x.Src || x.AskedPort != x.Sport {
		r.event.Asked, r.event.AskedPort = x.Asked, x.AskedPort
	}
	o.names.join(&r)
	if client := r.ends[receiver]; client != nil && client.endpoint != 0 {
		o.heard.Learn(client.endpoint, a, time.Unix(0, r.when))
	}
	o.keep(&r)
}

// name gives a record the names that one of its ends has asked for the other's address
// by: the opener, if it did.
func (o *Observer) name(r *record) {
	if o.heard.Len() == 0 {
		return
	}
	e := &r.event
	opener := sender
	if e.Reply != 0 {
		opener = receiver
	}
	asked := e.Asked
	if asked == (bpf.Addr{}) {
		asked = [2]bpf.Addr{e.Src, e.Dst}[1-opener]
	}
	if !o.nameOf(r, opener, asked) {
		o.nameOf(r, 1-opener, [2]bpf.Addr{e.Src, e.Dst}[opener])
	}
}

// nameOf names what an end has asked for, which is the address of the other.
func (o *Observer) nameOf(r *record, end int, address bpf.Addr) bool {
	p := r.ends[end]
	if p == nil || p.endpoint == 0 {
		return false
	}
	s := o.heard.Of(p.endpoint, address.Netip(), time.Unix(0, r.when))
	if s == nil {
		return false
	}
	r.said, r.named = s, uint8(1-end)
	return true
}

// namesOf are those of an end's address.
func (v *view) namesOf(end int) []string {
	if v.said == nil || int(v.named) != end {
		return nil
	}
	return v.said.Names
}

// layer7 is what the message says.
func (v *view) layer7() *flow.Layer7 {
	if v.part != dnsAnswer {
		return nil
	}
	a := v.said.Answer
	out := &flow.DNS{Query: a.Query, Ips: texts(a.IPs), Ttl: a.TTL, Cnames: a.Aliases, ObservationSource: "passive", Rcode: uint32(a.RCode), Qtypes: []string{dns.TypeName(a.Type)}}
	for _, t := range a.Types {
		if name := dns.TypeName(t); !slices.Contains(out.Rrtypes, name) {
			out.Rrtypes = append(out.Rrtypes, name)
		}
	}
	return &flow.Layer7{Type: flow.L7FlowType_RESPONSE, Record: &flow.Layer7_Dns{Dns: out}}
}

func texts(list []netip.Addr) (out []string) {
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

package bpftest

import (
	"testing"

	"github.com/gopacket/gopacket/layers"

	"weir/bpf"
)

// refusal is what each program makes of a frame it cannot parse: the underlay
// is the host's own business, everything else is ours.
var refusals = []struct {
	program string
	verdict int32
}{
	{bpf.ProgFromPod, shot}, {bpf.ProgToPod, shot}, {bpf.ProgFromOverlay, shot}, {bpf.ProgFromHost, shot}, {bpf.ProgFromNetdev, next},
}

func refused(name string, in []byte, reason bpf.Reason) (out []fixture) {
	for _, r := range refusals {
		c := fixture{name: r.program + ": " + name, program: r.program, in: in, verdict: r.verdict, reason: reason}
		switch {
		case r.program == bpf.ProgFromNetdev:
			c.reason = bpf.ReasonPassed
		case r.program == bpf.ProgFromHost && reason == bpf.DropUnsupportedL2:
			c.reason = bpf.ReasonLinkChatter
		}
		out = append(out, c)
	}
	return out
}

func TestHeaderThatContradictsItselfIsInvalid(t *testing.T) {
	each(t, filled(t, config()), func(f family) (out []fixture) {
		good := f.from(f.peer).sized(100).bytes()
		add := func(name string, in []byte) {
			out = append(out, refused(name, in, bpf.DropInvalidPacket)...)
		}
		if f.v6 {
			add("version 4", with(good, 14, 0x40))
			add("version 0", with(good, 14, 0x00))
			add("longer than the frame", with(good, 18, 0, 61))
			add("as long as can be", with(good, 18, 0xff, 0xff))
			add("from an IPv4-mapped address", with(good, 22, mappedBytes(families[0].pod)...))
			add("to an IPv4-mapped address", with(good, 38, mappedBytes(families[0].peer)...))
			return out
		}
		add("version 6", summed(with(good, 14, 0x65)))
		add("header of 4 words", summed(with(good, 14, 0x44)))
		add("header of 0 words", summed(with(good, 14, 0x40)))
		add("header longer than the packet", summed(with(good, 14, 0x4f, 0, 0, 40)))
		add("longer than the frame", summed(with(good, 16, 0, 101)))
		add("as long as can be", summed(with(good, 16, 0xff, 0xff)))
		add("shorter than its header", summed(with(good, 16, 0, 19)))
		add("length 0", summed(with(good, 16, 0, 0)))
		return out
	})
}

func TestUnusualButValidHeadersAreForwarded(t *testing.T) {
	each(t, filled(t, config()), func(f family) (out []fixture) {
		add := func(name string, p packet) {
			out = append(out, fixture{name: name, program: bpf.ProgFromPod, in: p.bytes(), verdict: redirect, out: p.hop().bytes(), reason: bpf.ReasonToOverlay})
		}
		p := f.from(f.remote)
		trailer, after := append(p.sized(100).bytes(), 1, 2, 3, 4), append(p.hop().sized(100).bytes(), 1, 2, 3, 4)
		out = append(out, fixture{name: "frame longer than the packet", program: bpf.ProgFromPod, in: trailer, verdict: redirect, out: after, reason: bpf.ReasonToOverlay})
		if !f.v6 {
			first, later, options := p, p, p
			first.fragment, later.fragment = 1, 2
			options.options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
			add("first fragment", first)
			add("later fragment", later)
			add("router alert option", options)
			return out
		}
		for _, h := range []struct { // a later fragment follows its first one
			name  string
			proto layers.IPProtocol
			bytes []byte
		}{
			{"hop-by-hop options", layers.IPProtocolIPv6HopByHop, []byte{59, 0, 1, 4, 0, 0, 0, 0}},
			{"destination options", layers.IPProtocolIPv6Destination, []byte{59, 0, 1, 4, 0, 0, 0, 0}},
			{"routing header", layers.IPProtocolIPv6Routing, []byte{59, 0, 4, 0, 0, 0, 0, 0}},
			{"first fragment", layers.IPProtocolIPv6Fragment, []byte{17, 0, 0, 1, 0, 0, 0, 9, 4, 210, 0, 53, 0, 8, 0, 0}},
			{"later fragment", layers.IPProtocolIPv6Fragment, []byte{17, 0, 0, 0xb9, 0, 0, 0, 9, 1, 2, 3, 4}},
			{"no next header", layers.IPProtocolNoNextHeader, []byte{}},
		} {
			p := p
			p.proto, p.raw = h.proto, h.bytes
			add(h.name, p)
		}
		return out
	})
}

// Seed row M1: a frame that is neither IP nor ARP is counted and goes nowhere
// from a pod, and is none of our business on the underlay.
func TestOddEtherTypeIsCountedAndNotForwarded(t *testing.T) {
	n := filled(t, config())
	for name, etherType := range map[string]uint16{
		"LLDP": 0x88cc, "MACsec": 0x88e5, "MPLS": 0x8847, "PPPoE": 0x8864, "PAUSE": 0x8808, "802.3 length": 46, "reserved": 0xffff, "none": 0,
	} {
		for _, c := range refused(name, frame(etherType, 46), bpf.DropUnsupportedL2) {
			t.Run(c.name, func(t *testing.T) { n.check(t, c) })
		}
	}
}

package bpftest

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"weir/bpf"
)

// refusing isolates the other pod; whoever is denied there is told.
func (n *node) refusing(t testing.TB) {
	t.Helper()
	n.isolate(t, peerID, bpf.PolicyIngress|bpf.PolicyRejectIngress)
}

// told is the frame that tells the sender of p: back where it came from, from
// the address that was asked.
func (p packet) told() packet {
	r := p.reply().to(p.dstMAC, p.srcMAC)
	r.ttl, r.dontFragment, r.payload = 64, true, 0
	return r
}

// prohibited is the ICMP error about p (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1).
func (f family) prohibited(p packet) []byte {
	r := p.told()
	eth := &layers.Ethernet{SrcMAC: r.srcMAC, DstMAC: r.dstMAC, EthernetType: layers.EthernetTypeIPv4}
	if f.v6 {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: r.src.AsSlice(), DstIP: r.dst.AsSlice()}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 1)}
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			panic(err)
		}
		return serialize(eth, ip, icmp, gopacket.Payload(append(make([]byte, 4), p.bytes()[14:14+48]...)))
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, Flags: layers.IPv4DontFragment, SrcIP: r.src.AsSlice(), DstIP: r.dst.AsSlice()}
	return serialize(eth, ip, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 13)}, gopacket.Payload(p.bytes()[14:14+28]))
}

// reset is the answer to p, as if there was no connection (RFC 9293 section 3.10.7.1).
func (f family) reset(p packet, flags string, seq, ack uint32) []byte {
	r := p.told()
	r.flags, r.seq, r.ack = flags, seq, ack
	return r.bytes()[:14+20+int(f.pick(20, 40))] // without what pads a short frame
}

func TestRefusedSegmentIsAnsweredByTheRightReset(t *testing.T) {
	n := filled(t, config())
	n.refusing(t)
	for _, f := range families {
		for _, c := range []struct {
			flags    string
			payload  int
			seq, ack uint32 // of the segment
			answer   string
			rst, to  uint32 // seq and ack of the reset
		}{
			{"S", 0, 1000, 0, "RA", 0, 1001},
			{"S", 0, 0xffffffff, 0, "RA", 0, 0},
			{"S", 33, 1000, 0, "RA", 0, 1034},
			{"A", 0, 1000, 2000, "R", 2000, 0},
			{"AP", 500, 1000, 2000, "R", 2000, 0},
			{"SA", 0, 1000, 2000, "R", 2000, 0},
			{"FA", 7, 1000, 0xfffffffe, "R", 0xfffffffe, 0},
			{"F", 7, 1000, 0, "RA", 0, 1008},
			{"P", 200, 0xffffff00, 0, "RA", 0, 0xffffffc8},
		} {
			t.Run(fmt.Sprintf("%s, %s with %d octets", f.name, c.flags, c.payload), func(t *testing.T) {
				p := tcpOf(f.from(f.peer))
				p.flags, p.payload, p.seq, p.ack = c.flags, c.payload, c.seq, c.ack
				got := n.send(t, bpf.ProgFromPod, p)
				if got.verdict != redirect || got.reason != bpf.DropPolicy || got.told != bpf.ReasonReset {
					t.Fatalf("verdict %d, %s, told %s", got.verdict, got.reason, got.told)
				}
				if want := f.reset(p, c.answer, c.rst, c.to); !bytes.Equal(got.out, want) {
					t.Errorf("reset:\n got % x\nwant % x", got.out, want)
				}
				n.noEntries(t, "a refusal")
			})
		}
	}
}

func TestRefusedDatagramIsAnsweredByAnError(t *testing.T) {
	n := filled(t, config())
	n.refusing(t)
	for _, f := range families {
		raw := f.from(f.peer)
		raw.proto, raw.raw = layers.IPProtocolSCTP, append([]byte{4, 210, 0, 80}, make([]byte, 60)...)
		for name, p := range map[string]packet{
			"empty": f.from(f.peer), "short": f.from(f.peer).sized(100), "odd": f.from(f.peer).sized(101), "long": f.from(f.peer).sized(1400),
			"ping": f.ping(f.from(f.peer), 8), "SCTP": raw,
		} {
			t.Run(f.name+", "+name, func(t *testing.T) {
				got := n.send(t, bpf.ProgFromPod, p)
				if got.verdict != redirect || got.reason != bpf.DropPolicy || got.told != bpf.ReasonProhibited {
					t.Fatalf("verdict %d, %s, told %s", got.verdict, got.reason, got.told)
				}
				if want := f.prohibited(p); !bytes.Equal(got.out, want) {
					t.Errorf("error:\n got % x\nwant % x", got.out, want)
				}
				n.noEntries(t, "a refusal")
			})
		}
	}
}

func TestRefusalComesFromEveryProgramThatDenies(t *testing.T) {
	n := filled(t, config())
	n.refusing(t)
	for _, f := range families {
		host := f.into(f.peer)
		host.src = f.self
		for program, p := range map[string]packet{bpf.ProgFromPod: f.from(f.peer), bpf.ProgFromNetdev: f.fromWorld(f.peer), bpf.ProgFromHost: host, bpf.ProgToPod: f.into(f.peer)} {
			if got := n.send(t, program, p); got.verdict != redirect || got.told != bpf.ReasonProhibited || !bytes.Equal(got.out, f.prohibited(p)) {
				t.Errorf("%s, %s: verdict %d, told %s: % x", f.name, program, got.verdict, got.told, got.out)
			}
			p.tcp, p.flags, p.seq = true, "S", 9
			if got := n.send(t, program, p); got.verdict != redirect || got.told != bpf.ReasonReset || !bytes.Equal(got.out, f.reset(p, "RA", 0, 10)) {
				t.Errorf("%s, %s: verdict %d, told %s: % x", f.name, program, got.verdict, got.told, got.out)
			}
		}
	}
}

func TestWhoIsToldSaysThePolicy(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		deny := rule{level: bpf.LevelAny, id: 3, flags: bpf.RuleDeny}
		silent := bpf.Reason(0)
		for name, c := range map[string]struct {
			end   uint32
			flags bpf.PolicyFlag
			rules []rule
			told  bpf.Reason
		}{
			"egress":                         {podID, bpf.PolicyEgress | bpf.PolicyRejectEgress, nil, bpf.ReasonProhibited},
			"egress, silent":                 {podID, bpf.PolicyEgress | bpf.PolicyRejectIngress, nil, silent},
			"ingress":                        {peerID, bpf.PolicyIngress | bpf.PolicyRejectIngress, nil, bpf.ReasonProhibited},
			"ingress, silent":                {peerID, bpf.PolicyIngress | bpf.PolicyRejectEgress, nil, silent},
			"a rule, silent":                 {podID, bpf.PolicyEgress | bpf.PolicyRejectEgress, []rule{deny}, silent},
			"a rule that tells":              {podID, 0, []rule{{level: bpf.LevelAny, id: 3, flags: bpf.RuleDeny | bpf.RuleReject}}, bpf.ReasonProhibited},
			"a rule that tells, for ingress": {peerID, 0, []rule{{ingress: true, level: bpf.LevelAny, id: 3, flags: bpf.RuleDeny | bpf.RuleReject}}, bpf.ReasonProhibited},
		} {
			n.noRules(t)
			n.open(t, podID)
			n.open(t, peerID)
			n.rules(t, c.rules...)
			n.isolate(t, c.end, c.flags)
			if got := n.send(t, bpf.ProgFromPod, f.from(f.peer)); got.told != c.told || !got.reason.Drop() {
				t.Errorf("%s: %s, told %s, want %s", name, got.reason, got.told, c.told)
			}
		}
	})
}

// RFC 1122 section 3.2.2: no error about an error, or about a fragment; and
// what resets is not reset.
func TestErrorsResetsAndFragmentsAreRefusedInSilence(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.refusing(t)
		rst, rstAck := tcpOf(f.from(f.peer)), tcpOf(f.from(f.peer))
		rst.flags, rstAck.flags = "R", "RA"
		cases := map[string]packet{"reset": rst, "reset that acknowledges": rstAck, "error": f.unreachable(f.from(f.peer), f.fromPeer(f.pod))}
		for name, p := range map[string]packet{"UDP": f.from(f.peer).sized(200), "TCP": tcpOf(f.from(f.peer)).sized(200), "echo": f.ping(f.from(f.peer), 8)} {
			cases[name+": first fragment"], cases[name+": later fragment"] = f.fragments(p, 60)
		}
		if f.v6 {
			cases["extension header"] = f.from(f.peer).behind(hopByHop)
		} else {
			p := f.from(f.peer)
			p.options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
			cases["options"] = p
		}
		for _, order := range []string{"first", "later"} { // a later fragment needs its first one
			for name, p := range cases {
				if later := bytes.HasSuffix([]byte(name), []byte("later fragment")); later != (order == "later") {
					continue
				}
				if got := n.send(t, bpf.ProgFromPod, p); got.verdict != shot || got.reason != bpf.DropPolicy || got.told != 0 {
					t.Errorf("%s: verdict %d, %s, told %s", name, got.verdict, got.reason, got.told)
				}
			}
		}
	})
}

func TestRefusalsAreAsManyAsTheBudget(t *testing.T) {
	n := filled(t, config())
	n.refusing(t)
	in := families[0].from(families[0].peer).bytes()
	const budget, window = 128, 134 * time.Millisecond
	start, told := time.Now(), 0
	const sent = 3000
	for range sent {
		got, err := n.run(bpf.ProgFromPod, skb{Ifindex: device(podID)}, in)
		if err != nil {
			t.Fatal(err)
		}
		if got.verdict == redirect {
			told++
		}
	}
	windows := int(time.Since(start)/window) + 2
	if told < budget || told > 2*windows*budget || told == sent {
		t.Errorf("%d of %d were told in at most %d windows on 2 CPUs, want at most %d in each", told, sent, windows, budget)
	}
}

package bpftest

import (
	"fmt"
	"testing"

	"weir/bpf"
)

// GHSA-c66w-hq56-4q97: a request that has the id of another ping passed as its
// answer. Ids 8 and 128 are those that look like a type.
func TestEchoRequestIsNeverTheAnswerToAnother(t *testing.T) {
	n := filled(t, config())
	for _, id := range []uint16{0, 1, 8, 128, 129, 0x0800, 0x8000, 0x0808, 0x8080, 4711, 65535} {
		t.Run(fmt.Sprint("id ", id), func(t *testing.T) {
			perFamily(t, n, func(t *testing.T, f family) {
				n.isolate(t, podID, bpf.PolicyIngress)
				out, back := f.from(f.peer), f.fromPeer(f.pod)
				n.want(t, "a ping", bpf.ProgFromPod, f.ping(out, id), bpf.ReasonToEndpoint)
				n.want(t, "its answer", bpf.ProgFromPod, f.pong(back, id), bpf.ReasonToEndpoint)
				k, before := n.entry(t)
				n.want(t, "a ping back with its id", bpf.ProgFromPod, f.ping(back, id), bpf.DropPolicy)
				n.want(t, "an answer to nothing", bpf.ProgFromPod, f.pong(back, id+1), bpf.DropPolicy)
				if after := n.entries(t)[k]; after != before {
					t.Errorf("the ping's entry is %s, was %s", after, before)
				}
				n.open(t, podID)
				n.want(t, "a ping back that is allowed", bpf.ProgFromPod, f.ping(back, id), bpf.ReasonToEndpoint)
				n.want(t, "its answer", bpf.ProgFromPod, f.pong(out, id), bpf.ReasonToEndpoint)
				if got := len(n.entries(t)); got != 2 {
					t.Errorf("%d entries, want one for each ping", got)
				}
				n.want(t, "the first goes on", bpf.ProgFromPod, f.ping(out, id), bpf.ReasonToEndpoint)
				n.want(t, "with its answer", bpf.ProgFromPod, f.pong(back, id), bpf.ReasonToEndpoint)
			})
		})
	}
}

func TestUnsolicitedEchoReplyIsJudgedAndMakesNoEntry(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		for _, id := range []uint16{8, 128, 4711} {
			p := f.pong(f.from(f.peer), id)
			n.open(t, peerID)
			n.want(t, "nothing denies it", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
			n.noEntries(t, "an answer to nothing")
			n.isolate(t, peerID, bpf.PolicyIngress)
			n.want(t, "isolated", bpf.ProgFromPod, p, bpf.DropPolicy)
			n.rules(t, rule{ingress: true, level: bpf.LevelPort, proto: uint8(f.icmp()), port: uint16(f.pick(8, 128)), id: 2})
			n.want(t, "requests are allowed", bpf.ProgFromPod, p, bpf.DropPolicy)
			n.rules(t, rule{ingress: true, level: bpf.LevelPort, proto: uint8(f.icmp()), port: uint16(f.pick(0, 129)), id: 3})
			n.want(t, "answers are allowed", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
			n.noEntries(t, "an answer to nothing that is allowed")
			n.noRules(t)
		}
	})
}

func TestErrorAboutAConnectionReachesItsOwnEnd(t *testing.T) {
	n := filled(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.isolate(t, podID, bpf.PolicyIngress)
		for name, about := range map[string]packet{"UDP": f.from(f.world), "TCP": tcpOf(f.from(f.world)), "echo": f.ping(f.from(f.world), 8)} {
			n.forget(t)
			router := f.into(f.pod)
			router.src = f.gateway
			n.want(t, name+": about nothing", bpf.ProgFromNetdev, f.unreachable(router, about), bpf.DropPolicy)
			n.want(t, name, bpf.ProgFromPod, about, bpf.ReasonToNetwork)
			k, before := n.entry(t)
			n.want(t, name+": from a router", bpf.ProgFromNetdev, f.unreachable(router, about), bpf.ReasonToEndpoint)
			server := router
			server.src = f.world
			n.want(t, name+": from the other end", bpf.ProgFromNetdev, f.unreachable(server, about), bpf.ReasonToEndpoint)
			n.want(t, name+": about what it did not send", bpf.ProgFromNetdev, f.unreachable(router, about.reply()), bpf.DropPolicy)
			other := about
			if other.raw == nil {
				other.dport = 99
			} else {
				other = f.ping(other, 9)
			}
			n.want(t, name+": about another connection", bpf.ProgFromNetdev, f.unreachable(router, other), bpf.DropPolicy)
			n.isolate(t, peerID, bpf.PolicyIngress)
			stranger := router
			stranger.dst = f.peer
			n.want(t, name+": to another receiver", bpf.ProgFromNetdev, f.unreachable(stranger, about), bpf.DropPolicy)
			cut := f.unreachable(router, about)
			cut.raw = cut.raw[:8+int(f.pick(20, 40))+4]
			n.want(t, name+": that quotes too little", bpf.ProgFromNetdev, cut, bpf.DropPolicy)
			odd := f.unreachable(router, about)
			odd.raw[0] = f.pick(5, 137) // a redirect is no error
			n.want(t, name+": a redirect", bpf.ProgFromNetdev, odd, bpf.DropPolicy)
			if after := n.entries(t); len(after) != 1 || after[k] != before {
				t.Errorf("%s: errors changed the table: %v, was %s", name, after, before)
			}
		}
	})
}

func TestOtherMessagesAreJudgedEachByItsType(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.isolate(t, peerID, bpf.PolicyIngress)
		n.rules(t, rule{ingress: true, level: bpf.LevelPort, proto: uint8(f.icmp()), port: uint16(f.pick(13, 139)), id: 6})
		allowed, denied := f.message(f.from(f.peer), f.pick(13, 139), 0), f.message(f.from(f.peer), f.pick(14, 140), 0)
		before, _ := n.hits(t, 6)
		for range 3 {
			n.want(t, "allowed", bpf.ProgFromPod, allowed, bpf.ReasonToEndpoint)
			n.want(t, "of another type", bpf.ProgFromPod, denied, bpf.DropPolicy)
			n.noEntries(t, "a message that is no echo")
		}
		if now, _ := n.hits(t, 6); now-before != 3 {
			t.Errorf("the rule counted %d packets, want 3", now-before)
		}
	})
}

func tcpOf(p packet) packet {
	p.tcp = true
	return p
}

package bpftest

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weir/bpf"
)

// A packet whose headers cannot be walked is refused, whoever looks first: a
// rule that denies must not be passed by.
func TestHeadersThatCannotBeWalkedPassNoDenial(t *testing.T) {
	f := families[1]
	seven := []extension{destination, destination, destination, destination, destination, destination, destination}
	long := destination
	long.rest = append([]byte{127}, make([]byte, 1022)...)
	for name, chain := range map[string][]extension{"seven": seven, "long": {long}} {
		for _, where := range []string{"pod", "host"} {
			cfg := guarded()
			n := serviceNode(t, cfg)
			to, end := f.pod, uint32(podID)
			if where == "host" {
				to, end = f.self, hostEnd
			}
			n.isolate(t, end, bpf.PolicyEgress)
			n.rules(t, rule{ingress: true, level: bpf.LevelPort, proto: 17, port: 53, id: 2, flags: bpf.RuleDeny})
			p := f.into(to)
			p.src = f.world
			n.want(t, name+" "+where+" plain", bpf.ProgFromNetdev, p, bpf.DropPolicyDeny)
			n.want(t, name+" "+where+" behind", bpf.ProgFromNetdev, p.behind(chain...), bpf.DropInvalidPacket)
		}
	}
}

// What cannot be masqueraded does not show the world a pod's address.
func TestNothingLeavesWithAPodsAddress(t *testing.T) {
	n := masquerading(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.want(t, "an echo reply that nobody asked for", bpf.ProgFromPod, f.summed(f.pong(f.from(f.world), 7)), bpf.DropNATProtocol)
		stranger := f.into(f.pod)
		stranger.src = f.world
		n.want(t, "an error about nothing", bpf.ProgFromPod, f.tells(f.pod, f.world, stranger).to(podMAC, podGW), bpf.DropNATProtocol)
		p := f.summed(f.ping(f.from(f.world), 7))
		p.raw = append([]byte{}, p.raw...)
		p.raw[0] = byte(f.pick(13, 139))
		n.want(t, "a timestamp request", bpf.ProgFromPod, f.summed(p), bpf.DropNATProtocol)
	})
}

// An option does not take over a connection that is known.
func TestOptionTakesNoKnownConnectionOver(t *testing.T) {
	n := dsrNode(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, bpf.ServiceDSR, peerBackend)
		p := f.asksOther(unix.IPPROTO_TCP)
		n.want(t, "SYN", bpf.ProgFromNetdev, p, bpf.ReasonToEndpoint)
		back := p.reply().then("SA")
		back.srcMAC, back.dstMAC = peerMAC, peerGW
		answers := func() []byte {
			got := n.sendFrame(t, bpf.ProgFromPod, device(peerID), back.bytes())
			return got.out[26:34]
		}
		before := append([]byte{}, answers()...)
		n.want(t, "forged ACK", bpf.ProgFromNetdev, p.then("A").says(at(f.node, nodePort)), bpf.ReasonToEndpoint)
		after := answers()
		if !f.v6 && string(before) != string(after) {
			t.Errorf("answers come from % x, want % x", after, before)
		}
	})
}

// A TCP connection that was not masqueraded stays so when it is judged again.
func TestConnectionThatIsKnownKeepsItsAddress(t *testing.T) {
	n := masquerading(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		key := bpf.IPCacheKeyFrom(netip.PrefixFrom(f.world, f.bits()))
		n.set(t, bpf.MapUnmasqueraded, key, uint32(1+f.pick(0, 1)))
		p := forService(f.from(f.world), 443, unix.IPPROTO_TCP)
		n.passes(t, "exempt", bpf.ProgFromPod, device(podID), p, p.hop(), bpf.ReasonToNetwork)
		n.want(t, "its answer", bpf.ProgFromNetdev, p.reply().then("SA"), bpf.ReasonToEndpoint)
		if err := n.maps[bpf.MapUnmasqueraded].Delete(key); err != nil {
			t.Fatal(err)
		}
		n.passes(t, "no more", bpf.ProgFromPod, device(podID), p.then("A"), p.then("A").hop(), bpf.ReasonToNetwork)
		n.open(t, podID)
		n.passes(t, "judged again", bpf.ProgFromPod, device(podID), p.then("A"), p.then("A").hop(), bpf.ReasonToNetwork)
	})
}

// What comes to the pod's own address is no answer to what left as the node, and
// does not spoil that connection.
func TestPacketToThePodItselfSpoilsNoMasqueradedConnection(t *testing.T) {
	n := masquerading(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		p := f.from(f.world)
		port := n.sourcePort(t, p)
		forged := p.reply()
		forged.srcMAC, forged.dstMAC = otherMAC, peerGW
		n.isolate(t, podID, bpf.PolicyIngress)
		n.sendFrame(t, bpf.ProgFromPod, device(podID), p.bytes())
		got := n.sendFrame(t, bpf.ProgFromNetdev, underlayIfindex, forged.bytes())
		t.Logf("to the pod's own address: %s", got.reason)
		if again := n.sourcePort(t, p); again != port {
			t.Errorf("leaves from port %d, and did from %d", again, port)
		}
	})
}

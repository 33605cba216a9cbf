package bpftest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"weir/bpf"
)

// seeds are packets of every kind the cases know.
func seeds() (out [][]byte) {
	for _, f := range families {
		for _, p := range []packet{f.from(f.peer), f.from(f.remote), f.from(f.self), f.from(f.world), f.from(f.stale), f.from(f.noPod), f.from(f.multicast[0]), f.into(f.peer)} {
			tcp := p
			tcp.tcp, tcp.payload = true, 100
			out = append(out, p.bytes(), tcp.bytes())
		}
	}
	f := families[1]
	ask := arp{operation: 1, srcMAC: podMAC, dstMAC: broadcast, sender: families[0].pod, target: families[0].router, senderMAC: podMAC, targetMAC: make([]byte, 6)}
	return append(out, ask.bytes(), frame(0x88cc, 46),
		icmpv6(f.pod, f.router, 255, 135, solicitation(f.router, true)), icmpv6(f.pod, f.router, 255, 135, solicitation(f.router, false)))
}

// valid says whether a frame may be forwarded at all: an oracle that shares
// nothing with parse.h.
func valid(b []byte) bool {
	if len(b) < 14 {
		return false
	}
	l3 := b[14:]
	switch binary.BigEndian.Uint16(b[12:]) {
	case 0x0806:
		return len(l3) >= 28 && bytes.Equal(l3[:8], []byte{0, 1, 8, 0, 6, 4, 0, 1})
	case 0x0800:
		if len(l3) < 20 || l3[0]>>4 != 4 {
			return false
		}
		header, total := int(l3[0]&15)*4, int(binary.BigEndian.Uint16(l3[2:]))
		return header >= 20 && total >= header && total <= len(l3) && l3[8] > 1
	case 0x86dd:
		mapped := []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}
		return len(l3) >= 40 && l3[0]>>4 == 6 && 40+int(binary.BigEndian.Uint16(l3[4:])) <= len(l3) && l3[7] > 1 &&
			!bytes.HasPrefix(l3[8:], mapped) && !bytes.HasPrefix(l3[24:], mapped)
	}
	return false
}

// wrong says what is wrong with a redirected packet; an IPv4 header may have
// come with a wrong checksum, and then keeps its error.
func wrong(in, out []byte) string {
	switch {
	case len(out) < 14+28:
		return "too short"
	case binary.BigEndian.Uint16(out[12:]) == 0x0800:
		header := 14 + int(out[14]&15)*4
		if before, after := sum(in[14:header]), sum(out[14:header]); before != after && (before == 0xffff || after == 0xffff) {
			return "IPv4 checksum"
		}
		if !bytes.Equal(in[26:], out[26:]) {
			return "changed more than a hop may"
		}
		if out[22] != in[22]-1 {
			return "TTL"
		}
	case binary.BigEndian.Uint16(out[12:]) == 0x86dd:
		if !bytes.Equal(in[22:], out[22:]) {
			return "changed more than a hop may"
		}
		if out[21] != in[21]-1 {
			return "hop limit"
		}
	}
	return ""
}

func fuzz(f *testing.F, program string) {
	for _, s := range seeds() {
		f.Add(s, false)
	}
	host(f)
	n := newNode(f, config())
	n.fill(f)
	f.Fuzz(func(t *testing.T, in []byte, mend bool) {
		if len(in) > 3000 {
			t.Skip("longer than a test run takes")
		}
		if len(in) >= 34 && mend { // let mutations through that only spoil the checksum
			in = summed(in)
		}
		got, err := n.run(program, skb{Ifindex: device(podID)}, in)
		if errors.Is(err, unix.EINVAL) {
			t.Skip("the kernel test-runs no such frame")
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(got.counted) != 1 || got.counted[0].Packets != 1 || got.counted[0].Place != place(program) {
			t.Fatalf("counted %v, want one packet at one counter of %s", got.counted, program)
		}
		if got.verdict != redirect {
			if got.verdict != shot && got.verdict != next {
				t.Fatalf("verdict %d", got.verdict)
			}
			return
		}
		if !valid(in) {
			t.Fatalf("redirected an invalid packet as %v", got.counted[0])
		}
		if got.counted[0].Reason.Drop() {
			t.Fatalf("redirected, and counted as %v", got.counted[0])
		}
		if got.counted[0].Reason == bpf.ReasonARPAnswered || got.counted[0].Reason == bpf.ReasonNDPAnswered {
			answered(t, got)
			return
		}
		if w := wrong(in, got.out); w != "" {
			t.Fatalf("%s:\n in % x\nout % x", w, head(in), head(got.out))
		}
	})
}

// answered checks the gateway's own packets.
func answered(t *testing.T, got result) {
	t.Helper()
	out := got.out
	if !bytes.Equal(out[6:12], podGW) {
		t.Fatalf("answer is not from the gateway: % x", head(out))
	}
	if got.counted[0].Reason == bpf.ReasonARPAnswered {
		return
	}
	pseudo := append(append([]byte(nil), out[22:54]...), 0, 0, 0, 32, 0, 0, 0, 58)
	if len(out) != 86 || sum(append(pseudo, out[54:]...)) != 0xffff {
		t.Fatalf("advertisement of %d octets with a wrong checksum: % x", len(out), head(out))
	}
}

func FuzzFromPod(f *testing.F) { fuzz(f, bpf.ProgFromPod) }

func FuzzFromNetdev(f *testing.F) { fuzz(f, bpf.ProgFromNetdev) }

package bpftest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
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
// nothing with parse.h. The host's own stack has judged the TTL.
func valid(b []byte, hop bool) bool {
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
		return header >= 20 && total >= header && total <= len(l3) && (!hop || l3[8] > 1)
	case 0x86dd:
		mapped := []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}
		return len(l3) >= 40 && l3[0]>>4 == 6 && 40+int(binary.BigEndian.Uint16(l3[4:])) <= len(l3) && (!hop || l3[7] > 1) &&
			!bytes.HasPrefix(l3[8:], mapped) && !bytes.HasPrefix(l3[24:], mapped)
	}
	return false
}

// wrong says what is wrong with a redirected packet. An IPv4 header that came
// with a wrong checksum keeps its error.
func wrong(in, out []byte, hop bool) string {
	if len(in) != len(out) {
		return "length"
	}
	ttl, addresses := 21, 22
	if out[14]>>4 == 4 {
		ttl, addresses = 22, 26
		end := min(14+int(out[14]&15)*4, len(out))
		if (sum(in[14:end]) == 0xffff) != (sum(out[14:end]) == 0xffff) {
			return "IPv4 checksum"
		}
	}
	want := in[ttl]
	if hop {
		want--
	}
	switch {
	case out[ttl] != want:
		return "TTL"
	case !bytes.Equal(in[12:ttl], out[12:ttl]) || !bytes.Equal(in[addresses:], out[addresses:]):
		return "changed more than a hop may"
	}
	return ""
}

// mutated spoils a few octets of a packet, mostly in its headers, or cuts it.
func mutated(r *rand.Rand, in []byte) []byte {
	out := append([]byte(nil), in...)
	for range 1 + r.IntN(3) {
		at := 12 + r.IntN(min(len(out)-12, 60))
		switch r.IntN(4) {
		case 0:
			out[at] ^= 1 << r.IntN(8)
		case 1:
			out[at] = byte(r.Uint32())
		case 2:
			out[at] = []byte{0, 1, 0x7f, 0xff}[r.IntN(4)]
		default:
			if size := 34 + r.IntN(40); size < len(out) {
				out = out[:size]
			}
		}
	}
	if r.IntN(2) == 0 { // let the checksum be right
		out = summed(out)
	}
	return out
}

// judge runs a packet of any content and checks what must hold for all: one
// counter, no redirect of what is invalid, and a right packet out.
func judge(t *testing.T, n *node, program string, in []byte) (ran bool) {
	t.Helper()
	got, err := n.run(program, skb{Ifindex: device(podID)}, in)
	if errors.Is(err, unix.EINVAL) {
		return false // the kernel test-runs no such frame
	}
	if err != nil {
		t.Fatal(err)
	}
	got.counted, err = n.countAt(place(program))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.counted) != 1 || got.counted[0].Packets != 1 || got.counted[0].Place != place(program) {
		t.Fatalf("counted %v, want one packet at one counter of %s", got.counted, program)
	}
	reason := got.counted[0].Reason
	switch {
	case got.verdict == shot || got.verdict == next:
		return true
	case got.verdict != redirect:
		t.Fatalf("verdict %d", got.verdict)
	case !valid(in, program != bpf.ProgFromHost):
		t.Fatalf("redirected an invalid packet as %v: % x", reason, head(in))
	case reason.Drop():
		t.Fatalf("redirected, and counted as %v", reason)
	case reason == bpf.ReasonARPAnswered || reason == bpf.ReasonNDPAnswered:
		answered(t, got)
		return true
	}
	if w := wrong(in, got.out, program != bpf.ProgFromHost); w != "" {
		t.Fatalf("%s:\n in % x\nout % x", w, head(in), head(got.out))
	}
	return true
}

// Coverage does not guide a fuzzer through the kernel, so that mutations of
// whole packets find more than it; the fuzz targets go on from there.
func TestMutatedPacketsAreNeverMistakenForValidOnes(t *testing.T) {
	n := filled(t, config())
	for _, program := range []string{bpf.ProgFromPod, bpf.ProgFromNetdev, bpf.ProgFromHost, bpf.ProgFromOverlay, bpf.ProgToPod} {
		t.Run(program, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			all, ran := seeds(), 0
			for range 10000 {
				if judge(t, n, program, mutated(r, all[r.IntN(len(all))])) {
					ran++
				}
			}
			if others, err := n.count(); err != nil || len(others) > 0 {
				t.Errorf("counted elsewhere: %v, %v", others, err)
			}
			if ran < 5000 {
				t.Errorf("only %d of 10000 packets ran", ran)
			}
		})
	}
}

func fuzz(f *testing.F, program string) {
	for _, s := range seeds() {
		f.Add(s, false)
	}
	host(f)
	n := newNode(f, config())
	n.fill(f)
	f.Fuzz(func(t *testing.T, in []byte, mend bool) {
		if len(in) < 14 || len(in) > 3000 {
			t.Skip("no frame that a test run takes")
		}
		if len(in) >= 34 && mend {
			in = summed(in)
		}
		if !judge(t, n, program, in) {
			t.Skip("the kernel test-runs no such frame")
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

// Run with -fuzzminimizetime 10x: making inputs small takes most of the time
// otherwise.
func FuzzFromPod(f *testing.F) { fuzz(f, bpf.ProgFromPod) }

func FuzzFromNetdev(f *testing.F) { fuzz(f, bpf.ProgFromNetdev) }

package bpftest

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

// alone stops the stack from sending anything of its own on the pods' devices,
// which the counters would show.
func alone(t *testing.T) {
	t.Helper()
	for _, device := range []string{"pod", "pod-in"} {
		sysctl(t, "net/ipv6/conf/"+device+"/disable_ipv6", "1")
	}
}

// attach puts a program on the ingress of a device until the test ends.
func (n *node) attach(t testing.TB, program string, ifindex uint32) {
	t.Helper()
	n.do(func() {
		l, err := link.AttachTCX(link.TCXOptions{Interface: int(ifindex), Program: n.programs[program], Attach: ebpf.AttachTCXIngress})
		if err != nil {
			t.Errorf("attach %s: %v", program, err)
			return
		}
		t.Cleanup(func() { l.Close() })
	})
}

// inject sends frames from the far end of a device, octet for octet.
func (n *node) inject(t *testing.T, from string, frames ...[]byte) {
	t.Helper()
	n.do(func() {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			t.Errorf("open packet socket: %v", err)
			return
		}
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Ifindex: linktest.Link(t, from).Attrs().Index}
		for _, f := range frames {
			if err := unix.Sendto(fd, f, 0, to); err != nil {
				t.Errorf("send %d octets: %v", len(f), err)
			}
		}
	})
}

// expect waits until so many packets were counted, and compares the reasons.
func (n *node) expect(t *testing.T, program string, want map[bpf.Reason]uint64) {
	t.Helper()
	var total, sum uint64
	for _, packets := range want {
		total += packets
	}
	got := map[bpf.Reason]uint64{}
	linktest.Eventually(t, 5*time.Second, fmt.Sprintf("%d packets counted by %s", total, program), func() bool {
		counted, err := n.count()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counted {
			if c.Place == place(program) {
				got[c.Reason] += c.Packets
				sum += c.Packets
			}
		}
		return sum >= total
	})
	for reason, packets := range want {
		if got[reason] != packets {
			t.Errorf("%s counted %v, want %v", program, got, want)
			return
		}
	}
}

// The kernel refuses to test-run a program on an IP header that is cut; a wire
// does not.
func TestHeaderCutAtEveryLengthIsInvalid(t *testing.T) {
	n := filled(t, config())
	alone(t)
	mac := linktest.Link(t, "pod").Attrs().HardwareAddr
	for _, r := range refusals {
		t.Run(r.program, func(t *testing.T) {
			n.attach(t, r.program, device(podID))
			var frames [][]byte
			for _, f := range families {
				whole := f.from(f.peer).to(podMAC, mac).bytes()
				header := 20
				if f.v6 {
					header = 40
				}
				for size := range header {
					frames = append(frames, whole[:14+size])
				}
			}
			reason := bpf.DropInvalidPacket
			if r.program == bpf.ProgFromNetdev {
				reason = bpf.ReasonPassed
			}
			n.inject(t, "pod-in", frames...)
			n.expect(t, r.program, map[bpf.Reason]uint64{reason: 60})
		})
	}
}

// tagged puts a VLAN tag of the given protocol into a frame.
func tagged(frame []byte, protocol, tci uint16) []byte {
	out := append([]byte(nil), frame[:12]...)
	out = binary.BigEndian.AppendUint16(out, protocol)
	out = binary.BigEndian.AppendUint16(out, tci)
	return append(out, frame[12:]...)
}

// Seed row M9. Six frames of each family: VLAN 100 (once with a priority),
// 200, 4095, VLAN 7 within service VLAN 100, and VLAN 0, which is none.
func TestVLANPassesAsConfigured(t *testing.T) {
	full := [8]uint16{1, 2, 3, 4, 5, 6, 7, 100}
	for name, c := range map[string]struct {
		program string
		bypass  [8]uint16
		want    map[bpf.Reason]uint64
	}{
		"none":                {bpf.ProgFromNetdev, [8]uint16{}, map[bpf.Reason]uint64{bpf.DropVLAN: 10, bpf.ReasonToHost: 2}},
		"one":                 {bpf.ProgFromNetdev, [8]uint16{100}, map[bpf.Reason]uint64{bpf.ReasonVLANBypassed: 6, bpf.DropVLAN: 4, bpf.ReasonToHost: 2}},
		"the last of a list":  {bpf.ProgFromNetdev, full, map[bpf.Reason]uint64{bpf.ReasonVLANBypassed: 6, bpf.DropVLAN: 4, bpf.ReasonToHost: 2}},
		"all":                 {bpf.ProgFromNetdev, [8]uint16{uint16(bpf.VLANAll)}, map[bpf.Reason]uint64{bpf.ReasonVLANBypassed: 10, bpf.ReasonToHost: 2}},
		"pods never send any": {bpf.ProgFromPod, [8]uint16{uint16(bpf.VLANAll)}, map[bpf.Reason]uint64{bpf.DropVLAN: 12}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config()
			cfg.VLANBypass = c.bypass
			n := filled(t, cfg)
			alone(t)
			mac := linktest.Link(t, "pod").Attrs().HardwareAddr
			n.attach(t, c.program, device(podID))
			for _, f := range families {
				plain := f.from(f.self).to(podMAC, mac).bytes()
				n.inject(t, "pod-in", tagged(plain, 0x8100, 100), tagged(plain, 0x8100, 0xe064), tagged(plain, 0x8100, 200), tagged(plain, 0x8100, 0x0fff),
					tagged(tagged(plain, 0x8100, 7), 0x88a8, 100), tagged(plain, 0x8100, 0xa000))
			}
			n.expect(t, c.program, c.want)
		})
	}
}

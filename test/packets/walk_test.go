package packets

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"weir/bpf"
	"weir/lab"
)

// carries matches frames that hold the bytes, wrapped or not.
func carries(b string) func(gopacket.Packet) bool {
	return func(p gopacket.Packet) bool { return bytes.Contains(p.Data(), []byte(b)) }
}

// wantNowhere fails for each place that saw a crafted packet.
func wantNowhere(t *testing.T, taps map[string]*tap) {
	t.Helper()
	for where, w := range taps {
		if n := len(w.all(carries(mark))); n > 0 {
			t.Errorf("%s saw %d of the packets", where, n)
		}
	}
}

func TestRowM1ForeignEtherTypesAreDroppedAndCounted(t *testing.T) {
	eachMode(t, dualStack, func(t *testing.T, c *cluster) {
		taps := c.everywhere(t, "a")
		for name, kind := range map[string]layers.EthernetType{"LLDP": layers.EthernetTypeLinkLayerDiscovery, "MPLS": layers.EthernetTypeMPLSUnicast, "odd": 0x1234} {
			t.Run(name, func(t *testing.T) {
				before := c.counters(t, "n1")
				c.emit(t, "a", "eth0", 7, frame(t, c.fromPod(t, "a", kind), gopacket.Payload(mark)))
				c.wantDropped(t, "n1", before, at(bpf.PlaceFromPod, bpf.DropUnsupportedL2), 7)
			})
		}
		wantNowhere(t, taps)
	})
}

func TestRowM2SpoofedSourcesAreDroppedAndCounted(t *testing.T) {
	eachMode(t, dualStack, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			taps := c.everywhere(t, "a")
			before := c.counters(t, "n1")
			var frames [][]byte
			for _, as := range []string{"b", "c", "n1", "n2", "world"} {
				for _, to := range []string{"b", "c", "n1", "world"} {
					frames = append(frames, c.udp(t, c.fromPod(t, "a", 0), c.addr(t, as, is4), c.addr(t, to, is4)))
				}
			}
			c.emit(t, "a", "eth0", 3, frames...)
			c.wantDropped(t, "n1", before, at(bpf.PlaceFromPod, bpf.DropInvalidSourceIP), 3*20)
			wantNowhere(t, taps)
		})
	})
}

func TestRowM2OwnSourcePasses(t *testing.T) {
	eachMode(t, dualStack, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			for _, to := range []string{"b", "c"} {
				pod := c.listenOn(t, to, "eth0")
				c.emit(t, "a", "eth0", 3, c.udp(t, c.fromPod(t, "a", 0), c.addr(t, "a", is4), c.addr(t, to, is4)))
				if !await(patience, func() bool { return len(pod.all(carries(mark))) >= 3 }) {
					t.Errorf("pod %s got %d of 3 packets", to, len(pod.all(carries(mark))))
				}
			}
		})
	})
}

func TestRowM7TunnelKeyIsTheIdentityOfTheSender(t *testing.T) {
	for _, m := range []mode{vxlan, legacy, legacyIPv4, vxlanIPv6} {
		t.Run(m.String(), func(t *testing.T) {
			c := on(t, m)
			if c.endpoint(t, "a").Identity == c.endpoint(t, "b").Identity {
				t.Fatal("two pods with different labels share an identity")
			}
			c.eachFamily(t, func(t *testing.T, is4 bool) {
				for _, pod := range []string{"a", "b"} {
					before := c.counters(t, "n1")
					c.wantVNI(t, pod, "d", is4)
					c.wantCount(t, "n1", before, at(bpf.PlaceFromPod, bpf.ReasonToOverlay), 3)
					// The kernel sends reports of its multicast groups there, too.
					passed := at(bpf.PlaceToOverlay, bpf.ReasonPassed)
					if n := c.counters(t, "n1")[passed] - before[passed]; n < 3 {
						t.Errorf("to_overlay let %d packets pass, want the 3 requests at least", n)
					}
				}
			})
		})
	}
}

// underlayMACs are those of a frame from the world to a node.
func (c *cluster) underlayMACs(t *testing.T, node string) (src, dst net.HardwareAddr) {
	t.Helper()
	e := ethernet(t, c.devices(t, "world")["eth0"].Address, c.devices(t, node)["eth0"].Address, 0)
	return e.SrcMAC, e.DstMAC
}

// tagged is a datagram of the world to a pod with an 802.1Q tag.
func (c *cluster) tagged(t *testing.T, node string, id uint16, dst netip.Addr) []byte {
	t.Helper()
	src, mac := c.underlayMACs(t, node)
	plain := c.udp(t, &layers.Ethernet{SrcMAC: src, DstMAC: mac}, c.addr(t, "world", dst.Is4()), dst)
	tag := []byte{0x81, 0x00, byte(id >> 8), byte(id)}
	return append(append(append([]byte(nil), plain[:12]...), tag...), plain[12:]...)
}

func TestRowM9TaggedFramesAreDroppedAndCounted(t *testing.T) {
	eachMode(t, dualStack, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			pod := c.listenOn(t, "a", "eth0")
			before := c.counters(t, "n1")
			c.emit(t, "world", "eth0", 4, c.tagged(t, "n1", 5, c.addr(t, "a", is4)))
			c.wantDropped(t, "n1", before, at(bpf.PlaceFromNetdev, bpf.DropVLAN), 4)
			wantNowhere(t, map[string]*tap{"the pod": pod})
		})
	})
}

func TestRowM9BypassedVLANsReachTheHostAndOthersDoNot(t *testing.T) {
	s := vxlan.spec()
	s.Name, s.Nodes = prefix+"extras", lab.Nodes(1)
	s.Agent["bpf"] = map[string]any{"vlanBypass": []int{5, 7}}
	c := temporary(t, s, map[string]string{"a": "n1"})
	before := c.counters(t, "n1")
	var host *tap
	r := c.Exec(t.Context(), "n1", "ip", "link", "add", "link", "eth0", "name", "eth0.5", "type", "vlan", "id", "5")
	if r.OK() {
		c.run(t, "n1", "ip", "link", "set", "eth0.5", "up")
		host = c.listenOn(t, "n1", "eth0.5")
	} else {
		t.Logf("counters alone: the kernel makes no VLAN devices: %s", r.Stderr)
	}
	c.emit(t, "world", "eth0", 4, c.tagged(t, "n1", 5, c.addr(t, "a", true)))
	c.wantCount(t, "n1", before, at(bpf.PlaceFromNetdev, bpf.ReasonVLANBypassed), 4)
	if host != nil && !await(patience, func() bool { return len(host.all(carries(mark))) >= 4 }) {
		t.Errorf("eth0.5 got %d of 4 frames", len(host.all(carries(mark))))
	}
	c.emit(t, "world", "eth0", 2, c.tagged(t, "n1", 7, c.addr(t, "a", false)))
	c.wantCount(t, "n1", before, at(bpf.PlaceFromNetdev, bpf.ReasonVLANBypassed), 6)
	c.emit(t, "world", "eth0", 3, c.tagged(t, "n1", 6, c.addr(t, "a", true)))
	c.wantDropped(t, "n1", before, at(bpf.PlaceFromNetdev, bpf.DropVLAN), 3)
}

func TestRowM11TunnelPacketsFindTheirPodOrAreDropped(t *testing.T) {
	for _, m := range []mode{vxlan, legacy, legacyIPv4, vxlanIPv6} {
		t.Run(m.String(), func(t *testing.T) {
			c := on(t, m)
			c.eachFamily(t, func(t *testing.T, is4 bool) {
				before := c.counters(t, "n2")
				c.reach(t, "a", c.addr(t, "c", is4))
				c.wantCount(t, "n2", before, at(bpf.PlaceFromOverlay, bpf.ReasonToEndpoint), 3)

				nobody := c.addr(t, "c", is4)
				for range 20 {
					nobody = nobody.Next()
				}
				before = c.counters(t, "n2")
				pod := c.listenOn(t, "c", "eth0")
				c.emit(t, "a", "eth0", 5, c.udp(t, c.fromPod(t, "a", 0), c.addr(t, "a", is4), nobody))
				c.wantDropped(t, "n2", before, at(bpf.PlaceFromOverlay, bpf.DropNoEndpoint), 5)
				wantNowhere(t, map[string]*tap{"pod c": pod})
			})
		})
	}
}

func TestRowM13TunnelPacketsPassUpToTheKernel(t *testing.T) {
	for _, m := range []mode{vxlan, legacy, legacyIPv4, vxlanIPv6} {
		t.Run(m.String(), func(t *testing.T) {
			c := on(t, m)
			c.eachFamily(t, func(t *testing.T, is4 bool) {
				wire, overlay := c.listenOn(t, "n2", "eth0"), c.listenOn(t, "n2", "weir_vxlan")
				before := c.counters(t, "n2")
				c.reach(t, "a", c.addr(t, "c", is4))
				src, dst := c.addr(t, "a", is4), c.addr(t, "c", is4)
				arrived := wire.all(func(p gopacket.Packet) bool {
					v, ok := tunnelled(p)
					return ok && echo(true, src, dst)(inner(v))
				})
				if len(arrived) != 3 || len(overlay.all(echo(true, src, dst))) != 3 {
					t.Errorf("eth0 got %d tunnel packets, weir_vxlan %d packets out of them; want 3 and 3", len(arrived), len(overlay.all(echo(true, src, dst))))
				}
				if got := c.drops(t, "n2", before); len(got) > 0 {
					t.Errorf("dropped %s", got)
				}
				host := at(bpf.PlaceFromNetdev, bpf.ReasonToHost)
				if n := c.counters(t, "n2")[host] - before[host]; n < 3 {
					t.Errorf("from_netdev let %d packets on to the host, want the 3 of the tunnel at least", n)
				}
			})
		})
	}
}

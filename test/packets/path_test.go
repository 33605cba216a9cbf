package packets

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"weir/bpf"
)

// wantEchoes compares how many requests and replies of a ping were seen.
func (w *tap) wantEchoes(t *testing.T, where string, src, dst netip.Addr, requests, replies int) {
	t.Helper()
	asked, answered := len(w.all(echo(true, src, dst))), len(w.all(echo(false, dst, src)))
	if asked != requests || answered != replies {
		t.Errorf("%s: saw %d requests and %d replies, want %d and %d", where, asked, answered, requests, replies)
	}
}

func TestRowJ1SourceVethSeesOnlyRequests(t *testing.T) {
	eachMode(t, bpfRouted, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			src, dst := c.addr(t, "a", is4), c.addr(t, "b", is4)
			pod, host := c.listenOn(t, "a", "eth0"), c.listenOn(t, "a", "host")
			c.reach(t, "a", dst)
			pod.wantEchoes(t, "the pod's eth0", src, dst, 3, 3)
			host.wantEchoes(t, "the source's host device", src, dst, 3, 0)
		})
	})
}

func TestRowJ2TargetVethSeesOnlyReplies(t *testing.T) {
	eachMode(t, bpfRouted, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			src, dst := c.addr(t, "a", is4), c.addr(t, "b", is4)
			pod, host := c.listenOn(t, "b", "eth0"), c.listenOn(t, "b", "host")
			c.reach(t, "a", dst)
			pod.wantEchoes(t, "the pod's eth0", src, dst, 3, 3)
			host.wantEchoes(t, "the target's host device", src, dst, 0, 3)
		})
	})
}

func TestRowJ3EachNodeIsOneHop(t *testing.T) {
	eachMode(t, dualStack, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			for to, want := range map[string]int{"b": 63, "c": 62, "n1": 64} {
				if got := c.reach(t, "a", c.addr(t, to, is4)).ttl; got != want {
					t.Errorf("TTL of the answer of %s: got %d, want %d", to, got, want)
				}
			}
		})
	})
}

func TestRowJ4NativeCrossNodePacketsTakeTheShortWay(t *testing.T) {
	c := on(t, native)
	c.eachFamily(t, func(t *testing.T, is4 bool) {
		src, dst := c.addr(t, "a", is4), c.addr(t, "c", is4)
		source, target := c.listenOn(t, "a", "host"), c.listenOn(t, "c", "host")
		wire := c.listenOn(t, "n1", "eth0")
		c.reach(t, "a", dst)
		source.wantEchoes(t, "the source's host device", src, dst, 3, 0)
		target.wantEchoes(t, "the target's host device", src, dst, 0, 3)
		wire.wantEchoes(t, "eth0", src, dst, 3, 3)
		here, there := c.devices(t, "n1")["eth0"].Address, c.devices(t, "n2")["eth0"].Address
		for _, p := range wire.all(echo(true, src, dst)) {
			eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
			if eth.SrcMAC.String() != here || eth.DstMAC.String() != there {
				t.Errorf("MACs on the wire: %s > %s, want those of the nodes, %s > %s", eth.SrcMAC, eth.DstMAC, here, there)
			}
		}
	})
}

var dropRule = regexp.MustCompile(`(?m)^\s*(\d+)\s+\d+\s+DROP\s`)

func TestRowJ5PodsDoNotMeetNetfilterOfTheHost(t *testing.T) {
	eachMode(t, bpfRouted, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			tables := c.netfilter(t, is4)
			for _, node := range []string{"n1", "n2"} {
				c.run(t, node, tables, "-I", "FORWARD", "-j", "DROP")
				defer c.run(t, node, tables, "-D", "FORWARD", "-j", "DROP")
			}
			for _, to := range []string{"b", "c"} {
				c.reach(t, "a", c.addr(t, to, is4))
				if err := c.exchange(t, "a", to, is4, 1<<20); err != nil {
					t.Errorf("TCP to %s: %v", to, err)
				}
			}
			for _, node := range []string{"n1", "n2"} {
				text := c.run(t, node, tables, "-nvxL", "FORWARD")
				m := dropRule.FindStringSubmatch(text)
				if m == nil || m[1] != "0" {
					t.Errorf("%s: packets met FORWARD:\n%s", node, text)
				}
			}
		})
	})
}

// netfilter returns the program that can write rules of the family here.
func (c *cluster) netfilter(t *testing.T, is4 bool) string {
	t.Helper()
	names := []string{"ip6tables-nft", "ip6tables-legacy"}
	if is4 {
		names = []string{"iptables-nft", "iptables-legacy"}
	}
	why := ""
	for _, name := range names {
		r := c.Exec(t.Context(), "n1", name, "-nL", "FORWARD")
		if r.OK() {
			return name
		}
		why += "\n" + name + ": " + strings.TrimSpace(r.Stderr)
	}
	t.Skip("needs iptables of either kind: apt-get install iptables; or the kernel has no filter table:" + why)
	return ""
}

func TestRowJ10IPCacheChoosesTheNodeAndInnerAddressesAreThePods(t *testing.T) {
	for _, m := range []mode{vxlan, legacy, vxlanIPv6} {
		t.Run(m.String(), func(t *testing.T) {
			c := on(t, m)
			c.eachFamily(t, func(t *testing.T, is4 bool) {
				underlay4 := *c.spec.IPv4 // auto: IPv4 where nodes have it
				for pod, node := range map[string]string{"c": "n2", "d": "n3"} {
					endpoint := c.tunnelEndpoint(t, "n1", c.addr(t, pod, is4))
					if endpoint != c.addr(t, node, underlay4) {
						t.Errorf("tunnel endpoint of pod %s: got %s, want node %s's %s", pod, endpoint, node, c.addr(t, node, underlay4))
					}
					wire := c.listenOn(t, "n1", "eth0")
					c.reach(t, "a", c.addr(t, pod, is4))
					got := wire.all(func(p gopacket.Packet) bool {
						v, ok := tunnelled(p)
						outer := addresses(p)
						return ok && outer[0] == [2]netip.Addr{c.addr(t, "n1", underlay4), endpoint} &&
							echo(true, c.addr(t, "a", is4), c.addr(t, pod, is4))(inner(v))
					})
					if len(got) != 3 {
						t.Errorf("eth0: %d requests in tunnel packets to %s port 8472, want 3", len(got), endpoint)
					}
				}
			})
		})
	}
}

var endpointField = regexp.MustCompile(`tunnelendpoint=(\S+)`)

// tunnelEndpoint reads the node that has an address out of weir_ipcache.
func (c *cluster) tunnelEndpoint(t *testing.T, node string, pod netip.Addr) netip.Addr {
	t.Helper()
	best, out := -1, netip.Addr{}
	for _, row := range c.dump(t, node, bpf.MapIPCache).Rows {
		p, err := netip.ParsePrefix(row.Key)
		if err != nil || !p.Contains(pod) || p.Bits() <= best {
			continue
		}
		if m := endpointField.FindStringSubmatch(row.Value); m != nil {
			best = p.Bits()
			out, _ = netip.ParseAddr(m[1])
		}
	}
	return out
}

// Ethernet 14, IP 20 or 40, ICMP 8 and 56 bytes of ping.
func TestRowJ13NativePacketsHaveNoExtraBytes(t *testing.T) {
	c := on(t, native)
	c.eachFamily(t, func(t *testing.T, is4 bool) {
		size := 118
		if is4 {
			size = 98
		}
		src, dst := c.addr(t, "a", is4), c.addr(t, "c", is4)
		taps := map[string]*tap{"the source's host device": c.listenOn(t, "a", "host"), "eth0": c.listenOn(t, "n1", "eth0"), "the target's eth0": c.listenOn(t, "c", "eth0")}
		c.reach(t, "a", dst)
		for where, w := range taps {
			for _, p := range w.all(echo(true, src, dst)) {
				if len(p.Data()) != size {
					t.Errorf("ICMP at %s: %d bytes, want %d", where, len(p.Data()), size)
				}
			}
			if n := len(w.all(echo(true, src, dst))); n != 3 {
				t.Errorf("ICMP at %s: %d requests, want 3", where, n)
			}
		}
		c.wantSegment(t, taps, is4, 1000)
	})
}

// wantSegment sends size bytes in one TCP segment, and compares its length at
// each of the taps with that at the first.
func (c *cluster) wantSegment(t *testing.T, taps map[string]*tap, is4 bool, size int) {
	t.Helper()
	if err := c.exchange(t, "a", "c", is4, size); err != nil {
		t.Fatal(err)
	}
	src, dst := c.addr(t, "a", is4), c.addr(t, "c", is4)
	seen := map[int][]string{}
	for where, w := range taps {
		for _, p := range w.all(func(p gopacket.Packet) bool {
			tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
			from, to := innermost(p)
			return ok && len(tcp.Payload) == size && from == src && to == dst
		}) {
			seen[len(p.Data())] = append(seen[len(p.Data())], where)
		}
	}
	for n, where := range seen {
		if len(seen) != 1 || len(where) != len(taps) {
			t.Errorf("TCP: %d bytes at %v; want one length at all of %d places", n, where, len(taps))
		}
	}
	if len(seen) == 0 {
		t.Error("TCP: no segment was seen")
	}
}

// The five destinations of a pod's packet, and what judges it on its way.
func TestRowM6EachOfFiveDestinationsHasItsWay(t *testing.T) {
	for _, tt := range []struct {
		name, to string
		m        mode
		by       bpf.Reason
	}{
		{"local pod", "b", vxlan, bpf.ReasonToEndpoint},
		{"local pod, native", "b", native, bpf.ReasonToEndpoint},
		{"outside", "world", vxlan, bpf.ReasonToNetwork},
		{"outside, native", "world", native, bpf.ReasonToNetwork},
		{"outside, legacy", "world", legacy, bpf.ReasonToNetwork},
		{"local non-pod", "n1", vxlan, bpf.ReasonToHost},
		{"local non-pod, native", "n1", native, bpf.ReasonToHost},
		{"remote pod, native", "c", native, bpf.ReasonToNetwork},
		{"remote pod, overlay", "c", vxlan, bpf.ReasonToOverlay},
		{"remote pod, overlay, legacy", "c", legacy, bpf.ReasonToOverlay},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := on(t, tt.m)
			c.eachFamily(t, func(t *testing.T, is4 bool) {
				before := c.counters(t, "n1")
				c.reach(t, "a", c.addr(t, tt.to, is4), "-c", "5")
				replies := uint64(0)
				if tt.to == "b" { // whose answers come from a pod of the node, too
					replies = 5
				}
				c.wantCount(t, "n1", before, at(bpf.PlaceFromPod, tt.by), 5+replies)
				if got := c.drops(t, "n1", before); len(got) > 0 {
					t.Errorf("dropped %s", got)
				}
			})
		})
	}
}

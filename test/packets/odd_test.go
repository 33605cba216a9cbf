package packets

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"weir/lab"
)

// Fragments are routed by addresses alone: the pod's stack puts them together.
func TestDatagramsInFragmentsArriveWhole(t *testing.T) {
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			for _, w := range ways {
				t.Run(w.name, func(t *testing.T) {
					for _, size := range []int{4000, 60000} {
						if err := c.datagram(t, w.from, w.to, is4, size); err != nil {
							t.Errorf("datagram of %d bytes: %v", size, err)
						}
					}
				})
			}
		})
	})
}

// oddIPv4 are whole packets that few programs send.
func (c *cluster) oddIPv4(t *testing.T, src, dst netip.Addr) map[string][]byte {
	t.Helper()
	build := func(change func(*layers.IPv4)) []byte {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: 253, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		change(ip)
		return frame(t, c.fromPod(t, "a", layers.EthernetTypeIPv4), ip, gopacket.Payload(mark))
	}
	nop := layers.IPv4Option{OptionType: 1, OptionLength: 1}
	many := func(n int) []layers.IPv4Option {
		var out []layers.IPv4Option
		for range n {
			out = append(out, nop)
		}
		return out
	}
	plain := build(func(*layers.IPv4) {})
	return map[string][]byte{
		"options of 4 bytes":    build(func(ip *layers.IPv4) { ip.Options = many(4) }),
		"options of 40 bytes":   build(func(ip *layers.IPv4) { ip.Options = many(40) }),
		"first fragment":        build(func(ip *layers.IPv4) { ip.Flags = layers.IPv4MoreFragments }),
		"later fragment":        build(func(ip *layers.IPv4) { ip.FragOffset = 100 }),
		"unknown protocol":      plain,
		"padding of the frame":  append(append([]byte(nil), plain...), 0, 0, 0, 0, 0, 0),
		"no datagram after UDP": build(func(ip *layers.IPv4) { ip.Protocol = layers.IPProtocolUDP }),
	}
}

// extension returns an IPv6 packet with extension headers in front of mark.
func (c *cluster) extension(t *testing.T, src, dst netip.Addr, first layers.IPProtocol, headers ...byte) []byte {
	t.Helper()
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: first, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	return frame(t, c.fromPod(t, "a", layers.EthernetTypeIPv6), ip, gopacket.Payload(append(headers, mark...)))
}

func (c *cluster) oddIPv6(t *testing.T, src, dst netip.Addr) map[string][]byte {
	t.Helper()
	const none = 59
	pad := []byte{1, 4, 0, 0, 0, 0} // PadN, RFC 8200 section 4.2
	chain := append([]byte{60, 0}, pad...)
	chain = append(append(chain, 60, 0), pad...)
	chain = append(append(chain, none, 0), pad...)
	plain := c.extension(t, src, dst, 253)
	return map[string][]byte{
		"hop-by-hop options":           c.extension(t, src, dst, layers.IPProtocolIPv6HopByHop, append([]byte{none, 0}, pad...)...),
		"destination options":          c.extension(t, src, dst, layers.IPProtocolIPv6Destination, append([]byte{none, 0}, pad...)...),
		"destination options in chain": c.extension(t, src, dst, layers.IPProtocolIPv6Destination, chain...),
		"first fragment":               c.extension(t, src, dst, layers.IPProtocolIPv6Fragment, none, 0, 0, 1, 0, 0, 0, 9),
		"later fragment":               c.extension(t, src, dst, layers.IPProtocolIPv6Fragment, none, 0, 1, 0, 0, 0, 0, 9),
		"unknown protocol":             plain,
		"padding of the frame":         append(append([]byte(nil), plain...), 0, 0, 0, 0, 0, 0),
	}
}

func TestOddPacketsReachTheirPodAndNobodyElse(t *testing.T) {
	const each = 3
	eachMode(t, dualStack, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			for to, strangers := range map[string][]string{"b": {"c", "d"}, "c": {"b", "d"}} {
				odd := c.oddIPv6
				if is4 {
					odd = c.oddIPv4
				}
				before := c.counters(t, "n1")
				wrong := map[string]*tap{}
				for _, pod := range strangers {
					wrong["pod "+pod] = c.listenOn(t, pod, "eth0")
				}
				send := c.sender(t, "a", "eth0")
				all := odd(t, c.addr(t, "a", is4), c.addr(t, to, is4))
				for _, name := range slices.Sorted(maps.Keys(all)) { // a later fragment after its first one
					f := all[name]
					pod := c.listenOn(t, to, "eth0")
					send(each, f)
					if !await(time.Second, func() bool { return len(pod.all(carries(mark))) >= each }) {
						t.Errorf("%s: pod %s got %d of %d", name, to, len(pod.all(carries(mark))), each)
					}
				}
				if got := c.drops(t, "n1", before); len(got) > 0 {
					t.Errorf("dropped %s", got)
				}
				wantNowhere(t, wrong)
			}
		})
	})
}

func TestLabUpUnderTenSeconds(t *testing.T) {
	s := lab.Spec{Name: prefix + "up", Nodes: lab.Nodes(3)}
	began := time.Now()
	c := temporary(t, s, map[string]string{"a": "n1", "b": "n1", "c": "n2", "d": "n2", "e": "n3", "f": "n3"})
	took := time.Since(began)
	t.Logf("3 nodes and 6 pods were up in %s", took)
	if took > 10*time.Second {
		t.Errorf("3 nodes and 6 pods were up in %s, want less than 10 s", took)
	}
	for _, is4 := range []bool{true, false} {
		for _, to := range []string{"b", "c", "f"} {
			c.reach(t, "a", c.addr(t, to, is4))
		}
	}
}

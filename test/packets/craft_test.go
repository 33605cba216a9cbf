package packets

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// ethernet is the header of a frame between two MAC addresses.
func ethernet(t *testing.T, src, dst string, kind layers.EthernetType) *layers.Ethernet {
	t.Helper()
	from, err1 := net.ParseMAC(src)
	to, err2 := net.ParseMAC(dst)
	if err1 != nil || err2 != nil {
		t.Fatalf("MACs %q, %q: %v, %v", src, dst, err1, err2)
	}
	return &layers.Ethernet{SrcMAC: from, DstMAC: to, EthernetType: kind}
}

// fromPod is the Ethernet header of what a pod sends to its gateway.
func (c *cluster) fromPod(t *testing.T, pod string, kind layers.EthernetType) *layers.Ethernet {
	t.Helper()
	e := c.endpoint(t, pod)
	return ethernet(t, e.MAC, e.NodeMAC, kind)
}

// frame serializes layers, with checksums and lengths filled in.
func frame(t *testing.T, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), b.Bytes()...)
}

// mark is the payload by which a crafted packet is known again.
const mark = "weir was here, and so was this packet"

// udp is a UDP datagram in an IP packet of the addresses' family.
func (c *cluster) udp(t *testing.T, eth *layers.Ethernet, src, dst netip.Addr) []byte {
	t.Helper()
	datagram := &layers.UDP{SrcPort: 4000, DstPort: 4001}
	if src.Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		_ = datagram.SetNetworkLayerForChecksum(ip) // fails for no IP layer only
		return frame(t, eth, ip, datagram, gopacket.Payload(mark))
	}
	eth.EthernetType = layers.EthernetTypeIPv6
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	_ = datagram.SetNetworkLayerForChecksum(ip)
	return frame(t, eth, ip, datagram, gopacket.Payload(mark))
}

// everywhere taps each place a crafted packet could come out at, but the
// sender's own devices.
func (c *cluster) everywhere(t *testing.T, sender string) map[string]*tap {
	t.Helper()
	places := map[string][2]string{"the world": {"world", "eth0"}}
	for _, node := range []string{"n1", "n2", "n3"} {
		places["eth0 of "+node] = [2]string{node, "eth0"}
		places["weir_host of "+node] = [2]string{node, "weir_host"}
	}
	for _, pod := range []string{"a", "b", "c", "d"} {
		if pod != sender {
			places["pod "+pod] = [2]string{pod, "eth0"}
			places["host device of pod "+pod] = [2]string{pod, "host"}
		}
	}
	out := map[string]*tap{}
	for name, at := range places {
		out[name] = c.open(t, at[0], at[1])
	}
	t.Cleanup(func() { // at once: each close waits until no CPU uses the socket
		var wg sync.WaitGroup
		for _, w := range out {
			wg.Go(func() { unix.Close(w.fd) })
		}
		wg.Wait()
	})
	return out
}

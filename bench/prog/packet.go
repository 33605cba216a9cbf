package prog

import (
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// addressed is the hardware address of the node's device: others' frames are passed over.
var addressed = net.HardwareAddr{2, 0, 0, 0, 0, 2}

// frame is a TCP segment of one byte with the largest TTL.
func frame(src, dst netip.Addr) ([]byte, error) { return segment(src, dst, 80, false, 1) }

// segment is one of an established connection, or the one that opens it.
func segment(src, dst netip.Addr, port int, syn bool, payload int) ([]byte, error) {
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: addressed, EthernetType: layers.EthernetTypeIPv4}
	tcp := &layers.TCP{SrcPort: 40000, DstPort: layers.TCPPort(port), SYN: syn, ACK: !syn, PSH: !syn, Window: 1000}
	stack := []gopacket.SerializableLayer{eth}
	if src.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 255, Protocol: layers.IPProtocolTCP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice(), Flags: layers.IPv4DontFragment}
		if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
			return nil, err
		}
		stack = append(stack, ip)
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolTCP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
			return nil, err
		}
		stack = append(stack, ip)
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		append(stack, tcp, gopacket.Payload(make([]byte, payload)))...)
	return b.Bytes(), err
}

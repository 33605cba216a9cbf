package packets

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"weir/datapath/link/linktest"
)

// tap listens on a device as tcpdump does. Frames wait in the socket until
// they are asked for, so that none is missed and nothing has to be waited for.
type tap struct {
	fd     int
	frames []gopacket.Packet
}

// listenOn starts a tap on a device of a pod or node; "host" is the pod's end
// in its node.
func (c *cluster) listenOn(t *testing.T, ref, device string) *tap {
	t.Helper()
	w := c.open(t, ref, device)
	t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

// open is listenOn for a caller who closes the socket.
func (c *cluster) open(t *testing.T, ref, device string) *tap {
	t.Helper()
	netns := c.netns(t, ref)
	if device == "host" {
		p := c.pod(t, ref)
		netns, device = c.netns(t, p.Node), p.HostDevice
	}
	w := &tap{}
	err := linktest.Inside(netns, func() (err error) {
		w.fd, err = packetSocket(device, unix.ETH_P_ALL)
		return err
	})
	if err != nil {
		t.Fatalf("listen on %s of %s: %v", device, ref, err)
	}
	if err := unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		t.Fatal(err)
	}
	return w
}

func packetSocket(device string, protocol int) (int, error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", device, err)
	}
	order := uint16(protocol<<8 | protocol>>8)
	// Protocol 0 hears nothing: otherwise it would hear every device until bind.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("open packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: order, Ifindex: link.Index}); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("bind packet socket to %s: %w", device, err)
	}
	return fd, nil
}

// all returns every frame so far that matches.
func (w *tap) all(match func(gopacket.Packet) bool) []gopacket.Packet {
	buf := make([]byte, 1<<17)
	for {
		n, _, err := unix.Recvfrom(w.fd, buf, 0)
		if err != nil {
			break // EAGAIN: that was all
		}
		w.frames = append(w.frames, gopacket.NewPacket(append([]byte(nil), buf[:n]...), layers.LayerTypeEthernet, gopacket.Default))
	}
	var out []gopacket.Packet
	for _, f := range w.frames {
		if match(f) {
			out = append(out, f)
		}
	}
	return out
}

// echo matches echo requests, or replies, of either family from one address to
// another, outside or inside of a tunnel.
func echo(request bool, src, dst netip.Addr) func(gopacket.Packet) bool {
	return func(p gopacket.Packet) bool {
		from, to := innermost(p)
		return from == src && to == dst && isEcho(p, request)
	}
}

func isEcho(p gopacket.Packet, request bool) bool {
	if l, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		return l.TypeCode.Type() == layers.ICMPv4TypeEchoRequest == request && (request || l.TypeCode.Type() == layers.ICMPv4TypeEchoReply)
	}
	if l, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok {
		return l.TypeCode.Type() == layers.ICMPv6TypeEchoRequest == request && (request || l.TypeCode.Type() == layers.ICMPv6TypeEchoReply)
	}
	return false
}

// addresses returns those of each IP header, the outermost first.
func addresses(p gopacket.Packet) [][2]netip.Addr {
	var out [][2]netip.Addr
	for _, l := range p.Layers() {
		switch ip := l.(type) {
		case *layers.IPv4:
			out = append(out, [2]netip.Addr{addrOf(ip.SrcIP), addrOf(ip.DstIP)})
		case *layers.IPv6:
			out = append(out, [2]netip.Addr{addrOf(ip.SrcIP), addrOf(ip.DstIP)})
		}
	}
	return out
}

func innermost(p gopacket.Packet) (src, dst netip.Addr) {
	if all := addresses(p); len(all) > 0 {
		return all[len(all)-1][0], all[len(all)-1][1]
	}
	return src, dst
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// tunnelled decodes what the overlay sends. gopacket does so by itself only at
// the port of RFC 7348, and ours is another.
func tunnelled(p gopacket.Packet) (*layers.VXLAN, bool) {
	udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
	if !ok || udp.DstPort != 8472 {
		return nil, false
	}
	v := &layers.VXLAN{}
	if err := v.DecodeFromBytes(udp.Payload, gopacket.NilDecodeFeedback); err != nil {
		return nil, false
	}
	return v, true
}

// inner decodes what is in a tunnel packet.
func inner(v *layers.VXLAN) gopacket.Packet {
	return gopacket.NewPacket(v.Payload, layers.LayerTypeEthernet, gopacket.Default)
}

// emit sends each frame, whatever is in it, n times out of a device.
func (c *cluster) emit(t *testing.T, ref, device string, n int, frames ...[]byte) {
	t.Helper()
	c.sender(t, ref, device)(n, frames...)
}

// sender is emit for many frames one after the other.
func (c *cluster) sender(t *testing.T, ref, device string) func(n int, frames ...[]byte) {
	t.Helper()
	var fd int
	err := linktest.Inside(c.netns(t, ref), func() (err error) {
		fd, err = packetSocket(device, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return func(n int, frames ...[]byte) {
		t.Helper()
		for i := range n * len(frames) {
			if _, err := unix.Write(fd, frames[i/n]); err != nil {
				t.Fatalf("send frame of %d bytes: %v", len(frames[i/n]), err)
			}
		}
	}
}

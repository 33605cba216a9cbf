package bpftest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

// movePod gives the far end of a pod's device a namespace of its own, set up as
// the CNI plugin does.
func movePod(t *testing.T, name string, mac, gateway net.HardwareAddr, own func(family) netip.Addr) (path string) {
	t.Helper()
	path = linktest.New(t)
	ns, err := netns.GetFromPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := netlink.LinkSetNsFd(linktest.Link(t, name+"-in"), int(ns)); err != nil {
		t.Fatal(err)
	}
	linktest.In(t, path, func() {
		dev := linktest.Link(t, name+"-in")
		if err := netlink.LinkSetHardwareAddr(dev, mac); err != nil {
			t.Error(err)
		}
		linktest.Up(t, name+"-in")
		for _, f := range families {
			linktest.AddAddr(t, name+"-in", netip.PrefixFrom(own(f), f.bits()).String())
			if err := netlink.NeighAdd(&netlink.Neigh{LinkIndex: dev.Attrs().Index, IP: f.router.AsSlice(), HardwareAddr: gateway, State: netlink.NUD_PERMANENT}); err != nil {
				t.Error(err)
			}
			link := &netlink.Route{LinkIndex: dev.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: f.router.AsSlice(), Mask: net.CIDRMask(f.bits(), f.bits())}}
			all := &netlink.Route{LinkIndex: dev.Attrs().Index, Gw: f.router.AsSlice()}
			for _, r := range []*netlink.Route{link, all} {
				if err := netlink.RouteAdd(r); err != nil {
					t.Errorf("add route %s: %v", r, err)
				}
			}
		}
	})
	return path
}

// capture opens a socket that sees what arrives at a device.
func capture(t *testing.T, name string) int {
	t.Helper()
	all := uint16(unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, int(all))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: linktest.Link(t, name).Attrs().Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50000}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// l4 returns what the checksum of TCP or UDP covers: a right one sums to all
// ones (RFC 1071).
func l4(frame []byte) (proto uint8, covered []byte) {
	ip := frame[14:]
	if frame[12] == 0x08 {
		total := int(ip[2])<<8 | int(ip[3])
		covered = append(append(covered, ip[12:20]...), 0, ip[9], byte((total-20)>>8), byte(total-20))
		return ip[9], append(covered, ip[20:total]...)
	}
	covered = append(append(covered, ip[8:40]...), 0, 0, ip[4], ip[5], 0, 0, 0, ip[6])
	return ip[6], append(covered, ip[40:]...)
}

// The stack leaves the sum of a packet to the device it thinks it sends it on.
// When the packet goes out through a device that cannot, the sum must be right
// all the same, whatever the program changed.
func TestChecksumsAreRightBehindADeviceThatComputesNone(t *testing.T) {
	n := filled(t, native())
	linktest.ChecksumsOff(t, "underlay")
	path := movePod(t, "pod", podMAC, podGW, func(f family) netip.Addr { return f.pod })
	n.attach(t, bpf.ProgFromPod, device(podID))
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			var fd int
			n.do(func() { fd = capture(t, "underlay-in") })
			linktest.In(t, path, func() { speak(t, f.world) })
			want := map[uint8]bool{unix.IPPROTO_TCP: true, unix.IPPROTO_UDP: true}
			buffer := make([]byte, 2000)
			linktest.Eventually(t, 5*time.Second, "a SYN and a datagram behind the underlay device", func() bool {
				size, err := unix.Read(fd, buffer)
				if err == nil && bytes.Equal(buffer[:6], otherMAC) {
					delete(want, arrived(t, f, buffer[:size]))
				}
				return len(want) == 0
			})
		})
	}
}

// arrived checks a frame of the pod as the next hop gets it.
func arrived(t *testing.T, f family, frame []byte) (proto uint8) {
	t.Helper()
	proto, covered := l4(frame)
	if s := sum(covered); s != 0xffff {
		t.Errorf("%s: protocol %d: the checksum sums to %#x: % x", f.name, proto, s, head(frame))
	}
	ttl := frame[22]
	if f.v6 {
		ttl = frame[21]
	} else if s := sum(frame[14:34]); s != 0xffff {
		t.Errorf("IPv4 header sums to %#x", s)
	}
	if ttl != 63 {
		t.Errorf("%s: TTL %d, want 63", f.name, ttl)
	}
	return proto
}

// speak sends a datagram, and a SYN that nobody answers.
func speak(t *testing.T, to netip.Addr) {
	udp, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 5353)))
	if err != nil {
		t.Error(err)
		return
	}
	defer udp.Close()
	if _, err := udp.Write([]byte("an odd number of octets")); err != nil {
		t.Error(err)
	}
	d := net.Dialer{Timeout: 50 * time.Millisecond}
	tcp, err := d.Dial("tcp", netip.AddrPortFrom(to, 80).String())
	if err == nil {
		tcp.Close()
		t.Error("somebody answered")
	} else if timeout := net.Error(nil); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Error(err)
	}
}

// Where a redirect ends a test run cannot show. With segmentation and checksums
// left to the devices, and without.
func TestPodsOfANodeTalkOverTCP(t *testing.T) {
	for _, offload := range []string{"on", "off"} {
		t.Run("checksum offload "+offload, func(t *testing.T) {
			n := filled(t, config())
			a := movePod(t, "pod", podMAC, podGW, func(f family) netip.Addr { return f.pod })
			b := movePod(t, "peer", peerMAC, peerGW, func(f family) netip.Addr { return f.peer })
			if offload == "off" {
				linktest.In(t, a, func() { linktest.ChecksumsOff(t, "pod-in") })
				linktest.In(t, b, func() { linktest.ChecksumsOff(t, "peer-in") })
			}
			n.attach(t, bpf.ProgFromPod, device(podID))
			n.attach(t, bpf.ProgFromPod, device(peerID))
			for _, f := range families {
				t.Run(f.name, func(t *testing.T) {
					if err := echo(t, a, b, netip.AddrPortFrom(f.peer, 8080)); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// echo sends a megabyte from one namespace to the other, and back.
func echo(t *testing.T, client, server string, at netip.AddrPort) (err error) {
	t.Helper()
	var l *net.TCPListener
	linktest.In(t, server, func() { l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at)) })
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, c)
	}()
	var c net.Conn
	linktest.In(t, client, func() { c, err = net.DialTimeout("tcp", at.String(), 5*time.Second) })
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	sent := bytes.Repeat([]byte("weir"), 1<<18)
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		wrote <- err
	}()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if !bytes.Equal(got, sent) {
		return errors.New("other octets came back")
	}
	return <-wrote
}

package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"weir/bpf"
)

// l2Store is weir_l2 as its mirror sees it: without the counters, which are the
// programs'.
type l2Store struct {
	kernel[bpf.L2Key, bpf.L2Entry]
}

func (s l2Store) Load() (map[bpf.L2Key]bpf.L2Entry, error) {
	out, err := s.kernel.Load()
	for k, e := range out {
		e.Responses = 0
		out[k] = e
	}
	return out, err
}

// l2View shows the counters all the same.
type l2View struct {
	mirrored[bpf.L2Key, bpf.L2Entry]
}

func (v l2View) Dump() ([]MapRow, error) {
	held, err := v.store.Load()
	if err != nil {
		return nil, fmt.Errorf("read map: %w", err)
	}
	desired := v.mirror.Desired()
	for k, e := range desired {
		e.Responses = held[k].Responses
		desired[k] = e
	}
	return dump(v.store, desired, v.keys)
}

// L2Responses is how often the programs have answered for an address on a device.
func (d *Datapath) L2Responses(k bpf.L2Key) (uint64, error) {
	var e bpf.L2Entry
	if err := d.maps.maps[bpf.MapL2].Lookup(k, &e); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0, fmt.Errorf("read answers for %s: %w", k, err)
	}
	return e.Responses, nil
}

// L2Link speaks to the neighbours of this node about addresses that no device of it
// has. Close lets go of the groups.
type L2Link struct {
	mu      sync.Mutex
	sockets []int             // that are in the groups: each has room for some hundreds
	joined  map[bpf.L2Key]int // by which of them
}

// Listen joins the solicited-node groups of the IPv6 addresses among keys, and leaves
// all others, so that network cards and switches let the neighbours' questions through.
func (l *L2Link) Listen(keys []bpf.L2Key) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	wanted := map[bpf.L2Key]bool{}
	for _, k := range keys {
		if a := k.Addr.Netip(); a.Is6() {
			wanted[bpf.L2Key{Addr: bpf.AddrFrom(solicitedNode(a)), Ifindex: k.Ifindex}] = true
		}
	}
	var errs []error
	for k, fd := range l.joined {
		if !wanted[k] { // a device that is gone has left by itself
			_ = unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, membership(k))
			delete(l.joined, k)
		}
	}
	for k := range wanted {
		if _, ok := l.joined[k]; ok {
			continue
		}
		if err := l.join(k); err != nil {
			errs = append(errs, fmt.Errorf("join group %s: %w", k, err))
		}
	}
	return errors.Join(errs...)
}

// join joins a group by a socket that has room, the last one first (net.core.optmem_max).
func (l *L2Link) join(k bpf.L2Key) error {
	for _, fd := range slices.Backward(l.sockets) {
		err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, membership(k))
		if err == nil {
			l.joined[k] = fd
		}
		if !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, membership(k)); err != nil {
		unix.Close(fd)
		return err
	}
	if l.joined == nil {
		l.joined = map[bpf.L2Key]int{}
	}
	l.sockets, l.joined[k] = append(l.sockets, fd), fd
	return nil
}

// Close leaves every group.
func (l *L2Link) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fd := range l.sockets {
		unix.Close(fd)
	}
	l.sockets, l.joined = nil, nil
}

func membership(k bpf.L2Key) *unix.IPv6Mreq {
	return &unix.IPv6Mreq{Multiaddr: k.Addr.Netip().As16(), Interface: k.Ifindex}
}

// solicitedNode is the group in which neighbours ask for an address (RFC 4291 section 2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	group := netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(group[13:], b[13:])
	return netip.AddrFrom16(group)
}

// Announce tells the neighbours on a device that an address is at a MAC.
func (l *L2Link) Announce(k bpf.L2Key, mac bpf.MAC) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // 0: it hears nothing
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer unix.Close(fd)
	frame := announcement(k.Addr.Netip(), mac)
	to := &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(frame[12:]), Ifindex: int(k.Ifindex), Halen: 6}
	copy(to.Addr[:], frame[:6])
	if err := unix.Sendto(fd, frame, 0, to); err != nil {
		return fmt.Errorf("announce %s: %w", k, err)
	}
	return nil
}

// announcement is the frame that says where an address is: an ARP announcement
// (RFC 5227 section 2.3), or an unsolicited advertisement that overrides what
// neighbours know (RFC 4861 section 7.2.6).
func announcement(a netip.Addr, mac bpf.MAC) []byte {
	if a.Is4() {
		ip := a.AsSlice()
		out := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac.Bytes[:]...)
		out = append(out, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1)
		out = append(append(out, mac.Bytes[:]...), ip...)
		return append(append(out, make([]byte, 6)...), ip...)
	}
	ip, all := a.AsSlice(), netip.MustParseAddr("ff02::1").AsSlice()
	body := append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, ip...)
	body = append(append(body, 2, 1), mac.Bytes[:]...)
	binary.BigEndian.PutUint16(body[2:], ^sum(ip, all, []byte{0, byte(len(body)), 0, 58}, body))
	out := append([]byte{0x33, 0x33, 0, 0, 0, 1}, mac.Bytes[:]...)
	out = append(out, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(body)), 58, 255)
	return append(append(append(out, ip...), all...), body...)
}

// sum is the Internet checksum's (RFC 1071) over parts of even length.
func sum(parts ...[]byte) uint16 {
	var s uint32
	for _, p := range parts {
		for i := 0; i < len(p); i += 2 {
			s += uint32(binary.BigEndian.Uint16(p[i:]))
		}
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

package route

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Neighbor is an address on the link of a device that the kernel shall always
// know the MAC address of.
type Neighbor struct {
	Device int
	Addr   netip.Addr
}

// ApplyNeighbors makes the owner's neighbours exactly those wanted. The kernel
// resolves a managed neighbour by itself and goes on doing so (since Linux
// 5.16; an older one resolves it once). Entries that an administrator made
// permanent are left as they are.
func ApplyNeighbors(owner Owner, want []Neighbor) (Changes, error) {
	have, err := neighbors()
	if err != nil {
		return Changes{}, err
	}
	var done Changes
	var errs []error
	next := make(map[Neighbor]bool, len(want))
	for _, n := range want {
		next[n] = true
		old := have[n]
		if old.owner == owner || old.state&unix.NUD_PERMANENT != 0 {
			continue
		}
		if err := manage(owner, n); err != nil {
			errs = append(errs, err)
			continue
		}
		done.Added++
	}
	for n, old := range have {
		if old.owner != owner || next[n] {
			continue
		}
		if err := forget(n); err != nil {
			errs = append(errs, err)
			continue
		}
		done.Removed++
	}
	return done, errors.Join(errs...)
}

// neighbor is what matters of an entry in the kernel. The netlink library
// knows nothing of the protocol of a neighbour, hence the messages made here.
type neighbor struct {
	owner Owner
	state uint16
}

func neighbors() (map[Neighbor]neighbor, error) {
	var messages [][]byte
	err := whole(func() (err error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
		req.AddData(&netlink.Ndmsg{})
		messages, err = req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	out := make(map[Neighbor]neighbor, len(messages))
	for _, m := range messages {
		if n, row, ok := parseNeighbor(m); ok {
			out[n] = row
		}
	}
	return out, nil
}

func parseNeighbor(m []byte) (n Neighbor, row neighbor, ok bool) {
	if len(m) < unix.SizeofNdMsg {
		return n, row, false
	}
	// struct ndmsg: family u8, pad [3]u8, ifindex s32, state u16, flags u8, type u8
	n.Device = int(binary.NativeEndian.Uint32(m[4:]))
	row.state = binary.NativeEndian.Uint16(m[8:])
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofNdMsg:])
	if err != nil {
		return n, row, false
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case netlink.NDA_DST:
			n.Addr = addr(a.Value)
		case netlink.NDA_PROTOCOL:
			row.owner = Owner(a.Value[0])
		}
	}
	return n, row, n.Addr.IsValid()
}

// manage asks the kernel to resolve the address at once and to keep doing so.
func manage(owner Owner, n Neighbor) error {
	err := setNeighbor(owner, n, 0, netlink.NTF_EXT_MANAGED)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		err = setNeighbor(owner, n, netlink.NTF_USE, 0)
	}
	if err != nil {
		return fmt.Errorf("manage neighbour %s on device %d: %w", n.Addr, n.Device, err)
	}
	return nil
}

func setNeighbor(owner Owner, n Neighbor, flags uint8, ext uint32) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	req.AddData(&netlink.Ndmsg{Family: uint8(family(n.Addr)), Index: uint32(n.Device), Flags: flags})
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, n.Addr.AsSlice()))
	req.AddData(nl.NewRtAttr(netlink.NDA_PROTOCOL, []byte{byte(owner)}))
	if ext != 0 {
		req.AddData(nl.NewRtAttr(netlink.NDA_FLAGS_EXT, nl.Uint32Attr(ext)))
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func forget(n Neighbor) error {
	req := nl.NewNetlinkRequest(unix.RTM_DELNEIGH, unix.NLM_F_ACK)
	req.AddData(&netlink.Ndmsg{Family: uint8(family(n.Addr)), Index: uint32(n.Device)})
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, n.Addr.AsSlice()))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("forget neighbour %s on device %d: %w", n.Addr, n.Device, err)
	}
	return nil
}

package datapath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// XDPMode says where the program of an attachment may run before there is an
// skb; the zero value: it is one that has an skb.
type XDPMode string

// The modes. A device's driver runs the program, or else the kernel in its
// place, which makes the skb first and gains little.
const (
	XDPNative     XDPMode = "native"
	XDPBestEffort XDPMode = "best-effort"
)

// Kinds of attachments whose program runs by XDP.
const (
	AttachXDPNative  AttachMode = "xdp-native"
	AttachXDPGeneric AttachMode = "xdp-generic"
)

// xdpAttach adopts the pinned link, or makes one. A link of a device that was
// made anew, or of the kernel's where the driver's is wanted, is replaced.
func xdpAttach(a Attachment, p *ebpf.Program) error {
	l, err := link.LoadPinnedLink(a.pin(), nil)
	if err == nil {
		defer l.Close()
		kind, id, err := xdpState(a.Ifindex)
		ifindex, own := xdpInfo(l)
		if err == nil && ifindex == a.Ifindex && id == uint32(own) && (kind == AttachXDPNative || a.XDP == XDPBestEffort) {
			if want, _ := programID(p); want == own {
				return nil
			}
			return l.Update(p)
		}
		// At once: a link whose pin goes is gone a moment later.
		if err := errors.Join(l.Detach(), os.Remove(a.pin())); err != nil {
			return fmt.Errorf("take off the link that is there: %w", err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open %s: %w", a.pin(), err)
	}
	l, err = xdpLink(a, p)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.Pin(a.pin()); err != nil {
		return fmt.Errorf("pin link at %s: %w", a.pin(), err)
	}
	return nil
}

func xdpLink(a Attachment, p *ebpf.Program) (link.Link, error) {
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: a.Ifindex, Flags: link.XDPDriverMode})
	if err != nil && !xdpTaken(err) && a.XDP == XDPBestEffort {
		l, err = link.AttachXDP(link.XDPOptions{Program: p, Interface: a.Ifindex, Flags: link.XDPGenericMode})
	}
	switch {
	case err == nil:
		return l, nil
	case xdpTaken(err):
		return nil, errors.New("an XDP program of somebody else is there; it is left untouched: take it off, or set loadBalancer.acceleration to disabled")
	case a.XDP == XDPNative:
		return nil, fmt.Errorf("its driver runs no XDP program as it is set up: %w (set loadBalancer.acceleration to best-effort or disabled)", err)
	}
	return nil, err
}

func xdpTaken(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) }

// xdpInfo tells the device and program of a link; zeroes when it is dead or of
// another kind.
func xdpInfo(l link.Link) (ifindex int, program ebpf.ProgramID) {
	info, err := l.Info()
	if err != nil || info.XDP() == nil {
		return 0, 0
	}
	return int(info.XDP().Ifindex), info.Program
}

// xdpState tells who runs which XDP program of a device; 0: there is none.
func xdpState(ifindex int) (AttachMode, uint32, error) {
	dev, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return "", 0, fmt.Errorf("look at its device: %w", err)
	}
	x := dev.Attrs().Xdp
	if x == nil || !x.Attached {
		return "", 0, nil
	}
	if x.AttachMode == nl.XDP_ATTACHED_SKB {
		return AttachXDPGeneric, x.ProgId, nil
	}
	return AttachXDPNative, x.ProgId, nil
}

// xdpQuery asks the kernel about an attachment: the pinned link, and who runs it.
func xdpQuery(a Attachment) (AttachMode, uint32, error) {
	l, err := link.LoadPinnedLink(a.pin(), nil)
	if err != nil {
		return "", 0, fmt.Errorf("open link: %w", err)
	}
	defer l.Close()
	ifindex, own := xdpInfo(l)
	if ifindex != a.Ifindex {
		return "", 0, fmt.Errorf("its device %s is gone", a.Device)
	}
	kind, id, err := xdpState(ifindex)
	if err == nil && id != uint32(own) {
		err = fmt.Errorf("%s runs another XDP program (%d)", a.Device, id)
	}
	return kind, uint32(own), err
}

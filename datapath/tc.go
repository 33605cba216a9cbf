package datapath

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Filters of ours are the first of their hook, under one handle, so that
// replacing one is atomic.
const (
	tcPriority = 1
	tcHandle   = 1
)

// tcName is what `tc filter show` prints: the program and the device.
func tcName(a Attachment) string { return a.Program + "-" + a.Device }

func tcParent(a Attachment) uint32 {
	if a.Egress {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

// tcAttach is the way of kernels before 6.6: a clsact qdisc with one filter.
func tcAttach(a Attachment, p *ebpf.Program) error {
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: a.Ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add clsact: %w", err)
	}
	if other, err := tcFind(a); err != nil {
		return err
	} else if other != nil && other.Name != tcName(a) {
		return fmt.Errorf("filter %q of somebody else has priority %d there; it is left untouched: move it to another priority", other.Name, tcPriority)
	}
	err := netlink.FilterReplace(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: a.Ifindex, Parent: tcParent(a), Handle: tcHandle, Priority: tcPriority, Protocol: unix.ETH_P_ALL,
		},
		Fd: p.FD(), Name: tcName(a), DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("replace filter: %w", err)
	}
	return nil
}

// tcFind returns the filter in our place, ours or not; nil when it is free.
func tcFind(a Attachment) (*netlink.BpfFilter, error) {
	l := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: a.Ifindex}}
	filters, err := netlink.FilterList(l, tcParent(a))
	if err != nil {
		return nil, fmt.Errorf("list filters: %w", err)
	}
	for _, f := range filters {
		b, ok := f.(*netlink.BpfFilter)
		if f.Attrs().Priority != tcPriority {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("a filter of type %s and somebody else has priority %d there: move it to another priority", f.Type(), tcPriority)
		}
		return b, nil
	}
	return nil, nil
}

func tcDetach(a Attachment) error {
	f, err := tcFind(a)
	if err != nil || f == nil || f.Name != tcName(a) {
		return nil // the device is gone, or it is not ours
	}
	return netlink.FilterDel(f)
}

func tcQuery(a Attachment) (uint32, error) {
	f, err := tcFind(a)
	if err != nil {
		return 0, err
	}
	if f == nil || f.Name != tcName(a) {
		return 0, errors.New("its filter is gone")
	}
	return uint32(f.Id), nil
}

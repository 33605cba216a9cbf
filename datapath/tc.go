package datapath

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/bpf"
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

func clsact(ifindex int) netlink.Qdisc {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
}

// tcAttach is the way of kernels before 6.6: a clsact qdisc with one filter.
func tcAttach(a Attachment, p *ebpf.Program) error {
	if err := netlink.QdiscAdd(clsact(a.Ifindex)); err != nil && !errors.Is(err, unix.EEXIST) {
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
	if err := netlink.FilterDel(f); err != nil {
		return fmt.Errorf("remove filter: %w", err)
	}
	return tcTidy(a.Ifindex)
}

// tcTidy removes the clsact qdisc of a device that has no filter left on it.
func tcTidy(ifindex int) error {
	l := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filters, err := netlink.FilterList(l, parent)
		if err != nil || len(filters) > 0 {
			return err
		}
	}
	if err := netlink.QdiscDel(clsact(ifindex)); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("remove clsact: %w", err)
	}
	return nil
}

// RemoveFilters takes every filter of ours off every device of the host. Those
// of others stay.
func RemoveFilters() error { return removeFilters(func(string) bool { return true }) }

func removeFilters(on func(device string) bool) error {
	places, err := filterPlaces(on)
	errs := []error{err}
	for _, a := range places {
		errs = append(errs, tcDetach(a))
	}
	return errors.Join(errs...)
}

// Filters names every filter of ours on devices of the host: "from_netdev-eth0".
func Filters() ([]string, error) {
	places, err := filterPlaces(func(string) bool { return true })
	var out []string
	for _, a := range places {
		if f, err := tcFind(a); err == nil && f != nil && f.Name == tcName(a) {
			out = append(out, f.Name)
		}
	}
	return out, err
}

// filterPlaces are all where a filter of ours could be.
func filterPlaces(on func(device string) bool) ([]Attachment, error) {
	devices, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	var out []Attachment
	for _, dev := range devices {
		if !on(dev.Name) {
			continue
		}
		for _, program := range programNames {
			for _, egress := range []bool{false, true} {
				out = append(out, Attachment{Device: dev.Name, Ifindex: dev.Index, Program: program, Egress: egress})
			}
		}
	}
	return out, nil
}

var programNames = []string{
	bpf.ProgFromPod, bpf.ProgToPod, bpf.ProgFromOverlay, bpf.ProgToOverlay,
	bpf.ProgFromNetdev, bpf.ProgToNetdev, bpf.ProgFromHost, bpf.ProgToHost,
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

package lab

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// mark is the alias of lo in every namespace of a lab. It tells whose the
// namespace is when lab.json is lost: names do not, as weir-a-b-n1 may be node
// b-n1 of lab a, node n1 of lab a-b, or somebody else's.
func mark(lab string) string { return "weir lab " + lab }

// openLoopback sets lo of a fresh namespace up and marks it as the lab's.
func openLoopback(ns, lab string) error {
	return withNetns(ns, func(h *netlink.Handle, _ netns.NsHandle) error {
		if err := setAddrs(h, "lo", nil); err != nil {
			return err
		}
		lo, err := h.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find lo: %w", err)
		}
		if err := h.LinkSetAlias(lo, mark(lab)); err != nil {
			return fmt.Errorf("mark %s as of lab %q: %w", ns, lab, err)
		}
		return nil
	})
}

// owner returns the mark of a namespace, or "".
func owner(ns string) string {
	alias := ""
	_ = withNetns(ns, func(h *netlink.Handle, _ netns.NsHandle) error { // what cannot be opened has no mark
		lo, err := h.LinkByName("lo")
		if err == nil {
			alias = lo.Attrs().Alias
		}
		return err
	})
	return alias
}

// marked returns the namespaces that carry the lab's mark, with their inodes,
// and those that have a name of the lab's but nobody's mark.
func marked(lab string) (own map[string]uint64, strange []string, err error) {
	paths, err := filepath.Glob(netnsPath(netnsName(lab, "*")))
	if err != nil {
		return nil, nil, fmt.Errorf("list network namespaces: %w", err)
	}
	hosts := []uint64{0, inode("/proc/self/ns/net"), inode("/proc/1/ns/net")}
	own = map[string]uint64{}
	for _, path := range paths {
		name, id := filepath.Base(path), inode(path)
		alias := ""
		if !slices.Contains(hosts, id) {
			alias = owner(name)
		}
		switch {
		case alias == mark(lab):
			own[name] = id
		case !strings.HasPrefix(alias, mark("")):
			strange = append(strange, name)
		}
	}
	return own, strange, nil
}

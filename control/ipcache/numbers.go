package ipcache

import (
	"fmt"
	"net/netip"

	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

// numbers gives the nodes that rows name, and this node's addresses with which pods
// leave the cluster, a number each, which connections remember in place of the address. A number means one address for as long as
// any row names it; one that was freed is used again only after all others.
type numbers struct {
	mirror *datapath.Mirror[uint32, bpf.Node]
	size   uint32 // numbers run from 1 to size-1
	of     map[netip.Addr]uint32
	used   map[uint32]bool
	rows   map[netip.Addr]int // that name it
	next   uint32
	lacks  bool // a node got none, because all were in use
	freed  bool // one since
}

// newNumbers goes on with the numbers that an earlier agent gave.
func newNumbers(m *datapath.Mirror[uint32, bpf.Node], size int) *numbers {
	n := &numbers{mirror: m, size: uint32(size), of: map[netip.Addr]uint32{}, used: map[uint32]bool{}, rows: map[netip.Addr]int{}, next: 1}
	for id, row := range m.Held() {
		a := row.Addr.Netip()
		if _, twice := n.of[a]; twice || !a.IsValid() || id == 0 || id >= n.size {
			continue // forget deletes it
		}
		n.of[a], n.used[id] = id, true
		n.next = max(n.next, id+1)
	}
	return n
}

// number returns that of a node; 0 when there is no node, or none is free. The
// map knows it already.
func (n *numbers) number(a netip.Addr) (uint16, error) {
	if !a.IsValid() {
		return 0, nil
	}
	if id, ok := n.of[a]; ok {
		return uint16(id), nil
	}
	for range n.size - 1 {
		if n.next >= n.size {
			n.next = 1
		}
		id := n.next
		n.next++
		if n.used[id] {
			continue
		}
		if err := n.mirror.Set(id, bpf.Node{Addr: bpf.AddrFrom(a)}); err != nil {
			return 0, err
		}
		n.of[a], n.used[id] = id, true
		return uint16(id), nil
	}
	n.lacks = true
	return 0, nil
}

// again reports whether a node that got no number could have one now.
func (n *numbers) again() bool {
	yes := n.lacks && n.freed
	n.freed = false
	n.lacks = n.lacks && !yes
	return yes
}

// count says that a row names another node than before.
func (n *numbers) count(before, now netip.Addr) (idle netip.Addr) {
	if before == now {
		return netip.Addr{}
	}
	if now.IsValid() {
		n.rows[now]++
	}
	if !before.IsValid() {
		return netip.Addr{}
	}
	if n.rows[before]--; n.rows[before] > 0 {
		return netip.Addr{}
	}
	return before
}

// free takes numbers back that no row names any more.
func (n *numbers) free(idle ...netip.Addr) error {
	for _, a := range idle {
		if n.rows[a] > 0 {
			continue
		}
		delete(n.rows, a)
		id, ok := n.of[a]
		if !ok {
			continue
		}
		if err := n.mirror.Delete(id); err != nil {
			return fmt.Errorf("free number %d of node %s: %w", id, a, err)
		}
		delete(n.of, a)
		delete(n.used, id)
		n.freed = true
	}
	return nil
}

// recount counts all rows anew, and takes back every number that none names.
func (n *numbers) recount(rows []state.IP) error {
	clear(n.rows)
	for _, row := range rows {
		n.count(netip.Addr{}, numbered(row))
	}
	var idle []netip.Addr
	for a := range n.of {
		idle = append(idle, a)
	}
	if err := n.free(idle...); err != nil {
		return err
	}
	for id := range n.mirror.Held() {
		if !n.used[id] {
			if err := n.mirror.Delete(id); err != nil {
				return err
			}
		}
	}
	return nil
}

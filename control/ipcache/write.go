package ipcache

import (
	"net/netip"
	"slices"

	"weir/bpf"
	"weir/state"
)

// Generations are the numbers that connections compare, to be judged anew when
// an address of theirs changed: see weir_generations.
type Generations interface {
	Bump(slots ...uint32) error
	BumpAll() error
}

// voids collects whose connections are to be judged anew. What is in it stays
// there until the map of generations has it, whatever fails in between.
type voids struct {
	slots map[uint32]bool
	all   bool
}

func (v *voids) add(p netip.Prefix) {
	if !p.IsSingleIP() {
		v.all = true
		return
	}
	if v.slots == nil {
		v.slots = map[uint32]bool{}
	}
	v.slots[bpf.AddrSlot(p.Addr())] = true
}

func (v *voids) any() bool { return v.all || len(v.slots) > 0 }

func (v *voids) flush(g Generations) error {
	var err error
	if v.all {
		err = g.BumpAll()
	} else {
		var slots []uint32
		for s := range v.slots {
			slots = append(slots, s)
		}
		slices.Sort(slots)
		err = g.Bump(slots...)
	}
	if err == nil {
		*v = voids{}
	}
	return err
}

// unsettled marks the row of ::/0, in octets that no program reads, while rows
// are written whose generations are not bumped yet. An agent that is killed then
// leaves it, and its successor finds a row that differs, and bumps all.
const unsettled = 1

func everywhere() netip.Prefix { return netip.PrefixFrom(netip.IPv6Unspecified(), 0) }

// writeAll compares every row with what the map holds.
func (c *Control) writeAll() error {
	rows := make([]state.IP, 0, len(c.book.claims))
	for p := range c.book.claims {
		row, _ := c.book.winner(p)
		rows = append(rows, row)
	}
	var gone []netip.Prefix
	for k := range c.maps.IPCache.Held() {
		if _, ok := c.book.claims[k.Prefix()]; !ok {
			gone = append(gone, k.Prefix())
		}
	}
	if err := c.apply(rows, gone); err != nil {
		return err
	}
	if err := c.nodes.recount(rows); err != nil {
		return err
	}
	c.tables.IPs.Replace(rows, func(a, b state.IP) bool { return a == b })
	return nil
}

// changedHands reports whether an address has another owner than before, which
// the map does not tell when identity and place are the same. What happened while
// no agent ran is not known, and such a verdict is the same one.
func (c *Control) changedHands(row state.IP) bool {
	old, ok := c.tables.IPs.Get(row.Prefix)
	return ok && row.Prefix.IsSingleIP() && (old.Of != row.Of || old.UID != row.UID)
}

// write writes the rows of the touched prefixes.
func (c *Control) write(touched map[netip.Prefix]bool) error {
	var gone []netip.Prefix
	var put []state.IP
	var idle []netip.Addr
	for p := range touched {
		if row, ok := c.book.winner(p); ok {
			put = append(put, row)
		} else {
			gone = append(gone, p)
		}
	}
	if err := c.apply(put, gone); err != nil {
		return err
	}
	for p := range touched {
		old, _ := c.tables.IPs.Get(p)
		row, _ := c.book.winner(p)
		idle = append(idle, c.nodes.count(numbered(old), numbered(row)))
	}
	if err := c.nodes.free(idle...); err != nil {
		return err
	}
	put = slices.DeleteFunc(put, func(row state.IP) bool {
		old, ok := c.tables.IPs.Get(row.Prefix)
		return ok && old == row
	})
	if len(gone) > 0 {
		c.tables.IPs.Delete(gone...)
	}
	if len(put) > 0 {
		c.tables.IPs.Put(put...)
	}
	return nil
}

// left reports whether pods do not leave the cluster with an address any more. Who did
// may have a connection with anybody, and is to get another one.
func left(old, now bpf.IPCacheEntry) bool {
	return old.Flags&uint8(bpf.IPCacheHost) != 0 && old.Node != 0 && (now.Node != old.Node || now.Flags != old.Flags)
}

// apply brings the maps to hold the rows: the numbers of nodes first, then the
// addresses, those that go first, and last the generations, so that who is
// judged anew is judged by what is true now.
func (c *Control) apply(rows []state.IP, gone []netip.Prefix) error {
	put, lacked := map[bpf.IPCacheKey]bpf.IPCacheEntry{}, c.nodes.lacks
	for _, row := range rows {
		number, err := c.nodes.number(numbered(row))
		if err != nil {
			return err
		}
		if c.nodes.lacks && !lacked {
			lacked = true
			c.log.Warn("weir_nodes is full: connections to further nodes take the slow path", "node", numbered(row), "numbers", c.opts.Nodes-1)
		}
		k, v := entry(row, number)
		if old, ok := c.maps.IPCache.Get(k); !ok || old != v {
			put[k] = v
			c.void.add(row.Prefix)
			c.void.all = c.void.all || left(old, v)
		} else if c.changedHands(row) {
			c.void.add(row.Prefix)
		}
	}
	var keys []bpf.IPCacheKey
	for _, p := range gone {
		k := bpf.IPCacheKeyFrom(p)
		if old, ok := c.maps.IPCache.Get(k); ok {
			keys = append(keys, k)
			c.void.add(p)
			c.void.all = c.void.all || left(old, bpf.IPCacheEntry{})
		}
	}
	if !c.void.any() {
		return nil
	}
	world, _ := c.book.winner(everywhere())
	k, settled := entry(world, 0)
	marked := settled
	marked.Pad = unsettled
	put[k] = marked
	if err := c.maps.IPCache.Set(k, marked); err != nil {
		return err
	}
	if _, err := c.maps.IPCache.Write(put, keys); err != nil {
		return err
	}
	if err := c.void.flush(c.maps.Generations); err != nil {
		return err
	}
	return c.maps.IPCache.Set(k, settled)
}

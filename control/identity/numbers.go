package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"weir/state"
)

// cluster is the numbers that the whole cluster uses.
type cluster struct {
	rows      map[state.IdentityID]state.Identity
	numbers   map[string][]state.IdentityID  // by labels, sorted: the lowest counts, on every node
	withdrawn map[state.IdentityID]time.Time // not in rows any more, since when
}

func newCluster() cluster {
	return cluster{rows: map[state.IdentityID]state.Identity{}, numbers: map[string][]state.IdentityID{},
		withdrawn: map[state.IdentityID]time.Time{}}
}

// number returns the cluster's number of the labels, or 0.
func (c *cluster) number(key string) state.IdentityID {
	if n := c.numbers[key]; len(n) > 0 {
		return n[0]
	}
	return 0
}

// lends reports whether a number that the cluster withdrew may still be used by
// those who have it, so that an object that comes back, or another that takes
// its place, does not move them twice.
func (c *cluster) lends(id state.IdentityID, now time.Time) bool {
	since, ok := c.withdrawn[id]
	return ok && now.Sub(since) < linger
}

func (c *cluster) put(i state.Identity) {
	c.drop(i.ID)
	delete(c.withdrawn, i.ID)
	c.rows[i.ID] = i
	key := i.Labels.Key()
	at, _ := slices.BinarySearch(c.numbers[key], i.ID)
	c.numbers[key] = slices.Insert(c.numbers[key], at, i.ID)
}

func (c *cluster) drop(id state.IdentityID) {
	old, ok := c.rows[id]
	if !ok {
		return
	}
	delete(c.rows, id)
	key := old.Labels.Key()
	left := slices.DeleteFunc(c.numbers[key], func(n state.IdentityID) bool { return n == id })
	if len(left) == 0 {
		delete(c.numbers, key)
	} else {
		c.numbers[key] = left
	}
}

// followCluster takes over the cluster's numbers, and notes whose number may be
// another.
func (c *Control) followCluster(now time.Time, d *diff) {
	for _, i := range changes(c.tables.ClusterIdentities, &c.seen.cluster, c.cluster.rows) {
		old, had := c.cluster.rows[i.Key]
		d.sets[old.Labels.Key()], d.ids[i.Key] = true, true
		if !i.Deleted {
			c.cluster.put(i.Row)
			d.sets[i.Row.Labels.Key()] = true
			continue
		}
		c.cluster.drop(i.Key)
		if had {
			c.cluster.withdrawn[i.Key] = now
		}
	}
	for id := range c.cluster.withdrawn {
		if c.cluster.lends(id, now) {
			continue
		}
		delete(c.cluster.withdrawn, id)
		if s := c.sets.byID[id]; s != nil {
			d.sets[s.labels.Key()] = true
		}
	}
}

// locals remembers which labels each number of this node was given to, so that
// it never means others, even long after.
type locals map[state.IdentityID][16]byte

// remembered bounds how many numbers are remembered that mean nothing any more.
const remembered = 1 << 20

// number returns this node's number of the labels: where their digest says, or
// the next that was never given to others. 0: there is none left.
func (l locals) number(key string, known func(state.IdentityID) bool) state.IdentityID {
	if len(l) >= remembered {
		maps.DeleteFunc(l, func(id state.IdentityID, _ [16]byte) bool { return !known(id) })
	}
	const size = state.IdentityLocalMax - state.IdentityLocal + 1
	own := digest(key)
	first := state.IdentityID(binary.BigEndian.Uint32(own[:4])) % size
	for i := range size {
		id := state.IdentityLocal + (first+i)%size
		if of, taken := l[id]; !taken || of == own {
			l[id] = own
			return id
		}
	}
	return 0
}

// digest tells labels apart, by their key.
func digest(key string) [16]byte {
	sum := sha256.Sum256([]byte(key))
	return [16]byte(sum[:16])
}

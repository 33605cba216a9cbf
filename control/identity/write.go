package identity

import (
	"maps"
	"slices"
	"time"

	"weir/state"
)

// retire notes identities that nobody has any more, and those whose time is up. One
// that a pod keeps until policy knows its next one stays: policy has to know both.
func (c *Control) retire(now time.Time, d *diff) {
	delete(d.ids, 0) // of sets that had none, or have none any more
	for id := range d.ids {
		_, wanted := c.row(id)
		_, idle := c.idle[id]
		switch _, there := c.tables.Identities.Get(id); {
		case wanted:
			delete(c.idle, id)
		case there && !idle:
			c.idle[id] = now
		}
	}
	kept := c.held.numbers(c.tables.PodIdentities.Get)
	for id, since := range c.idle {
		if kept[id] {
			c.idle[id] = now
		} else if now.Sub(since) >= linger && !c.worn(id) {
			delete(c.idle, id)
			d.ids[id] = true
		}
	}
}

// worn reports whether an endpoint still has a number that no pod has: the object
// of its pod is another's by now.
func (c *Control) worn(id state.IdentityID) bool {
	for _, e := range c.tables.Endpoints.All() {
		if e.Identity == id {
			return true
		}
	}
	return false
}

// row returns what a number means now to pods, or else to the cluster.
func (c *Control) row(id state.IdentityID) (state.Identity, bool) {
	if s := c.sets.byID[id]; s != nil {
		return state.Identity{ID: id, Labels: s.labels, Pods: len(s.pods)}, true
	}
	if i, ok := c.cluster.rows[id]; ok {
		return state.Identity{ID: id, Labels: i.Labels}, true
	}
	return state.Identity{}, false
}

// write brings the tables up to date, in an order in which a pod's number always
// has its labels: new identities, pods, identities that mean something else than
// before with the pods that get them, and last what goes. Keys that become
// visible are told when all identities tell them apart, others before they stop.
// A number that the maps of policy do not know yet is nobody's: see held.
func (c *Control) write(now time.Time, d *diff, grown, dropped state.Visible) {
	var fresh, changed []state.Identity
	var gone []state.IdentityID
	other := map[state.IdentityID]bool{} // means something else than before
	if !c.tables.Identities.Synced() {
		fresh = append(state.AllReserved(), c.recall(now, d)...)
	}
	for id := range d.ids {
		old, there := c.tables.Identities.Get(id)
		row, wanted := c.row(id)
		_, idle := c.idle[id]
		switch {
		case !wanted && !idle:
			gone = append(gone, id)
			continue
		case !wanted:
			row, row.Pods = old, 0
		}
		if there && !slices.Equal(old.Labels, row.Labels) {
			other[id] = true
			changed = append(changed, row)
		} else if !there || !old.Same(row) {
			fresh = append(fresh, row)
		}
	}
	early, late, left := c.podRows(now, d, other)
	c.warn(now)
	remove(c.tables.VisibleLabels.Delete, slices.Collect(maps.Keys(dropped)))
	put(c.tables.Identities.Put, fresh)
	put(c.tables.PodIdentities.Put, early)
	put(c.tables.Identities.Put, changed)
	put(c.tables.PodIdentities.Put, late)
	remove(c.tables.PodIdentities.Delete, left)
	remove(c.tables.Identities.Delete, gone)
	for key := range c.held.told(grown) {
		c.tables.VisibleLabels.Put(state.VisibleLabel{Key: key})
	}
	if !c.tables.Identities.Synced() {
		c.tables.Identities.MarkSynced()
		c.tables.PodIdentities.MarkSynced()
		c.tables.VisibleLabels.MarkSynced()
	}
}

// recall returns the numbers of the agent before that mean nothing any more. Its
// endpoints and addresses have them in the maps until they are given others, and that is
// after policy knows those: so they stay for a while, as if they had just become idle.
func (c *Control) recall(now time.Time, d *diff) (out []state.Identity) {
	for _, i := range c.opts.Former {
		if _, wanted := c.row(i.ID); wanted || i.ID.Reserved() != "" {
			continue
		}
		c.idle[i.ID] = now
		delete(d.ids, i.ID)
		out = append(out, state.Identity{ID: i.ID, Labels: i.Labels})
	}
	c.opts.Former = nil
	return out
}

// podRows returns the pods whose number changed: to one that means what it
// meant, to one that does not, to none.
func (c *Control) podRows(now time.Time, d *diff, other map[state.IdentityID]bool) (early, late []state.PodIdentity, left []state.PodName) {
	for name := range d.pods {
		old, had := c.tables.PodIdentities.Get(name)
		row := state.PodIdentity{Pod: name}
		var labels state.Labels
		if key, ok := c.sets.of[name]; ok {
			row.ID, labels = c.sets.byKey[key].id, c.sets.byKey[key].labels
		}
		if row.ID != 0 && !(had && old == row) && !c.mayUse(row.ID, labels) {
			c.held.keep(name, now)
			continue
		}
		c.held.release(name)
		switch {
		case row.ID == 0 && had:
			left = append(left, name)
		case row.ID == 0 || (had && old == row):
		case other[row.ID]:
			late = append(late, row)
		default:
			early = append(early, row)
		}
	}
	return early, late, left
}

// put and remove leave a table alone, and its readers asleep, when there is
// nothing to say.
func put[R any](to func(...R), rows []R) {
	if len(rows) > 0 {
		to(rows...)
	}
}

func remove[K any](from func(...K), keys []K) {
	if len(keys) > 0 {
		from(keys...)
	}
}

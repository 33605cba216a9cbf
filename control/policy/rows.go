package policy

import (
	"slices"

	"weir/internal/table"
	"weir/state"
)

// seen is the revisions of the tables as of the last step.
type seen struct{ endpoints, identities, policies, namespaces, groups, services, slices, nodes uint64 }

// changes is what differs from the last step.
type changes struct {
	any, lost bool // lost: the tables do not remember that far back
	less      bool // something is gone
	policies  []candidate
	edits     []func(*engine)
}

func (x changes) apply(e *engine) {
	for _, edit := range x.edits {
		edit(e)
	}
}

// changes asks the tables. Endpoints come first: the identity of an endpoint
// that is seen is in its table by then.
func (c *Control) changes() changes {
	var out changes
	t := c.tables
	endpoints := since(&out, t.Endpoints, &c.seen.endpoints)
	policies := since(&out, t.Policies, &c.seen.policies)
	identities := since(&out, t.Identities, &c.seen.identities)
	for _, ch := range identities {
		c.unsaid[ch.Key] = !ch.Deleted
	}
	edit(&out, identities, func(e *engine, ch table.Change[state.IdentityID, state.Identity]) {
		if ch.Deleted {
			e.deleteIdentity(ch.Key)
		} else {
			e.setIdentity(ch.Row)
		}
	})
	edit(&out, since(&out, t.Namespaces, &c.seen.namespaces), func(e *engine, ch table.Change[string, state.Namespace]) {
		e.setNamespace(ch.Key, present(ch))
	})
	edit(&out, since(&out, t.CIDRGroups, &c.seen.groups), func(e *engine, ch table.Change[string, state.CIDRGroup]) {
		e.setGroup(ch.Key, present(ch))
	})
	edit(&out, since(&out, t.Nodes, &c.seen.nodes), func(e *engine, ch table.Change[string, state.Node]) {
		e.setNode(ch.Key, present(ch))
	})
	edit(&out, since(&out, t.Services, &c.seen.services), func(e *engine, ch table.Change[state.ServiceName, state.Service]) {
		e.setService(ch.Key, present(ch))
	})
	edit(&out, since(&out, t.Slices, &c.seen.slices), func(e *engine, ch table.Change[state.SliceName, state.Slice]) {
		e.setSlice(ch.Key, present(ch))
	})
	edit(&out, endpoints, func(e *engine, ch table.Change[state.EndpointID, state.Endpoint]) {
		if ch.Deleted {
			e.deleteEndpoint(ch.Key)
		} else {
			e.setEndpoint(ch.Row)
		}
	})
	slices.Reverse(policies) // the table names the last change first
	for _, ch := range policies {
		out.policies = append(out.policies, candidate{key: ch.Key, row: present(ch)})
	}
	return out
}

func since[K comparable, R table.Row](out *changes, t *table.Table[K, R], rev *uint64) []table.Change[K, R] {
	first := *rev == 0
	list, now, whole := t.Changes(*rev)
	*rev = now
	out.lost = out.lost || (whole && !first)
	out.any = out.any || len(list) > 0
	out.less = out.less || slices.ContainsFunc(list, func(c table.Change[K, R]) bool { return c.Deleted })
	return list
}

func edit[K comparable, R any](out *changes, list []table.Change[K, R], f func(*engine, table.Change[K, R])) {
	out.edits = append(out.edits, func(e *engine) {
		for _, ch := range list {
			f(e, ch)
		}
	})
}

func present[K comparable, R any](ch table.Change[K, R]) *R {
	if ch.Deleted {
		return nil
	}
	return &ch.Row
}

// input is every row that policy is derived from.
type input struct {
	endpoints  []state.Endpoint
	identities []state.Identity
	namespaces []state.Namespace
	groups     []state.CIDRGroup
	nodes      []state.Node
	services   []state.Service
	slices     []state.Slice
	policies   []state.Policy
}

func (c *Control) read() input {
	t := c.tables
	return input{endpoints: rowsOf(t.Endpoints), policies: rowsOf(t.Policies), identities: rowsOf(t.Identities), namespaces: rowsOf(t.Namespaces),
		groups: rowsOf(t.CIDRGroups), nodes: rowsOf(t.Nodes), services: rowsOf(t.Services), slices: rowsOf(t.Slices)}
}

func rowsOf[K comparable, R table.Row](t *table.Table[K, R]) []R {
	var out []R
	for _, r := range t.All() {
		out = append(out, r)
	}
	return out
}

// feed enters all rows but the policies.
func (in input) feed(e *engine) {
	for i := range in.namespaces {
		e.setNamespace(in.namespaces[i].Name, &in.namespaces[i])
	}
	for _, i := range in.identities {
		e.setIdentity(i)
	}
	for i := range in.groups {
		e.setGroup(in.groups[i].Name, &in.groups[i])
	}
	for i := range in.nodes {
		e.setNode(in.nodes[i].Name, &in.nodes[i])
	}
	for i := range in.services {
		e.setService(in.services[i].Name, &in.services[i])
	}
	for i := range in.slices {
		e.setSlice(in.slices[i].Name, &in.slices[i])
	}
	for _, p := range in.endpoints {
		e.setEndpoint(p)
	}
	e.setAny(len(in.policies) > 0)
}

// candidates are the policies by key, with the versions that were in force.
func (in input) candidates(kept map[state.PolicyKey]state.Policy) []candidate {
	var out []candidate
	for i := range in.policies {
		c := candidate{key: in.policies[i].Key, row: &in.policies[i]}
		if row, ok := kept[c.key]; ok {
			c.last = &row
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b candidate) int { return compareKeys(a.key, b.key) })
	return out
}

// touchAll makes the next plan compare everything with what the maps hold.
func (e *engine) touchAll(h image) {
	same := func(n uint32) uint32 { return n }
	touchAll(e.peerSets, h.peers, same)
	touchAll(e.sets.rows, h.sets, same)
	touchAll(e.cidrs, h.cidrs, cidrFrom)
	touchAll(e.rows, h.rows, rowFrom)
	touchAll(e.rules, h.rules, ruleFrom)
	touchAll(e.ranges, h.ranges, rangeFrom)
}

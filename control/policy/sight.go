package policy

import (
	"iter"
	"maps"
	"net/netip"
	"slices"

	"weir/state"
)

// sight is the identities of pods as they would be if the traced policies were
// applied: these see labels by which nobody is told apart yet.
type sight struct {
	pods  map[state.PodName]state.IdentityID
	addrs map[netip.Addr]state.IdentityID
	more  bool // there are such labels
}

// see splits the identities of the input by the labels that the candidates see.
// What is in force does not see them, and judges the parts as it did the whole.
func (c *Control) see(in *input, candidates []state.Policy) sight {
	out := sight{pods: map[state.PodName]state.IdentityID{}, addrs: map[netip.Addr]state.IdentityID{}}
	v := state.Visible{}
	for key := range c.tables.VisibleLabels.All() {
		v[key] = true
	}
	more := state.VisibleLabels(byKey(candidates), c.services())
	if v.Covers(more) {
		return out
	}
	maps.Copy(v, more)
	out.more = true
	next := state.IdentityLocalMax + 1 // nobody has such a number
	split := map[string]state.IdentityID{}
	for name, row := range c.tables.PodIdentities.All() {
		p, ok := c.tables.Pods.Get(name)
		if !ok {
			continue
		}
		n, _ := c.tables.Namespaces.Get(name.Namespace)
		labels := state.IdentityLabels(p, n.Labels, c.opts.Cluster, v)
		if was, _ := c.tables.Identities.Get(row.ID); slices.Equal(was.Labels, labels) {
			continue
		}
		id, known := split[labels.Key()]
		if !known {
			id, next = next, next+1
			split[labels.Key()] = id
			in.identities = append(in.identities, state.Identity{ID: id, Labels: labels})
		}
		out.pods[name] = id
	}
	out.place(in, c.tables.IPs.All())
	return out
}

// place gives the identities to the endpoints of the input and to addresses.
// Who is still without a number of its own stays so.
func (s sight) place(in *input, ips iter.Seq2[state.IPKey, state.IP]) {
	for i, e := range in.endpoints {
		if id, ok := s.pods[e.Pod]; ok && e.Identity.Reserved() == "" {
			in.endpoints[i].Identity = id
		}
	}
	names := map[string]state.IdentityID{}
	for name, id := range s.pods {
		names[name.String()] = id
	}
	for _, ip := range ips {
		if id, ok := names[ip.Of]; ok && (ip.Source == state.IPEndpoint || ip.Source == state.IPPod) && ip.Identity.Reserved() == "" {
			s.addrs[ip.Prefix.Addr()] = id
		}
	}
}

// of is the query about the parties' identities as they would be.
func (s sight) of(q Query) Query {
	for _, p := range []*Party{&q.From, &q.To} {
		if id, ok := s.addrs[p.Addr.Unmap()]; ok {
			p.Identity = id
		}
	}
	return q
}

func byKey(list []state.Policy) iter.Seq2[state.PolicyKey, state.Policy] {
	return func(yield func(state.PolicyKey, state.Policy) bool) {
		for _, p := range list {
			if !yield(p.Key, p) {
				return
			}
		}
	}
}

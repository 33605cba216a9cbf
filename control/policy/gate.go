package policy

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"weir/state"
)

// A version of a policy may select by a label that identities do not tell yet:
// whoever must not have it would count as not having it. So it waits until
// control/identity says that they tell it, and until the addresses and the
// endpoints here have these identities. The version before stays in force.

// gate lets versions through.
type gate struct {
	waiting map[state.PolicyKey]state.Policy
	clear   state.Visible                 // labels that are told, and that addresses and endpoints were seen to have
	leaving map[state.PolicyKey]time.Time // deleted since, and in force while others wait: they may be to take its place
	said    string
}

// leaveLimit is for how long a deleted policy stays at most.
const leaveLimit = 5 * time.Second

// leave keeps the deletions back while a policy waits, and returns the changes
// that may be made now, with the deletions whose time has come.
func (g *gate) leave(list []candidate, through int, now time.Time) []candidate {
	var out []candidate
	for _, x := range list {
		if x.row != nil {
			delete(g.leaving, x.key)
			out = append(out, x)
		} else if _, there := g.leaving[x.key]; !there {
			g.leaving[x.key] = now
		}
	}
	waits := through < len(g.waiting)
	for _, key := range slices.SortedFunc(maps.Keys(g.leaving), compareKeys) {
		if !waits || now.Sub(g.leaving[key]) >= leaveLimit {
			delete(g.leaving, key)
			out = append(out, candidate{key: key})
		}
	}
	return out
}

// open brings clear up to date, and returns which of the waiting may go on.
func (c *Control) open() []state.PolicyKey {
	g := &c.gate
	if len(g.waiting) == 0 {
		return nil
	}
	told := state.Visible{}
	for key := range c.tables.VisibleLabels.All() {
		told[key] = true
	}
	maps.DeleteFunc(g.clear, func(key string, _ bool) bool { return !told[key] })
	if !g.clear.Covers(told) && c.consistent() {
		g.clear = told
	}
	var out []state.PolicyKey
	missing := map[string]bool{}
	for key, p := range g.waiting {
		need := state.VisibleLabels(only(p), c.services())
		if g.clear.Covers(need) {
			out = append(out, key)
			continue
		}
		for label := range need {
			if !g.clear[label] {
				missing[label] = true
			}
		}
	}
	c.say(missing)
	slices.SortFunc(out, compareKeys)
	return out
}

// say logs what is waited for, once.
func (c *Control) say(missing map[string]bool) {
	text := strings.Join(slices.Sorted(maps.Keys(missing)), ", ")
	if text != c.gate.said && text != "" {
		c.log.Info("policies wait for identities", "labels", text)
	}
	c.gate.said = text
}

func only(p state.Policy) iter.Seq2[state.PolicyKey, state.Policy] {
	return func(yield func(state.PolicyKey, state.Policy) bool) { yield(p.Key, p) }
}

// services reads the table only when a policy names services.
func (c *Control) services() iter.Seq2[state.ServiceName, state.Service] {
	return func(yield func(state.ServiceName, state.Service) bool) { c.tables.Services.All()(yield) }
}

// consistent reports whether the addresses and endpoints of pods have the
// identities that these pods have.
func (c *Control) consistent() bool {
	identities := map[string]state.IdentityID{}
	for name, p := range c.tables.PodIdentities.All() {
		identities[name.String()] = p.ID
	}
	stale := func(pod string, id state.IdentityID) bool {
		want, known := identities[pod]
		return known && want != id
	}
	here := c.node()
	kept := map[state.EndpointID]bool{} // whose pod's name another pod has: they keep what they had
	for id, e := range c.tables.Endpoints.All() {
		p, known := c.tables.Pods.Get(e.Pod)
		kept[id] = known && !e.IsOf(p, here)
		if e.Pod != (state.PodName{}) && !kept[id] && stale(e.Pod.String(), e.Identity) {
			return false
		}
	}
	for _, ip := range c.tables.IPs.All() {
		if kept[ip.Endpoint] {
			continue
		}
		if (ip.Source == state.IPEndpoint || ip.Source == state.IPPod) && stale(ip.Of, ip.Identity) {
			return false
		}
	}
	return true
}

// node is the name of this node, "" while it is not known.
func (c *Control) node() string {
	for _, n := range c.tables.Nodes.All() {
		if n.Local {
			return n.Name
		}
	}
	return ""
}

// waits says of a policy why its version is not in force yet.
func (c *Control) waits(key state.PolicyKey) (string, bool) {
	p, ok := c.gate.waiting[key]
	if !ok {
		return "", false
	}
	var missing []string
	for label := range state.VisibleLabels(only(p), c.services()) {
		if !c.gate.clear[label] {
			missing = append(missing, label)
		}
	}
	slices.Sort(missing)
	return fmt.Sprintf("waits for identities that tell %s", strings.Join(missing, ", ")), true
}

package metrics

import (
	"slices"
	"strings"
	"time"

	"weir/state"
)

// states are all that an endpoint can be in: one that nobody is in is 0.
var states = []state.EndpointState{state.EndpointCreating, state.EndpointIdentity, state.EndpointReady, state.EndpointRestoring, state.EndpointNotReady}

func (n Node) endpoints(out Out) {
	by := map[state.EndpointState]int{}
	for _, e := range n.Tables.Endpoints.All() {
		by[e.State]++
	}
	all := 0
	for _, s := range states {
		all += by[s]
		out.Put(endpointState, float64(by[s]), string(s))
	}
	out.Put(endpoint, float64(all))
	out.Put(endpointCount, float64(all))
	isolated := map[string]int{}
	for id := range n.Tables.Endpoints.All() {
		p, _ := n.Tables.EndpointPolicies.Get(id)
		isolated[directions(p.Ingress, p.Egress)]++
	}
	for _, d := range []string{"none", "ingress", "egress", "both"} {
		out.Put(enforcement, float64(isolated[d]), d)
	}
}

func directions(ingress, egress bool) string {
	switch {
	case ingress && egress:
		return "both"
	case ingress:
		return "ingress"
	case egress:
		return "egress"
	}
	return "none"
}

func (n Node) policies(out Out) {
	all := n.Policies()
	inForce := 0
	for s, count := range all {
		out.Put(policyStates, float64(count), s)
		if s == "in force" {
			inForce = count
		}
	}
	out.Put(policy, float64(inForce))
	out.Put(policyCount, float64(inForce))
	kinds, sources := map[string]int{"reserved": 0, "cluster_local": 0, "node_local": 0}, map[string]int{}
	for _, i := range n.Tables.Identities.All() {
		kinds[kindOf(i.ID)]++
		for _, s := range sourcesOf(i.Labels) {
			sources[s]++
		}
	}
	for kind, count := range kinds {
		out.Put(identities, float64(count), kind)
	}
	for source, count := range sources {
		out.Put(identityLabels, float64(count), source)
	}
}

func kindOf(id state.IdentityID) string {
	switch {
	case id.Reserved() != "":
		return "reserved"
	case id >= state.IdentityLocal:
		return "node_local"
	}
	return "cluster_local"
}

// sourcesOf are those of labels, each once: "k8s" of "k8s:app=web".
func sourcesOf(labels state.Labels) []string {
	var out []string
	for _, l := range labels {
		if source, _, ok := strings.Cut(l, ":"); ok && !slices.Contains(out, source) {
			out = append(out, source)
		}
	}
	return out
}

func (n Node) addresses(out Out) {
	used := map[string]uint64{}
	for _, p := range n.Pools() {
		out.Put(poolCapacity, float64(p.Capacity), p.Family, p.CIDR)
		used[p.Family] += p.Allocated
	}
	for family, count := range used {
		out.Put(ipAddresses, float64(count), family)
	}
	s := n.Services()
	out.Put(services, float64(s.Services), "services")
	out.Put(services, float64(s.Frontends), "frontends")
	out.Put(services, float64(s.Backends), "backends")
	out.Put(services, float64(s.Problems), "problems")
}

func (n Node) loops(out Out) {
	failing, done, failed := 0, uint64(0), uint64(0)
	for _, c := range n.Tables.Controls.All() {
		if c.Consecutive > 0 {
			failing++
		}
		done += c.Runs - c.Failures
		failed += c.Failures
		out.Put(loopGroupRuns, float64(c.Runs-c.Failures), c.Name, "success")
		out.Put(loopGroupRuns, float64(c.Failures), c.Name, "failure")
	}
	out.Put(loopsFailing, float64(failing))
	out.Put(loopRuns, float64(done), "success")
	out.Put(loopRuns, float64(failed), "failure")
	out.Put(problems, float64(n.Tables.Problems.Len()))
}

// probes are bounds of round trips between nodes, in seconds.
var probes = []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

// cluster tells of the other nodes, as the last probes found them.
func (n Node) cluster(out Out) {
	var node, ends probed
	for _, p := range n.Tables.Peers.All() {
		node.add(p.NodeOK, p.NodeRTT, p.NodePing)
		if p.EndpointIP != "" {
			ends.add(p.EndpointOK, p.EndpointRTT, p.EndpointPing)
		}
	}
	out.Put(nodesKnown, float64(n.Tables.Nodes.Len()))
	out.Put(unreachable, float64(node.lost))
	out.Put(unreachableEPs, float64(ends.lost))
	node.put(out, "node")
	ends.put(out, "endpoint")
}

type probed struct {
	lost  int
	times []float64 // of those that answered
	pings []float64
}

func (p *probed) add(ok bool, took time.Duration, ping state.Ping) {
	if ok {
		p.times = append(p.times, took.Seconds())
	} else {
		p.lost++
	}
	if ping.OK {
		p.pings = append(p.pings, ping.RTT.Seconds())
	}
}

func (p *probed) put(out Out, kind string) {
	out.Put(connectivity, float64(len(p.times)), kind, "reachable")
	out.Put(connectivity, float64(p.lost), kind, "unreachable")
	out.spread(latency, probes, p.times, kind, "all", "http")
	out.spread(latency, probes, p.pings, kind, "all", "icmp")
}

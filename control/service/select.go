package service

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weir/state"
)

// backendKey is who is asked in a service's place. It has neither pointers nor
// holes, since there may be a hundred thousand in maps.
type backendKey struct {
	addr  [16]byte
	port  uint16
	proto uint16
}

func backendAt(at netip.AddrPort, proto uint8) backendKey {
	return backendKey{at.Addr().As16(), at.Port(), uint16(proto)}
}

func (b backendKey) at() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(b.addr).Unmap(), b.port)
}

func (b backendKey) compare(o backendKey) int {
	return cmp.Or(bytes.Compare(b.addr[:], o.addr[:]), cmp.Compare(b.port, o.port), cmp.Compare(b.proto, o.proto))
}

// endpoint is an endpoint of a service's port, as the best slice that names it says.
type endpoint struct {
	at netip.AddrPort
	e  *state.SliceEndpoint
	in *state.Slice
}

// node is what the choice depends on of this node.
type node struct {
	name string
	zone string
}

func (n node) has(e *state.SliceEndpoint) bool { return n.name != "" && e.Node == n.name }

// condition of an endpoint, the better the larger.
type condition int

const (
	unready condition = iota
	draining
	ready
)

// conditionOf is what an endpoint can be used for: when it is ready, always; when
// it is terminating and still serves, if none is ready (KEP-1669); else never.
func conditionOf(e *state.SliceEndpoint, publishUnready bool) condition {
	switch {
	case e.Ready || publishUnready:
		return ready
	case e.Serving && e.Terminating:
		return draining
	}
	return unready
}

// merge returns the endpoints of the port in one family, each once: where several
// slices name one, the slice in which it is ready counts.
func merge(all []*state.Slice, p state.ServicePort, is4, publishUnready bool) []endpoint {
	var out []endpoint
	for _, s := range all {
		for _, sp := range s.Ports {
			if sp.Name != p.Name || sp.Proto != p.Proto || sp.Port == 0 {
				continue
			}
			for i := range s.Endpoints {
				e := &s.Endpoints[i]
				if e.Addr.Is4() == is4 && e.Addr.IsValid() {
					out = append(out, endpoint{netip.AddrPortFrom(e.Addr, sp.Port), e, s})
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b endpoint) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return cmp.Compare(conditionOf(b.e, publishUnready), conditionOf(a.e, publishUnready))
	})
	return slices.CompactFunc(out, func(a, b endpoint) bool { return a.at == b.at })
}

// mode is whose hints count, if any do.
type mode string

const (
	modeAll  mode = ""
	modeZone mode = "zone"
	modeNode mode = "node"
)

// selection is who may be chosen, as indexes of endpoints.
type selection struct {
	cluster  []int // by the traffic policy Cluster
	local    []int // by Local
	anywhere bool  // somebody in the cluster could be chosen
	mode     mode  // of cluster
	last     bool  // cluster are those that drain: none is ready
	lastHere bool  // likewise local
}

// choose is CategorizeEndpoints of kube-proxy (pkg/proxy/topology.go).
func choose(all []endpoint, n node, publishUnready bool) selection {
	var s selection
	var drain, here, hereDrain []int
	s.mode = hints(all, n, publishUnready)
	for i := range all {
		e := all[i].e
		c := conditionOf(e, publishUnready)
		if c == unready {
			continue
		}
		s.anywhere = true
		if c == ready && s.mode.lets(e, n) {
			s.cluster = append(s.cluster, i)
		}
		if c == draining {
			drain = append(drain, i)
		}
		switch {
		case !n.has(e):
		case c == ready:
			here = append(here, i)
		default:
			hereDrain = append(hereDrain, i)
		}
	}
	if s.local = here; len(here) == 0 {
		s.local, s.lastHere = hereDrain, len(hereDrain) > 0
	}
	if len(s.cluster) == 0 {
		s.cluster, s.last = drain, len(drain) > 0
	}
	return s
}

// hints says whose hints count: those for nodes if every ready endpoint has one
// and one is for this node; else those for zones, if the same is true of them.
func hints(all []endpoint, n node, publishUnready bool) mode {
	some, nodes, zones, forNode, forZone := false, true, true, false, false
	for i := range all {
		e := all[i].e
		if conditionOf(e, publishUnready) != ready {
			continue
		}
		some = true
		nodes = nodes && len(e.HintNodes) > 0
		zones = zones && len(e.HintZones) > 0
		if !nodes && !zones {
			return modeAll
		}
		forNode = forNode || slices.Contains(e.HintNodes, n.name)
		forZone = forZone || slices.Contains(e.HintZones, n.zone)
	}
	switch {
	case some && nodes && forNode:
		return modeNode
	case some && zones && forZone:
		return modeZone
	}
	return modeAll
}

func (m mode) lets(e *state.SliceEndpoint, n node) bool {
	switch m {
	case modeNode:
		return slices.Contains(e.HintNodes, n.name)
	case modeZone:
		return slices.Contains(e.HintZones, n.zone)
	}
	return true
}

// unused says why the endpoint is not chosen by the traffic policy Cluster, or by
// Local; empty where it is.
func (s selection) unused(e *state.SliceEndpoint, n node, publishUnready bool) (cluster, local string) {
	switch conditionOf(e, publishUnready) {
	case unready:
		why := "not ready"
		if e.Terminating {
			why = "terminating, and does not serve any more"
		}
		return why, why
	case draining:
		if !s.last {
			cluster = "terminating, and others are ready"
		}
		if !s.lastHere {
			local = "terminating, and others of this node are ready"
		}
	case ready:
		switch {
		case s.mode.lets(e, n):
		case s.mode == modeNode:
			cluster = "meant for node " + strings.Join(e.HintNodes, ", ")
		default:
			cluster = fmt.Sprintf("meant for zone %s, this node is in %s", strings.Join(e.HintZones, ", "), n.zone)
		}
	}
	if !n.has(e) {
		local = "not on this node"
	}
	return cluster, local
}

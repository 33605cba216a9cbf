package service

import (
	"cmp"
	"slices"

	"weir/state"
)

// Detail is everything there is to know of one service on this node.
type Detail struct {
	Row        state.Service
	Algorithm  state.Algorithm // in force
	Forwarding string          // in force
	Ports      []PortDetail
	Problems   []string
}

// PortDetail is a port in one family.
type PortDetail struct {
	Name      string
	Port      uint16
	NodePort  uint16
	Proto     uint8
	IPv6      bool
	ID        uint32
	Hints     string // whose hints count: "zone", "node", or of none
	Frontends []FrontendDetail
	Endpoints []EndpointDetail
}

// FrontendDetail is a frontend, whether it is this service's or not.
type FrontendDetail struct {
	Frontend
	Flags   []string
	Inside  int    // backends
	Outside int    // likewise
	Instead string // who has it in this service's place
}

// EndpointDetail says whether an endpoint is chosen, and if not, why.
type EndpointDetail struct {
	Backend
	Node, Zone string
	Slice      string
	Inside     bool   // by clients of the ClusterIP
	Outside    bool   // from outside; of a service that can be reached from there
	NotInside  string // why
	NotOutside string // why; empty, too, when it cannot be reached from there
}

// Service returns everything about one.
func (c *Control) Service(name state.ServiceName) (Detail, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := ofService(name)
	if c.m == nil || c.m.services[of] == nil {
		return Detail{}, false
	}
	s := c.m.services[of]
	d := Detail{Row: *s.row, Algorithm: cmp.Or(s.row.Algorithm, c.view.algorithm, state.AlgorithmRandom),
		Forwarding: cmp.Or(s.row.Forwarding, c.view.forwarding, "snat")}
	for _, p := range c.m.problems() {
		if p.Of == of {
			d.Problems = append(d.Problems, p.Text)
		}
	}
	plans := c.wish(of).plans
	for i := range plans {
		d.Ports = append(d.Ports, c.portDetail(s, &plans[i]))
	}
	return d, true
}

func (c *Control) portDetail(s *service, p *plan) PortDetail {
	d := PortDetail{Name: p.name, Port: p.key.port, Proto: p.key.proto, IPv6: p.key.is6, Hints: string(p.mode)}
	if x := s.ports[p.key]; x != nil {
		d.ID = x.id
	}
	for _, sp := range s.row.Ports {
		if sp.Port == p.key.port && sp.Proto == p.key.proto {
			d.NodePort = sp.NodePort
			break
		}
	}
	for _, f := range p.frontends {
		d.Frontends = append(d.Frontends, c.frontendDetail(s, p, f))
	}
	external := slices.ContainsFunc(p.frontends, func(f frontend) bool { return f.kind != ClusterIP })
	for i := range p.endpoints {
		d.Endpoints = append(d.Endpoints, c.endpointDetail(s.row, p, i, external))
	}
	return d
}

func (c *Control) frontendDetail(s *service, p *plan, f frontend) FrontendDetail {
	d := FrontendDetail{Frontend: Frontend{At: f.key.AddrPort(), Proto: p.key.proto, Kind: f.kind, Port: p.name, Of: ofService(s.row.Name)},
		Inside: len(p.chosen(f.inside)), Outside: len(p.chosen(f.outside))}
	x := c.m.claims[f.key]
	if x == nil || x.owner == nil {
		return d
	}
	if x.owner != s.ports[p.key] {
		d.Instead = x.owner.String()
		return d
	}
	if v, ok := c.maps.Services.Get(f.key); ok {
		d.Number, d.Flags = v.Frontend, v.FlagNames()
	}
	return d
}

func (c *Control) endpointDetail(s *state.Service, p *plan, i int, external bool) EndpointDetail {
	e := p.endpoints[i]
	d := EndpointDetail{Backend: c.backend(p, i, s.PublishUnready), Node: e.e.Node, Zone: e.e.Zone, Slice: e.in.Name.Name}
	cluster, local := p.unused(e.e, c.view.node, s.PublishUnready)
	if d.NotInside = cluster; s.InternalLocal {
		d.NotInside = local
	}
	d.Inside = d.NotInside == ""
	if external {
		if d.NotOutside = cluster; s.ExternalLocal {
			d.NotOutside = local
		}
		d.Outside = d.NotOutside == ""
	}
	return d
}

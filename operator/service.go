package operator

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// ServiceRanges is what services are given their addresses and ports from.
type ServiceRanges struct {
	ClusterIPs      []netip.Prefix // at most one of each family; the first is that of services which name none
	LoadBalancerIPs []netip.Prefix // likewise
	NodePorts       PortRange
}

// PortRange is from one port to another, both in it.
type PortRange struct{ First, Last int32 }

func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// DefaultServiceRanges returns the ranges of a cluster that chose none.
func DefaultServiceRanges() ServiceRanges {
	return ServiceRanges{
		ClusterIPs:      []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112")},
		LoadBalancerIPs: []netip.Prefix{netip.MustParsePrefix("172.18.200.0/24"), netip.MustParsePrefix("fc00:f853:ccd:e793:200::/112")},
		NodePorts:       PortRange{30000, 32767},
	}
}

// ServiceError refuses to give a service what it asks for.
type ServiceError struct {
	Field string // "spec.clusterIPs[1]"
	Text  string // the value, what is wrong with it, and the way out
}

func (e *ServiceError) Error() string { return e.Field + ": " + e.Text }

func refuse(field, format string, args ...any) error {
	return &ServiceError{Field: field, Text: fmt.Sprintf(format, args...)}
}

// Services gives services what an API server and the controller of a load
// balancer give them: cluster IPs, node ports, the port of health checks, and
// the addresses of a load balancer. It remembers what it gave and to whom.
type Services struct {
	ranges   ServiceRanges
	services map[string]*corev1.Service // as they were given
	addrs    map[netip.Addr]string      // whose each is
	ports    map[int32]string           // likewise, whatever the protocol
	next     map[netip.Prefix]netip.Addr
	nextPort int32
}

// NewServices returns the book of a cluster in which these services have what
// they say.
func NewServices(ranges ServiceRanges, given []*corev1.Service) *Services {
	s := &Services{
		ranges: ranges, services: map[string]*corev1.Service{},
		addrs: map[netip.Addr]string{}, ports: map[int32]string{}, next: map[netip.Prefix]netip.Addr{},
	}
	for _, o := range given {
		s.enter(o)
	}
	return s
}

func serviceKey(o *corev1.Service) string { return o.Namespace + "/" + o.Name }

// Give returns the service with everything that it needs. What it says itself
// is kept, then what it had before; the rest is the first that is free. What
// another service has is refused by the name of that one, and then everything
// stays as it was.
func (s *Services) Give(o *corev1.Service) (*corev1.Service, error) {
	old := s.services[serviceKey(o)]
	if old == nil {
		old = &corev1.Service{}
	}
	s.leave(old)
	out := o.DeepCopy()
	g := giving{Services: s, owner: serviceKey(o), old: old, out: out, one: len(o.Spec.ClusterIPs) == 0}
	if err := g.all(); err != nil {
		s.leave(out)
		s.enter(old)
		return nil, err
	}
	s.enter(out)
	return out, nil
}

// Take forgets a service: what it had is free.
func (s *Services) Take(namespace, name string) {
	if o := s.services[namespace+"/"+name]; o != nil {
		s.leave(o)
	}
}

// enter writes down what a service has. Of two that have the same, the first
// is its owner.
func (s *Services) enter(o *corev1.Service) {
	key := serviceKey(o)
	if o.Name == "" {
		return
	}
	s.services[key] = o
	for _, a := range addrsOf(o) {
		if s.addrs[a] == "" {
			s.addrs[a] = key
		}
	}
	for _, p := range portsOf(o) {
		if s.ports[p] == "" {
			s.ports[p] = key
		}
	}
}

func (s *Services) leave(o *corev1.Service) {
	key := serviceKey(o)
	delete(s.services, key)
	for _, a := range addrsOf(o) {
		if s.addrs[a] == key {
			delete(s.addrs, a)
		}
	}
	for _, p := range portsOf(o) {
		if s.ports[p] == key {
			delete(s.ports, p)
		}
	}
}

// addrsOf lists the addresses that only one service can have. Those of
// externalIPs are nobody's to give.
func addrsOf(o *corev1.Service) []netip.Addr {
	texts := slices.Clone(o.Spec.ClusterIPs)
	if o.Spec.ClusterIP != "" {
		texts = append(texts, o.Spec.ClusterIP)
	}
	for _, in := range o.Status.LoadBalancer.Ingress {
		texts = append(texts, in.IP)
	}
	var out []netip.Addr
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil { // None, or nothing
			out = append(out, a)
		}
	}
	return out
}

func portsOf(o *corev1.Service) []int32 {
	out := []int32{o.Spec.HealthCheckNodePort}
	for _, p := range o.Spec.Ports {
		out = append(out, p.NodePort)
	}
	return slices.DeleteFunc(out, func(p int32) bool { return p == 0 })
}

// addr gives an address of a range that nobody has.
func (s *Services) addr(r netip.Prefix, band uint64, owner string) (netip.Addr, bool) {
	first, last := span(r)
	from, ok := s.next[r]
	if !ok {
		from = ahead(first, min(band, distance(first, last)))
	}
	for _, part := range [][2]netip.Addr{{from, last}, {first, from}} {
		for a := part[0]; a.Compare(part[1]) <= 0; a = a.Next() {
			if s.addrs[a] == "" {
				s.addrs[a], s.next[r] = owner, a
				return a, true
			}
			if a == part[1] {
				break // the last address of all has no next one
			}
		}
	}
	return netip.Addr{}, false
}

// port gives a node port that nobody has.
func (s *Services) port(owner string) (int32, error) {
	r := s.ranges.NodePorts
	if s.nextPort == 0 {
		s.nextPort = r.First + int32(band(uint64(r.Last-r.First+1), 32, 128))
	}
	for _, part := range []PortRange{{s.nextPort, r.Last}, {r.First, s.nextPort}} {
		for p := part.First; p <= part.Last; p++ {
			if s.ports[p] == "" {
				s.ports[p], s.nextPort = owner, p
				return p, nil
			}
		}
	}
	return 0, errors.New("none of the node ports " + r.String() + " is free: remove services")
}

// band is how many of a range's first values are left to people who choose
// their own, as long as there are others: as many as an API server leaves.
func band(size, part, most uint64) uint64 {
	if size < 16 {
		return 0
	}
	return min(max(16, size/part), most)
}

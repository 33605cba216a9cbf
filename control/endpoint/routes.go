package endpoint

import (
	"fmt"
	"net/netip"
	"slices"

	"weir/datapath/link"
	"weir/datapath/route"
	"weir/state"
)

// routes gives the host a route of its own to each pod, when the configuration
// wants them: host tools then see pods as devices. The stack needs no neighbour
// on them, because to_pod addresses the frames.
//
// Otherwise pods have one whose addresses are in no pod CIDR of the node, which has
// others by now: that of its CIDR is gone, and kubelets go on to probe them.
func (c *Control) routes() error {
	want, err := c.wantedRoutes()
	if err != nil {
		return err
	}
	c.routing.Lock()
	defer c.routing.Unlock()
	if len(want) == 0 && c.unrouted {
		return nil
	}
	if _, err := route.Apply(route.Endpoints, want); err != nil {
		return fmt.Errorf("apply endpoint routes: %w", err)
	}
	c.unrouted = len(want) == 0
	return nil
}

func (c *Control) wantedRoutes() ([]route.Route, error) {
	n, _ := c.local()
	var want []route.Route
	host := 0 // index of weir_host, once it is needed
	for _, e := range c.tables.Endpoints.All() {
		if e.State == state.EndpointCreating || e.State == state.EndpointNotReady {
			continue
		}
		for _, a := range e.Addrs() {
			r := route.Route{Prefix: netip.PrefixFrom(a, a.BitLen()), Device: e.Ifindex, Src: n.Router(a.Is4()), Link: a.Is4()}
			if c.opts.EndpointRoutes {
				want = append(want, r)
				continue
			}
			if e.Health || !r.Src.IsValid() || !stray(n, a) {
				continue
			}
			if host == 0 {
				d, err := link.Find(link.HostName)
				if err != nil {
					return nil, fmt.Errorf("find the device of routes to pods: %w", err)
				}
				host = d.Index
			}
			if r.Device, r.Link = host, false; a.Is4() {
				r.Via = r.Src
			}
			want = append(want, r)
		}
	}
	return want, nil
}

// stray reports whether an address is in no pod CIDR of this node.
func stray(n state.Node, a netip.Addr) bool {
	return len(n.PodCIDRs) > 0 && !slices.ContainsFunc(n.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(a) })
}

// noARP lets the stack send to a pod's device without resolving anything.
func (c *Control) noARP(e state.Endpoint) error {
	if !c.opts.EndpointRoutes {
		return nil
	}
	return link.NoARP(e.Device)
}

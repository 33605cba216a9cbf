package endpoint

import (
	"fmt"
	"net/netip"

	"weir/datapath/link"
	"weir/datapath/route"
	"weir/state"
)

// routes gives the host a route of its own to each pod, when the configuration
// wants them: host tools then see pods as devices. The stack needs no neighbour
// on them, because to_pod addresses the frames.
func (c *Control) routes() error {
	if !c.opts.EndpointRoutes {
		return nil
	}
	var want []route.Route
	for _, e := range c.tables.Endpoints.All() {
		if e.State == state.EndpointCreating || e.State == state.EndpointNotReady {
			continue
		}
		for _, a := range e.Addrs() {
			want = append(want, route.Route{Prefix: netip.PrefixFrom(a, a.BitLen()), Device: e.Ifindex, Src: c.router(a.Is4()), Link: a.Is4()})
		}
	}
	c.routing.Lock()
	defer c.routing.Unlock()
	if _, err := route.Apply(route.Endpoints, want); err != nil {
		return fmt.Errorf("apply endpoint routes: %w", err)
	}
	return nil
}

func (c *Control) router(is4 bool) netip.Addr {
	n, _ := c.local()
	return n.Router(is4)
}

// noARP lets the stack send to a pod's device without resolving anything.
func (c *Control) noARP(e state.Endpoint) error {
	if !c.opts.EndpointRoutes {
		return nil
	}
	return link.NoARP(e.Device)
}

package agent

import (
	"context"
	"errors"
	"net/netip"

	"weir/agent/config"
	"weir/control/endpoint"
	"weir/control/health"
	"weir/control/node"
)

func (a *Agent) nodeOptions() node.Options {
	cfg := a.cfg.Config
	return node.Options{Tunnel: cfg.RoutingMode == "tunnel", Direct: cfg.AutoDirectNodeRoutes, IPv4: cfg.IPv4.Enabled,
		IPv6: cfg.IPv6.Enabled, MTU: cfg.MTU, Underlay: cfg.UnderlayProtocol}
}

func healthOptions(cfg config.Config) health.Options {
	return health.Options{RunDir: cfg.RunDir, Port: cfg.Health.Port, Interval: cfg.Health.Interval,
		IPv4: cfg.IPv4.Enabled, IPv6: cfg.IPv6.Enabled}
}

// attacher lets the health slice have an endpoint of the endpoint slice.
type attacher struct{ a *Agent }

// healthKey names no container: the CNI protocol allows no slash in its ids.
var healthKey = endpoint.Key{ContainerID: "/health", Interface: health.Interface}

// Attach makes the health endpoint. One that an earlier agent made, in the same
// namespace, is kept.
func (h attacher) Attach(ctx context.Context, netns string, addrs []netip.Addr) error {
	if _, err := h.a.endpoints.Check(healthKey, netns); err == nil {
		return nil
	} else if !errors.Is(err, endpoint.ErrUnknown) {
		h.a.log.Info("health endpoint is made again", "because", err)
		if err := h.a.endpoints.Delete(healthKey, 0); err != nil {
			return err
		}
	}
	_, err := h.a.endpoints.Add(ctx, endpoint.Request{Key: healthKey, Netns: netns, Health: true, Device: health.Device, Addrs: addrs})
	return err
}

func (h attacher) Detach(context.Context) error { return h.a.endpoints.Delete(healthKey, 0) }

func (a *Agent) probe(ctx context.Context) error {
	if !a.cfg.Health.Enabled {
		return errors.New("health probes are switched off: set health.enabled")
	}
	return a.health.Probe(ctx)
}

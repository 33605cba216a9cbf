package agent

import (
	"context"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"weir/agent/config"
	"weir/control/endpoint"
	"weir/control/health"
	"weir/control/host"
	"weir/control/node"
	"weir/source/convert"
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

func (a *Agent) scope() convert.Scope {
	return convert.Scope{Cluster: a.cfg.Cluster.Name, LocalNode: a.cfg.NodeName, CIDRMatchMode: a.cfg.Policy.CIDRMatchMode,
		Pools: a.cfg.Source.Kubernetes.Enabled && a.cfg.IPAM.Mode == "cluster-pool"}
}

func failSafe(h config.HostFirewall) []host.Port {
	ports, _ := h.Ports() // checked when the configuration was read
	var out []host.Port
	for _, p := range ports {
		out = append(out, host.Port{Ingress: p.Ingress, Proto: p.Proto, Port: p.Port})
	}
	return out
}

const (
	// ctMemory is the part of the memory that connections may take: a hundredth.
	ctMemory = 100
	// ctBytes is what one connection takes: key and value, the kernel's own, and
	// its part of the buckets.
	ctBytes = 152
)

// ctLimit is up to how many connections the table grows. Without a limit of the
// configuration it follows the memory, which is 0 when it is not known.
func ctLimit(size, limit int, memory uint64) uint32 {
	if limit == 0 {
		limit = int(min(memory/ctMemory/ctBytes, 1<<24))
	}
	return uint32(max(limit, size))
}

func memory() uint64 {
	var i unix.Sysinfo_t
	if err := unix.Sysinfo(&i); err != nil {
		return 0
	}
	return uint64(i.Totalram) * uint64(i.Unit)
}

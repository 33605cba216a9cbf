package agent

import (
	"context"

	"weir/control/node"
	"weir/internal/run"
)

func (a *Agent) nodeOptions() node.Options {
	cfg := a.cfg.Config
	return node.Options{Tunnel: cfg.RoutingMode == "tunnel", Direct: cfg.AutoDirectNodeRoutes, IPv4: cfg.IPv4.Enabled,
		IPv6: cfg.IPv6.Enabled, MTU: cfg.MTU, Underlay: cfg.UnderlayProtocol}
}

func (a *Agent) startHealth(g *run.Group) error { return nil }
func (a *Agent) probe(ctx context.Context)      {}
func (a *Agent) cniConfig() string              { return "CNI configuration file management disabled" }

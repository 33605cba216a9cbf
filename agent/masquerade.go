package agent

import (
	"net/netip"

	"weir/agent/config"
	api "weir/api/agent"
	"weir/control/host"
	"weir/control/masquerade"
	"weir/source/ipmasq"
)

func (a *Agent) hostMasquerade() host.Masquerade {
	o := masqueradeOptions(a.cfg.Config)
	return host.Masquerade{IPv4: o.IPv4, IPv6: o.IPv6, Known: a.masquerade.Ready()}
}

func masqueradeOptions(cfg config.Config) masquerade.Options {
	on := !cfg.BesideKubeProxy()
	o := masquerade.Options{IPv4: on && cfg.IPv4.Enabled && cfg.EnableIPv4Masquerade, IPv6: on && cfg.IPv6.Enabled && cfg.EnableIPv6Masquerade,
		Native: nativeCIDRs(cfg)}
	if cfg.IPMasqAgent.Enabled {
		o.Read = func() ([]netip.Prefix, error) { return ipmasq.Read(cfg.IPMasqAgent.ConfigFile) }
	}
	return o
}

// nativeCIDRs are within what the underlay routes pods' addresses, in native
// routing.
func nativeCIDRs(cfg config.Config) []netip.Prefix {
	var out []netip.Prefix
	if cfg.RoutingMode != "native" {
		return nil
	}
	for _, p := range []netip.Prefix{cfg.IPv4NativeRoutingCIDR, cfg.IPv6NativeRoutingCIDR} {
		if p.IsValid() {
			out = append(out, p)
		}
	}
	return out
}

func (a *Agent) masqueradeStatus() *api.MasqueradeStatus {
	o := masqueradeOptions(a.cfg.Config)
	return &api.MasqueradeStatus{IPv4: o.IPv4, IPv6: o.IPv6, IPMasqAgent: a.cfg.IPMasqAgent.Enabled, Exempt: texts(a.masquerade.Exempt())}
}

package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Ports are the first and the last port that services may have on nodes.
func (n NodePort) Ports() (first, last uint16, err error) {
	a, b, ok := strings.Cut(n.Range, "-")
	from, err1 := strconv.ParseUint(strings.TrimSpace(a), 10, 16)
	to, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 16)
	if !ok || err1 != nil || err2 != nil || from == 0 || from > to {
		return 0, 0, fmt.Errorf("%q is not a range of ports: write the first and the last, such as 30000-32767", n.Range)
	}
	return uint16(from), uint16(to), nil
}

func (f *findings) services(c Config) {
	f.oneOf("loadBalancer.algorithm", c.LoadBalancer.Algorithm)
	f.forwarding(c)
	f.oneOf("loadBalancer.acceleration", c.LoadBalancer.Acceleration)
	if _, _, err := c.NodePort.Ports(); err != nil {
		f.add("nodePort.range", "%s", err)
	}
	if at := c.HealthzBindAddr; at != "" && !bindable(at) {
		f.add("kubeProxyReplacementHealthzBindAddr", "%q is not an address to listen at: write :10256 for all addresses, one with its port, such as 172.18.0.2:10256, or nothing to switch it off", at)
	}
	for _, p := range c.NodePort.Addresses {
		switch {
		case !p.IsValid():
			f.add("nodePort.addresses", "an empty CIDR: remove it, or leave nodePort.addresses out for all addresses")
		case p != p.Masked():
			f.add("nodePort.addresses", "%s has host bits set: write %s", p, p.Masked())
		}
	}
}

// BesideKubeProxy reports whether kube-proxy's rules in the host's stack are to see
// what pods send, by their own addresses.
func (c Config) BesideKubeProxy() bool {
	return !c.KubeProxyReplacement && c.BPF.HostRouting != "bpf"
}

// forwarding checks how clients from outside get to backends of other nodes.
func (f *findings) forwarding(c Config) {
	f.oneOf("loadBalancer.mode", c.LoadBalancer.Mode)
	switch d := c.LoadBalancer.DSRDispatch; d {
	case "geneve", "ipip":
		f.add("loadBalancer.dsrDispatch", "%s is not supported by this version: use opt, which works in tunnel mode, too (the option is in the tunnelled packet)", d)
	default:
		f.oneOf("loadBalancer.dsrDispatch", d)
	}
}

// bindable reports whether a text is ADDRESS:PORT, or :PORT for all addresses.
func bindable(text string) bool {
	if port, all := strings.CutPrefix(text, ":"); all {
		n, err := strconv.ParseUint(port, 10, 16)
		return err == nil && n > 0
	}
	at, err := netip.ParseAddrPort(text)
	return err == nil && at.Port() > 0
}

// idle names settings of services that do nothing.
func idle(c Config) []string {
	if c.KubeProxyReplacement {
		return slow(c)
	}
	var out []string
	if c.LoadBalancer.Algorithm == "maglev" {
		out = append(out, "loadBalancer.algorithm: has no effect with kubeProxyReplacement false")
	}
	if c.LoadBalancer.Mode != "snat" {
		out = append(out, "loadBalancer.mode: has no effect with kubeProxyReplacement false")
	}
	if c.LoadBalancer.Acceleration != "disabled" {
		out = append(out, "loadBalancer.acceleration: has no effect with kubeProxyReplacement false")
	}
	if c.L2Announcements.Enabled {
		out = append(out, "l2announcements.enabled: has no effect with kubeProxyReplacement false")
	}
	if len(c.NodePort.Addresses) > 0 {
		out = append(out, "nodePort.addresses: has no effect with kubeProxyReplacement false")
	}
	return out
}

// slow names settings that are for speed and give none.
func slow(c Config) []string {
	if c.LoadBalancer.Acceleration == "disabled" || c.RoutingMode != "tunnel" {
		return nil
	}
	return []string{"loadBalancer.acceleration: has no effect on packets to pods of other nodes with routingMode tunnel; it needs native"}
}

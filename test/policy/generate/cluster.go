package generate

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"weir/test/policy/oracle"
)

// namespaces of everything. The last may have no object.
var namespaces = []string{"a", "b", "c"}

// Random returns the case of a number, with so many packets.
func Random(seed uint64, packets int) Case {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0x77656972))}
	c := Case{Settings: g.settings()}
	g.v4, g.v6 = c.Settings.IPv4, c.Settings.IPv6
	g.nodes(&c)
	for _, n := range namespaces {
		g.namespace(&c, n)
	}
	for i := range 4 + g.IntN(6) {
		g.pod(&c, i)
	}
	for range g.IntN(2) {
		for _, a := range g.families("10.0.1.200", "fd00:1::200") {
			c.Settings.Orphans = append(c.Settings.Orphans, a)
			g.local = append(g.local, a, a)
		}
	}
	g.addrs = append(g.addrs, c.Settings.Orphans...)
	g.addrs = append(g.addrs, g.families("192.0.2.1", "2001:db8::1")...)
	g.addrs = append(g.addrs, g.families("192.0.2.77", "2001:db8::77")...)
	g.addrs = append(g.addrs, g.families("198.51.100.5", "2001:db8:1::5")...)
	g.addrs = append(g.addrs, g.families("10.0.2.250", "fd00:2::250")...) // no pod has it
	g.others(&c)
	policies := 1 + g.IntN(6)
	if g.percent(3) { // more selectors than one set holds
		policies = 40 + g.IntN(120)
	}
	for i := range policies {
		g.policy(&c, fmt.Sprintf("p%d", i))
	}
	g.aim(80)
	for range packets {
		c.Packets = append(c.Packets, g.packet())
	}
	return c
}

func (g *generator) settings() oracle.Settings {
	s := oracle.Settings{Cluster: "lab", Node: "n1", Mode: "default", TunnelPort: 8472, OrphansIn: pick(g, "a", "c"), Routing: pick(g, "native", "tunnel", "legacy"), IPv4: true, IPv6: true}
	switch g.IntN(10) {
	case 0:
		s.Mode = "always"
	case 1:
		s.Mode = pick(g, "never", "default", "default")
	}
	switch g.IntN(10) {
	case 0:
		s.IPv6 = false
	case 1:
		s.IPv4 = false
	}
	if g.percent(30) {
		s.Respond = pick(g, "drop", "reject")
	}
	if s.HostFirewall = g.percent(50); s.HostFirewall && g.percent(60) {
		s.FailSafe = []oracle.FailSafe{{Ingress: true, Proto: 6, Port: 443}, {Proto: 17, Port: 53}}
	}
	if g.percent(25) {
		s.CIDRMatch = pick(g, []string{"nodes"}, []string{"pods"}, []string{"pods", "nodes"})
	}
	return s
}

// families returns the addresses of the families that are on.
func (g *generator) families(v4, v6 string) []netip.Addr {
	var out []netip.Addr
	if g.v4 {
		out = append(out, netip.MustParseAddr(v4))
	}
	if g.v6 {
		out = append(out, netip.MustParseAddr(v6))
	}
	return out
}

// nodes adds this node and another, and what speaks for them.
func (g *generator) nodes(c *Case) {
	for i, name := range []string{"n1", "n2"} {
		n := i + 1
		o := object("cilium.io/v2", "CiliumNode", "", name)
		labels := Object{"zone": pick(g, "east", "west"), "node": name}
		meta(o)["labels"] = labels
		var addresses, cidrs []any
		health := Object{}
		inside := g.families(fmt.Sprintf("172.18.0.%d", n+1), fmt.Sprintf("fd12::%d", n+1))
		routers := g.families(fmt.Sprintf("10.0.%d.1", n), fmt.Sprintf("fd00:%d::1", n))
		for j, a := range inside {
			addresses = append(addresses, Object{"type": "InternalIP", "ip": text(a)}, Object{"type": "CiliumInternalIP", "ip": text(routers[j])})
		}
		for _, a := range g.families(fmt.Sprintf("10.0.%d.0", n), fmt.Sprintf("fd00:%d::", n)) {
			p := netip.PrefixFrom(a, 24)
			if a.Is6() {
				p = netip.PrefixFrom(a, 64)
			}
			cidrs = append(cidrs, text(p))
		}
		for _, a := range g.families(fmt.Sprintf("10.0.%d.2", n), fmt.Sprintf("fd00:%d::2", n)) {
			health[map[bool]string{true: "ipv4", false: "ipv6"}[a.Is4()]] = text(a)
			g.addrs = append(g.addrs, a)
			if i == 0 {
				g.local = append(g.local, a)
			}
		}
		o["spec"] = Object{"addresses": addresses, "health": health, "ipam": Object{"podCIDRs": cidrs}}
		c.Objects = append(c.Objects, o)
		g.addrs = append(append(g.addrs, inside...), routers...)
		if i == 0 {
			g.local = append(append(g.local, inside...), routers...)
		}
		if g.percent(40) { // its labels count in place of the CiliumNode's
			k := object("v1", "Node", "", name)
			meta(k)["labels"] = Object{"zone": pick(g, "east", "west"), "node": name}
			c.Objects = append(c.Objects, k)
		}
	}
}

func (g *generator) namespace(c *Case, name string) {
	if name == "c" && g.percent(50) {
		return
	}
	o := object("v1", "Namespace", "", name)
	labels := Object{}
	g.maybe(labels, 60, "team", func() any { return pick(g, "red", "blue") })
	g.maybe(labels, 30, "env", func() any { return "prod" })
	g.maybe(labels, 10, "kubernetes.io/metadata.name", func() any { return pick(g, "a", "other") })
	if len(labels) > 0 {
		meta(o)["labels"] = labels
	}
	g.respond(o)
	c.Objects = append(c.Objects, o)
}

func (g *generator) pod(c *Case, i int) {
	namespace := pick(g, append(slices.Clone(namespaces), "a")...)
	g.used = append(g.used, namespace)
	o := object("v1", "Pod", namespace, fmt.Sprintf("pod%d", i))
	labels := Object{}
	for _, l := range podLabels {
		g.maybe(labels, 60, l[0], func() any { return pick(g, l[1:]...) })
	}
	if g.percent(10) { // as if the system had said it
		k := pick(g, "io.kubernetes.pod.namespace", "io.cilium.k8s.namespace.labels.team", "io.cilium.k8s.policy.serviceaccount", "io.cilium.k8s.policy.cluster")
		labels[k] = pick(g, "a", "b", "red", "sa1", "lab")
	}
	if len(labels) > 0 {
		meta(o)["labels"] = labels
	}
	node := pick(g, 1, 1, 2)
	host := g.percent(8)
	spec := Object{"nodeName": fmt.Sprintf("n%d", node), "serviceAccountName": pick(g, "default", "sa1")}
	addrs := g.families(fmt.Sprintf("10.0.%d.%d", node, 10+i), fmt.Sprintf("fd00:%d::%x", node, 0x10+i))
	if host {
		spec["hostNetwork"] = true
		addrs = g.families(fmt.Sprintf("172.18.0.%d", node+1), fmt.Sprintf("fd12::%d", node+1))
	} else if len(addrs) == 2 && g.percent(15) {
		addrs = addrs[g.IntN(2):][:1] // of one family only
	}
	spec["containers"] = []any{Object{"name": "main", "image": "x", "ports": g.containerPorts()}}
	var ips []any
	for _, a := range addrs {
		ips = append(ips, Object{"ip": text(a)})
		g.addrs = append(g.addrs, a, a)
		if node == 1 && !host {
			g.local = append(g.local, a, a, a)
		}
	}
	o["spec"], o["status"] = spec, Object{"phase": "Running", "podIP": text(addrs[0]), "podIPs": ips}
	c.Objects = append(c.Objects, o)
}

// containerPorts gives names to ports, not the same in each pod.
func (g *generator) containerPorts() []any {
	out := []any{}
	add := func(name, proto string, port uint16) {
		g.aim(port)
		out = append(out, Object{"name": name, "protocol": proto, "containerPort": int(port)})
	}
	if g.percent(60) {
		add("web", pick(g, "TCP", "TCP", "TCP", "UDP", "SCTP"), pick(g, uint16(80), 81, 8080))
	}
	if len(out) > 0 && g.percent(8) {
		add("web", "TCP", 443) // again: the first counts
	}
	if g.percent(30) {
		add("dns", "UDP", 53)
		if g.percent(50) {
			add("dns", "TCP", pick(g, uint16(53), 5353))
		}
	}
	return out
}

// others adds services, their slices, and CIDR groups.
func (g *generator) others(c *Case) {
	addresses := func() any { return some(g, 0, 3, func() any { return pick(g, g.addrs...) }) }
	slice := func(namespace, service, name string) {
		for _, is4 := range []bool{true, false} {
			var list []any
			for _, a := range addresses().([]any) {
				if a.(netip.Addr).Is4() == is4 {
					list = append(list, Object{"addresses": []any{text(a)}})
				}
			}
			if len(list) == 0 {
				continue
			}
			kind := map[bool]string{true: "IPv4", false: "IPv6"}[is4]
			o := object("discovery.k8s.io/v1", "EndpointSlice", namespace, name+strings.ToLower(kind[2:]))
			meta(o)["labels"] = Object{"kubernetes.io/service-name": service}
			o["addressType"], o["endpoints"], o["ports"] = kind, list, []any{}
			c.Objects = append(c.Objects, o)
		}
	}
	if g.percent(50) {
		slice("default", "kubernetes", "kubernetes")
	}
	for i := range g.IntN(4) {
		o := object("v1", "Service", pick(g, "a", "b", "default"), fmt.Sprintf("svc%d", i))
		meta(o)["labels"] = Object{"app": pick(g, "x", "y")}
		spec := Object{"ports": []any{Object{"port": 80, "protocol": "TCP"}}}
		if g.percent(50) {
			l := pick(g, podLabels...)
			spec["selector"] = Object{l[0]: pick(g, l[1:]...)}
		}
		o["spec"] = spec
		c.Objects = append(c.Objects, o)
		if g.percent(80) {
			slice(meta(o)["namespace"].(string), meta(o)["name"].(string), fmt.Sprintf("svc%d", i))
		}
	}
	for _, name := range []string{"g1", "g2"} {
		if g.percent(60) {
			o := object("cilium.io/v2", "CiliumCIDRGroup", "", name)
			meta(o)["labels"] = Object{"team": pick(g, "red", "blue")}
			o["spec"] = Object{"externalCIDRs": some(g, 0, 3, func() any { return text(g.prefix()) })}
			c.Objects = append(c.Objects, o)
		}
	}
}

// packet goes between an end of this node and anybody.
func (g *generator) packet() oracle.Packet {
	for {
		p := oracle.Packet{Src: pick(g, g.local...), Dst: pick(g, g.addrs...), Port: pick(g, g.ports...)}
		if g.percent(50) {
			p.Src, p.Dst = p.Dst, p.Src
		}
		if p.Src.Is4() != p.Dst.Is4() || g.isNode(p.Src) && g.isNode(p.Dst) && (p.Src == p.Dst || g.isHere(p.Src) && g.isHere(p.Dst)) || p.Src == p.Dst {
			continue
		}
		p.Proto = pick(g, uint8(6), 6, 6, 17, 17, 132, 1, 47)
		switch {
		case p.Proto == 47:
			p.Port = 0
		case p.Proto == 1 && p.Src.Is4():
			p.Port = pick(g, uint16(8), 8, 8, 3, 13)
		case p.Proto == 1:
			p.Proto, p.Port = 58, pick(g, uint16(128), 128, 128, 1, 2)
		}
		return p
	}
}

func (g *generator) isNode(a netip.Addr) bool { return g.isHere(a) || isOf(a, 2) }
func (g *generator) isHere(a netip.Addr) bool { return isOf(a, 1) }

func isOf(a netip.Addr, n int) bool {
	s := a.String()
	return s == fmt.Sprintf("172.18.0.%d", n+1) || s == fmt.Sprintf("fd12::%d", n+1) || s == fmt.Sprintf("10.0.%d.1", n) || s == fmt.Sprintf("fd00:%d::1", n)
}

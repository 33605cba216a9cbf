package generate

// policy adds a policy object of any kind.
func (g *generator) policy(c *Case, name string) {
	var o Object
	switch n := g.IntN(100); {
	case n < 35:
		o = object("networking.k8s.io/v1", "NetworkPolicy", pick(g, g.used...), name)
		o["spec"] = g.netpol()
	case n < 75:
		o = object("cilium.io/v2", "CiliumNetworkPolicy", pick(g, g.used...), name)
		g.specs(o, false)
	default:
		o = object("cilium.io/v2", "CiliumClusterwideNetworkPolicy", "", name)
		g.specs(o, true)
	}
	g.respond(o)
	c.Objects = append(c.Objects, o)
}

// subject selects everybody at times, so that policies meet.
func (g *generator) subject(other func() Object) Object {
	if g.percent(40) {
		return Object{}
	}
	return other()
}

func (g *generator) netpol() Object {
	s := Object{"podSelector": g.subject(func() Object { return g.selector(podLabels, same) })}
	if g.percent(65) {
		s["policyTypes"] = pick(g, []any{"Ingress"}, []any{"Egress"}, []any{"Ingress", "Egress"}, []any{"Egress", "Ingress"}, []any{})
	}
	g.maybe(s, 65, "ingress", func() any { return some(g, pick(g, 0, 1, 1, 1), 2, func() any { return g.netpolRule("from") }) })
	g.maybe(s, 55, "egress", func() any { return some(g, pick(g, 0, 1, 1, 1), 2, func() any { return g.netpolRule("to") }) })
	return s
}

func (g *generator) netpolRule(peers string) Object {
	r := Object{}
	g.maybe(r, 75, peers, func() any { return some(g, 0, 2, g.netpolPeer) })
	g.maybe(r, 60, "ports", func() any { return some(g, 0, 2, g.netpolPort) })
	return r
}

func (g *generator) netpolPeer() Object {
	p := Object{}
	switch g.IntN(4) {
	case 0:
		p["podSelector"] = g.selector(podLabels, same)
	case 1:
		p["namespaceSelector"] = g.selector(namespaceLabels, same)
	case 2:
		p["podSelector"] = g.selector(podLabels, same)
		p["namespaceSelector"] = g.selector(namespaceLabels, same)
	default:
		cidr := g.prefix()
		b := Object{"cidr": text(cidr)}
		g.maybe(b, 50, "except", func() any { return some(g, 0, 2, func() any { return text(g.prefixIn(cidr)) }) })
		p["ipBlock"] = b
	}
	return p
}

func (g *generator) netpolPort() Object {
	p := Object{}
	g.maybe(p, 60, "protocol", func() any { return pick(g, "TCP", "TCP", "UDP", "SCTP") })
	switch g.IntN(6) {
	case 0:
	case 1:
		p["port"] = pick(g, "web", "dns", "nobody")
	case 2, 3:
		first, last := g.span()
		p["port"], p["endPort"] = int(first), int(last)
	default:
		n := g.port()
		g.aim(n)
		p["port"] = int(n)
	}
	return p
}

// specs gives a policy of cilium.io one spec or several.
func (g *generator) specs(o Object, clusterwide bool) {
	if g.percent(85) {
		o["spec"] = g.spec(clusterwide)
	}
	if o["spec"] == nil || g.percent(10) {
		o["specs"] = some(g, 1, 2, func() any { return g.spec(clusterwide) })
	}
}

func (g *generator) spec(clusterwide bool) Object {
	s := Object{}
	if clusterwide && g.percent(30) {
		s["nodeSelector"] = g.selector([][]string{{"zone", "east", "west"}, {"node", "n1", "n2"}}, same)
	} else {
		s["endpointSelector"] = g.subject(g.ciliumSelector)
	}
	g.maybe(s, 60, "ingress", func() any { return some(g, pick(g, 0, 1, 1, 1), 2, func() any { return g.rule("from", false) }) })
	g.maybe(s, 55, "egress", func() any { return some(g, pick(g, 0, 1, 1, 1), 2, func() any { return g.rule("to", false) }) })
	g.maybe(s, 35, "ingressDeny", func() any { return some(g, pick(g, 0, 1, 1), 2, func() any { return g.rule("from", true) }) })
	g.maybe(s, 35, "egressDeny", func() any { return some(g, pick(g, 0, 1, 1), 2, func() any { return g.rule("to", true) }) })
	g.maybe(s, 25, "enableDefaultDeny", func() any {
		d := Object{}
		g.maybe(d, 60, "ingress", func() any { return g.percent(40) })
		g.maybe(d, 60, "egress", func() any { return g.percent(40) })
		return d
	})
	return s
}

// dress writes a key in one of the ways it may be written.
func (g *generator) dress(key string) string { return pick(g, "", "", "k8s:", "any:", "k8s.") + key }

// ciliumSelector also speaks of namespaces, service accounts and reserved
// identities.
func (g *generator) ciliumSelector() Object {
	switch n := g.IntN(100); {
	case n < 60:
		return g.selector(podLabels, g.dress)
	case n < 85:
		return g.selector([][]string{
			{"io.kubernetes.pod.namespace", "a", "b", "c"},
			{"io.kubernetes.pod.namespace", "a", "b", "c"},
			{"io.cilium.k8s.namespace.labels.team", "red", "blue"},
			{"io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name", "a", "b", "c"},
			{"io.cilium.k8s.policy.serviceaccount", "sa1", "default"},
			{"io.cilium.k8s.policy.cluster", "lab", "other"},
			{"app", "x", "y"},
		}, g.dress)
	}
	key := "reserved:" + pick(g, "host", "world", "init", "health", "remote-node", "world-ipv4", "world-ipv6", "kube-apiserver", "unmanaged", "ingress")
	if g.percent(40) {
		return Object{"matchLabels": Object{key: ""}}
	}
	e := Object{"key": key, "operator": pick(g, "In", "NotIn", "Exists", "DoesNotExist", "DoesNotExist")}
	if op := e["operator"]; op == "In" || op == "NotIn" {
		e["values"] = []any{""}
	}
	if g.percent(60) {
		return Object{"matchExpressions": []any{e}}
	}
	o := g.ciliumSelector() // beside other requirements, also reserved ones
	list, _ := o["matchExpressions"].([]any)
	o["matchExpressions"] = append(list, e)
	return o
}

// rule returns one of a direction, with any mixture of peers and ports, absent,
// empty or filled.
func (g *generator) rule(way string, deny bool) Object {
	r := Object{}
	for range pick(g, 0, 1, 1, 1, 1, 2) {
		g.peers(r, way, deny)
	}
	least := func() int { // an empty list is refused where it would deny nothing
		if deny {
			return 1
		}
		return pick(g, 0, 1, 1, 1, 1)
	}
	switch n := g.IntN(100); {
	case n < 42:
		r["toPorts"] = some(g, least(), 2, func() any { return g.toPorts(deny, least()) })
	case n < 54:
		r["icmps"] = some(g, least(), 1, func() any { return Object{"fields": some(g, least(), 2, g.icmp)} })
	}
	if !deny && g.percent(4) {
		r["authentication"] = Object{"mode": pick(g, "disabled", "required", "test-always-fail")}
	}
	return r
}

// list is empty at times, which is not the same as absent.
func list[T any](g *generator, make func() T) []any {
	if g.percent(10) {
		return []any{}
	}
	return some(g, 1, 2, make)
}

func (g *generator) peers(r Object, way string, deny bool) {
	switch n := g.IntN(100); {
	case n < 40:
		r[way+"Endpoints"] = list(g, g.ciliumSelector)
	case n < 60:
		r[way+"Entities"] = list(g, func() any {
			return pick(g, "all", "world", "world-ipv4", "world-ipv6", "cluster", "cluster-mesh", "host", "remote-node", "health", "init", "unmanaged", "ingress", "none", "kube-apiserver")
		})
	case n < 70:
		r[way+"CIDR"] = list(g, func() any {
			if p := g.prefix(); g.percent(80) || !p.IsSingleIP() {
				return text(p)
			} else {
				return text(p.Addr())
			}
		})
	case n < 85:
		r[way+"CIDRSet"] = list(g, g.cidrSet)
	case n < 92:
		r[way+"Nodes"] = list(g, func() any {
			return g.selector([][]string{{"zone", "east", "west"}, {"node", "n1", "n2"}, {"app", "x"}}, g.dress)
		})
	case way == "to" && n < 98:
		r["toServices"] = list(g, g.toService)
	case way == "to" && !deny:
		r["toFQDNs"] = list(g, func() any { return Object{"matchName": "example.com"} })
	case !deny:
		r["fromGroups"] = list(g, func() any { return Object{"aws": Object{"securityGroupsIds": []any{"sg-1"}}} })
	}
}

func (g *generator) cidrSet() Object {
	c := Object{}
	outer := g.prefix()
	switch g.IntN(4) {
	case 0:
		c["cidrGroupRef"] = pick(g, "g1", "g2", "g3")
	case 1:
		c["cidrGroupSelector"] = g.selector([][]string{{"team", "red", "blue"}}, same)
	default:
		c["cidr"] = text(outer)
	}
	g.maybe(c, 45, "except", func() any { return some(g, 0, 2, func() any { return text(g.prefixIn(outer)) }) })
	return c
}

func (g *generator) toService() Object {
	if g.percent(50) {
		s := Object{"serviceName": pick(g, "svc0", "svc1", "svc2", "kubernetes")}
		g.maybe(s, 60, "namespace", func() any { return pick(g, "a", "b", "default") })
		return Object{"k8sService": s}
	}
	s := Object{"selector": g.selector([][]string{{"app", "x", "y"}}, same)}
	g.maybe(s, 40, "namespace", func() any { return pick(g, "a", "b", "default") })
	return Object{"k8sServiceSelector": s}
}

func (g *generator) toPorts(deny bool, least int) Object {
	e := Object{}
	named := false
	if g.percent(90) {
		e["ports"] = some(g, least, 2, func() any {
			p := Object{}
			protos := []string{"TCP", "TCP", "UDP", "SCTP", "ANY", "ANY"}
			switch g.IntN(10) {
			case 0:
				p["port"] = "0"
				protos = append(protos, "GRE", "ESP", "VRRP")
			case 1, 2:
				p["port"], named = pick(g, "web", "dns", "nobody"), true
			case 3, 4, 5:
				first, last := g.span()
				p["port"], p["endPort"] = text(first), int(last)
			default:
				n := g.port()
				g.aim(n)
				p["port"] = text(n)
			}
			g.maybe(p, 70, "protocol", func() any { return pick(g, protos...) })
			return p
		})
	}
	ports, _ := e["ports"].([]any)
	if !deny && g.percent(12) && len(ports) > 0 && !named {
		for _, p := range ports { // what the API allows together with these parts
			p.(Object)["protocol"] = "TCP"
			delete(p.(Object), "endPort")
			p.(Object)["port"] = "80"
		}
		switch g.IntN(6) {
		case 0:
			e["serverNames"] = []any{"example.com"}
		case 1:
			e["listener"] = Object{"envoyConfig": Object{"name": "e"}, "name": "l"}
		case 2:
			e["terminatingTLS"] = Object{"secret": Object{"name": "s"}}
		case 3:
			e["rules"] = Object{"dns": []any{Object{"matchPattern": "*"}}}
		case 4:
			e["rules"] = Object{}
		default:
			e["rules"] = Object{"http": []any{Object{"method": "GET"}}}
		}
	}
	return e
}

func (g *generator) icmp() Object {
	f := Object{"type": pick[any](g, 8, 8, 3, "EchoRequest", "Timestamp")}
	switch g.IntN(3) {
	case 0:
		f["family"] = "IPv4"
	case 1:
		f["family"], f["type"] = "IPv6", pick[any](g, 128, 128, 1, "EchoRequest", "PacketTooBig")
	}
	return f
}

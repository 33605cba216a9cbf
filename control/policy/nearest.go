package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weir/state"
)

// miss is why a rule that allows is not about a connection.
type miss struct {
	rule  *rule
	peer  string // "": the peer fits
	port  string // "": the port fits
	which string // the peer of the rule that came closest
	score int
}

// nearest returns the allow rule that came closest, where it stands, and the
// field on which it failed.
func (e *engine) nearest(c *class, peer Party, d, proto uint8, port uint16) (text string, source []string, missed string) {
	var best *miss
	for _, s := range c.specs {
		for _, r := range s.rules[d] {
			if r.row.Deny || s == e.builtin[d] {
				continue
			}
			if m := e.miss(c, r, peer, d, proto, port); best == nil || m.score > best.score {
				best = &m
			}
		}
	}
	if best == nil {
		return "", nil, "no rule allows anything in this direction"
	}
	return "allow " + best.which + " on " + rulePorts(best.rule), []string{best.rule.origin()}, best.text()
}

func (m miss) text() string {
	switch {
	case m.peer != "" && m.port != "":
		return m.peer + "; " + m.port
	case m.peer != "":
		return m.peer
	case m.port != "":
		return m.port
	}
	return m.rule.row.NotEnforced
}

func (e *engine) miss(c *class, r *rule, peer Party, d, proto uint8, port uint16) miss {
	m := miss{rule: r, which: "everybody"}
	m.port, m.score = e.portMiss(c, r, peer, d, proto, port)
	if r.row.AnyPeer {
		m.score += 20
	} else {
		best := -1
		m.peer, m.which = "the rule names nobody", "nobody"
		for i, p := range r.row.Peers {
			why, score := e.peerMiss(p, peer)
			if score > best {
				best, m.peer, m.which = score, why, r.peers[i]
			}
		}
		m.score += max(best, 0)
	}
	if r.row.NotEnforced != "" && m.peer == "" && m.port == "" {
		m.score += 100
	}
	return m
}

// portMiss says how the ports of a rule miss, and how well they fit: 10 is fully.
func (e *engine) portMiss(c *class, r *rule, peer Party, d, proto uint8, port uint16) (why string, score int) {
	if r.row.AnyPort {
		return "", 10
	}
	why = "the rule names no port"
	for _, p := range r.row.Ports {
		w, s := e.onePort(c, p, peer, d, proto, port)
		if w == "" {
			return "", 10
		}
		if s > score || why == "the rule names no port" {
			why, score = w, s
		}
	}
	return why, score
}

func (e *engine) onePort(c *class, p state.PolicyPort, peer Party, d, proto uint8, port uint16) (why string, score int) {
	if p.Name != "" {
		return e.namedMiss(c, p, peer, d, proto, port)
	}
	if p.Proto != state.ProtoAny && p.Proto != proto {
		return fmt.Sprintf("protocol %s is not %s", state.ProtoName(proto), state.ProtoName(p.Proto)), 0
	}
	switch {
	case p.All || (p.First <= port && port <= p.Last):
		return "", 10
	case proto == state.ProtoICMP || proto == state.ProtoICMPv6:
		return fmt.Sprintf("type %d is not %d", port, p.First), 3
	case p.First == p.Last:
		return fmt.Sprintf("port %d is not %d", port, p.First), 3
	}
	return fmt.Sprintf("port %d is not in %d-%d", port, p.First, p.Last), 3
}

func (e *engine) namedMiss(c *class, p state.PolicyPort, peer Party, d, proto uint8, port uint16) (why string, score int) {
	have, whose := c.own, "the endpoint"
	if d == egress {
		have, whose = nil, "the peer"
		if x := e.peers[peer.Identity]; x != nil {
			have = x.named
		}
	}
	why = fmt.Sprintf("%s has no port named %q", whose, p.Name)
	for _, n := range have {
		if n.name != p.Name || (p.Proto != state.ProtoAny && p.Proto != n.proto) {
			continue
		}
		if n.proto == proto && n.port == port {
			return "", 10
		}
		why, score = fmt.Sprintf("port %d/%s is not %d/%s, which is %q of %s", port, state.ProtoName(proto), n.port, state.ProtoName(n.proto), p.Name, whose), 3
	}
	return why, score
}

// peerMiss says why a peer of a rule is somebody else, and how close it is: 20
// is the one.
func (e *engine) peerMiss(p state.PolicyPeer, peer Party) (why string, score int) {
	switch p.Kind {
	case state.PeerEndpoints:
		return e.labelMiss(p.Endpoints, peer)
	case state.PeerEntity:
		x := e.peers[peer.Identity]
		if p.Entity == "all" || (x != nil && entityHas(e.opts.entityOf(p.Entity), x)) {
			return "", 20
		}
		return fmt.Sprintf("identity %d is not of entity %s", peer.Identity, p.Entity), 1
	}
	text := peerText(p)
	if s := e.selectors[text]; s != nil {
		return e.addressMiss(s, peer)
	}
	if p.Kind == state.PeerCIDR { // one of a long list
		return e.addressMiss(&selector{text: text, peer: p, cidrs: []netip.Prefix{p.CIDR}, except: p.Except}, peer)
	}
	return fmt.Sprintf("the peer is not of %s", text), 0
}

// labelMiss names the first requirement that the peer's labels do not meet.
func (e *engine) labelMiss(s state.Selector, peer Party) (why string, score int) {
	x := e.peers[peer.Identity]
	if x == nil {
		return fmt.Sprintf("identity %d has no labels", peer.Identity), 0
	}
	if !x.endpoint() && !asksReserved(s) {
		return fmt.Sprintf("%s is no endpoint, and selectors of labels select endpoints", x.id.Reserved()), 0
	}
	met := 0
	for _, r := range s {
		if (state.Selector{r}).Matches(x.labels) {
			met++
		} else if why == "" {
			why = requirementMiss(r, x.labels)
		}
	}
	if why == "" {
		return "", 20
	}
	return why, 2 + 10*met/len(s)
}

func requirementMiss(r state.Requirement, labels state.Labels) string {
	value, found := "", false
	for _, l := range labels {
		if (state.Selector{{Key: r.Key, Op: state.Exists}}).Matches(state.Labels{l}) {
			_, value = state.CutLabel(l)
			found = true
			break
		}
	}
	want := strings.Join(r.Values, " or ")
	switch {
	case r.Op == state.DoesNotExist:
		return fmt.Sprintf("label %s is %q, want it absent", r.Key, value)
	case r.Op == state.Exists:
		return fmt.Sprintf("label %s is missing, want any value", r.Key)
	case r.Op == state.NotIn:
		return fmt.Sprintf("label %s is %q, want any but %s", r.Key, value, want)
	case !found:
		return fmt.Sprintf("label %s is missing, want %s", r.Key, want)
	}
	return fmt.Sprintf("label %s is %q, want %s", r.Key, value, want)
}

// addressMiss says why an address is not one of the selector's.
func (e *engine) addressMiss(s *selector, peer Party) (why string, score int) {
	if x := e.peers[peer.Identity]; x != nil && s.members[x] {
		return "", 20
	}
	if !peer.Addr.IsValid() {
		return "the peer's address is not known", 1
	}
	a := peer.Addr.Unmap()
	has := func(p netip.Prefix) bool { return p.Contains(a) }
	if i := slices.IndexFunc(s.except, has); i >= 0 {
		return fmt.Sprintf("address %s is in except %s", a, s.except[i]), 8
	}
	if !slices.ContainsFunc(s.cidrs, has) {
		return fmt.Sprintf("address %s is not in %s", a, strings.TrimPrefix(s.text, "cidr ")), 1
	}
	if s.cidrMark()&outside != 0 && !isOutside(peer.Identity) {
		return fmt.Sprintf("address %s is of the cluster (identity %d), and %s matches others only", a, peer.Identity, s.text), 8
	}
	return "", 20
}

func rulePorts(r *rule) string {
	if r.row.AnyPort {
		return "ANY"
	}
	var out []string
	for _, p := range r.row.Ports {
		if p.Name != "" {
			out = append(out, p.Name+"/"+state.ProtoName(p.Proto))
			continue
		}
		level, proto, s := levelPort(p)
		out = append(out, portText(level, proto, []span{s}))
	}
	return strings.Join(out, ", ")
}

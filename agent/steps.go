package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	api "weir/api/agent"
	"weir/bpf"
	"weir/control/policy"
	"weir/state"
)

// step says one program's part in words: what it asked, what it found, what it did.
// Entries are read from the tables that the maps mirror.
func (a *Agent) step(s bpf.Step) api.Step {
	place, reason := bpf.Place(s.Place), bpf.Reason(s.Reason)
	out := api.Step{Time: a.walks.base.Add(time.Duration(s.Time)), Node: a.cfg.NodeName, Program: place.String(), Hook: a.hookOf(s), Reply: s.Reply == 1,
		Packet: packetText(s), Lookups: []api.Lookup{}, Verdict: "forwarded", Reason: reason.String(), Cause: s.Cause(), To: a.sentTo(s)}
	if reason.Drop() {
		out.Verdict, out.To = "dropped", "nobody"
	}
	switch {
	case place == bpf.PlaceSocket:
		out.Lookups = a.serviceLookups(s, true)
	case bpf.StepHow(s.How) == bpf.StepHit:
		out.Lookups = a.hitLookups(s)
	case bpf.StepHow(s.How) == bpf.StepJudged:
		out.Lookups = a.judgedLookups(s)
	}
	if !reason.Drop() && s.How != 0 {
		out.Lookups = append(out.Lookups, a.wayLookups(s)...)
	}
	out.Rewrites = rewrites(s)
	return out
}

// ends are addresses and ports of a step's packet, as it came and as it goes on.
func ends(s bpf.Step) (cameSrc, cameDst, src, dst netip.AddrPort) {
	at := func(a bpf.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Netip(), bpf.Host(port)) }
	return at(s.CameSrc, s.CameSport), at(s.CameDst, s.CameDport), at(s.Src, s.Sport), at(s.Dst, s.Dport)
}

func packetText(s bpf.Step) string {
	src, dst, _, _ := ends(s)
	if bpf.Place(s.Place) == bpf.PlaceSocket {
		return fmt.Sprintf("a call for %s %s", state.ProtoName(s.Proto), dst)
	}
	name := state.ProtoName(s.Proto)
	if s.Proto == unix.IPPROTO_TCP {
		name += " " + tcpFlags(s.TCPFlags)
	}
	if s.Proto != unix.IPPROTO_TCP && s.Proto != unix.IPPROTO_UDP && s.Proto != unix.IPPROTO_SCTP {
		return fmt.Sprintf("%s %s -> %s, %d bytes, ttl %d", name, src.Addr(), dst.Addr(), s.Len, s.TTL)
	}
	return fmt.Sprintf("%s %s -> %s, %d bytes, ttl %d", name, src, dst, s.Len, s.TTL)
}

// hooks are where the programs are, of a device.
var hooks = map[bpf.Place]string{
	bpf.PlaceFromPod: "ingress", bpf.PlaceToPod: "egress", bpf.PlaceFromOverlay: "ingress", bpf.PlaceToOverlay: "egress",
	bpf.PlaceFromNetdev: "ingress", bpf.PlaceToNetdev: "egress", bpf.PlaceFromHost: "egress", bpf.PlaceToHost: "ingress", bpf.PlaceFromXDP: "XDP",
}

func (a *Agent) hookOf(s bpf.Step) string {
	place := bpf.Place(s.Place)
	if place == bpf.PlaceSocket {
		return "socket call in the node's control group"
	}
	hook := hooks[place] + " of " + a.deviceName(s.Ifindex)
	if e, ok := a.endpointAt(s.Ifindex); ok && place != bpf.PlaceFromNetdev {
		hook += ", the device of " + e
	}
	return hook
}

// endpointAt names the pod of a host device.
func (a *Agent) endpointAt(ifindex uint32) (string, bool) {
	if ifindex <= uint32(bpf.IfindexBase) {
		return "", false
	}
	return a.endpointName(ifindex - uint32(bpf.IfindexBase))
}

func (a *Agent) endpointName(id uint32) (string, bool) {
	e, ok := a.tables.Endpoints.Get(state.EndpointID(id))
	switch {
	case !ok:
		return fmt.Sprintf("endpoint %d", id), false
	case e.Health:
		return "the health endpoint", true
	}
	return e.Pod.String(), true
}

// hitLookups is all that a packet of a known connection asks.
func (a *Agent) hitLookups(s bpf.Step) []api.Lookup {
	src, dst, _, _ := ends(s)
	found := fmt.Sprintf("the connection, %s; its stamp %08x holds: no policy and no owner of an address has changed", stateText(s), s.Stamp)
	return []api.Lookup{{Map: bpf.MapCT, Key: fmt.Sprintf("%s %s, %s", state.ProtoName(s.Proto), src, dst), Found: found}}
}

func stateText(s bpf.Step) string {
	out := "its opener's packet"
	if s.Reply == 1 {
		out = "an answer"
	}
	switch f := bpf.CTFlag(s.Flags); {
	case f&(bpf.CTReset|bpf.CTResetReply|bpf.CTFinOriginal|bpf.CTFinReply) != 0:
		return out + ", ending"
	case f&bpf.CTReplied != 0:
		return out + ", answered before"
	}
	return out
}

// judgedLookups is what a packet asks for which no entry spoke.
func (a *Agent) judgedLookups(s bpf.Step) []api.Lookup {
	src, dst, _, _ := ends(s)
	why := "no entry that holds: both ends are judged"
	if s.Proto == unix.IPPROTO_TCP && s.TCPFlags&0x12 == 0x02 {
		why = "not asked: a SYN is always judged"
	}
	out := []api.Lookup{{Map: bpf.MapCT, Key: fmt.Sprintf("%s %s, %s", state.ProtoName(s.Proto), src, dst), Found: why}}
	out = append(out, a.serviceLookups(s, s.Backend != 0 && s.Reply == 0)...)
	judgedSrc, judgedDst := s.CameSrc.Netip(), s.Dst.Netip()
	out = append(out, a.ipcacheLookup(judgedSrc, s.SrcIdentity), a.ipcacheLookup(judgedDst, s.DstIdentity))
	opener, other := a.partyOf(judgedSrc, s.SrcIdentity), a.partyOf(judgedDst, s.DstIdentity)
	if s.Reply == 1 {
		opener, other = other, opener
	}
	if opener.Local {
		out = append(out, a.policyLookup(s, opener, false))
	}
	if other.Local {
		out = append(out, a.policyLookup(s, other, true))
	}
	return out
}

func (a *Agent) ipcacheLookup(addr netip.Addr, identity uint32) api.Lookup {
	row := a.covering(addr)
	found := fmt.Sprintf("identity %d", identity)
	if labels := a.labels(state.IdentityID(identity)); len(labels) > 0 {
		found += " (" + strings.Join(labels, " ") + ")"
	}
	if row.TunnelEndpoint.IsValid() {
		found += map[bool]string{true: ", tunnel endpoint ", false: ", at node "}[a.cfg.RoutingMode == "tunnel"] + row.TunnelEndpoint.String()
	}
	if row.Endpoint != 0 {
		found += fmt.Sprintf(", endpoint %d of this node", row.Endpoint)
	}
	if row.Of != "" {
		found += ", " + row.Of
	}
	key := addr.String()
	if row.Prefix.IsValid() {
		key += " in " + row.Prefix.String()
	}
	return api.Lookup{Map: bpf.MapIPCache, Key: key, Found: found}
}

// policyLookup is what the policy of one end said, and the rule behind it.
func (a *Agent) policyLookup(s bpf.Step, end policy.Party, ingress bool) api.Lookup {
	direction, side := "egress", 0
	if ingress {
		direction, side = "ingress", 1
	}
	name, _ := a.endpointName(uint32(end.Endpoint))
	if end.Endpoint == 0 {
		name = "the host"
	}
	out := api.Lookup{Map: bpf.MapPolicy, Key: direction + " of " + name, Found: "not isolated: no policy selects it in this direction"}
	isolated := a.policy.IsolatedBy(end.Endpoint, ingress)
	if len(isolated) > 0 {
		out.Found = "isolated by " + strings.Join(isolated, ", ")
	}
	denied := bpf.Reason(s.Reason) == bpf.DropPolicy || bpf.Reason(s.Reason) == bpf.DropPolicyDeny
	verb := "allowed"
	if denied && s.Endpoint == uint32(end.Endpoint) {
		verb = "denied"
	}
	if r, ok := a.policy.DecideRule(s.Rule[side]); ok && s.Rule[side] != 0 {
		out.Map, out.Found = bpf.MapPolicyRules, fmt.Sprintf("%s by rule %d: %s (%s)", verb, s.Rule[side], r, strings.Join(r.Origins, ", "))
	} else if verb == "denied" {
		out.Found += "; no rule allows it"
	}
	return out
}

// serviceLookups is which service was asked, and the backend that took its place.
func (a *Agent) serviceLookups(s bpf.Step, asked bool) []api.Lookup {
	if !asked {
		return []api.Lookup{}
	}
	_, asks, _, _ := ends(s)
	out := []api.Lookup{{Map: bpf.MapServices, Key: fmt.Sprintf("%s/%s", asks, state.ProtoName(s.Proto)), Found: "service " + a.serviceAt(asks, s.Proto)}}
	if b, ok := a.dp.Services.Backends.Get(s.Backend); ok {
		out = append(out, api.Lookup{Map: bpf.MapBackends, Key: fmt.Sprint(s.Backend), Found: b.AddrPort().String()})
	}
	return out
}

// wayLookups is where the packet is sent, by the map that says so.
func (a *Agent) wayLookups(s bpf.Step) []api.Lookup {
	switch bpf.CTOut(s.Way) {
	case bpf.OutEndpoint:
		e, ok := a.dp.Endpoints.Get(uint32(s.Out))
		if !ok {
			return nil
		}
		return []api.Lookup{{Map: bpf.MapEndpoints, Key: fmt.Sprint(s.Out), Found: fmt.Sprintf("%s, MAC %s", a.deviceName(e.Ifindex), e.MAC)}}
	case bpf.OutTunnel:
		n, _ := a.dp.Nodes.Get(uint32(s.Out))
		return []api.Lookup{{Map: bpf.MapNodes, Key: fmt.Sprint(s.Out), Found: n.Addr.Netip().String()}}
	}
	if s.OutIfindex != 0 {
		return []api.Lookup{{Map: "routing table", Key: s.Dst.Netip().String(), Found: fmt.Sprintf("by %s to %s", a.deviceName(s.OutIfindex), s.Via.Netip())}}
	}
	return nil
}

// sentTo says where the packet goes from here.
func (a *Agent) sentTo(s bpf.Step) string {
	switch bpf.Reason(s.Reason) {
	case bpf.ReasonToEndpoint:
		id := uint32(s.Out)
		if bpf.CTOut(s.Way) != bpf.OutEndpoint { // a packet of no connection
			id = uint32(a.owner(s.Dst.Netip()).Endpoint)
		}
		name, _ := a.endpointName(id)
		how := "bpf_redirect_peer"
		if !a.bpfRouted || bpf.Place(s.Place) == bpf.PlaceFromHost {
			how = "bpf_redirect"
		}
		if bpf.Place(s.Place) == bpf.PlaceToPod {
			return name + ", on through its device"
		}
		return name + ", by " + how
	case bpf.ReasonToOverlay:
		n, _ := a.dp.Nodes.Get(uint32(s.Out))
		return fmt.Sprintf("node %s, through weir_vxlan with VNI %d", n.Addr.Netip(), s.SrcIdentity)
	case bpf.ReasonToNetwork:
		return fmt.Sprintf("%s, by bpf_redirect_neigh out of %s", s.Via.Netip(), a.deviceName(s.OutIfindex))
	case bpf.ReasonToStack:
		return "the host's stack, which routes it"
	case bpf.ReasonToHost:
		return "this node itself"
	case bpf.ReasonSocketConnected, bpf.ReasonSocketSent:
		_, _, _, dst := ends(s)
		return "the backend " + dst.String() + ": its packets need no translation"
	}
	return "the next hook, as it is"
}

// rewrites is how the packet differs from how it came.
func rewrites(s bpf.Step) (out []string) {
	cameSrc, cameDst, src, dst := ends(s)
	if cameSrc != src {
		out = append(out, fmt.Sprintf("source %s -> %s", cameSrc, src))
	}
	if cameDst != dst {
		out = append(out, fmt.Sprintf("destination %s -> %s", cameDst, dst))
	}
	forwards := map[bpf.Reason]bool{bpf.ReasonToEndpoint: true, bpf.ReasonToOverlay: true, bpf.ReasonToNetwork: true}
	place := bpf.Place(s.Place)
	if forwards[bpf.Reason(s.Reason)] && place != bpf.PlaceFromHost && place != bpf.PlaceToPod {
		out = append(out, fmt.Sprintf("ttl %d -> %d", s.TTL, s.TTL-1))
	}
	if bpf.Reason(s.Reason) == bpf.ReasonToEndpoint {
		out = append(out, "MAC addresses: the pod's gateway's and the pod's")
	}
	return out
}

// serviceAt names the service that has an address and port.
func (a *Agent) serviceAt(at netip.AddrPort, proto uint8) string {
	byNodePort := "that is no more"
	for _, f := range a.services.Frontends() {
		switch {
		case f.Proto != proto || f.At.Port() != at.Port():
		case f.At.Addr() == at.Addr():
			return f.Of.String()
		case f.At.Addr().IsUnspecified():
			byNodePort = f.Of.String() + ", by its NodePort"
		}
	}
	return byNodePort
}

package bpf

// Explanation says what a reason means, and what to do about it.
type Explanation struct {
	Programs string // that end packets so, apart by spaces
	Means    string
	Do       string // empty: nothing, packets went on
}

// Explained returns what is known of a reason; docs/drops.md is made of it.
func (r Reason) Explained() (Explanation, bool) {
	e, ok := explained[r]
	return e, ok
}

// sizes: one line for each reason, so that a new one is told of in one place.
var explained = map[Reason]Explanation{
	ReasonToEndpoint:      {"from_pod to_pod from_overlay from_netdev from_host", "redirected into a pod of this node", ""},
	ReasonToOverlay:       {"from_pod from_host", "redirected into the tunnel, to another node", ""},
	ReasonToNetwork:       {"from_pod from_netdev from_xdp", "redirected to a neighbour on the underlay, by the kernel's routing table", ""},
	ReasonToStack:         {"from_pod", "left to the host's stack to route: legacy host routing, or the routing table alone cannot tell the way", ""},
	ReasonToHost:          {"from_pod from_overlay from_netdev to_host", "for an address of this node: the host's stack delivers it", ""},
	ReasonPassed:          {"to_pod to_overlay from_netdev to_netdev from_xdp", "seen and let on without judging it; by from_xdp: left to from_netdev", ""},
	ReasonARPAnswered:     {"from_pod from_netdev", "the gateway's MAC was answered; by from_netdev: this node's for an address of a service (docs/l2announce.md)", ""},
	ReasonNDPAnswered:     {"from_pod from_netdev", "the same, IPv6", ""},
	ReasonLinkChatter:     {"from_pod to_pod from_host", "MLD, IGMP, router solicitation, duplicate address detection, gratuitous ARP: of the link only, nobody else needs it", ""},
	ReasonVLANBypassed:    {"from_netdev", "a VLAN that the configuration lets pass", ""},
	ReasonFragmented:      {"from_pod", "too big for the way, and may be fragmented: left to the host's stack for that", "nothing; a sender that heeds the route's MTU is faster"},
	ReasonReset:           {"any", "an answer, beside the drop that it is the answer to: policy rejects, and the sender gets a TCP RST", "see docs/policy.md, reject"},
	ReasonProhibited:      {"any", "the same by ICMP \"administratively prohibited\"", "see docs/policy.md, reject"},
	ReasonUnreachable:     {"any", "beside \"Service backend not found\": a service without a backend for anybody, and the sender gets ICMP port unreachable (type 3 code 3, of IPv6 type 1 code 4), as from a host where nobody listens; of TCP a reset", "`weir service get` says of each endpoint why it is not used"},
	ReasonTooBig:          {"any", "beside \"Fragmentation needed\": a first packet for a service whose backend's node is to answer has no room for what tells that node so, and the sender gets the size that has (ICMP type 3 code 4, or packet too big)", "nothing: path MTU discovery works"},
	ReasonEventLost:       {"any", "an event of a drop, or of a new connection, that nobody will see, because the agent does not read fast enough, or because there were more drops than `bpf.dropEventsLimit`; it counts events, and no octets", "nothing: the packet is counted under its own reason, too; or raise `bpf.eventsSize`"},
	ReasonTraceLost:       {"any", "an event of a packet that was let through, and of no new connection, that nobody will see, likewise", "nothing, or raise `bpf.tracesSize`, or `bpf.monitorAggregation`: docs/events.md"},
	ReasonDNSLost:         {"any", "a copy of a DNS answer that nobody will see, because the agent does not read fast enough: the pod has got the answer, and flows may lack its names", "nothing"},
	ReasonSocketConnected: {"socket", "a socket that named a service is connected to one of its backends", ""},
	ReasonSocketSent:      {"socket", "the same for a datagram of a socket that is not connected", ""},
	ReasonSocketClosed:    {"socket", "a socket that was connected so is closed", ""},
	ReasonSocketEnded:     {"socket", "a socket that was connected so was ended: its backend is no more, and its process gets ECONNABORTED", ""},
	ReasonSocketUnnoted:   {"socket", "`weir_socket_users` is full: the agent looks through all pods for sockets of backends that are no more", "nothing: it costs the agent's time only"},
	DropNoBackend:         {"from_pod from_netdev from_host", "the service has no backend for this client: none is ready, or a traffic policy leaves none; without one for anybody the client is told. Of a backend: its node has forgotten which service was asked", "`weir service get` says of each endpoint why it is not used"},
	DropNATPorts:          {"from_pod from_netdev", "every port of this node is in use for the destination", "`weir nat list`; more destinations or more nodes share the load"},
	DropNATProtocol:       {"from_pod from_netdev", "a protocol without ports cannot be translated", "use TCP, UDP, SCTP or ping"},
	DropClusterIP:         {"from_netdev", "from outside of the cluster for an address that is for the cluster only", "use a NodePort or LoadBalancer service"},
	DropSourceRange:       {"from_pod, from_netdev", "the client is outside of the service's loadBalancerSourceRanges", "`weir service get` shows the ranges"},
	DropPolicy:            {"from_pod to_pod from_overlay from_netdev to_netdev from_host", "an end is isolated in this direction, and no rule allows the connection", "`weir drops` names the policies and the rule that came nearest; `weir policy explain`"},
	DropPolicyDeny:        {"from_pod to_pod from_overlay from_netdev to_netdev from_host", "a deny rule matches", "`weir drops` names the policy; `weir policy explain`"},
	DropNoPolicy:          {"from_pod to_pod from_overlay from_netdev to_netdev from_host", "the policy of the endpoint is not in the maps: it is being made, or has gone", "`weir policy get ENDPOINT`; if it lasts, the agent's log"},
	DropCTFull:            {"from_pod to_pod from_overlay from_netdev to_netdev from_host", "the table of connections is full and has grown to its limit; known connections go on", "`weir ct list` for who has so many; raise `bpf.ctLimit`"},
	DropFragment:          {"from_pod to_pod from_overlay from_netdev to_netdev from_host", "a later fragment, whose first one was not seen or is forgotten", "nothing if rare; otherwise look for the path that loses fragments, or send smaller packets"},
	DropInvalidSourceIP:   {"from_pod from_overlay from_netdev", "the source address is not the pod's own (spoofed, or an address the pod gave itself); or it is this node's, and the packet came from elsewhere; or it is another node's pod's, and the packet for a pod did not come through the tunnel", "look at what runs in the pod, or who on the underlay sends as others; addresses come from `weir endpoint list`"},
	DropInvalidPacket:     {"from_pod to_pod from_overlay from_netdev from_host", "truncated, lengths that do not agree, wrong version, or an IPv4-mapped IPv6 address on the wire", "look at the sender; capture on the device"},
	DropFragNeeded:        {"from_pod from_netdev", "too big for the way, and must not be fragmented; the host's stack answers with ICMP (type 3 code 4, or packet too big)", "nothing: path MTU discovery works; if senders ignore it, see docs/node.md"},
	DropUnsupportedL3:     {"from_pod to_pod from_overlay from_host", "IPv4 or IPv6, and the family is switched off", "set `ipv4.enabled` or `ipv6.enabled`, or stop the sender"},
	DropWriteError:        {"from_pod to_pod from_overlay from_netdev from_host from_xdp", "the packet could not be rewritten or redirected", "should not happen; report it with `weir status --verbose`"},
	DropTunnelKey:         {"from_pod from_overlay from_host", "the tunnel's metadata could not be set or read: something else sends on weir_vxlan", "look for who uses the device"},
	DropUnknownTarget:     {"from_pod to_pod from_overlay", "loopback, unspecified or link-local destination, ARP or NDP for a stranger, or a packet at the wrong pod's device", "look at the sender"},
	DropUnroutable:        {"from_pod from_host", "in a pod CIDR that is routed here, and no pod has the address: it has gone, or never was", "the sender remembers an old address; check its DNS answer"},
	DropNoEndpoint:        {"from_overlay", "came through the tunnel for no pod and no address of this node", "the sending node is behind: compare `weir ip get ADDRESS` on both"},
	DropUnsupportedL2:     {"from_pod to_pod from_overlay", "neither IPv4, IPv6 nor ARP", "nothing, unless a pod needs it: Weir carries IP only"},
	DropFIB:               {"from_pod from_netdev", "the host's routing table says unreachable, prohibited or black hole, and the stack answers with ICMP; or forwarding is off for the device, and the stack says nothing", "`weir drops` says which; `ip route get` on the node; of forwarding `sysctl net.ipv4.ip_forward net.ipv4.conf.DEVICE.forwarding`"},
	DropVLAN:              {"from_pod from_netdev", "tagged frame of a VLAN that is not allowed", "name it in `bpf.vlanBypass`"},
	DropTTLExceeded:       {"from_pod from_overlay from_netdev", "TTL or hop limit used up; the host's stack answers with time exceeded", "nothing after a traceroute; otherwise look for a routing loop"},
	DropHostNotReady:      {"from_pod from_host", "weir_ipcache is empty: the agent has not run yet", "start the agent; `weir status`"},
	DropPodNotReady:       {"from_pod to_pod from_overlay from_netdev from_host", "the pod's row is not in weir_endpoints: it is being made or has gone", "`weir endpoint list`; if it lasts, the agent's log"},
	DropTunnelSource:      {"from_overlay", "the node that sent it is not the one that has the inner sender: a forged packet, or one of a node that is not known here yet", "`weir ip get ADDRESS` of the sender says which node it should come from; look for who else reaches UDP 8472"},
	DropDSR:               {"from_overlay from_netdev", "an option says that a service was asked at another node (docs/service.md, DSR), and that cannot be true: no service is open to the outside at that address and port, the client is a member of the cluster, or there is a tunnel and it came past it", "compare `weir service list` on both nodes: one may be behind; otherwise look for who on the underlay makes such packets up"},
	DropMulticast:         {"from_pod", "pods have no multicast routing", "use unicast"},
}

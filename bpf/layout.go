package bpf

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unsafe"
)

// AddrFrom converts an address; the zero netip.Addr becomes all zeroes.
func AddrFrom(a netip.Addr) Addr {
	var out Addr
	if !a.IsValid() {
		return out
	}
	b := a.As16()
	for i := range out.W {
		out.W[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return out
}

// Netip converts back: IPv4-mapped addresses become IPv4, all zeroes the zero netip.Addr.
func (a Addr) Netip() netip.Addr {
	if a == (Addr{}) {
		return netip.Addr{}
	}
	return netip.AddrFrom16(a.bytes()).Unmap()
}

func (a Addr) bytes() (b [16]byte) {
	for i, w := range a.W {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return b
}

func (a Addr) String() string {
	if ip := a.Netip(); ip.IsValid() {
		return ip.String()
	}
	return "0.0.0.0"
}

// MACFrom converts a hardware address of six bytes; any other becomes zeroes.
func MACFrom(hw net.HardwareAddr) MAC {
	var m MAC
	if len(hw) == len(m.Bytes) {
		copy(m.Bytes[:], hw)
	}
	return m
}

func (m MAC) String() string { return strings.ToUpper(net.HardwareAddr(m.Bytes[:]).String()) }

// IPCacheKeyFrom converts a prefix; an IPv4 /24 counts 96+24 bits.
func IPCacheKeyFrom(p netip.Prefix) IPCacheKey {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	return IPCacheKey{PrefixLen: uint32(bits), Addr: AddrFrom(p.Masked().Addr())}
}

// Prefix converts back.
func (k IPCacheKey) Prefix() netip.Prefix {
	a := netip.AddrFrom16(k.Addr.bytes())
	if a.Is4In6() && k.PrefixLen >= 96 {
		return netip.PrefixFrom(a.Unmap(), int(k.PrefixLen)-96)
	}
	return netip.PrefixFrom(a, int(k.PrefixLen))
}

func (k IPCacheKey) String() string { return k.Prefix().String() }

// String is the value as `weir map get weir_ipcache` prints it.
func (e IPCacheEntry) String() string {
	s := fmt.Sprintf("identity=%d encryptkey=%d tunnelendpoint=%s", e.Identity, e.EncryptKey, e.TunnelEndpoint)
	if e.Endpoint != 0 {
		s += fmt.Sprintf(" endpoint=%d", e.Endpoint)
	}
	return s + " flags=" + e.flags()
}

func (e IPCacheEntry) flags() string {
	var on []string
	if e.Flags&uint8(IPCacheHost) != 0 {
		on = append(on, "host")
	}
	if e.Flags&uint8(IPCacheLocalCIDR) != 0 {
		on = append(on, "localcidr")
	}
	if len(on) == 0 {
		return "<none>"
	}
	return strings.Join(on, ",")
}

// String is the value as `weir map get weir_endpoints` prints it.
func (e Endpoint) String() string {
	return fmt.Sprintf("id=%-5d sec_id=%-5d flags=0x%04X ifindex=%-3d mac=%s nodemac=%s",
		e.ID, e.Identity, e.Flags, e.Ifindex, e.MAC, e.NodeMAC)
}

// MetricIndex is the index of a counter in weir_metrics.
func MetricIndex(p Place, r Reason) uint32 { return uint32(p)*uint32(Reasons) + uint32(r) }

// Drop reports whether a packet with the reason was not let through.
func (r Reason) Drop() bool { return r >= 130 }

var reasonText = map[Reason]string{
	ReasonNone:            "None",
	ReasonToEndpoint:      "Forwarded to endpoint",
	ReasonToOverlay:       "Forwarded to overlay",
	ReasonToNetwork:       "Forwarded to network",
	ReasonToStack:         "Passed to stack",
	ReasonToHost:          "Delivered to host",
	ReasonPassed:          "Passed",
	ReasonARPAnswered:     "ARP answered",
	ReasonNDPAnswered:     "NDP answered",
	ReasonLinkChatter:     "Link-local chatter ignored",
	ReasonVLANBypassed:    "VLAN bypassed",
	ReasonFragmented:      "Passed to stack to fragment",
	ReasonReset:           "Refused with TCP reset",
	ReasonProhibited:      "Refused with ICMP administratively prohibited",
	ReasonTooBig:          "Refused with ICMP packet too big",
	ReasonUnreachable:     "Refused with ICMP port unreachable",
	ReasonEventLost:       "Event lost",
	ReasonTraceLost:       "Trace lost",
	ReasonDNSLost:         "DNS answer lost",
	ReasonSocketConnected: "Socket connected to a service's backend",
	ReasonSocketSent:      "Datagram sent to a service's backend",
	ReasonSocketClosed:    "Socket closed that was connected to a service's backend",
	ReasonSocketEnded:     "Socket ended whose backend is no more",
	ReasonSocketUnnoted:   "Socket's namespace not noted, the map is full",
	DropNoBackend:         "Service backend not found",
	DropNATPorts:          "No mapping for NAT masquerade",
	DropNATProtocol:       "Unsupported protocol for NAT masquerade",
	DropClusterIP:         "Is a ClusterIP",
	DropSourceRange:       "Denied by LB src range check",
	DropInvalidSourceIP:   "Invalid source ip",
	DropPolicy:            "Policy denied",
	DropCTFull:            "CT: Map insertion failed",
	DropNoPolicy:          "No configuration available to perform policy decision",
	DropFragment:          "First logical datagram fragment not found",
	DropPolicyDeny:        "Policy denied by denylist",
	DropInvalidPacket:     "Invalid packet",
	DropFragNeeded:        "Fragmentation needed",
	DropUnsupportedL3:     "Unsupported L3 protocol",
	DropWriteError:        "Error writing to packet",
	DropTunnelKey:         "Error retrieving tunnel key",
	DropUnknownTarget:     "Unknown L3 target address",
	DropUnroutable:        "Stale or unroutable IP",
	DropNoEndpoint:        "No matching local container found",
	DropUnsupportedL2:     "Unsupported L2 protocol",
	DropFIB:               "FIB lookup failed",
	DropVLAN:              "VLAN traffic disallowed by VLAN filter",
	DropTTLExceeded:       "TTL exceeded",
	DropHostNotReady:      "Host datapath not ready",
	DropPodNotReady:       "Endpoint not ready",
	DropMulticast:         "Multicast not supported",
	DropDSR:               "Not believed that a service was asked",
	DropTunnelSource:      "Tunnel packet from a node that does not have its sender",
}

func (r Reason) String() string {
	if s, ok := reasonText[r]; ok {
		return s
	}
	return fmt.Sprintf("Reason %d", uint32(r))
}

var placeText = map[Place]string{
	PlaceFromPod:     ProgFromPod,
	PlaceToPod:       ProgToPod,
	PlaceFromOverlay: ProgFromOverlay,
	PlaceToOverlay:   ProgToOverlay,
	PlaceFromNetdev:  ProgFromNetdev,
	PlaceToNetdev:    ProgToNetdev,
	PlaceFromHost:    ProgFromHost,
	PlaceToHost:      ProgToHost,
	PlaceSocket:      "socket",
	PlaceFromXDP:     ProgFromXDP,
}

func (p Place) String() string {
	if p == PlaceNone { // beside what a program counts
		return "any"
	}
	if s, ok := placeText[p]; ok {
		return s
	}
	return fmt.Sprintf("place %d", uint32(p))
}

// Direction is that of the pod's or node's traffic: what a pod or this node
// sends is egress.
func (p Place) Direction() string {
	switch p {
	case PlaceFromPod, PlaceFromHost, PlaceToOverlay, PlaceToNetdev:
		return "EGRESS"
	}
	return "INGRESS"
}

// AddrSlot is the index of an address in weir_generations; addr_slot of
// conntrack.h is the same.
func AddrSlot(a netip.Addr) uint32 {
	w := AddrFrom(a).W
	return ((w[0] ^ w[1] ^ w[2] ^ w[3]) * 0x9E3779B1) >> 18
}

// Host returns a port of the maps as a number.
func Host(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

// Network returns a number as a port of the maps.
func Network(port uint16) uint16 { return Host(port) }

// Ends returns who opened the connection and whom, with their ports.
func (k CTKey) Ends(e CTEntry) (opener, other netip.AddrPort) {
	opener, other = netip.AddrPortFrom(k.A.Netip(), Host(k.PortA)), netip.AddrPortFrom(k.B.Netip(), Host(k.PortB))
	if e.Opener == 1 {
		return other, opener
	}
	return opener, other
}

func (k CTKey) String() string {
	return fmt.Sprintf("%d %s <-> %s", k.Proto, netip.AddrPortFrom(k.A.Netip(), Host(k.PortA)), netip.AddrPortFrom(k.B.Netip(), Host(k.PortB)))
}

func (e CTEntry) String() string {
	return fmt.Sprintf("opener=%c packets=%d/%d bytes=%d/%d rules=%d/%d out=%s/%s flags=0x%02x stamp=%08x", "ab"[e.Opener&1],
		e.Packets[0], e.Packets[1], e.Bytes[0], e.Bytes[1], e.Rule[0], e.Rule[1], e.way(0), e.way(1), e.Flags, e.Stamp)
}

func (e CTEntry) way(dir int) string {
	switch out := CTOut(e.Way[dir]); out {
	case OutEndpoint:
		return fmt.Sprintf("endpoint:%d", e.Out[dir])
	case OutTunnel:
		return fmt.Sprintf("node:%d", e.Out[dir])
	case OutFIB, OutHost, OutStack, OutDSR:
		return map[CTOut]string{OutFIB: "fib", OutHost: "host", OutStack: "stack", OutDSR: "dsr"}[out]
	}
	return "unknown"
}

// Forward returns the entry as that of the opener's packets of a translated
// connection, if it is one.
func (e CTEntry) Forward() (CTForward, bool) {
	return *(*CTForward)(unsafe.Pointer(&e)), CTFlag(e.Flags)&CTIsForward != 0
}

// Reverse returns it as that of the answers, if it is one.
func (e CTEntry) Reverse() (CTReverse, bool) {
	return *(*CTReverse)(unsafe.Pointer(&e)), CTFlag(e.Flags)&CTIsReverse != 0
}

// Octets of the answers.
func (r CTReverse) Octets() uint64 { return uint64(r.BytesHigh)<<32 | uint64(r.Bytes) }

func (k FragmentKey) String() string {
	return fmt.Sprintf("%d %s -> %s id=%d", k.Proto, k.Src, k.Dst, k.ID)
}

func (f Fragment) String() string {
	return fmt.Sprintf("sport=%d dport=%d", Host(f.Sport), Host(f.Dport))
}

func (n Node) String() string { return n.Addr.String() }

func (p Policy) String() string {
	return fmt.Sprintf("class=%d epoch=%d flags=0x%02x", p.PolicyClass, p.Epoch, p.Flags)
}

func (s PolicySet) String() string {
	out := fmt.Sprint(s.Selectors[:min(int(s.Count), len(s.Selectors))])
	if s.Next != 0 {
		out += fmt.Sprintf(" next=%d", s.Next)
	}
	return out
}

func (k PolicyRowKey) String() string {
	direction := "egress"
	level := PolicyLevel(k.Level)
	if level >= Levels {
		direction, level = "ingress", level-Levels
	}
	names := [...]string{"port", "range", "proto", "any"}
	return fmt.Sprintf("class=%d %s %s proto=%d port=%d", k.PolicyClass, direction, names[level&3], k.Proto, Host(k.Port))
}

func (r PolicyRow) String() string { return fmt.Sprintf("selectors=%016x", r.Selectors) }

func (k PolicyRuleKey) String() string { return fmt.Sprintf("%s selector=%d", k.Row, k.Selector) }

func (r PolicyRule) String() string {
	action := "allow"
	if RuleFlag(r.Flags)&RuleDeny != 0 {
		action = "deny"
	}
	return fmt.Sprintf("id=%d %s", r.ID, action)
}

func (k PolicyRangeKey) String() string {
	return fmt.Sprintf("class=%d direction=%d proto=%d port=%d/%d", k.PolicyClass, k.Direction, k.Proto, Host(k.Port), int(k.PrefixLen)-48)
}

// ServiceKeyFrom is the key of an address and port. Unspecified addresses stand
// for every address of any node, one for each family.
func ServiceKeyFrom(a netip.AddrPort, proto uint8) ServiceKey {
	return ServiceKey{Addr: AddrFrom(a.Addr()), Port: Network(a.Port()), Proto: proto}
}

// AddrPort converts back.
func (k ServiceKey) AddrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(k.Addr.bytes()).Unmap(), Host(k.Port))
}

func (k ServiceKey) String() string { return portText(k.AddrPort(), k.Proto) }

func portText(a netip.AddrPort, proto uint8) string {
	names := map[uint8]string{6: "TCP", 17: "UDP", 132: "SCTP"}
	if name, ok := names[proto]; ok {
		return a.String() + "/" + name
	}
	return fmt.Sprintf("%s/%d", a, proto)
}

var serviceFlags = []struct {
	flag ServiceFlag
	name string
}{
	{ServiceExternal, "external"}, {ServiceNodePort, "nodeport"}, {ServiceRanges, "ranges"}, {ServiceMaglev, "maglev"},
	{ServiceKeepClient, "keepclient"}, {ServiceDSR, "dsr"}, {ServiceDropInside, "dropinside"}, {ServiceDropOutside, "dropoutside"},
	{ServiceElsewhere, "elsewhere"},
}

// FlagNames are the names of the flags that are set.
func (s Service) FlagNames() []string {
	var on []string
	for _, f := range serviceFlags {
		if ServiceFlag(s.Flags)&f.flag != 0 {
			on = append(on, f.name)
		}
	}
	return on
}

func (s Service) String() string {
	flags := strings.Join(s.FlagNames(), ",")
	if flags == "" {
		flags = "<none>"
	}
	return fmt.Sprintf("id=%d frontend=%d affinity=%ds inside=%s outside=%s flags=%s", s.ID, s.Frontend, s.Affinity, s.Inside, s.Outside, flags)
}

// String is how many slots there are, and which is the first.
func (s Selection) String() string { return fmt.Sprintf("%d@%d", s.Count, s.First) }

func (s Slots) String() string {
	end := len(s.Backends)
	for end > 0 && s.Backends[end-1] == 0 {
		end--
	}
	return fmt.Sprint(s.Backends[:end])
}

// AddrPort is where the backend is.
func (b Backend) AddrPort() netip.AddrPort { return netip.AddrPortFrom(b.Addr.Netip(), Host(b.Port)) }

func (b Backend) String() string {
	if b.Addr == (Addr{}) {
		return fmt.Sprintf("free generation=%d", b.Generation)
	}
	return fmt.Sprintf("%s generation=%d", portText(b.AddrPort(), b.Proto), b.Generation)
}

func (f Frontend) String() string {
	return portText(netip.AddrPortFrom(netip.AddrFrom16(f.Addr.bytes()).Unmap(), Host(f.Port)), f.Proto)
}

// SourceRangeFrom is the key of a prefix from where a service may be asked for.
func SourceRangeFrom(service uint32, p netip.Prefix) SourceRange {
	k := IPCacheKeyFrom(p)
	return SourceRange{PrefixLen: 32 + k.PrefixLen, Service: service, Addr: k.Addr}
}

func (r SourceRange) String() string {
	return fmt.Sprintf("service=%d %s", r.Service, IPCacheKey{PrefixLen: r.PrefixLen - 32, Addr: r.Addr})
}

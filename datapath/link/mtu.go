package link

// What VXLAN adds to a packet: Ethernet 14, VXLAN 8, UDP 8, and the outer IP
// header of 20 or 40 bytes (RFC 7348, section 5).
const (
	overheadIPv4 = 50
	overheadIPv6 = 70
)

// TunnelOverhead is the number of bytes the tunnel adds to a pod's packet,
// outer Ethernet header not counted, because the underlay's MTU does not
// count it either.
func TunnelOverhead(underlayIs6 bool) int {
	if underlayIs6 {
		return overheadIPv6
	}
	return overheadIPv4
}

// RouteMTU is the largest packet a pod can send to another node over an
// underlay of the given MTU. Devices keep the MTU of the underlay; this one
// stands in routes.
func RouteMTU(underlay int, tunnel bool, underlay6 bool) int {
	if !tunnel {
		return underlay
	}
	return underlay - TunnelOverhead(underlay6)
}

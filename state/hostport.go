package state

import "net/netip"

// HostPort is a port of a pod's container at which the pod's node can be asked for it.
type HostPort struct {
	IP     netip.Addr // hostIP; not valid: every address of the node, unspecified: each of its family
	Proto  uint8      // IANA number: TCP, UDP or SCTP
	Port   uint16     // of the node
	Target uint16     // of the container
}

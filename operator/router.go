package operator

import (
	"net/netip"

	"weir/state"
)

// RouterIP is what the operator writes as a node's CiliumInternalIP.
func RouterIP(cidrs []netip.Prefix) []netip.Addr { return state.RouterAddrs(cidrs) }

// HealthIP is what the operator writes as the address of a node's health endpoint.
func HealthIP(cidrs []netip.Prefix) []netip.Addr { return state.HealthAddrs(cidrs) }

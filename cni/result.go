package cni

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"weir/api/agent"
)

// Where the two interfaces stand in the result.
const (
	hostInterface = iota
	podInterfaceIndex
)

// scopeLink is RT_SCOPE_LINK: the gateway is reached without a gateway.
const scopeLink = 253

// newResult says in CNI's words what the agent made. Each address gets two
// routes: to the gateway on the link, and through it to everywhere.
func newResult(reply agent.AddReply, name, netns string) (*current.Result, error) {
	if len(reply.IPs) == 0 || len(reply.Gateways) != len(reply.IPs) {
		return nil, types.NewError(types.ErrInternal,
			fmt.Sprintf("weir-agent answered ADD with %d addresses and %d gateways", len(reply.IPs), len(reply.Gateways)), "")
	}
	result := &current.Result{
		CNIVersion: current.ImplementedSpecVersion,
		Interfaces: []*current.Interface{
			hostInterface:     {Name: reply.HostDevice, Mac: reply.HostMAC, Mtu: reply.MTU},
			podInterfaceIndex: {Name: name, Mac: reply.MAC, Mtu: reply.MTU, Sandbox: netns},
		},
	}
	for i, ip := range reply.IPs {
		gateway := reply.Gateways[i]
		result.IPs = append(result.IPs, &current.IPConfig{
			Interface: current.Int(podInterfaceIndex),
			Address:   ipNet(ip, ip.BitLen()),
			Gateway:   gateway.AsSlice(),
		})
		link := scopeLink
		result.Routes = append(result.Routes,
			&types.Route{Dst: ipNet(gateway, gateway.BitLen()), Scope: &link},
			&types.Route{Dst: ipNet(unspecified(ip), 0), GW: gateway.AsSlice(), MTU: reply.RouteMTU})
	}
	return result, nil
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// ipNet exists since the CNI library speaks net.IPNet.
func ipNet(a netip.Addr, bits int) net.IPNet {
	return net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}
}

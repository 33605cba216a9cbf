// Package link makes the network devices of a node: the pair through which the
// host and its pods meet, the tunnel device, and one veth pair for each pod.
//
// It wraps a netlink library whose calls accept anything: here every device
// has one right shape, what has it is adopted as it is, and a foreign device
// at one of our names is refused and left alone. Whatever concerns "the host"
// means the network namespace of the calling thread.
//
// It installs no route on the host (package route does), attaches no program,
// and does not know what an endpoint or a node is.
package link

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// Names of the devices of a node.
const (
	HostName   = "weir_host"  // carries the router addresses; where the host meets its pods
	NetName    = "weir_net"   // its peer
	TunnelName = "weir_vxlan" // exists in tunnel mode only
)

// alias marks a tunnel device this package made, so that one of ours for a port
// of the past can be told from somebody else's.
const alias = "weir"

// Errors a caller tells apart.
var (
	ErrForeign        = errors.New("device is not ours")
	ErrIndexTaken     = errors.New("interface index is taken")
	ErrDeviceTaken    = errors.New("host device name is taken")
	ErrInterfaceTaken = errors.New("interface name is taken in the pod")
	ErrNoNetns        = errors.New("not a network namespace of a pod")
	ErrNoIPv6         = errors.New("IPv6 is switched off")
	ErrNotFound       = errors.New("device does not exist")
)

// Device is what the datapath needs to know of a device of this node.
type Device struct {
	Name  string
	Index int
	MTU   int
	MAC   net.HardwareAddr
}

// Find returns the device of a name.
func Find(name string) (Device, error) {
	l, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return Device{}, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	if err != nil {
		return Device{}, fmt.Errorf("find device %s: %w", name, err)
	}
	a := l.Attrs()
	return Device{Name: a.Name, Index: a.Index, MTU: a.MTU, MAC: a.HardwareAddr}, nil
}

// IsUp reports whether the device is set up; one that is missing is not.
func IsUp(name string) bool {
	dev, err := net.InterfaceByName(name)
	return err == nil && dev.Flags&net.FlagUp != 0
}

package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Pod is the pair of devices that joins a pod to its node.
//
//	host                              pod (Netns)
//	Device, Index, NodeMAC  <------>  Interface, MAC, Addrs
//	no address                        default via Gateways, MTU RouteMTU
type Pod struct {
	Netns     string // path of the pod's network namespace
	Interface string // in the pod: "eth0"
	Device    string // on the host
	Index     int    // of Device; 0 leaves it to the kernel
	MAC       net.HardwareAddr
	NodeMAC   net.HardwareAddr // of Device: whom the pod takes for its gateway
	MTU       int              // of both ends
	RouteMTU  int              // of the default routes
	Addrs     []netip.Addr     // at most one of each family
	Gateways  []netip.Addr     // at most one of each family
}

// CreatePod makes the pair in one request, the pod's end directly in its
// namespace under its final name. Both ends are down, so that programs can be
// attached before ConfigurePod lets the pod send.
func CreatePod(p Pod) (hostIndex int, err error) {
	ns, err := openNetns(p.Netns)
	if err != nil {
		return 0, err
	}
	defer ns.Close()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	if err := h.LinkAdd(vethOf(p, ns)); err != nil {
		return 0, explainTaken(h, p, ns, err)
	}
	if p.Index != 0 {
		return p.Index, nil
	}
	l, err := h.LinkByName(p.Device)
	if err != nil {
		return 0, fmt.Errorf("find %s, just made: %w", p.Device, err)
	}
	return l.Attrs().Index, nil
}

func vethOf(p Pod, ns *os.File) *netlink.Veth {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Index, attrs.MTU, attrs.HardwareAddr = p.Device, p.Index, p.MTU, p.NodeMAC
	// The kernel would make a queue, and its files in sysfs, for each CPU; a
	// veth without a queueing discipline has no use for them.
	attrs.NumTxQueues, attrs.NumRxQueues = 1, 1
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerHardwareAddr = p.Interface, p.MAC
	pair.PeerNamespace = netlink.NsFd(ns.Fd())
	return pair
}

// explainTaken finds out which of the names and numbers the kernel refused: it
// answers EEXIST or EBUSY for all of them.
func explainTaken(h *netlink.Handle, p Pod, ns *os.File, cause error) error {
	if !errors.Is(cause, unix.EEXIST) && !errors.Is(cause, unix.EBUSY) {
		return fmt.Errorf("create veth %s to %s in netns %s: %w", p.Device, p.Interface, p.Netns, cause)
	}
	taken := visit(ns, func(pod *netlink.Handle) error {
		_, err := pod.LinkByName(p.Interface)
		return err
	})
	if taken == nil {
		return fmt.Errorf("%w: netns %s has an interface %s already (is the pod joined to another network?)", ErrInterfaceTaken, p.Netns, p.Interface)
	}
	if _, err := h.LinkByName(p.Device); err == nil {
		return fmt.Errorf("%w: %s (remove it with `ip link del %s` if no pod uses it)", ErrDeviceTaken, p.Device, p.Device)
	}
	if l, err := h.LinkByIndex(p.Index); err == nil {
		return fmt.Errorf("%w: %d is the index of %s", ErrIndexTaken, p.Index, l.Attrs().Name)
	}
	if p.Index != 0 && errors.Is(cause, unix.EBUSY) {
		return fmt.Errorf("%w: %d", ErrIndexTaken, p.Index) // of a device that is just going
	}
	return fmt.Errorf("create veth %s to %s in netns %s: %w", p.Device, p.Interface, p.Netns, cause)
}

// DeletePod removes the pair by its host side. A missing one is fine: it goes
// with the pod's namespace.
func DeletePod(device string) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	l, err := findLink(h, device)
	if err != nil || l == nil {
		return err
	}
	return removeLink(h, l)
}

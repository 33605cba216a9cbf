package route

import (
	"fmt"
	"maps"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// List names the owner's routes and neighbours, as people read them.
func List(owner Owner) (routes, neighborsOf []string, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, nil, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	have, err := list(h, owner)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range slices.SortedFunc(maps.Values(have), func(a, b Route) int { return a.Prefix.Compare(b.Prefix) }) {
		routes = append(routes, r.Prefix.String())
	}
	all, err := neighbors()
	for n, row := range all {
		if row.owner == owner {
			neighborsOf = append(neighborsOf, n.Addr.String())
		}
	}
	slices.Sort(neighborsOf)
	return routes, neighborsOf, err
}

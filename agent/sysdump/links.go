package sysdump

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// device is what of a link may leave; the name that people give it in words, its
// alias, is not here.
type device struct {
	Index     int    `json:"index"`
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Flags     string `json:"flags"`
	State     string `json:"state"`
	MTU       int    `json:"mtu"`
	MAC       string `json:"mac,omitempty"`
	Master    int    `json:"master,omitempty"`
	Parent    int    `json:"parent,omitempty"`
	NetnsID   int    `json:"netnsID"`
	Queue     int    `json:"txQueue"`
	GSOMax    uint32 `json:"gsoMaxSize,omitempty"`
	GSO4Max   uint32 `json:"gsoIPv4MaxSize,omitempty"`
	XDP       uint32 `json:"xdpProgram,omitempty"`
	VXLANPort int    `json:"vxlanPort,omitempty"`
	External  bool   `json:"external,omitempty"` // a tunnel whose ends programs choose
}

func links(context.Context) (any, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	out := []device{}
	for _, l := range all[:min(len(all), mostRows)] {
		a := l.Attrs()
		d := device{Index: a.Index, Name: a.Name, Kind: l.Type(), Flags: a.Flags.String(), State: a.OperState.String(), MTU: a.MTU, MAC: a.HardwareAddr.String(),
			Master: a.MasterIndex, Parent: a.ParentIndex, NetnsID: a.NetNsID, Queue: a.TxQLen, GSOMax: a.GSOMaxSize, GSO4Max: a.GSOIPv4MaxSize}
		if a.Xdp != nil && a.Xdp.Attached {
			d.XDP = a.Xdp.ProgId
		}
		if x, ok := l.(*netlink.Vxlan); ok {
			d.VXLANPort, d.External = x.Port, x.FlowBased
		}
		out = append(out, d)
	}
	return out, nil
}

func addresses(context.Context) (any, error) {
	all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	type row struct {
		Index   int    `json:"index"`
		Address string `json:"address"`
		Scope   int    `json:"scope"`
		Flags   int    `json:"flags"`
	}
	out := []row{}
	for _, a := range all[:min(len(all), mostRows)] {
		out = append(out, row{a.LinkIndex, a.IPNet.String(), a.Scope, a.Flags})
	}
	return out, nil
}

// routes are those of all tables, both families.
func routes(context.Context) (any, error) {
	all, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	type row struct {
		Dst      string `json:"dst"`
		Gateway  string `json:"gateway,omitempty"`
		Index    int    `json:"index,omitempty"`
		Source   string `json:"source,omitempty"`
		Table    int    `json:"table"`
		Type     int    `json:"type"`
		Scope    string `json:"scope"`
		Protocol string `json:"protocol"`
		Metric   int    `json:"metric,omitempty"`
		MTU      int    `json:"mtu,omitempty"`
		Flags    string `json:"flags,omitempty"`
		Hops     int    `json:"nextHops,omitempty"`
	}
	out := []row{}
	for _, r := range all[:min(len(all), mostRows)] {
		out = append(out, row{text(r.Dst), text(r.Gw), r.LinkIndex, text(r.Src), r.Table, r.Type, r.Scope.String(), r.Protocol.String(), r.Priority, r.MTU,
			fmt.Sprint(r.ListFlags()), len(r.MultiPath)})
	}
	return out, nil
}

// text is an address, or nothing where there is none.
func text(a fmt.Stringer) string {
	if s := a.String(); s != "<nil>" {
		return s
	}
	return ""
}

func rules(context.Context) (any, error) {
	all, err := netlink.RuleList(netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	type row struct {
		Priority int    `json:"priority"`
		Table    int    `json:"table"`
		Src      string `json:"src,omitempty"`
		Dst      string `json:"dst,omitempty"`
		Mark     uint32 `json:"mark,omitempty"`
		In       string `json:"in,omitempty"`
		Out      string `json:"out,omitempty"`
		Family   int    `json:"family"`
	}
	out := []row{}
	for _, r := range all[:min(len(all), mostRows)] {
		out = append(out, row{r.Priority, r.Table, text(r.Src), text(r.Dst), r.Mark, r.IifName, r.OifName, r.Family})
	}
	return out, nil
}

func neighbours(context.Context) (any, error) {
	all, err := netlink.NeighList(0, 0)
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	type row struct {
		Address string `json:"address"`
		MAC     string `json:"mac,omitempty"`
		Index   int    `json:"index"`
		State   int    `json:"state"`
		Flags   int    `json:"flags,omitempty"`
	}
	out := []row{}
	for _, n := range all[:min(len(all), mostRows)] {
		out = append(out, row{n.IP.String(), n.HardwareAddr.String(), n.LinkIndex, n.State, n.Flags})
	}
	return out, nil
}

package agent

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	api "weir/api/agent"
	"weir/datapath"
	"weir/state"
)

func (a *Agent) listEndpoints(*http.Request) ([]api.Endpoint, error) {
	out := []api.Endpoint{}
	for _, e := range a.tables.Endpoints.Rows(func(x, y state.Endpoint) int { return cmp.Compare(x.ID, y.ID) }) {
		r := api.Endpoint{ID: uint32(e.ID), ContainerID: e.ContainerID, Identity: uint32(e.Identity), Labels: e.Labels,
			Device: e.Device, Ifindex: e.Ifindex, MAC: e.MAC.String(), NodeMAC: e.NodeMAC.String(), MTU: e.MTU,
			State: string(e.State), PolicyIn: enforcement(a, e, true), PolicyOut: enforcement(a, e, false)}
		if e.Pod != (state.PodName{}) {
			r.Pod = e.Pod.String()
		}
		if e.IPv4.IsValid() {
			r.IPv4 = e.IPv4.String()
		}
		if e.IPv6.IsValid() {
			r.IPv6 = e.IPv6.String()
		}
		out = append(out, r)
	}
	return out, nil
}

// enforcement is whether the endpoint is isolated in a direction.
func enforcement(a *Agent, e state.Endpoint, ingress bool) string {
	p, _ := a.tables.EndpointPolicies.Get(e.ID)
	if ingress && p.Ingress || !ingress && p.Egress {
		return "Enabled"
	}
	return "Disabled"
}

func (a *Agent) listNodes(*http.Request) ([]api.Node, error) {
	out := []api.Node{}
	for _, n := range a.tables.Nodes.Rows(func(x, y state.Node) int { return cmp.Compare(x.Name, y.Name) }) {
		r := api.Node{Name: n.Name, Local: n.Local, Source: "custom-resource"}
		if n.Local {
			r.Source = "local"
		}
		for _, ip := range n.Addresses {
			if ip.Is4() {
				r.IPv4 = ip.String()
			} else {
				r.IPv6 = ip.String()
			}
		}
		for _, p := range n.PodCIDRs {
			if p.Addr().Is4() {
				r.IPv4CIDRs = append(r.IPv4CIDRs, p.String())
			} else {
				r.IPv6CIDRs = append(r.IPv6CIDRs, p.String())
			}
		}
		for _, ip := range n.Routers {
			r.Routers = append(r.Routers, ip.String())
		}
		out = append(out, r)
	}
	return out, nil
}

func (a *Agent) listIPs(*http.Request) ([]api.IP, error) {
	out := []api.IP{}
	less := func(x, y state.IP) int {
		return cmp.Or(x.Prefix.Addr().Compare(y.Prefix.Addr()), cmp.Compare(x.Prefix.Bits(), y.Prefix.Bits()))
	}
	for _, ip := range a.tables.IPs.Rows(less) {
		r := api.IP{Prefix: ip.Prefix.String(), Identity: uint32(ip.Identity), Labels: a.labels(ip.Identity),
			Endpoint: uint32(ip.Endpoint), Source: string(ip.Source), Of: ip.Of}
		if ip.TunnelEndpoint.IsValid() {
			r.TunnelEndpoint = ip.TunnelEndpoint.String()
		}
		out = append(out, r)
	}
	return out, nil
}

func (a *Agent) labels(id state.IdentityID) []string {
	if s := id.Reserved(); s != "" {
		return []string{s}
	}
	i, _ := a.tables.Identities.Get(id)
	return i.Labels
}

func (a *Agent) listMaps(*http.Request) ([]api.Map, error) {
	infos, err := a.dp.Maps()
	out := []api.Map{}
	for _, i := range infos {
		out = append(out, mapOf(i))
	}
	return out, err
}

func mapOf(i datapath.MapInfo) api.Map {
	return api.Map{Name: i.Name, Type: i.Type, ID: i.ID, KeySize: i.KeySize, ValueSize: i.ValueSize, MaxEntries: i.MaxEntries,
		Entries: i.Entries, Errors: i.Errors, Memory: i.Memory, Pin: i.Pin, Mirrored: i.Mirrored}
}

func (a *Agent) dumpMap(r *http.Request) (api.MapDump, error) {
	name := r.PathValue("name")
	infos, err := a.dp.MapUse() // the entries of all others need not be counted
	if err != nil {
		return api.MapDump{}, err
	}
	i := slices.IndexFunc(infos, func(i datapath.MapInfo) bool { return i.Name == name })
	if i < 0 {
		return api.MapDump{}, fmt.Errorf("no map named %q; `weir map list` names all", name)
	}
	rows, err := a.dp.Dump(name)
	dump := api.MapDump{Map: mapOf(infos[i]), Rows: []api.MapRow{}}
	if dump.Entries < 0 && err == nil {
		dump.Entries = len(rows)
	}
	slices.SortFunc(rows, func(x, y datapath.MapRow) int { return compareKeys(x.Key, y.Key) })
	for _, row := range rows[:min(len(rows), limitOf(r, len(rows)))] {
		dump.Rows = append(dump.Rows, api.MapRow{Key: row.Key, Value: row.Value, State: row.State})
	}
	return dump, err
}

// compareKeys sorts prefixes by address and everything else as text.
func compareKeys(x, y string) int {
	p, err1 := netip.ParsePrefix(x)
	q, err2 := netip.ParsePrefix(y)
	if err1 == nil && err2 == nil {
		return cmp.Or(p.Addr().Compare(q.Addr()), cmp.Compare(p.Bits(), q.Bits()))
	}
	return cmp.Compare(x, y)
}

func (a *Agent) listMetrics(*http.Request) ([]api.Metric, error) {
	counters, err := a.dp.Metrics()
	out := []api.Metric{}
	for _, c := range counters {
		out = append(out, api.Metric{Reason: c.Reason.String(), Drop: c.Reason.Drop(), Place: c.Place.String(),
			Direction: c.Place.Direction(), Packets: c.Packets, Bytes: c.Bytes})
	}
	return out, err
}

func (a *Agent) listTables(*http.Request) ([]string, error) {
	var out []string
	for _, v := range a.tables.Views() {
		out = append(out, v.Name)
	}
	return out, nil
}

func (a *Agent) dumpTable(r *http.Request) (api.Table, error) {
	name := r.PathValue("name")
	for _, v := range a.tables.Views() {
		if v.Name != name {
			continue
		}
		t := api.Table{Name: v.Name, Heading: v.Heading, Rows: [][]string{}}
		for row := range v.Rows {
			t.Rows = append(t.Rows, row.Columns())
		}
		slices.SortFunc(t.Rows, slices.Compare[[]string])
		return t, nil
	}
	return api.Table{}, fmt.Errorf("no table named %q; `weir table` names all", name)
}

func (a *Agent) listPeers(r *http.Request) ([]api.Peer, error) {
	if r.URL.Query().Get("probe") != "" {
		if err := a.probe(r.Context()); err != nil {
			return nil, err
		}
	}
	out := []api.Peer{}
	for _, p := range a.tables.Peers.Rows(func(x, y state.Peer) int { return cmp.Compare(x.Node, y.Node) }) {
		out = append(out, api.Peer{Node: p.Node, Local: p.Local, NodeIP: p.NodeIP, NodeOK: p.NodeOK, NodeRTT: p.NodeRTT,
			NodeError: p.NodeError, EndpointIP: p.EndpointIP, EndpointOK: p.EndpointOK, EndpointRT: p.EndpointRTT,
			Endpoint: p.EndpointErr, LastProbe: p.LastProbe, NodePing: api.Ping(p.NodePing), EndpointPing: api.Ping(p.EndpointPing)})
	}
	return out, nil
}

package agent

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	api "weir/api/agent"
	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

// timeouts of connections, by the configuration.
func (a *Agent) timeouts() datapath.Timeouts {
	c := a.cfg.Conntrack
	s := func(n int) time.Duration { return time.Duration(n) * time.Second }
	return datapath.Timeouts{TCPNew: s(c.TCPNew), TCPEstablished: s(c.TCPEstablished), TCPClosing: s(c.TCPClosing),
		UDPNew: s(c.UDPNew), UDPEstablished: s(c.UDPEstablished), ICMP: s(c.ICMP)}
}

// listConnections takes ?limit=N for those who can do without the rest: Count is of
// all then, too.
func (a *Agent) listConnections(r *http.Request) (api.Connections, error) {
	out := api.Connections{Entries: []api.Connection{}}
	ticks, err := a.ticks()
	if err != nil {
		return out, err
	}
	now, err := a.dp.CT.Now()
	if err != nil {
		return out, err
	}
	timeouts, nodes := a.timeouts(), a.dp.Nodes.Desired()
	through := translations{cfg: a.dp.Config(), backend: a.dp.Services.Backends.Get, node: a.dp.Nodes.Get, answered: map[seen]bpf.CTReverse{}}
	_, err = a.dp.CT.Each(func(k bpf.CTKey, e bpf.CTEntry) {
		c := connection(k, e, nodes)
		c.Idle = ticks.Since(now, e.Seen)
		c.Expires = max(timeouts.Of(k, e)-c.Idle, 0)
		c.Stale = e.Stamp != a.stamp(k, e)
		if !through.take(k, e, c) {
			answered(&c, e, a.dp.DSR)
			out.Entries = append(out.Entries, c)
		}
	})
	out.Entries = append(out.Entries, through.rows()...)
	slices.SortFunc(out.Entries, func(x, y api.Connection) int {
		return cmp.Or(cmp.Compare(x.Proto, y.Proto), cmp.Compare(x.Source, y.Source), cmp.Compare(x.Dest, y.Dest))
	})
	size := a.dp.CT.Size()
	count := len(out.Entries)
	out.Entries = out.Entries[:min(count, limitOf(r, count))]
	out.Count, out.Capacity, out.Limit, out.Pressure = count, int(size.Capacity), int(size.Limit), size.Pressure()
	out.Memory = a.dp.CT.Memory()
	return out, err
}

// limitOf is what a request wants at most.
func limitOf(r *http.Request, all int) int {
	if n, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && n >= 0 {
		return n
	}
	return all
}

// ticks measures how fast the kernel's clock runs, once.
func (a *Agent) ticks() (datapath.Ticks, error) {
	a.clock.Lock()
	defer a.clock.Unlock()
	if a.jiffies != 0 {
		return a.jiffies, nil
	}
	var err error
	a.jiffies, err = a.dp.CT.MeasureTicks()
	return a.jiffies, err
}

func connection(k bpf.CTKey, e bpf.CTEntry, nodes map[uint32]bpf.Node) api.Connection {
	opener, other := k.Ends(e)
	c := api.Connection{Proto: state.ProtoName(k.Proto), Source: opener.String(), Dest: other.String(), State: "new",
		Sent: api.Counter{Packets: uint64(e.Packets[0]), Bytes: e.Bytes[0]}, Answered: api.Counter{Packets: uint64(e.Packets[1]), Bytes: e.Bytes[1]},
		Egress: e.Rule[0], Ingress: e.Rule[1], Out: [2]string{way(e, 0, nodes), way(e, 1, nodes)}}
	has := func(f bpf.CTFlag) bool { return bpf.CTFlag(e.Flags)&f == f }
	switch {
	case has(bpf.CTReset), has(bpf.CTResetReply), has(bpf.CTFinOriginal | bpf.CTFinReply):
		c.State = "closing"
	case k.Proto == 6 && has(bpf.CTEstablished), k.Proto != 6 && has(bpf.CTReplied):
		c.State = "established"
	}
	return c
}

func way(e bpf.CTEntry, dir int, nodes map[uint32]bpf.Node) string {
	switch bpf.CTOut(e.Way[dir]) {
	case bpf.OutEndpoint:
		return fmt.Sprintf("endpoint %d", e.Out[dir])
	case bpf.OutTunnel:
		return "tunnel " + nodes[uint32(e.Out[dir])].Addr.String()
	case bpf.OutFIB:
		return "fib"
	case bpf.OutHost:
		return "host"
	case bpf.OutStack:
		return "stack"
	case bpf.OutDSR:
		return "fib"
	}
	return "unknown"
}

// stamp is what an entry's stamp has to be for its verdict to hold: as stamp_of
// and epoch_of of conntrack.h.
func (a *Agent) stamp(k bpf.CTKey, e bpf.CTEntry) uint32 {
	opener, other := k.Ends(e)
	end := func(slot uint32, way uint8, out uint16) uint32 {
		if way := bpf.CTOut(way); way == bpf.OutEndpoint || way == bpf.OutStack {
			p, _ := a.dp.Policy.Endpoints.Get(uint32(out))
			return p.Epoch
		}
		n, err := a.dp.Generations().Get(slot)
		if err != nil {
			return 0
		}
		if !a.cfg.HostFirewall.Enabled {
			return n + 1
		}
		host, _ := a.dp.Policy.Endpoints.Get(0)
		return n + 1 + host.Epoch<<16
	}
	return end(bpf.AddrSlot(opener.Addr()), e.Way[1], e.Out[1])*0x9E3779B1 + end(bpf.AddrSlot(other.Addr()), e.Way[0], e.Out[0])
}

// nameOf says who has an identity, for people: a pod by its address, else a label.
func (a *Agent) nameOf(id state.IdentityID, row state.IP) string {
	if row.Of != "" && row.Source != state.IPPodCIDR {
		return row.Of
	}
	if labels := a.labels(id); len(labels) > 0 && id.Reserved() != "" {
		return labels[0]
	}
	return ""
}

package agent

import (
	"net/netip"

	api "weir/api/agent"
	"weir/bpf"
)

// translations puts the two entries of each translated connection together.
type translations struct {
	cfg      bpf.Config
	backend  func(uint32) (bpf.Backend, bool)
	node     func(uint32) (bpf.Node, bool)
	forward  []translated
	answered map[seen]bpf.CTReverse // by what the other end sees
}

// seen is a connection's ends and protocol, as its other end sees them.
type seen struct {
	proto         uint8
	opener, other netip.AddrPort
}

// translated is a connection, whose answers are still to be found.
type translated struct {
	row   api.Connection
	seen  seen
	flags bpf.CTFlag
}

// stateOf says what both entries know together.
func stateOf(f translated, answer bpf.CTFlag, packets uint32) string {
	switch {
	case f.flags&bpf.CTReset != 0, answer&bpf.CTResetReply != 0, f.flags&bpf.CTFinOriginal != 0 && answer&bpf.CTFinReply != 0:
		return "closing"
	case packets > 0:
		return "established"
	}
	return "new"
}

// elsewhere is the state of a connection whose answers another node sends: as
// expire.c has it, a second packet of the opener says that there are some.
func elsewhere(proto uint8, f bpf.CTForward) string {
	switch {
	case proto == 6 && bpf.CTFlag(f.Flags)&(bpf.CTReset|bpf.CTFinOriginal) != 0:
		return "closing"
	case f.Packets > 1:
		return "established"
	}
	return "new"
}

// answered puts the service that another node was asked for before its backend
// here, which answers in its name.
func answered(c *api.Connection, e bpf.CTEntry, asked func(uint32) (bpf.Frontend, bool)) {
	if bpf.CTOut(e.Way[1]) != bpf.OutDSR {
		return
	}
	c.Egress = 0 // that field has the service's number
	if f, ok := asked(e.Rule[0]); ok {
		c.Dest, c.Backend = netip.AddrPortFrom(f.Addr.Netip(), bpf.Host(f.Port)).String(), c.Dest
	}
}

// take reports whether the entry is one of a translated connection.
func (t *translations) take(k bpf.CTKey, e bpf.CTEntry, row api.Connection) bool {
	opener, other := k.Ends(e)
	if r, ok := e.Reverse(); ok {
		t.answered[seen{k.Proto, opener, other}] = r
		return true
	}
	f, ok := e.Forward()
	if !ok {
		return false
	}
	row.Sent = api.Counter{Packets: uint64(f.Packets), Bytes: f.Bytes}
	row.Answered = api.Counter{}
	row.Stale = f.Stamp == 0
	s := seen{k.Proto, opener, other}
	if b, ok := t.backend(f.Backend); ok && f.Backend != 0 && b.Generation == f.Generation {
		s.other = b.AddrPort()
		row.Backend = s.other.String()
	}
	if bpf.NATSource(f.Source) == bpf.NATDSR {
		row.State, row.Out[1] = elsewhere(k.Proto, f), "backend's node"
	} else if f.Source != uint8(bpf.NATNone) {
		s.opener = netip.AddrPortFrom(t.source(f, opener.Addr()), bpf.Host(f.NATPort))
		row.SourceAs = s.opener.String()
	}
	t.forward = append(t.forward, translated{row, s, bpf.CTFlag(f.Flags)})
	return true
}

// source is the address that takes the opener's place.
func (t *translations) source(f bpf.CTForward, opener netip.Addr) netip.Addr {
	kind := bpf.NATSource(f.Source)
	if row := uint32(f.Out[0]); kind == bpf.NATNode && bpf.CTOut(f.Way[0]) == bpf.OutFIB && row != 0 {
		if own, ok := t.node(row); ok {
			return own.Addr.Netip()
		}
	}
	a := map[bpf.NATSource][2]bpf.Addr{
		bpf.NATNode:   {t.cfg.NodeIPv4, t.cfg.NodeIPv6},
		bpf.NATRouter: {t.cfg.RouterIPv4, t.cfg.RouterIPv6},
	}[kind]
	switch {
	case kind == bpf.NATPort:
		return opener
	case opener.Is4():
		return a[0].Netip()
	}
	return a[1].Netip()
}

// rows are the connections, each with what came back.
func (t *translations) rows() []api.Connection {
	var out []api.Connection
	for _, f := range t.forward {
		if r, ok := t.answered[f.seen]; ok {
			f.row.Answered = api.Counter{Packets: uint64(r.Packets), Bytes: r.Octets()}
			f.row.State = stateOf(f, bpf.CTFlag(r.Flags), r.Packets)
		}
		out = append(out, f.row)
	}
	return out
}

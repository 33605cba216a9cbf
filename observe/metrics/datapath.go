package metrics

import (
	"log/slog"

	"weir/bpf"
)

// measured are counts with their bytes.
type measured struct{ packets, bytes uint64 }

func (m *measured) add(p Packets) {
	m.packets += p.Packets
	m.bytes += p.Bytes
}

// datapath tells of packets, maps and programs.
func (n Node) datapath(log *slog.Logger, out Out) {
	packets, err := n.Packets()
	if unread(log, out, "packets", err); err == nil {
		counted(packets).put(out)
	}
	maps, err := n.Maps()
	unread(log, out, "maps", err)
	putMaps(out, maps)
	programs, err := n.Programs()
	unread(log, out, "programs", err)
	putPrograms(out, programs)
	for _, a := range n.Attached() {
		out.Put(attachments, float64(a.OK), a.Program, "attached")
		out.Put(attachments, float64(a.Lost), a.Program, "missing")
	}
	tries, err := n.Searches()
	unread(log, out, "ports", err)
	for _, t := range tries {
		out.Put(searches, float64(t.Count), t.Tries)
	}
}

// flows are counters of packets, summed as they are told.
type flows struct {
	raw     []Packets
	drops   map[[2]string]*measured // by reason and direction
	forward map[string]*measured    // by direction
	tooBig  map[string]*measured
	lost    map[string]*measured // by lane
}

// passing are what judges nothing: a packet that ends so is counted by another
// program, too.
var passing = map[bpf.Reason]bool{bpf.ReasonPassed: true, bpf.ReasonSocketClosed: true, bpf.ReasonSocketEnded: true,
	bpf.ReasonSocketUnnoted: true, bpf.ReasonSocketConnected: true, bpf.ReasonSocketSent: true,
	bpf.ReasonReset: true, bpf.ReasonProhibited: true, bpf.ReasonUnreachable: true}

func counted(all []Packets) flows {
	f := flows{drops: map[[2]string]*measured{}, forward: map[string]*measured{"INGRESS": {}, "EGRESS": {}}, tooBig: map[string]*measured{},
		lost: map[string]*measured{"events": {}, "traces": {}, "dns": {}}}
	for _, p := range all {
		way := direction(p.Place)
		switch {
		case p.Reason == bpf.ReasonEventLost:
			f.lost["events"].add(p)
			continue
		case p.Reason == bpf.ReasonTraceLost:
			f.lost["traces"].add(p)
			continue
		case p.Reason == bpf.ReasonDNSLost:
			f.lost["dns"].add(p)
			continue
		case p.Reason.Drop():
			sum(f.drops, [2]string{p.Reason.String(), way}).add(p)
		case p.Reason == bpf.ReasonTooBig:
			sum(f.tooBig, way).add(p)
		case !passing[p.Reason]:
			sum(f.forward, way).add(p)
		}
		f.raw = append(f.raw, p)
	}
	return f
}

// direction is that of the program, which is none of what stands beside packets.
func direction(p bpf.Place) string {
	if p == bpf.PlaceNone {
		return "UNKNOWN"
	}
	return p.Direction()
}

func sum[K comparable](all map[K]*measured, k K) *measured {
	if all[k] == nil {
		all[k] = &measured{}
	}
	return all[k]
}

func (f flows) put(out Out) {
	for k, m := range f.drops {
		out.Put(dropCount, float64(m.packets), k[0], k[1])
		out.Put(dropBytes, float64(m.bytes), k[0], k[1])
	}
	for way, m := range f.forward {
		out.Put(forwardCount, float64(m.packets), way)
		out.Put(forwardBytes, float64(m.bytes), way)
	}
	for way, m := range f.tooBig {
		out.Put(tooBig, float64(m.packets), way)
	}
	for _, p := range f.raw {
		out.Put(packetCount, float64(p.Packets), p.Place.String(), p.Reason.String())
		out.Put(packetBytes, float64(p.Bytes), p.Place.String(), p.Reason.String())
	}
	for lane, m := range f.lost {
		out.Put(eventsLost, float64(m.packets), lane)
	}
}

func putMaps(out Out, maps []Map) {
	all := uint64(0)
	for _, m := range maps {
		name := m.Name
		all += m.Bytes
		out.Put(mapCapacity, float64(m.Capacity), name)
		out.Put(mapBytes, float64(m.Bytes), name)
		if m.Entries >= 0 && m.Limit > 0 {
			out.Put(mapEntries, float64(m.Entries), name)
			out.Put(mapPressure, float64(m.Entries)/float64(m.Limit), name)
		}
		if m.Updates+m.Deletes+m.Failed > 0 {
			out.Put(mapOps, float64(m.Updates), name, "update", "success")
			out.Put(mapOps, float64(m.Deletes), name, "delete", "success")
			out.Put(mapOps, float64(m.Failed), name, "write", "fail")
		}
	}
	out.Put(mapsBytes, float64(all))
}

func putPrograms(out Out, programs []Program) {
	all := uint64(0)
	for _, p := range programs {
		all += p.Bytes
		out.Put(verified, float64(p.Verified), p.Name)
		if p.Measured {
			out.Put(programRuns, float64(p.Runs), p.Name)
			out.Put(programTime, p.Time.Seconds(), p.Name)
		}
	}
	out.Put(progsBytes, float64(all))
}

// connections tells of the table of connections, which is one for all.
func (n Node) connections(out Out) {
	c := n.Connections()
	out.Put(ctEntries, float64(c.Entries))
	out.Put(ctCapacity, float64(c.Capacity))
	out.Put(ctLimit, float64(c.Limit))
	out.Put(gcRuns, float64(c.Sweeps), "any", "any", "completed")
	out.Put(gcRuns, float64(c.Failed), "any", "any", "uncompleted")
	out.Put(gcEntries, float64(c.Entries), "any", "any", "alive")
	out.Put(gcEntries, float64(c.Deleted), "any", "any", "deleted")
	out.total(gcDuration, c.Sweeps, c.Took.Seconds(), "any", "any", "completed")
}

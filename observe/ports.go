package observe

import (
	"sync/atomic"

	"weir/bpf"
)

const (
	// maxPorts is how many ports are told each by its number.
	maxPorts = 256
	// ephemeral is the first port that clients take, by Linux' default
	// (net.ipv4.ip_local_port_range).
	ephemeral = 32768
)

// ports counts the packets of openers by the port that they go to. A port has its own
// number when somebody is known to be there: it is a service's, or somebody has answered
// from it and it is none that clients take. All others are one, so that whoever tries
// ports makes no series.
type ports struct {
	place map[uint32]int // of Add alone: protocol and port to the place below
	used  atomic.Int32
	keys  [maxPorts]uint32 // never change once used says that they are there
	n     [maxPorts]atomic.Uint64
	other [protocols]atomic.Uint64
}

func newPorts() *ports { return &ports{place: make(map[uint32]int, maxPorts)} }

func portKey(proto int, port uint16) uint32 { return uint32(proto)<<16 | uint32(port) }

func (p *ports) count(r *record, proto int) {
	e := &r.event
	if e.Reply != 0 {
		if port := bpf.Host(e.Sport); port < ephemeral && flagOf[e.TCPFlags] != flagRST {
			p.know(portKey(proto, port))
		}
		return
	}
	key := portKey(proto, bpf.Host(e.Dport))
	if r.service != nil {
		p.know(key)
	}
	if at, ok := p.place[key]; ok {
		p.n[at].Add(1)
		return
	}
	p.other[proto].Add(1)
}

// know gives a port a place, if one is left.
func (p *ports) know(key uint32) {
	if _, ok := p.place[key]; ok || len(p.place) == maxPorts {
		return
	}
	at := len(p.place)
	p.keys[at] = key
	p.place[key] = at
	p.used.Store(int32(at) + 1)
}

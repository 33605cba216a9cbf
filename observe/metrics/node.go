package metrics

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weir/bpf"
	"weir/state"
)

// Node is where a node's metrics are read. A function that fails costs only what
// it tells.
type Node struct {
	Version, Commit string
	Tables          *state.Tables

	Packets     func() ([]Packets, error)
	Maps        func() ([]Map, error)
	Programs    func() ([]Program, error)
	Attached    func() []Attached
	Searches    func() ([]PortSearch, error)
	Connections func() Connections
	Pools       func() []Pool
	Policies    func() map[string]int // by state
	Services    func() Services
	Heard       func() []Heard // of an API server
}

// Packets is one counter of weir_metrics.
type Packets struct {
	Place          bpf.Place
	Reason         bpf.Reason
	Packets, Bytes uint64
}

// Map is a map that is pinned.
type Map struct {
	Name                     string
	Entries, Capacity        int // Entries is -1 where counting means nothing
	Limit                    int // up to which Capacity grows; Capacity if it does not
	Bytes                    uint64
	Updates, Deletes, Failed uint64 // writes of the agent, since it started
}

// Program is a loaded program.
type Program struct {
	Name     string
	Verified uint32 // instructions that the verifier walked
	Bytes    uint64
	Measured bool // the kernel counts runs, since somebody switched that on
	Runs     uint64
	Time     time.Duration
}

// Attached counts the places at which a program should be.
type Attached struct {
	Program  string
	OK, Lost int
}

// PortSearch counts connections that needed a port of the node.
type PortSearch struct {
	Tries string // that failed before one was found: "0", "2-3", "none free"
	Count uint64
}

// Connections is how the table of connections does.
type Connections struct {
	Entries, Capacity, Limit int
	Sweeps, Failed           uint64
	Deleted                  uint64        // by all sweeps
	Took                     time.Duration // all sweeps
}

// Pool is a pod CIDR of the node.
type Pool struct {
	Family, CIDR        string // "ipv4" or "ipv6"
	Allocated, Capacity uint64
}

// Services counts what is in force.
type Services struct{ Services, Frontends, Backends, Problems int }

// Heard counts what an API server told of one kind.
type Heard struct {
	Kind, Action string // "create", "update" or "delete"
	Valid        bool   // it became rows
	Equal        bool   // it said nothing new
	Count        uint64
}

// Collector returns what reads the node.
func (n Node) Collector(log *slog.Logger) prometheus.Collector {
	return Collector(nodeFamilies, func(out Out) {
		out.Put(version, 1, n.Version, n.Commit)
		n.datapath(log, out)
		n.connections(out)
		n.endpoints(out)
		n.policies(out)
		n.addresses(out)
		n.loops(out)
		n.cluster(out)
		n.heard(out)
	})
}

// unread says that some of the values could not be had.
func unread(log *slog.Logger, out Out, what string, err error) {
	failed := 0.0
	if err != nil {
		failed = 1
		log.Warn("metrics cannot be read", "of", what, "err", err)
	}
	out.Put(unreadable, failed, what)
}

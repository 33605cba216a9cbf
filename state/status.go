package state

import (
	"strconv"
	"time"
)

// ProblemKey names an object that was refused. File is where it stands
// ("pods.yaml", empty for an API server), Object is "Pod default/web" as far
// as it could be told.
type ProblemKey struct{ File, Object string }

// Problem says why an object was refused. The object's last good version, and
// every other object, stay in force.
type Problem struct {
	Key   ProblemKey
	Line  int // in File, 0 when not known
	Error string

	Instead string // where an object of the same name stands that counts in its place: "b.yaml:3"
}

// Columns implements table.Row.
func (p Problem) Columns() []string {
	file := p.Key.File
	if p.Line > 0 {
		file += ":" + strconv.Itoa(p.Line)
	}
	return []string{p.Key.Object, file, p.Error}
}

// Peer is the result of the last health probe of a node.
type Peer struct {
	Node         string
	NodeIP       string
	EndpointIP   string
	NodeOK       bool
	EndpointOK   bool
	NodeError    string
	EndpointErr  string
	NodeRTT      time.Duration
	EndpointRTT  time.Duration
	NodePing     Ping
	EndpointPing Ping
	LastProbe    time.Time
	Local        bool
	ProbesFailed int // in a row
}

// Ping is the answer to ICMP echo requests, which firewalls often drop: it decides
// nothing.
type Ping struct {
	OK    bool
	RTT   time.Duration // of the slowest address
	Error string        // why not; empty and not OK: nobody asked
}

// Reachable reports whether the node and its health endpoint answered the last
// probe; a node without a health endpoint only has to answer for itself.
func (p Peer) Reachable() bool { return p.NodeOK && (p.EndpointOK || p.EndpointIP == "") }

// Columns implements table.Row.
func (p Peer) Columns() []string {
	return []string{p.Node, p.NodeIP, p.EndpointIP, strconv.FormatBool(p.NodeOK), strconv.FormatBool(p.EndpointOK)}
}

// ControllerState is how a reconcile loop is doing.
type ControllerState struct {
	Name        string
	Runs        uint64
	Failures    uint64
	Consecutive uint64 // failures since the last success
	LastError   string
	LastSuccess time.Time
	LastFailure time.Time
	Failing     time.Time // the first of the consecutive failures; zero: there is none
}

// Columns implements table.Row.
func (c ControllerState) Columns() []string {
	return []string{c.Name, strconv.FormatUint(c.Runs, 10), strconv.FormatUint(c.Failures, 10), c.LastError}
}

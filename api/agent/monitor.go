package agent

import "time"

// PathMonitor streams what programs tell, one MonitorLine after the other, until the
// client goes: ?type=KIND,... and ?from=, ?to=, ?related= with numbers of endpoints or
// NAMESPACE/POD, all of which may be repeated, say which.
const PathMonitor = "/v1/monitor"

// MonitorLine is one thing of these.
type MonitorLine struct {
	Begin *MonitorBegin `json:"begin,omitempty"` // the first line
	Event *Event        `json:"event,omitempty"`
	Lost  *MonitorLoss  `json:"lost,omitempty"`
}

// MonitorBegin says what there is to come.
type MonitorBegin struct {
	CPUs     int    `json:"cpus"`
	Pages    int    `json:"pages"` // of both rings
	PageSize int    `json:"pageSize"`
	Level    string `json:"level"` // bpf.monitorAggregation, or "drops"
}

// MonitorLoss counts events that were lost since the last line that said so.
type MonitorLoss struct {
	Unread   uint64 `json:"unread,omitempty"`   // of those asked for: this client reads too slowly
	Verdicts uint64 `json:"verdicts,omitempty"` // of all: weir_events was full
	Traces   uint64 `json:"traces,omitempty"`   // of all: weir_traces was full
}

// Event is one packet that a program told of. Source and destination are those that
// it was judged by; fields that mean nothing for it are left out.
type Event struct {
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"`            // "drop", "new", "going", "packet"
	Reason string    `json:"reason"`          // what became of it
	Cause  string    `json:"cause,omitempty"` // of a drop, what the reason alone does not say: "a prohibit route", "1400 octets fit"
	To     string    `json:"to"`              // where: "endpoint", "overlay", "network", "stack", "host"; or "drop"
	Place  string    `json:"place"`           // the program
	Device string    `json:"device"`          // where it runs
	Length uint32    `json:"length"`          // from the Ethernet header on
	State  string    `json:"state"`           // of its connection: "new", "established", "reply", "related", "unknown"
	Flow   string    `json:"flow"`            // a number that both directions of a connection have, "0x1f00ab7c"

	Proto    string `json:"proto"`
	TCPFlags string `json:"tcpFlags,omitempty"`
	ICMPType *uint8 `json:"icmpType,omitempty"`

	Source         string `json:"source"` // "10.0.1.7:43210", of what has no ports "10.0.1.7"
	SourceID       uint32 `json:"sourceIdentity"`
	SourceName     string `json:"sourceName,omitempty"`
	SourceEndpoint uint32 `json:"sourceEndpoint,omitempty"` // of this node
	Dest           string `json:"destination"`
	DestID         uint32 `json:"destinationIdentity"`
	DestName       string `json:"destinationName,omitempty"`
	DestEndpoint   uint32 `json:"destinationEndpoint,omitempty"`
	Asked          string `json:"asked,omitempty"` // the service that the opener asked
	Taken          string `json:"taken,omitempty"` // what stands in the opener's place beyond this node

	Direction string   `json:"direction,omitempty"` // of the policy that denied it
	Egress    []string `json:"egress,omitempty"`    // objects whose rule allowed or denied it
	Ingress   []string `json:"ingress,omitempty"`
}

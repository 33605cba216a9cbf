package agent

import "time"

// PathWalk is asked for the way of a packet.
const PathWalk = "/v1/walk"

// WalkRequest asks for the way of packets from one end to another: of a probe that
// the agent sends in a pod's place, or of those that others send meanwhile.
type WalkRequest struct {
	From  string        `json:"from"` // "pod/NAMESPACE/NAME", "pod/NAME", an address; of a probe a pod of this node
	To    string        `json:"to"`   // the same, "service/NAMESPACE/NAME", or "host"
	Proto string        `json:"proto,omitempty"`
	Port  uint16        `json:"port,omitempty"`
	Live  time.Duration `json:"live,omitempty"` // 0: a probe is sent; else how long to look at others' packets
}

// Walk is what became of them.
type Walk struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Probe  string `json:"probe,omitempty"`  // what was sent
	Answer string `json:"answer,omitempty"` // what came of it: "connected in 0.3 ms", "refused", "no answer in 1 s"
	Steps  []Step `json:"steps"`            // by time
	Note   string `json:"note,omitempty"`

	Missing []string `json:"missing,omitempty"` // other nodes that could not be asked: "n2: connection refused"
}

// Step is one program's part in the way of a packet.
type Step struct {
	Time     time.Time `json:"time"`
	Node     string    `json:"node"`
	Program  string    `json:"program"` // "from_pod"
	Hook     string    `json:"hook"`    // "ingress of weir0a1b2c, the device of default/net"
	Packet   string    `json:"packet"`  // "TCP SYN 10.244.0.5:4000 -> 10.96.0.10:80", as it came
	Reply    bool      `json:"reply,omitempty"`
	Lookups  []Lookup  `json:"lookups"`            // in their order
	Rewrites []string  `json:"rewrites,omitempty"` // "destination 10.96.0.10:80 -> 10.244.1.7:8080"
	Verdict  string    `json:"verdict"`            // "forwarded" or "dropped"
	Reason   string    `json:"reason"`             // what became of it, in the words of `weir metrics list`
	Cause    string    `json:"cause,omitempty"`    // what the reason alone does not say: "a prohibit route", "1400 octets fit"
	To       string    `json:"to"`                 // "the pod default/web, by bpf_redirect_peer to weir9f8e7d"
}

// Lookup is a map that was asked, and what it said.
type Lookup struct {
	Map   string `json:"map"`
	Key   string `json:"key"`
	Found string `json:"found"`
}

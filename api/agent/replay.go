package agent

import "time"

// ReplayRequest asks what policies that are not applied would have done to the flows that
// this node's agent keeps.
type ReplayRequest struct {
	TraceRequest
	Since time.Duration `json:"since"` // how far back, nanoseconds; more than 0
}

// ReplayReply lists the connections that would be treated otherwise.
type ReplayReply struct {
	Node        string          `json:"node"` // whose flows these are; those of other nodes are not there
	Asked       time.Duration   `json:"asked"`
	Kept        time.Duration   `json:"kept"` // how far back no flow is missing; less than Asked: the rest was overwritten, or came before the agent
	Problems    []Problem       `json:"problems"`
	Connections int             `json:"connections"` // that were seen in this time; each once for each verdict that it got
	Elsewhere   int             `json:"elsewhere"`   // of these: no end is judged by policies of this node
	Apart       int             `json:"apart"`       // packets that were dropped for another reason than policy: not replayed
	Lost        uint64          `json:"lost"`        // events that the programs had no room for
	Changed     []ReplayedFlow  `json:"changed"`
	NotJudged   []NotJudgedFlow `json:"notJudged"`
}

// ReplayedFlow is connections that would get another verdict, of one source to one
// destination.
type ReplayedFlow struct {
	Source      string    `json:"source"`      // "Deployment default/web", "default/pod", "reserved:world"
	Destination string    `json:"destination"` // likewise; outside of the cluster with the address
	Port        string    `json:"port"`        // "80/TCP", "type 8/ICMPv4", "GRE"
	Direction   string    `json:"direction"`   // "egress" or "ingress": whose policy decides
	Was         string    `json:"was"`         // what became of it then: "allowed" or "denied"
	Now         string    `json:"now"`         // what the policies in force say
	Then        string    `json:"then"`        // what they would say with those of the file
	Connections int       `json:"connections"` // by ports of who opened them; of ICMP one for each pair of addresses
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
	Rule        string    `json:"rule"`              // that would decide; empty: a default does
	Origin      []string  `json:"origin"`            // the objects it comes from; of a default deny those that isolate the end
	Nearest     string    `json:"nearest,omitempty"` // of a default deny the allow rule that came closest
	Missed      string    `json:"missed,omitempty"`  // the field on which it failed
}

// NotJudgedFlow is connections of which nobody can say.
type NotJudgedFlow struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Port        string `json:"port"`
	Connections int    `json:"connections"`
	Why         string `json:"why"`
}

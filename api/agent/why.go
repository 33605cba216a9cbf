package agent

// PathWhy is asked why two ends do not reach each other.
const PathWhy = "/v1/why"

// Why is all that this node knows of what stands between two ends.
type Why struct {
	From    ExplainedEnd `json:"from"`
	To      ExplainedEnd `json:"to"`
	Policy  Explanation  `json:"policy"`            // what would become of a connection now
	Drops   []WhyDrop    `json:"drops"`             // the latest between the two, either way
	Way     []WayFact    `json:"way"`               // how packets get there, and what is wrong with it
	Advice  []string     `json:"advice"`            // what to do, the most likely first
	Open    int          `json:"connections"`       // that the two have now
	OnlyNew bool         `json:"onlyNew,omitempty"` // none of them was ever answered
	Missing string       `json:"missing,omitempty"` // why the node of the other end does not say what it knows
}

// WhyDrop is a drop with what it means.
type WhyDrop struct {
	Drop
	Node  string `json:"node,omitempty"` // that dropped it; empty: the one that was asked
	Means string `json:"means"`
	Do    string `json:"do"`
}

// WayFact is one thing about the way to the other end.
type WayFact struct {
	What string `json:"what"` // "neighbour 172.18.0.3 on eth0"
	Is   string `json:"is"`   // "REACHABLE, 0a:58:0a:f4:00:01"
	OK   bool   `json:"ok"`
	Do   string `json:"do,omitempty"`
}

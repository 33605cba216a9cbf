package agent

import "time"

// Paths of what is remembered about clients.
const (
	PathNATRetries = "/v1/nat/retries" // -> []NATRetries
	PathAffinities = "/v1/affinities"  // -> []Affinity
)

// NATRetries counts connections that needed a port of the node.
type NATRetries struct {
	Retries     string `json:"retries"` // how many ports were in use before one was free: "0", "2-3", "none free"
	Connections uint64 `json:"connections"`
}

// Affinity is a client that gets the same backend again.
type Affinity struct {
	Client  string        `json:"client"` // an address, or "netns 17" of clients whose socket finds the service
	Service string        `json:"service"`
	Port    string        `json:"port"` // its frontend's address and port
	Backend string        `json:"backend"`
	Idle    time.Duration `json:"idle"`
	Expires time.Duration `json:"expires"`
}

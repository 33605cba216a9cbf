package agent

import "time"

// Absent is a line that people know from the status of others, and whose feature
// this build does not have.
type Absent struct {
	Name  string `json:"name"`
	State string `json:"state"` // "Disabled", mostly
}

// MonitorStatus says how events of the programs come to the agent.
type MonitorStatus struct {
	Listening bool   `json:"listening"` // the agent reads them
	CPUs      int    `json:"cpus"`      // on which programs send
	Pages     int    `json:"pages"`     // of all rings, which all CPUs share
	PageSize  int    `json:"pageSize"`  // bytes
	Lost      uint64 `json:"lost"`      // that found a ring full, since the counters were made
	Unknown   uint64 `json:"unknown"`   // that the agent made nothing of, since it started
}

// FlowsStatus says how many flows the agent remembers.
type FlowsStatus struct {
	OK        bool    `json:"ok"`
	Message   string  `json:"message,omitempty"` // why not
	Current   uint64  `json:"current"`
	Max       uint64  `json:"max"`
	PerSecond float64 `json:"perSecond"`
	Metrics   bool    `json:"metrics"`           // of flows, can be scraped
	Address   string  `json:"address,omitempty"` // that serves them on TCP; empty: the node's socket alone
}

// Ping is the answer to ICMP echo requests, which decides nothing.
type Ping struct {
	OK    bool          `json:"ok"`
	RTT   time.Duration `json:"rtt"`
	Error string        `json:"error,omitempty"` // why not; empty and not OK: nobody asked
}

// LogLine is one message of the agent's log.
type LogLine struct {
	Time       time.Time         `json:"time"`
	Level      string            `json:"level"`
	Message    string            `json:"message"`
	Attributes map[string]string `json:"attributes"`
}

package agent

// PathL2 lists the addresses of services that nodes answer for.
const PathL2 = "/v1/l2" // -> []L2Announcement

// L2Announcement is an address of services, on one device if this node answers for it.
type L2Announcement struct {
	Address   string   `json:"address"`
	Services  []string `json:"services"`
	Holder    string   `json:"holder"` // the node that answers; empty: no node can
	Local     bool     `json:"local"`  // it is this node
	Device    string   `json:"device"` // empty: another node answers, or no device matches
	Responses uint64   `json:"responses"`
}

// L2Status is how many addresses there are, and for how many this node answers.
type L2Status struct {
	Addresses int `json:"addresses"`
	Local     int `json:"local"`
}

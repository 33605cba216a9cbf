package agent

// MasqueradeStatus says whose pods leave the cluster as their node.
type MasqueradeStatus struct {
	IPv4        bool     `json:"ipv4"`
	IPv6        bool     `json:"ipv6"`
	IPMasqAgent bool     `json:"ipMasqAgent"` // a file says where not
	Exempt      []string `json:"exempt"`      // CIDRs where pods keep their own address
}

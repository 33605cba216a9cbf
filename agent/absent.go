package agent

import api "weir/api/agent"

// absence is a feature that `weir status` has a line for, since people look for
// it there, and that this build does not have.
type absence struct {
	name, state string
	key         string // of Cilium's chart; the configuration refuses it, or says that it has no effect. Empty: there is none
}

// absences is the one place that says what is not there. Whoever builds one of
// these takes it off, and gives it a field of api.Status that is read from the
// thing itself.
var absences = []absence{
	{"KVStore", "Disabled", ""},      // the API server is the only store
	{"SRv6", "Disabled", ""},         //
	{"CNI Chaining", "none", ""},     // Weir makes the interface alone
	{"IPv4 BIG TCP", "Disabled", ""}, // devices keep the kernel's gso_ipv4_max_size
	{"IPv6 BIG TCP", "Disabled", ""}, // likewise
	{"BandwidthManager", "Disabled", "bandwidthManager.enabled"},
	{"Proxy Status", "Disabled", "l7Proxy"}, // rules for layer 7 deny what they are about
	{"Encryption", "Disabled", "encryption.enabled"},
	{"ClusterMesh", "Disabled", ""},
}

func absentFeatures() []api.Absent {
	out := make([]api.Absent, 0, len(absences))
	for _, a := range absences {
		out = append(out, api.Absent{Name: a.name, State: a.state})
	}
	return out
}

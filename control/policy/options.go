package policy

import (
	"weir/bpf"
	"weir/state"
)

// Mode says when endpoints are isolated.
type Mode string

// The modes, by the names that the field has for them.
const (
	ModeDefault Mode = "default" // in the directions for which a policy selects them
	ModeAlways  Mode = "always"  // in both
	ModeNever   Mode = "never"   // no policy is in force at all
)

// Options is this slice's configuration.
type Options struct {
	Cluster      string             // its name, which is a label of pods
	Mode         Mode               // empty: default
	Respond      state.DenyResponse // to denied packets, where neither policy nor namespace says; empty: drop
	HostFirewall bool               // the host is an endpoint, too: number 0
	IPv4, IPv6   bool               // the families that are on
	Capacity     Capacity
	Ready        func() error // nil: always; otherwise why nothing may be derived, so that the maps stay as they are
}

// Capacity is the sizes of the maps. What is 0 gets the size of maps.h.
type Capacity struct {
	Selectors, Peers, CIDRs, Sets, Rows, Rules, Ranges int
	Counters                                           int // rows of weir_policy_counters: one for each rule
}

func (o Options) withDefaults() Options {
	if o.Mode == "" {
		o.Mode = ModeDefault
	}
	if !o.IPv4 && !o.IPv6 {
		o.IPv4, o.IPv6 = true, true
	}
	c := &o.Capacity
	for _, d := range []struct {
		size *int
		def  int
	}{{&c.Selectors, int(bpf.SelectorsMax)}, {&c.Peers, 131072}, {&c.CIDRs, 131072}, {&c.Sets, 16384}, {&c.Rows, 65536},
		{&c.Rules, 65536}, {&c.Ranges, 65536}, {&c.Counters, 65536}} {
		if *d.size == 0 {
			*d.size = d.def
		}
	}
	return o
}

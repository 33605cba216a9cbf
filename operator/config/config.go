// Package config is the operator's configuration: one typed value, read once from
// a file, checked, and never changed. Its keys are those that Helm users know,
// where there are such.
package config

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"time"

	"weir/operator"
)

// Config is everything a user can set.
type Config struct {
	Cluster    Cluster `json:"cluster"`
	Kubeconfig string  `json:"kubeconfig"` // a file; empty: the pod's own account
	Debug      Enabled `json:"debug"`

	IPv4         Enabled `json:"ipv4"`
	IPv6         Enabled `json:"ipv6"`
	IPAM         IPAM    `json:"ipam"`
	Policy       Policy  `json:"policy"`
	HostFirewall Enabled `json:"hostFirewall"`    // the agents': policies with a nodeSelector count
	L2           Enabled `json:"l2announcements"` // the leases of L2 announcements are given

	Agent  Agent  `json:"agent"`
	Nodes  Nodes  `json:"nodes"`
	Lease  Lease  `json:"leaderElection"`
	Unused Unused `json:"garbageCollection"`

	Prometheus Prometheus `json:"prometheus"`

	HealthAddr string `json:"healthAddress"` // of /healthz, /readyz, /metrics and /status; empty: nowhere
}

// Cluster names the cluster, as the agents' configuration does.
type Cluster struct {
	Name string `json:"name"`
}

// Enabled switches something on.
type Enabled struct {
	Enabled bool `json:"enabled"`
}

// Prometheus says where metrics can be scraped.
type Prometheus struct {
	Enabled bool `json:"enabled"`
	Port    int  `json:"port"` // TCP, on every address of the node
}

// IPAM says who deals out pod CIDRs.
type IPAM struct {
	Mode     string   `json:"mode"` // "cluster-pool": the operator; "kubernetes": kube-controller-manager
	Operator Operator `json:"operator"`
}

// Operator is the pools of pod CIDRs, in the order in which they are used up.
type Operator struct {
	IPv4List []netip.Prefix `json:"clusterPoolIPv4PodCIDRList"`
	IPv4Mask int            `json:"clusterPoolIPv4MaskSize"`
	IPv6List []netip.Prefix `json:"clusterPoolIPv6PodCIDRList"`
	IPv6Mask int            `json:"clusterPoolIPv6MaskSize"`
	Spare    int            `json:"spareAddresses"` // a node that has fewer left gets another CIDR; 0: it keeps to one
}

// Policy is what of the agents' configuration decides whether a policy is valid, and
// whether it is in force.
type Policy struct {
	CIDRMatchMode   []string `json:"cidrMatchMode"`
	EnforcementMode string   `json:"enforcementMode"`
}

// Agent says how pods of agents are found.
type Agent struct {
	Namespace string `json:"namespace"` // empty: the operator's own
	Selector  string `json:"selector"`  // of labels
}

// Nodes says which marks nodes get.
type Nodes struct {
	Taint       string `json:"agentNotReadyTaintKey"`
	RemoveTaint bool   `json:"removeTaint"` // once the agent is ready
	SetTaint    bool   `json:"setTaint"`    // while it is not, for the first time or again
	Network     bool   `json:"setNetworkStatus"`
}

// Lease is the lease of the leader.
type Lease struct {
	Namespace string        `json:"namespace"` // empty: the operator's own
	Name      string        `json:"name"`
	Duration  time.Duration `json:"leaseDuration"`
	Renew     time.Duration `json:"renewDeadline"`
	Retry     time.Duration `json:"retryPeriod"`
}

// Unused says for how long what nobody needs stays.
type Unused struct {
	Identities time.Duration `json:"identities"`
	Nodes      time.Duration `json:"nodes"`
	Endpoints  time.Duration `json:"endpoints"`
	Leases     time.Duration `json:"leases"` // of L2 announcements
}

// Defaults returns the configuration of whoever sets nothing.
func Defaults() Config {
	return Config{
		Cluster: Cluster{Name: "default"},
		IPv4:    Enabled{true},
		IPAM: IPAM{Mode: "cluster-pool", Operator: Operator{
			IPv4List: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, IPv4Mask: 24,
			IPv6List: []netip.Prefix{netip.MustParsePrefix("fd00::/104")}, IPv6Mask: 120, Spare: 8,
		}},
		Policy:     Policy{EnforcementMode: "default"},
		Agent:      Agent{Selector: "k8s-app=weir"},
		Nodes:      Nodes{Taint: operator.AgentNotReady, RemoveTaint: true, Network: true},
		Lease:      Lease{Name: "weir-operator", Duration: 15 * time.Second, Renew: 10 * time.Second, Retry: 2 * time.Second},
		Unused:     Unused{Identities: 15 * time.Minute, Nodes: 10 * time.Minute, Endpoints: time.Minute, Leases: time.Minute},
		Prometheus: Prometheus{Port: 9963},
		HealthAddr: "127.0.0.1:9234",
	}
}

// Pools returns the pools of the families that are on.
func (c Config) Pools() []operator.Pool {
	var out []operator.Pool
	add := func(on bool, list []netip.Prefix, mask int) {
		for _, p := range list {
			if on {
				out = append(out, operator.Pool{CIDR: p, Mask: mask})
			}
		}
	}
	add(c.IPv4.Enabled, c.IPAM.Operator.IPv4List, c.IPAM.Operator.IPv4Mask)
	add(c.IPv6.Enabled, c.IPAM.Operator.IPv6List, c.IPAM.Operator.IPv6Mask)
	return out
}

// Marks returns which marks nodes get.
func (c Config) Marks() operator.NodeMarks {
	return operator.NodeMarks{Taint: c.Nodes.Taint, RemoveTaint: c.Nodes.RemoveTaint, SetTaint: c.Nodes.SetTaint, Network: c.Nodes.Network}
}

var clusterName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// check returns what is wrong, by key.
func (c Config) check() map[string]string {
	bad := map[string]string{}
	say := func(wrong bool, key, format string, args ...any) {
		if wrong && bad[key] == "" {
			bad[key] = fmt.Sprintf(format, args...)
		}
	}
	say(!clusterName.MatchString(c.Cluster.Name), "cluster.name", "%q is no name of a cluster: use a-z, 0-9 and '-', at most 63 of them", c.Cluster.Name)
	say(!c.IPv4.Enabled && !c.IPv6.Enabled, "ipv4.enabled", "false, and so is ipv6.enabled: switch one on")
	say(!slices.Contains([]string{"cluster-pool", "kubernetes"}, c.IPAM.Mode), "ipam.mode", "%q: use cluster-pool or kubernetes", c.IPAM.Mode)
	if c.IPAM.Mode == "cluster-pool" {
		c.checkPools(say)
	}
	for i, m := range c.Policy.CIDRMatchMode {
		say(m != "pods" && m != "nodes", "policy.cidrMatchMode", "[%d]: %q: use pods or nodes", i, m)
	}
	say(!slices.Contains([]string{"default", "always", "never"}, c.Policy.EnforcementMode), "policy.enforcementMode", "%q: use default, always or never", c.Policy.EnforcementMode)
	say(c.Agent.Selector == "", "agent.selector", "is empty: write labels of the agents' pods, such as k8s-app=weir")
	say(c.Prometheus.Port < 1 || c.Prometheus.Port > 65535, "prometheus.port", "%d is out of range: use 1 to 65535", c.Prometheus.Port)
	l := c.Lease
	say(l.Name == "", "leaderElection.name", "is empty: write one")
	say(l.Retry <= 0, "leaderElection.retryPeriod", "%s: use more than 0", l.Retry)
	say(float64(l.Renew) <= 1.2*float64(l.Retry), "leaderElection.renewDeadline", "%s is not longer than 1.2 times retryPeriod (%s)", l.Renew, l.Retry)
	say(l.Duration <= l.Renew, "leaderElection.leaseDuration", "%s is not longer than renewDeadline (%s)", l.Duration, l.Renew)
	for key, d := range map[string]time.Duration{"identities": c.Unused.Identities, "nodes": c.Unused.Nodes, "endpoints": c.Unused.Endpoints, "leases": c.Unused.Leases} {
		say(d < time.Second, "garbageCollection."+key, "%s: use at least 1s", d)
	}
	return bad
}

func (c Config) checkPools(say func(bool, string, string, ...any)) {
	o := c.IPAM.Operator
	say(c.IPv4.Enabled && len(o.IPv4List) == 0, "ipam.operator.clusterPoolIPv4PodCIDRList", "is empty: list CIDRs, or set ipv4.enabled to false")
	say(c.IPv6.Enabled && len(o.IPv6List) == 0, "ipam.operator.clusterPoolIPv6PodCIDRList", "is empty: list CIDRs, or set ipv6.enabled to false")
	for _, p := range o.IPv4List {
		say(!p.Addr().Is4(), "ipam.operator.clusterPoolIPv4PodCIDRList", "%s is not IPv4: write it into clusterPoolIPv6PodCIDRList", p)
	}
	for _, p := range o.IPv6List {
		say(p.Addr().Is4(), "ipam.operator.clusterPoolIPv6PodCIDRList", "%s is not IPv6: write it into clusterPoolIPv4PodCIDRList", p)
	}
	say(o.Spare < 0, "ipam.operator.spareAddresses", "%d: use 0 or more", o.Spare)
	if _, err := operator.PodCIDRs(c.Pools(), nil, nil); err != nil {
		say(true, "ipam.operator", "%v", err)
	}
}

// Read reads a file; without one, the defaults count.
func Read(name string) (Config, error) {
	if name == "" {
		return Parse(name, nil)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(name, data)
}

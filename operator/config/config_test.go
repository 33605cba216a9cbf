package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestDefaultsAreValid(t *testing.T) {
	c, err := Parse("", nil)
	if err != nil || fmt.Sprint(c.Pools()) != "[{10.0.0.0/8 24}]" || c.Nodes.Taint != "node.cilium.io/agent-not-ready" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAFileChangesWhatItNames(t *testing.T) {
	c, err := Parse("o.yaml", []byte(`
cluster: {name: blue}
ipv6: {enabled: true}
ipam:
  operator:
    clusterPoolIPv4PodCIDRList: [10.1.0.0/16, 10.2.0.0/16]
    clusterPoolIPv4MaskSize: 25
    clusterPoolIPv6PodCIDRList: "fd01::/104"
nodes: {setTaint: true}
leaderElection: {leaseDuration: 30s}
policy: {cidrMatchMode: [nodes], enforcementMode: never}
hostFirewall: {enabled: true}
l2announcements: {enabled: true}
garbageCollection: {leases: 2m}
debug:
`))
	if err != nil || c.Cluster.Name != "blue" || c.Lease.Duration != 30*time.Second || !c.Marks().SetTaint || !c.Marks().RemoveTaint ||
		!c.L2.Enabled || !c.HostFirewall.Enabled || c.Unused.Leases != 2*time.Minute || c.Unused.Endpoints != time.Minute ||
		fmt.Sprint(c.Pools(), c.Policy) != "[{10.1.0.0/16 25} {10.2.0.0/16 25} {fd01::/104 120}] {[nodes] never}" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestWhatIsWrongIsNamedWithTheWayOut(t *testing.T) {
	for text, want := range map[string]string{
		"clusterName: x": `o.yaml:1: unknown key "clusterName": did you mean "cluster.name"?`,
		"ipam: {operator: {clusterPoolIPv4PodCIDRLst: []}}": `did you mean "ipam.operator.clusterPoolIPv4PodCIDRList"?`,
		"zzzzzzzzzzzz: 1":                                                "the keys are cluster, cluster.name",
		"cluster: {name: Blue}":                                          `o.yaml:1: cluster.name: "Blue" is no name of a cluster`,
		"cluster: x":                                                     "cluster: want keys and values",
		"ipam: {mode: eni}":                                              `ipam.mode: "eni": use cluster-pool or kubernetes`,
		"ipv4: {enabled: false}":                                         "switch one on",
		"ipv4: {enabled: 1}":                                             `"1" is neither true nor false`,
		"a: 1\na: 2":                                                     `"a"`,
		"debug: {enabled: true}\ndebug: {}":                              "stands twice",
		"leaderElection: {leaseDuration: 5s}":                            "leaderElection.leaseDuration: 5s is not longer than renewDeadline (10s)",
		"leaderElection: {retryPeriod: often}":                           `leaderElection.retryPeriod: "often" is no duration such as 15s`,
		"garbageCollection: {identities: 0s}":                            "garbageCollection.identities: 0s: use at least 1s",
		"garbageCollection: {leases: 10ms}":                              "garbageCollection.leases: 10ms: use at least 1s",
		"policy: {cidrMatchMode: [world]}":                               `"world": use pods or nodes`,
		"policy: {enforcementMode: off}":                                 `policy.enforcementMode: "off": use default, always or never`,
		"agent: {selector: ''}":                                          "agent.selector: is empty",
		"x: [":                                                           "o.yaml:",
		"ipam: {operator: {spareAddresses: -1}}":                         "spareAddresses: -1: use 0 or more",
		"ipam: {operator: {clusterPoolIPv4MaskSize: big}}":               `clusterPoolIPv4MaskSize: "big" is no int`,
		"ipam: {operator: {clusterPoolIPv4MaskSize: 4}}":                 "the nodes' mask /4 does not fit",
		"ipam: {operator: {clusterPoolIPv4PodCIDRList: [ten]}}":          `"ten" is not a CIDR such as 10.0.0.0/8`,
		"ipam: {operator: {clusterPoolIPv4PodCIDRList: ['fd00::/104']}}": "is not IPv4: write it into clusterPoolIPv6PodCIDRList",
		"ipam: {operator: {clusterPoolIPv4PodCIDRList: [10.0.0.0/8, 10.1.0.0/16]}}": "overlap: keep one",
		"ipam: {operator: {clusterPoolIPv4PodCIDRList: []}}":                        "is empty: list CIDRs",
	} {
		if _, err := Parse("o.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

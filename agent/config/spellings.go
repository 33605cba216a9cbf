package config

import (
	"cmp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Spelling is a rule for what people have in their files that is not a key of
// weir.yaml: the names of Cilium's chart, of today and of old. The chart has the same
// rules, out of this table (tools/chart).
type Spelling struct {
	Other string // what stands in the file
	When  string // the rule is for this value; empty: for all that no other rule is for
	Key   string // what to write in its stead; empty: it says nothing
	Value string // likewise; empty: the value as it is; Nothing: an empty one
	Why   string // why it says nothing; empty: it asks for something that this version has not
	Takes string // what it may be where Key does not say: "bool", "int", "number", or words apart by spaces
}

// Nothing is the Value of a rule by which the key is empty.
const Nothing = "-"

// Words are what the key of the rules with this name may be, or none where others say it.
func Words(other string) []string {
	var out []string
	for _, s := range Spellings() {
		switch {
		case s.Other != other:
		case s.Takes == "bool":
			return []string{"true", "false"}
		case s.Takes != "" && s.Takes != "int" && s.Takes != "number":
			return strings.Fields(s.Takes)
		case s.When == "" || s.Key == other:
			return nil
		default:
			out = append(out, s.When)
		}
	}
	return out
}

// Spellings are all such rules. Where Key is empty and Why is not, the value does not
// matter; where both are empty, only values that ask for nothing are taken.
func Spellings() []Spelling {
	return []Spelling{
		{Other: "tunnel", When: "disabled", Key: "routingMode", Value: "native"},
		{Other: "tunnel", When: "vxlan", Key: "routingMode", Value: "tunnel"},
		{Other: "kubeProxyReplacement", When: "strict", Key: "kubeProxyReplacement", Value: "true"},
		{Other: "kubeProxyReplacement", When: "disabled", Key: "kubeProxyReplacement", Value: "false"},
		{Other: "bpf.hostLegacyRouting", Takes: "bool", When: "true", Key: "bpf.hostRouting", Value: "legacy"},
		{Other: "bpf.hostLegacyRouting", Takes: "bool", Key: "bpf.hostRouting", Value: "auto"},
		{Other: "bpf.enableTCX", Takes: "bool", When: "false", Key: "bpf.attachMode", Value: "tc"},
		{Other: "bpf.enableTCX", Takes: "bool", Key: "bpf.attachMode", Value: "auto"},
		{Other: "nativeRoutingCIDR", Key: "ipv4NativeRoutingCIDR"},
		{Other: "cleanBpfState", Key: "cleanBPFState"},
		{Other: "MTU", Key: "mtu"},
		{Other: "cgroup.hostRoot", Key: "cgroupRoot"},
		{Other: "enableMasquerade", Key: "enableIPv4Masquerade"},
		{Other: "policyEnforcementMode", Key: "policy.enforcementMode"},
		{Other: "policyCIDRMatchMode", Key: "policy.cidrMatchMode"},
		{Other: "policyDenyResponse", When: "none", Key: "policy.denyResponse", Value: "drop"},
		{Other: "policyDenyResponse", When: "icmp", Key: "policy.denyResponse", Value: "reject"},
		{Other: "policyDenyResponse", Key: "policy.denyResponse"},
		{Other: "cni.confPath", Key: "cni.confDir"},
		{Other: "cni.binPath", Key: "cni.binDir"},
		{Other: "cni.customConf", Takes: "bool", When: "true", Key: "cni.confDir", Value: Nothing},
		{Other: "cni.customConf", Takes: "bool", Why: "05-weir.conflist is written to cni.confDir; true leaves that to others"},
		{Other: "cni.exclusive", Takes: "bool", Why: "files of other plugins stay as they are; runtimes take the first by name, 05-weir.conflist, and weir status warns of one before it"},
		{Other: "healthChecking", Key: "health.enabled"},
		{Other: "monitorAggregation", Key: "bpf.monitorAggregation"},

		{Other: "bpf.masquerade", Takes: "bool", Why: "what is masqueraded always is in BPF; enableIPv4Masquerade and enableIPv6Masquerade switch it"},
		{Other: "debug.verbose", Why: "debug.enabled logs details; what becomes of each packet is shown by weir monitor -v, with bpf.monitorAggregation none"},
		{Other: "bpf.preallocateMaps", Takes: "bool", Why: "maps are as large as what is in them, where the kernel can do so"},
		{Other: "bpf.lbMapMax", Takes: "int", Why: "the maps of services grow"},
		{Other: "bpf.policyMapMax", Takes: "int", Why: "one set of maps has the policy of all pods; extraConfig has bpf.policyRules"},
		{Other: "bpf.ctTcpMax", Takes: "int", Why: "one table has all connections, and grows; extraConfig has bpf.ctLimit"},
		{Other: "bpf.ctAnyMax", Takes: "int", Why: "one table has all connections, and grows; extraConfig has bpf.ctLimit"},
		{Other: "bpf.natMax", Takes: "int", Why: "connections have their translation with them; there is no table of it"},
		{Other: "bpf.mapDynamicSizeRatio", Takes: "number", Why: "maps grow; extraConfig has bpf.ctLimit"},
		{Other: "socketLB.enabled", Takes: "bool", Why: "sockets choose backends wherever kubeProxyReplacement is true"},
		{Other: "sessionAffinity", Takes: "bool", Why: "services that ask for it always have it"},
		{Other: "sctp.enabled", Takes: "bool", Why: "SCTP always works"},
		{Other: "externalIPs.enabled", Takes: "bool", Why: "services that have external IPs always are there"},
		{Other: "hostPort.enabled", Takes: "bool", Why: "pods that have host ports always have them"},
		{Other: "nodePort.enabled", Takes: "bool", Why: "NodePorts are there wherever kubeProxyReplacement is true"},
		{Other: "k8sNetworkPolicy.enabled", Takes: "bool", Why: "NetworkPolicy is always in force; policy.enforcementMode never switches all policy off"},
		{Other: "l7Proxy", Takes: "bool", Why: "rules for layer 7 deny what they are about until there is a proxy"},
		{Other: "hubble.eventQueueSize", Takes: "int", Why: "there is no queue between programs and flows; extraConfig has hubble.bufferBytes"},
		{Other: "hubble.relay.enabled", Takes: "bool", Why: "it is a value of the chart: weir-relay is a program of its own"},
		{Other: "hubble.ui.enabled", Takes: "bool", Why: "weir-relay serves its own page, with hubble.relay.enabled"},
		{Other: "identityAllocationMode", Takes: "crd", Why: "identities are custom resources"},

		{Other: "cni.chainingMode"},
		{Other: "encryption.enabled"},
		{Other: "egressGateway.enabled"},
		{Other: "bgpControlPlane.enabled"},
		{Other: "localRedirectPolicies.enabled"},
		{Other: "localRedirectPolicy"},
		{Other: "bandwidthManager.enabled"},
		{Other: "bpf.tproxy"},
		{Other: "policyAuditMode"},
	}
}

// off are the values that ask for nothing.
var off = []string{"", "false", "disabled", "none"}

// spelled finds the rule for a key with a value.
func spelled(key, value string) (Spelling, bool) {
	var found Spelling
	ok := false
	for _, s := range Spellings() {
		if s.Other != key {
			continue
		}
		if s.When == value && value != "" {
			return s, true
		}
		if s.When == "" {
			found, ok = s, true
		}
	}
	return found, ok
}

// respell turns a key with its value into what should stand in its stead. It reports
// whether there is anything left to set.
func (b *builder) respell(key string, n *yaml.Node, where string) (string, *yaml.Node, bool) {
	s, ok := spelled(key, n.Value)
	words := Words(key)
	switch {
	case n.Tag == "!!null" && ok && s.Key != key:
		return key, n, false // Cilium's own values have such
	case len(words) > 0 && !slices.Contains(words, n.Value):
		b.fail("%s: %s: %s", where, key, noneOf(n.Value, words))
		return key, n, false
	case !ok:
		return key, n, true
	case s.Key == "" && s.Why != "":
		b.warn("%s: %s has no effect: %s", where, key, s.Why)
		return key, n, false
	case s.Key == "":
		if n.Kind != yaml.ScalarNode || !slices.Contains(off, n.Value) {
			b.fail("%s: %s is not in this version: remove it, or set it to false", where, key)
		}
		return key, n, false
	}
	if s.Value == Nothing {
		n = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str"}
	} else if s.Value != "" {
		n = &yaml.Node{Kind: yaml.ScalarNode, Value: s.Value, Tag: "!!str"}
	}
	b.warn("%s: old spelling, write %s: %s", where, s.Key, cmp.Or(flow(n), `""`))
	return s.Key, n, true
}

// emptied reports whether a name in the file leaves its key empty, whatever else is there.
func emptied(name, key string) bool {
	return slices.ContainsFunc(Spellings(), func(s Spelling) bool { return s.Other == name && s.Key == key && s.Value == Nothing })
}

// flow is a value on one line.
func flow(n *yaml.Node) string {
	if n.Kind != yaml.SequenceNode {
		return n.Value
	}
	var texts []string
	for _, e := range n.Content {
		texts = append(texts, e.Value)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

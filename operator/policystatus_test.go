package operator

import (
	"errors"
	"strings"
	"testing"

	"weir/state"
)

func TestWhatAPolicyConditionSays(t *testing.T) {
	spec := func(path string, r state.PolicyRule) state.PolicySpec {
		return state.PolicySpec{Path: path, Egress: []state.PolicyRule{r}}
	}
	policy := func(s ...state.PolicySpec) state.Policy { return state.Policy{Specs: s} }
	named := func(s state.Selector) state.Policy {
		return policy(spec("spec", state.PolicyRule{Path: "spec.egress[0]", Peers: []state.PolicyPeer{{Path: "toCIDRSet[0]", Kind: state.PeerCIDRGroups, CIDRGroups: s}}}))
	}
	good := policy(spec("spec", state.PolicyRule{Path: "spec.egress[0]"}))
	part := policy(spec("spec", state.PolicyRule{Path: "spec.egress[0]", NotEnforced: "toFQDNs is not enforced yet: these names are denied"}))
	host := policy(state.PolicySpec{Path: "spec", Nodes: true})
	both := policy(state.PolicySpec{Path: "spec", Nodes: true}, spec("specs[0]", state.PolicyRule{}))
	vpn := named(state.Selector{{Key: "name", Op: state.In, Values: []string{"vpn"}}})
	byRole := named(state.Selector{{Key: "k8s:role", Op: state.In, Values: []string{"vpn"}}})
	group := func(name, role string, refused error) Enforcement {
		return Enforcement{Groups: []CIDRGroup{{state.CIDRGroup{Name: name, Labels: map[string]string{"role": role}}, refused}}}
	}
	for _, tt := range []struct {
		name    string
		policy  state.Policy
		refused error
		in      Enforcement
		want    string
	}{
		{"good", good, nil, Enforcement{}, "True Accepted the whole policy is in force"},
		{"a part", part, nil, Enforcement{}, "True PartlyEnforced spec.egress[0]: toFQDNs is not enforced yet: these names are denied"},
		{"refused", good, errors.New("spec: x"), Enforcement{Never: true}, "False Refused spec: x (an earlier version that was accepted stays in force)"},
		{"never", good, nil, Enforcement{Never: true}, "True NotEnforced not enforced: policy.enforcementMode is never"},
		{"host firewall off", host, nil, Enforcement{}, "True NotEnforced not enforced: hostFirewall.enabled is false"},
		{"host firewall on", host, nil, Enforcement{HostFirewall: true}, "True Accepted the whole policy is in force"},
		{"nodes and pods, off", both, nil, Enforcement{}, "True PartlyEnforced spec: not enforced for nodes: hostFirewall.enabled is false"},
		{"nodes and pods, on", both, nil, Enforcement{HostFirewall: true}, "True Accepted the whole policy is in force"},
		{"no group", vpn, nil, Enforcement{}, "True PartlyEnforced spec.egress[0].toCIDRSet[0]: there is no CiliumCIDRGroup vpn: it matches nobody until there is one"},
		{"another group", vpn, nil, group("office", "vpn", nil), "True PartlyEnforced spec.egress[0].toCIDRSet[0]: there is no CiliumCIDRGroup vpn: it matches nobody until there is one"},
		{"its group", vpn, nil, group("vpn", "", nil), "True Accepted the whole policy is in force"},
		{"its group, refused", vpn, nil, group("vpn", "", errors.New("x")), "True PartlyEnforced spec.egress[0].toCIDRSet[0]: matches nobody until the group is corrected: x"},
		{"no group of a label", byRole, nil, group("vpn", "", nil), "True PartlyEnforced spec.egress[0].toCIDRSet[0]: there is no CiliumCIDRGroup with k8s:role in (vpn): it matches nobody until there is one"},
		{"a group of a label", byRole, nil, group("office", "vpn", nil), "True Accepted the whole policy is in force"},
	} {
		c := PolicyCondition(tt.policy, tt.refused, tt.in)
		if got := c.Status + " " + c.Reason + " " + c.Message; got != tt.want || c.Type != "Valid" {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	if c := PolicyCondition(good, errors.New(strings.Repeat("ä", 5000)), Enforcement{}); len(c.Message) > maxMessage || !strings.HasSuffix(c.Message, "...") {
		t.Errorf("a long message has %d octets", len(c.Message))
	}
	if NamesGroups(part) || !NamesGroups(vpn) {
		t.Error("policies that name groups are not told from others")
	}
}

package run

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "weir/api/v1"
	"weir/test/fakeapi"
)

// policy puts a policy of egress to what a list of toCIDRSet says.
func (c *cluster) policy(name, toCIDRSet string) {
	c.t.Helper()
	text := fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"default"},"spec":{"endpointSelector":{},"egress":[{"toCIDRSet":[%s]}]}}`, name, toCIDRSet)
	if err := c.PutJSON(v1.APIVersion, v1.KindCiliumNetworkPolicy, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) says(policy string) string {
	var o v1.CiliumNetworkPolicy
	c.Get("default", policy, &o)
	return valid(o.Status)
}

func valid(s v1.PolicyStatus) string {
	for _, c := range s.Conditions {
		return c.Status + " " + c.Reason + " " + c.Message
	}
	return ""
}

// said waits until the condition of a policy begins as is wanted.
func (c *cluster) said(policy, want string) {
	c.t.Helper()
	until(c.t, func() string {
		if got := c.says(policy); !strings.HasPrefix(got, want) {
			return fmt.Sprintf("%s says %q, want %q", policy, got, want)
		}
		return ""
	})
}

func cidrGroup(name, role string) *v1.CiliumCIDRGroup {
	return &v1.CiliumCIDRGroup{TypeMeta: metav1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindCiliumCIDRGroup},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"role": role}}, Spec: v1.CIDRGroupSpec{ExternalCIDRs: []string{"10.0.0.0/24"}}}
}

const inForce = "True Accepted the whole policy is in force"

func TestAPolicySaysWhichGroupIsMissing(t *testing.T) {
	c := newCluster(t)
	c.put(node(1))
	c.policy("byname", `{"cidrGroupRef":"vpn"}`)
	c.policy("byrole", `{"cidr":"10.0.0.0/8"},{"cidrGroupSelector":{"matchLabels":{"role":"vpn"}}}`)
	c.start("a")
	const missing = "True PartlyEnforced spec.egress[0].toCIDRSet[0]: there is no CiliumCIDRGroup vpn: it matches nobody until there is one"
	c.said("byname", missing)
	c.said("byrole", "True PartlyEnforced spec.egress[0].toCIDRSet[1]: there is no CiliumCIDRGroup with ")
	c.put(cidrGroup("vpn", "vpn"))
	c.said("byname", inForce)
	c.said("byrole", inForce)
	c.put(cidrGroup("vpn", "office")) // its labels change
	c.said("byrole", "True PartlyEnforced")
	c.said("byname", inForce)
	c.remove(cidrGroup("vpn", "office"))
	c.said("byname", missing)
	if err := c.PutJSON(v1.APIVersion, v1.KindCiliumCIDRGroup, []byte(`{"metadata":{"name":"vpn"},"spec":{"externalCIDRs":["10.0.0.1/8"]}}`)); err != nil {
		t.Fatal(err)
	}
	c.said("byname", "True PartlyEnforced spec.egress[0].toCIDRSet[0]: matches nobody until the group is corrected: CiliumCIDRGroup vpn: spec.externalCIDRs[0]")
}

// Policies that name groups wait for their kind, and no others do.
func TestAClusterMayKnowGroupsLaterOrByTheirOlderVersion(t *testing.T) {
	c := newCluster(t)
	c.Unserve(v1.ResourceCIDRGroups)
	c.put(node(1))
	c.policy("plain", `{"cidr":"10.0.0.0/8"}`)
	c.policy("byname", `{"cidrGroupRef":"vpn"}`)
	c.start("a")
	c.said("plain", inForce)
	if got := c.says("byname"); got != "" {
		t.Errorf("it says %q, and nobody knows of groups", got)
	}
	c.Serve(fakeapi.Kind{Group: v1.Group, Version: v1.VersionAlpha, Resource: v1.ResourceCIDRGroups, Kind: v1.KindCiliumCIDRGroup})
	for _, name := range []string{"vpn", "office"} { // the first is listed, and the second watched
		text := fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"externalCIDRs":["10.0.0.0/8"]}}`, name)
		if err := c.PutJSON("cilium.io/"+v1.VersionAlpha, v1.KindCiliumCIDRGroup, []byte(text)); err != nil {
			t.Fatal(err)
		}
		c.policy("by"+name, `{"cidrGroupRef":"`+name+`"}`)
		c.said("by"+name, inForce)
	}
	c.said("byname", inForce)
}

func TestAPolicyOfNodesSaysWhetherTheHostFirewallIsOn(t *testing.T) {
	for on, want := range map[bool]string{false: "True NotEnforced not enforced: hostFirewall.enabled is false", true: inForce} {
		c := newCluster(t)
		c.cfg.HostFirewall.Enabled = on
		c.put(node(1))
		text := `{"metadata":{"name":"host"},"spec":{"nodeSelector":{},"ingress":[{"fromEntities":["cluster"]}]}}`
		if err := c.PutJSON(v1.APIVersion, v1.KindCiliumClusterwideNetworkPolicy, []byte(text)); err != nil {
			t.Fatal(err)
		}
		c.start("a")
		until(t, func() string {
			var o v1.CiliumClusterwideNetworkPolicy
			c.Get("", "host", &o)
			if got := valid(o.Status); got != want {
				return fmt.Sprintf("host firewall %v: %q, want %q", on, got, want)
			}
			return ""
		})
	}
}

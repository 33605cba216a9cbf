package policylab

import (
	"testing"
)

// fire isolates both nodes: port 8000 alone is open, from the world.
const fire = ccnp + `metadata: {name: fire}
spec:
  nodeSelector: {}
  ingress:
  - {fromEntities: [world], toPorts: [{ports: [{port: '8000', protocol: TCP}]}]}
  - {fromEntities: [remote-node], toPorts: [{ports: [{port: '8001', protocol: TCP}]}]}
  egress:
  - {toEntities: [cluster]}
  - {toEntities: [world], toPorts: [{ports: [{port: '443', protocol: TCP}]}]}
`

// TestRowM10HostPoliciesJudgeTheNodesPorts: what the policy names is open, all
// else is closed, fail-safe ports stay, and pods do not notice.
func TestRowM10HostPoliciesJudgeTheNodesPorts(t *testing.T) {
	inBoth(t, []*kind{fireVXLAN, fireNative}, func(t *testing.T, c *cluster) {
		c.judge(t, `
			world>n1 tcp/9000 arrives
			n2>n1 tcp/9000 arrives
			n1>world udp/9000 arrives`)
		c.apply(t, fire)
		c.judge(t, `
			world>n1 tcp/8000 arrives
			world>n2 tcp/8000 arrives
			world>n1 tcp/9000 never
			world>n1 udp/9000 never
			world>n2 icmp never
			n2>n1 tcp/8001 arrives
			n2>n1 tcp/8000 never
			a>n2 tcp/8000 never
			world>n1 tcp/22 arrives
			world>n1 tcp/6443 arrives
			n1>world tcp/443 arrives
			n1>world tcp/444 never
			n1>world udp/53 arrives
			a>b tcp/80 arrives
			a>c tcp/80 arrives
			o>b udp/80 arrives
			a>world tcp/444 arrives
			world>c tcp/80 arrives
			n1>c tcp/80 arrives`)
		eachFamily(t, func(t *testing.T, is4 bool) {
			for to, clients := range map[string][]string{"n1": {"world"}, "b": {"a", "n1", "o"}, "c": {"a", "n1", "world"}} {
				at := c.echoServer(t, to, is4, 8000)
				for _, from := range clients {
					if err := c.exchange(t, from, at, 50_000); err != nil {
						t.Errorf("%s to %s port 8000 and back: %v", from, to, err)
					}
				}
			}
		})
	})
}

func TestAHostPolicyChoosesNodesByTheirLabels(t *testing.T) {
	const (
		node  = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {zone: dmz}}\n"
		zoned = ccnp + "metadata: {name: zoned}\nspec: {nodeSelector: {matchLabels: {zone: dmz}}, ingressDeny: [{fromEntities: [world]}]}\n"
	)
	inBoth(t, []*kind{fireVXLAN, fireNative}, func(t *testing.T, c *cluster) {
		c.put(t, node)
		t.Cleanup(func() { c.unput(t, node) })
		c.apply(t, zoned)
		c.judge(t, `
			world>n1 tcp/8000 never
			world>n2 tcp/8000 arrives
			world>n1 tcp/22 arrives
			world>b tcp/8000 arrives`)
	})
}

func TestAHostPolicyIsNotEnforcedWithoutTheHostFirewall(t *testing.T) {
	c := on(t, vxlan)
	c.put(t, fire)
	t.Cleanup(func() { c.remove(t, fire) })
	listed := await(patience, func() bool {
		return c.policies(t, "n1")["CiliumClusterwideNetworkPolicy fire"].State == "not enforced"
	})
	if !listed {
		t.Errorf("listed as %+v", c.policies(t, "n1"))
	}
	c.judge(t, "world>n1 tcp/9000 arrives")
}

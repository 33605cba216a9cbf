package run

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	v1 "weir/api/v1"
	"weir/operator/config"
)

// write changes the pod CIDRs of a node's object as a stranger does.
func (c *cluster) write(node string, cidrs ...string) {
	c.t.Helper()
	var o v1.CiliumNode
	if !c.Get("", node, &o) {
		c.t.Fatalf("no CiliumNode %s", node)
	}
	o.Spec.IPAM.PodCIDRs = cidrs
	c.put(&o)
}

// What has ended has no address, however many such objects a node has.
func TestPodsThatHaveEndedTakeNoAddresses(t *testing.T) {
	c := newCluster(t)
	c.cfg.IPv6.Enabled = false
	c.cfg.IPAM.Operator.IPv4Mask, c.cfg.IPAM.Operator.Spare = 28, 4
	c.put(node(1))
	for i := range 30 {
		c.put(pod(fmt.Sprint("job", i), "n1", func(p *corev1.Pod) { p.Status.Phase = []corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed}[i%2] }))
	}
	c.put(pod("web", "n1", func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }))
	c.start("a")
	c.wantCIDRs("n1", "[10.0.0.0/28]")
	always(t, time.Second, func() string {
		if got := c.cidrs("n1"); got != "[10.0.0.0/28]" {
			return "n1 has " + got + " for pods that have ended"
		}
		return ""
	})
}

// A CiliumNode that somebody edits neither takes a pool from all others, nor what another
// node has: it becomes what it was.
func TestAStrangersPodCIDRsAreNotTakenOver(t *testing.T) {
	for _, cidrs := range [][]string{{"0.0.0.0/0", "::/0"}, {"10.0.0.0/8", "fd00::/104"}, {"10.0.1.0/24", "fd00::/120"}, {"10.0.0.0/16", "fd00::/120"}, {"banana"}, {}} {
		t.Run(strings.Join(cidrs, " "), func(t *testing.T) {
			c := newCluster(t)
			c.put(node(1), node(2))
			c.start("a")
			c.wantCIDRs("n1", "[10.0.0.0/24 fd00::/120]")
			c.wantCIDRs("n2", "[10.0.1.0/24 fd00::100/120]")
			c.write("n1", cidrs...)
			c.wantCIDRs("n1", "[10.0.0.0/24 fd00::/120]")
			c.put(node(3))
			c.wantCIDRs("n3", "[10.0.2.0/24 fd00::200/120]")
			c.wantCIDRs("n1", "[10.0.0.0/24 fd00::/120]")
			c.wantCIDRs("n2", "[10.0.1.0/24 fd00::100/120]")
		})
	}
}

// One object whose fields are of other types, as where a definition is not ours, costs
// nobody else anything.
func TestAnObjectThatDoesNotDecodeStopsNoDuty(t *testing.T) {
	c := newCluster(t)
	for kind, text := range map[string]string{
		"CiliumNetworkPolicy":            `{"metadata":{"namespace":"default","name":"bad"},"spec":{"endpointSelector":"everybody","ingress":7}}`,
		"CiliumClusterwideNetworkPolicy": `{"metadata":{"name":"bad"},"spec":[1,2],"status":"good"}`,
		"CiliumNode":                     `{"metadata":{"name":"stranger"},"spec":{"addresses":"172.18.0.77","ipam":{"podCIDRs":{"a":"b"}}}}`,
		"CiliumIdentity":                 `{"metadata":{"name":"777"},"security-labels":["k8s:app=web"]}`,
		"CiliumEndpoint":                 `{"metadata":{"namespace":"default","name":"bad"},"status":{"id":"seven","identity":"many"}}`,
	} {
		if err := c.PutJSON("cilium.io/v2", kind, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	c.put(node(1), seesApp(), pod("web", "n1"))
	c.start("a")
	c.wantCIDRs("n1", "[10.0.0.0/24 fd00::/120]")
	until(t, func() string { return c.lacks("ciliumidentities", 2) })
}

// Agents refuse a policy with a field that nobody knows, so it must not be called valid.
func TestAPolicyThatAgentsRefuseIsNotCalledValid(t *testing.T) {
	c := newCluster(t)
	text := `{"metadata":{"namespace":"default","name":"misspelt"},"spec":{"endpointSelector":{},"ingres":[{}]}}`
	if err := c.PutJSON("cilium.io/v2", "CiliumNetworkPolicy", []byte(text)); err != nil {
		t.Fatal(err)
	}
	c.put(node(1), pod("web", "n1"))
	c.start("a")
	until(t, func() string {
		var o v1.CiliumNetworkPolicy
		c.Get("default", "misspelt", &o)
		if all := o.Status.Conditions; len(all) != 1 || all[0].Status != "False" || !strings.Contains(all[0].Message, `"spec.ingres"`) {
			return fmt.Sprintf("status %+v", o.Status)
		}
		return ""
	})
}

func TestAKubeconfigThatIsNotThereIsNamed(t *testing.T) {
	cfg := config.Defaults()
	cfg.Kubeconfig = "/nowhere/kubelet.conf"
	if _, err := New(slog.New(slog.DiscardHandler), cfg); err == nil || !strings.Contains(err.Error(), "kubeconfig /nowhere/kubelet.conf") {
		t.Errorf("got %v, want an error that names the key and the file", err)
	}
}

// After etcd came back from an older backup, watches from what is the future by then hear
// nothing and no error: the operator must begin anew, and keep what it has dealt out.
func TestARestoredServerIsHeardAgain(t *testing.T) {
	c := newCluster(t)
	c.put(node(1))
	c.start("a")
	c.wantCIDRs("n1", "[10.0.0.0/24 fd00::/120]")
	was := c.Snapshot()
	c.put(node(2))
	c.wantCIDRs("n2", "[10.0.1.0/24 fd00::100/120]")
	for i := range 200 {
		c.put(pod(fmt.Sprint("p", i%5), "n2"))
	}
	c.remove(pod("p0", "n2"))
	time.Sleep(3 * lookBack) // until the operator knows of this future
	c.Restore(was)
	c.put(node(3))
	c.wantCIDRs("n3", "[10.0.2.0/24 fd00::200/120]")
	c.put(node(2))
	c.wantCIDRs("n2", "[10.0.1.0/24 fd00::100/120]")
}

// Whatever permission is missing, /status names it, and the rest goes on.
func TestEachMissingPermissionIsNamed(t *testing.T) {
	c := newCluster(t)
	c.cfg.L2.Enabled = true
	kinds := map[string]string{"nodes": "nodes", "namespaces": "namespaces", "services": "services", "pods": "pods",
		"ciliumnodes": "ciliumnodes.cilium.io", "ciliumidentities": "ciliumidentities.cilium.io", "ciliumendpoints": "ciliumendpoints.cilium.io",
		"networkpolicies": "networkpolicies.networking.k8s.io", "ciliumnetworkpolicies": "ciliumnetworkpolicies.cilium.io",
		"ciliumclusterwidenetworkpolicies": "ciliumclusterwidenetworkpolicies.cilium.io", "endpointslices": "endpointslices.discovery.k8s.io",
		"ciliuml2announcementpolicies": "ciliuml2announcementpolicies.cilium.io"}
	for kind := range kinds {
		c.Forbid(kind)
	}
	a := c.start("a")
	until(t, func() string {
		for kind, where := range kinds {
			if got := a.report.status().Duties["watch "+kind].Error; !strings.HasSuffix(got, "let the operator's ClusterRole get, list and watch "+where) {
				return fmt.Sprintf("%s: %q", kind, got)
			}
		}
		return ""
	})
	for kind := range kinds {
		c.Allow(kind)
	}
	c.put(node(1))
	c.wantCIDRs("n1", "[10.0.0.0/24 fd00::/120]")
	until(t, func() string {
		for name, d := range a.report.status().Duties {
			if d.Error != "" {
				return name + ": " + d.Error
			}
		}
		return ""
	})
}

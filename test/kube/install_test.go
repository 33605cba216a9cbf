package kube

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/test/kubetest"
)

func TestRowG12NodesAreReadyWithoutAnotherPluginOrKubeProxy(t *testing.T) {
	need(t)
	ready := words(t, "get", "nodes", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
	if !slices.Equal(ready, []string{"True", "True", "True"}) {
		t.Errorf("nodes Ready: %q", ready)
	}
	for _, n := range nodes() {
		if r := k.Exec(t.Context(), n, "pgrep", "-x", "kube-proxy"); r.OK() {
			t.Errorf("%s runs kube-proxy", n)
		}
		if rules := on(t, n, "iptables-save"); strings.Contains(rules, "KUBE-SVC") || strings.Contains(rules, "KUBE-SERVICES") {
			t.Errorf("%s has rules of kube-proxy:\n%s", n, rules)
		}
	}
}

func TestRowG13ANodeTakesPodsOnceItsAgentIsReady(t *testing.T) {
	need(t)
	const taint = "node.cilium.io/agent-not-ready"
	if got := kubectl(t, "get", "nodes", "-o", "jsonpath={.items[*].spec.taints[*].key}"); strings.Contains(got, taint) {
		t.Errorf("taints of nodes with an agent: %q", got)
	}
	tainted := func(node string) bool {
		return strings.Contains(kubectl(t, "get", "node", node, "-o", "jsonpath={.spec.taints[*].key}"), taint)
	}
	loses := func(node string) {
		t.Helper()
		kubetest.Eventually(t, 60*time.Second, node+" loses the taint", func() string {
			if tainted(node) {
				return "it has it"
			}
			return ""
		})
	}
	// The agent of n3 stands still: its pod is not ready, and the node keeps the taint.
	signal := func(name string) { on(t, "n3", "sh", "-c", `kill -`+name+` "$(pgrep -x -o weir-agent)"`) }
	signal("STOP")
	goes := sync.OnceFunc(func() { signal("CONT") })
	defer goes()
	ready := func() string {
		return kubectl(t, "get", "pods", "-n", "kube-system", "-l", agentLabel, "--field-selector", "spec.nodeName=n3",
			"-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
	}
	kubetest.Eventually(t, 120*time.Second, "the agent of n3 is not ready", func() string {
		if got := ready(); got != "False" {
			return "Ready is " + got
		}
		return ""
	})
	for _, n := range []string{"n3", "n2"} {
		kubectl(t, "taint", "node", n, taint+"=true:NoSchedule", "--overwrite")
	}
	loses("n2") // the operator is at work
	for began := time.Now(); time.Since(began) < 3*time.Second; time.Sleep(200 * time.Millisecond) {
		if !tainted("n3") {
			t.Fatalf("n3 has lost the taint, and its agent's Ready is %s", ready())
		}
	}
	goes()
	loses("n3")
	if got := ready(); got != "True" {
		t.Errorf("n3 has lost the taint, and its agent's Ready is %s", got)
	}
}

const ourConf = "05-weir.conflist"

// Runtimes take the first configuration; those of others stay where they are.
func TestRowG14TheCNIConfigurationIsTheFirst(t *testing.T) {
	need(t)
	for _, n := range nodes() {
		if files := strings.Fields(on(t, n, "ls", "/etc/cni/net.d")); len(files) == 0 || files[0] != ourConf {
			t.Errorf("%s: /etc/cni/net.d has %q, want %s first", n, files, ourConf)
		}
	}
	on(t, "n2", "test", "-f", otherConf)
}

func TestRowG15PodsAreFoundByTheLabelsPeopleUse(t *testing.T) {
	need(t)
	if got := words(t, "get", "pods", "-n", "kube-system", "-l", agentLabel, "-o", "jsonpath={.items[*].status.phase}"); len(got) != 3 {
		t.Errorf("agents: %q, want three", got)
	}
	if got := kubectl(t, "get", "deployment", "-n", "kube-system", "-l", operatorLabel, "-o", "jsonpath={.items[*].status.readyReplicas}"); got != "2" {
		t.Errorf("operators ready: %q, want 2", got)
	}
	dns := words(t, "get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].status.podIP}")
	if len(dns) < 2 {
		t.Fatalf("CoreDNS pods: %q, want two", dns)
	}
	for _, ip := range dns {
		if !inPodCIDRs(t, ip) {
			t.Errorf("CoreDNS pod %s is not on the pod network", ip)
		}
	}
}

func inPodCIDRs(t *testing.T, ip string) bool {
	t.Helper()
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		t.Fatal(err)
	}
	for _, cidr := range words(t, "get", "ciliumnodes", "-o", "jsonpath={.items[*].spec.ipam.podCIDRs[*]}") {
		if netip.MustParsePrefix(cidr).Contains(addr) {
			return true
		}
	}
	return false
}

func TestRowK1ObjectsFollowNodesAndPods(t *testing.T) {
	need(t)
	if got := words(t, "get", "cn", "-o", "jsonpath={.items[*].metadata.name}"); !slices.Equal(got, nodes()) {
		t.Errorf("CiliumNodes: %q, want one for each node", got)
	}
	for _, kind := range []string{"cnp", "ccnp", "ciliumid"} {
		kubectl(t, "get", kind, "-A")
	}
	apply(t, podManifest("k1", "n3", "app: k1"))
	kubectl(t, "wait", "--for=condition=Ready", "pod/k1", "--timeout=60s")
	ips := kubectl(t, "get", "pod", "k1", "-o", "jsonpath={.status.podIPs[*].ip}")
	kubetest.Eventually(t, 20*time.Second, "endpoint of k1", func() string {
		r := k.Kubectl(t.Context(), "get", "cep", "k1", "-o", "jsonpath={.status.identity.id} {.status.networking.addressing[*].ipv4} {.status.networking.addressing[*].ipv6}")
		f := strings.Fields(r.Stdout)
		if !r.OK() || len(f) != 3 || f[0] == "0" || f[1]+" "+f[2] != ips {
			return r.Stdout + r.Stderr + ", want a number and " + ips
		}
		return ""
	})
	kubectl(t, "delete", "pod", "k1")
	kubetest.Eventually(t, 20*time.Second, "the endpoint goes with its pod", func() string {
		if r := k.Kubectl(t.Context(), "get", "cep", "k1"); r.OK() {
			return r.Stdout
		}
		return ""
	})
}

func podManifest(name, node, labels string) string {
	return `
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `, labels: {` + labels + `}}
spec:
  nodeName: ` + node + `
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: nettool:0.9}]
`
}

func TestRowI1StatusOfEveryAgent(t *testing.T) {
	need(t)
	for _, n := range nodes() {
		out := weir(t, n, "status") // exit code 0
		for _, line := range []string{"Kubernetes:", "KubeProxyReplacement:"} {
			if !strings.Contains(out, line) {
				t.Errorf("weir status on %s has no line %s\n%s", n, line, out)
			}
		}
	}
}

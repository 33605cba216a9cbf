package kube

import (
	_ "embed"
	"fmt"
	"maps"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/test/kubetest"
)

//go:embed testdata/cni.yaml
var seedManifest string

var answer = regexp.MustCompile(`^PodName: (evescn-[a-z0-9]{5}) \| PodIP: eth0 ([0-9a-f.:]+)/(32|128)$`)

// A DaemonSet, a NodePort service and a pod that asks it, without kube-proxy.
func TestANodePortServiceOfADaemonSet(t *testing.T) {
	need(t)
	apply(t, seedManifest)
	kubectl(t, "rollout", "status", "daemonset/evescn", "--timeout=90s")
	kubectl(t, "wait", "--for=condition=Ready", "pod/net", "--timeout=60s")
	backends := map[string]string{} // name -> address
	for _, line := range strings.Split(kubectl(t, "get", "pods", "-l", "app=evescn", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{"\n"}{end}`), "\n") {
		name, ip, _ := strings.Cut(line, " ")
		backends[name] = ip
	}
	if len(backends) != 3 {
		t.Fatalf("pods of the DaemonSet: %v, want one for each node", backends)
	}
	t.Run("RowB1PodsHaveHostAddresses", func(t *testing.T) {
		out := kubectl(t, "exec", "net", "--", "ip", "-4", "-o", "addr", "show", "dev", "eth0")
		if ip := kubectl(t, "get", "pod", "net", "-o", "jsonpath={.status.podIP}"); !strings.Contains(out, "inet "+ip+"/32 ") {
			t.Errorf("eth0 of net has %s, want %s/32", out, ip)
		}
	})
	t.Run("RowJ12EveryBackendAnswers", func(t *testing.T) { everyBackend(t, backends) })
	t.Run("RowJ8ThePodDialsABackend", func(t *testing.T) { firstPacket(t, backends) })
	t.Run("RowsJ6J7NoConntrackNoRules", nothingInNetfilter)
	t.Run("RowI2ServiceList", func(t *testing.T) { serviceList(t, backends) })
	t.Run("FlowsNameTheService", flowsNameTheService)
}

func everyBackend(t *testing.T, backends map[string]string) {
	resolves(t, "net", "serversvc.default.svc.cluster.local")
	cluster := kubectl(t, "get", "service", "serversvc", "-o", "jsonpath={.spec.clusterIP}") + ":8080"
	for _, at := range []string{"172.18.0.2:32000", "172.18.0.3:32000", "172.18.0.4:32000", cluster, "serversvc.default.svc.cluster.local:8080"} {
		seen := map[string]bool{}
		for range 60 {
			got := strings.TrimSpace(curl(t, "net", at))
			m := answer.FindStringSubmatch(got)
			if m == nil || backends[m[1]] != m[2] {
				t.Fatalf("%s answers %q, want one of %v", at, got, backends)
			}
			if seen[m[1]] = true; len(seen) == len(backends) {
				break
			}
		}
		if len(seen) != len(backends) {
			t.Errorf("%s: only %q answered", at, slices.Collect(maps.Keys(seen)))
		}
	}
	for _, node := range []string{"172.18.0.2", "172.18.0.3", "172.18.0.4"} {
		if got := on(t, "world", "curl", "-sS", "--max-time", "3", node+":32000"); !answer.MatchString(got) {
			t.Errorf("%s asked from outside answers %q", node, got)
		}
	}
}

// resolves waits until each server of the cluster's DNS knows a name. They follow the API
// server, which another test has stopped a moment ago, by watches that each opens again
// when it likes.
func resolves(t *testing.T, pod, name string) {
	t.Helper()
	servers := words(t, "get", "endpointslices", "-n", "kube-system", "-l", "kubernetes.io/service-name=kube-dns", "-o", "jsonpath={.items[*].endpoints[*].addresses[0]}")
	if len(servers) < 2 {
		t.Fatalf("servers of the cluster's DNS: %q, want one of each of two pods at least", servers)
	}
	for _, server := range servers {
		kubetest.Eventually(t, 90*time.Second, name+" is known to the DNS server "+server, func() string {
			out, err := k.Command(t.Context(), "kubectl", "exec", pod, "--", "dig", "+short", "+time=2", "+tries=1", "@"+server, name).CombinedOutput()
			if answer := strings.TrimSpace(string(out)); err != nil || net.ParseIP(answer) == nil {
				return fmt.Sprintf("%q, %v", answer, err)
			}
			return ""
		})
	}
}

// firstPacket looks at what leaves the pod when it asks for the NodePort.
func firstPacket(t *testing.T, backends map[string]string) {
	capture := k.Command(t.Context(), "kubectl", "exec", "net", "--", "timeout", "20", "tcpdump", "-c1", "-pnni", "eth0", "tcp[tcpflags] == tcp-syn")
	var out strings.Builder
	capture.Stdout, capture.Stderr = &out, &out
	if err := capture.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- capture.Wait() }()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		curl(t, "net", "172.18.0.2:32000")
		select {
		case <-ended:
			for _, ip := range backends {
				if strings.Contains(out.String(), "> "+ip+".80: Flags [S]") {
					return
				}
			}
			t.Fatalf("the first packet is none to a backend's port 80:\n%s", out.String())
		case <-time.After(200 * time.Millisecond):
		}
	}
	t.Fatalf("nothing captured: %s", out.String())
}

// flowsNameTheService asks by name, and looks for the flow by what was asked: the name
// that DNS gave and the service. The packets have neither, but a backend's address.
func flowsNameTheService(t *testing.T) {
	const name = "serversvc.default.svc.cluster.local"
	node := kubectl(t, "get", "pod", "net", "-o", "jsonpath={.spec.nodeName}")
	kubetest.Eventually(t, 20*time.Second, "a flow that names what was asked", func() string {
		curl(t, "net", name+":8080")
		out := weir(t, node, "observe", "--all", "--from-pod", "default/net", "--to-service", "default/serversvc", "--to-fqdn", name)
		if !strings.Contains(out, "-> default/evescn-") {
			return fmt.Sprintf("%q", out)
		}
		return ""
	})
}

func nothingInNetfilter(t *testing.T) {
	for _, n := range nodes() {
		curl(t, "net", "172.18.0.2:32000")
		if _, err := exec.LookPath("conntrack"); err == nil {
			if out := k.Exec(t.Context(), n, "conntrack", "-L"); strings.Contains(out.Stdout, "32000") {
				t.Errorf("%s tracks the NodePort:\n%s", n, out.Stdout)
			}
		}
		if out := on(t, n, "iptables-save"); strings.Contains(out, "32000") || strings.Contains(out, "KUBE-SVC") {
			t.Errorf("%s has rules for the service:\n%s", n, out)
		}
	}
}

func serviceList(t *testing.T, backends map[string]string) {
	cluster := kubectl(t, "get", "service", "serversvc", "-o", "jsonpath={.spec.clusterIP}") + ":8080"
	list := weir(t, "n1", "service", "list")
	for _, front := range []string{cluster, "172.18.0.2:32000", "0.0.0.0:32000"} {
		part := frontend(list, front)
		for name, ip := range backends {
			if !strings.Contains(part, fmt.Sprintf("=> %s:80", ip)) {
				t.Errorf("%s leads not to %s %s:\n%s", front, name, ip, list)
			}
		}
		if got := strings.Count(part, "(active)"); got != len(backends) {
			t.Errorf("%s has %d active backends, want %d:\n%s", front, got, len(backends), list)
		}
	}
}

// frontend is the part of a list of services that is about one of them.
func frontend(list, front string) string {
	var out strings.Builder
	in := false
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if len(f) > 1 && f[1] != "=>" { // a line that begins a service
			in = strings.HasPrefix(f[1], front)
		}
		if in {
			out.WriteString(line)
		}
	}
	return out.String()
}

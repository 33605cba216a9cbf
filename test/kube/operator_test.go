package kube

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/test/kubetest"
)

func TestRowK2TrafficAndPodsGoOnWithoutTheOperator(t *testing.T) {
	need(t)
	apply(t, podManifest("k2-a", "n1", "app: k2")+"---"+podManifest("k2-b", "n2", "app: k2"))
	kubectl(t, "wait", "--for=condition=Ready", "pod/k2-a", "pod/k2-b", "--timeout=60s")
	ip := kubectl(t, "get", "pod", "k2-b", "-o", "jsonpath={.status.podIP}")

	operators := func(replicas string) {
		kubectl(t, "scale", "-n", "kube-system", "deployment", "-l", operatorLabel, "--replicas="+replicas)
	}
	operators("0")
	defer func() {
		operators("2")
		kubectl(t, "rollout", "status", "-n", "kube-system", "deployment", "-l", operatorLabel, "--timeout=60s")
	}()
	kubetest.Eventually(t, 60*time.Second, "operators end", func() string {
		return kubectl(t, "get", "pods", "-n", "kube-system", "-o", "name", "-l", operatorLabel)
	})
	curl(t, "k2-a", ip)
	apply(t, podManifest("k2-c", "n3", "app: k2")) // labels that have an identity
	kubectl(t, "wait", "--for=condition=Ready", "pod/k2-c", "--timeout=60s")
	curl(t, "k2-c", ip)
	newNode(t, func() { operators("2") })
}

// newNode is a node that comes while no operator is there: it has no pod CIDR until one is
// back.
func newNode(t *testing.T, back func()) {
	const name = "k2-new"
	cidrs := func() string {
		return k.Kubectl(t.Context(), "get", "ciliumnode", name, "--ignore-not-found", "-o", "jsonpath={.spec.ipam.podCIDRs}").Stdout
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, kind := range []string{"node", "ciliumnode"} {
			if r := k.Kubectl(ctx, "delete", kind, name, "--ignore-not-found"); !r.OK() {
				t.Error(r.Stderr)
			}
		}
	})
	kubectl(t, "create", "-f", write(t, `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "`+name+`"}}`))
	// With an operator it takes a second at most; a taken lease alone takes more.
	for began := time.Now(); time.Since(began) < 5*time.Second; time.Sleep(200 * time.Millisecond) {
		if got := cidrs(); got != "" {
			t.Fatalf("%s has the pod CIDRs %s, and nobody is there to give them", name, got)
		}
	}
	back()
	kubetest.Eventually(t, 60*time.Second, name+" gets its pod CIDRs", func() string {
		if got := cidrs(); strings.Count(got, "/") != 2 {
			return fmt.Sprintf("%q, want one of each family", got)
		}
		return ""
	})
}

// What `weir status` says of Kubernetes is what the API server says of itself, and within
// some seconds that it is away.
func TestRowH2StatusFollowsTheAPIServer(t *testing.T) {
	need(t)
	var server struct {
		Server struct{ Major, Minor, GitVersion, Platform string } `json:"serverVersion"`
	}
	if err := json.Unmarshal([]byte(kubectl(t, "version", "-o", "json")), &server); err != nil {
		t.Fatal(err)
	}
	v := server.Server
	want := fmt.Sprintf("Kubernetes: Ok %s.%s (%s) [%s]", v.Major, strings.TrimSuffix(v.Minor, "+"), v.GitVersion, v.Platform)
	// Without the API server there is no kubectl exec.
	line := func() string {
		r := k.Exec(t.Context(), "n2", "sh", "-c", `nsenter --mount -t "$(pgrep -x -o weir-agent)" weir status`)
		for l := range strings.Lines(r.Stdout) {
			if strings.HasPrefix(l, "Kubernetes:") {
				return strings.Join(strings.Fields(l), " ")
			}
		}
		return "no such line: " + r.Stdout + r.Stderr
	}
	says := func(what string, limit time.Duration, is func(string) bool) {
		t.Helper()
		kubetest.Eventually(t, limit, what, func() string {
			if got := line(); !is(got) {
				return got
			}
			return ""
		})
	}
	ok := func(l string) bool { return l == want }
	says(want, 10*time.Second, ok)
	if err := k.Program(t.Context(), "stop", "n1", "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	started := false
	start := func() {
		if started {
			return
		}
		started = true
		if err := k.Program(context.WithoutCancel(t.Context()), "start", "n1", "kube-apiserver"); err != nil {
			t.Error(err)
		}
	}
	defer start()
	// It is asked every 5 s, and has 3 s to answer.
	says("the server is away", 10*time.Second, func(l string) bool {
		return strings.HasPrefix(l, "Kubernetes: Failure ") && strings.Contains(l, "no answer for ")
	})
	start()
	says("the server is back", 90*time.Second, ok)
	kubetest.Eventually(t, 90*time.Second, "an operator leads again", func() string {
		if r := k.Kubectl(t.Context(), "rollout", "status", "-n", "kube-system", "deployment", "-l", operatorLabel, "--timeout=5s"); !r.OK() {
			return r.Stdout + r.Stderr
		}
		return ""
	})
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "object.json")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// What kubectl writes counts on another node within a second of kubectl's end: a
// service answers, and a policy turns away who was let in.
func TestRowK7AgentsFollowTheAPIServer(t *testing.T) {
	need(t)
	apply(t, podManifest("k7", "n2", "app: k7")+"---"+podManifest("k7-asks", "n3", "app: k7-asks"))
	kubectl(t, "wait", "--for=condition=Ready", "pod/k7", "pod/k7-asks", "--timeout=60s")
	const vip = "10.96.77.77"
	promptly(t, "the service answers", "until asks "+vip, func() {
		apply(t, `
apiVersion: v1
kind: Service
metadata: {name: k7}
spec: {selector: {app: k7}, clusterIP: `+vip+`, ports: [{port: 80}]}
`)
	}, func() {
		kubectl(t, "delete", "service", "k7")
		askUntil(t, "while asks "+vip)
	})
	promptly(t, "the policy denies", "while asks "+vip, func() {
		apply(t, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: k7}
spec: {podSelector: {matchLabels: {app: k7}}, ingress: []}
`)
	}, func() {
		kubectl(t, "delete", "networkpolicy", "k7")
		askUntil(t, "until asks "+vip)
	})
}

// asks is a function of the shell: it notes when it asks.
const asks = `asks() { at=$(date +%s%N); curl -s -o /dev/null --max-time 0.3 "http://$1/"; }
`

// askUntil has pod k7-asks ask until the loop ends.
func askUntil(t *testing.T, loop string) {
	t.Helper()
	kubectl(t, "exec", "k7-asks", "--", "timeout", "30", "sh", "-c", asks+loop+"; do sleep 0.1; done")
}

// promptly fails when what is done counts later than a second after it is done, in three
// tries: where everything else of a cluster shares few processors, one may be held up.
func promptly(t *testing.T, what, loop string, do, undo func()) {
	t.Helper()
	for try := range 3 {
		if try > 0 {
			undo()
		}
		after, problem := countsAfter(t, loop, do)
		if problem == "" && after <= time.Second {
			return
		}
		t.Logf("%s: try %d: %v after kubectl's end, want a second at most %s", what, try+1, after, problem)
	}
	t.Errorf("%s: not once within a second", what)
}

// countsAfter has pod k7-asks ask time and again, and returns how long after it is done
// what is done counts. Pods have the clock of the machine.
func countsAfter(t *testing.T, loop string, do func()) (after time.Duration, problem string) {
	t.Helper()
	cmd := k.Command(t.Context(), "kubectl", "exec", "k7-asks", "--", "timeout", "30", "sh", "-c", asks+"echo asking; "+loop+"; do :; done; echo $at")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("nobody asks: %v", cmd.Wait())
	}
	began := time.Now()
	do()
	done := time.Now()
	if !lines.Scan() {
		return 0, fmt.Sprintf("not within 30 s: %v", cmd.Wait())
	}
	ns, err := strconv.ParseInt(lines.Text(), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(0, ns)
	if at.Before(began) { // an answer that was late ended the loop
		return 0, "before anything was done"
	}
	t.Logf("asked %v after kubectl's end, which took %v", at.Sub(done).Round(time.Millisecond), done.Sub(began).Round(time.Millisecond))
	return at.Sub(done), ""
}

// curl asks from a pod.
func curl(t *testing.T, pod, url string) string {
	t.Helper()
	return kubectl(t, "exec", pod, "--", "curl", "-gsS", "--max-time", "3", fmt.Sprintf("http://%s/", url))
}

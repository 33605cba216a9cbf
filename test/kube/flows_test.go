package kube

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/lab/kube"
	"weir/test/kubetest"
)

// Flows as people and Hubble's clients get them: of an agent by its socket and by its port,
// and of the relay by its service, with the certificates that the chart makes. Upstream's
// types are asked with by a program of test/hubble, since they cannot be in one with ours.
func TestFlowsThroughTheRelay(t *testing.T) {
	need(t)
	withRelay(t)
	talks(t)
	flowClient(t)
	// What is sent from n1 to n2 is told by both, and what n2's policy denies by n2.
	const agent, relay = "172.18.0.3:4244", "hubble-relay.kube-system.svc:80"
	sent := []string{"observe", "--last", "20", "--from-pod", "default/flows-a", "--to-pod", "default/flows-b", "--print-node-name"}
	tells := func(out string, lines ...string) string {
		for _, l := range lines {
			if !strings.Contains(out, l) {
				return fmt.Sprintf("no %q in\n%s", l, out)
			}
		}
		return ""
	}
	kubetest.Eventually(t, 30*time.Second, "n2 tells of all that was asked for", func() string {
		out := weir(t, "n2", sent...)
		if n := len(strings.Split(out, "\n")); n < 20 {
			return fmt.Sprintf("%d flows", n)
		}
		return tells(out, "[n2]", "to-endpoint FORWARDED", "Policy denied DROPPED")
	})
	t.Run("AgentToWeir", func(t *testing.T) {
		if wrong := tells(ask(t, agent, true, append([]string{"weir"}, sent...)...), "[n2]", "to-endpoint FORWARDED", "Policy denied DROPPED"); wrong != "" {
			t.Error(wrong)
		}
	})
	t.Run("AgentToHubblesTypes", func(t *testing.T) {
		t.Log(ask(t, agent, true, "ask", "-pod", "default/flows-a", "-tell", "n2", "-nodes", "n2", "-peers", "n1,n2,n3"))
	})
	t.Run("AgentToAStranger", func(t *testing.T) { strangers(t, agent) })
	t.Run("RelayToWeir", func(t *testing.T) {
		kubetest.Eventually(t, 60*time.Second, "the relay has all agents", func() string {
			r := k.Kubectl(t.Context(), asksWith(relay, false, "weir", "observe", "nodes")...)
			if !r.OK() || strings.Count(r.Stdout, "Connected") != 3 {
				return r.Stdout + r.Stderr
			}
			return ""
		})
		if wrong := tells(ask(t, relay, false, append([]string{"weir"}, sent...)...), "[n1]", "[n2]", "to-overlay FORWARDED", "to-endpoint FORWARDED", "Policy denied DROPPED"); wrong != "" {
			t.Error(wrong)
		}
	})
	t.Run("RelayToHubblesTypes", func(t *testing.T) {
		t.Log(ask(t, relay, false, "ask", "-pod", "default/flows-a", "-tell", "n1,n2", "-nodes", "n1,n2,n3"))
	})
}

// withRelay gives Weir the relay, by its chart, until the test ends.
func withRelay(t *testing.T) {
	t.Helper()
	sets := []string{"hubble.relay.enabled=true"}
	for key, value := range install.Set {
		sets = append(sets, key+"="+value)
	}
	objects := kubetest.FromChart(t, sets...)
	with := kube.Install{Image: install.Image, Manifest: filepath.Join(t.TempDir(), "relay.yaml")}
	if err := os.WriteFile(with.Manifest, objects, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := k.Upgrade(ctx, install); err != nil {
			t.Error(err)
		}
		if r := k.Kubectl(ctx, "delete", "-n", "kube-system", "deployment,service,secret", "-l", "app.kubernetes.io/name in (weir-relay, hubble-peer)"); !r.OK() {
			t.Error(r.Stderr)
		}
	})
	if err := k.Upgrade(t.Context(), with); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "rollout", "status", "-n", "kube-system", "deployment/weir-relay", "--timeout=90s")
}

// talks has pod flows-a on n1 ask pod flows-b on n2 all the time, at a port that a policy
// allows and at one that it denies.
func talks(t *testing.T) {
	t.Helper()
	const vip = "10.96.77.78"
	apply(t, podManifest("flows-b", "n2", "app: flows-b")+`---
apiVersion: v1
kind: Service
metadata: {name: flows-b}
spec: {selector: {app: flows-b}, clusterIP: `+vip+`, ports: [{name: let, port: 80}, {name: denied, port: 81}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: flows-b}
spec: {podSelector: {matchLabels: {app: flows-b}}, ingress: [{ports: [{port: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: flows-a, labels: {app: flows-a}}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: weir.lab/toolbox:lab
    imagePullPolicy: Never
    command: [sh, -c, 'while :; do for port in 80 81; do curl -s -o /dev/null --max-time 0.3 http://`+vip+`:$port/; done; sleep 0.2; done']
`)
	kubectl(t, "wait", "--for=condition=Ready", "pod/flows-a", "pod/flows-b", "--timeout=60s")
}

// flowClient is a pod on n3 that has weir, the program of test/hubble, and the relay's
// certificate.
func flowClient(t *testing.T) {
	t.Helper()
	const folder = "/var/tmp/flows"
	dir := filepath.Join(kube.StateDir(), labName, "nodes", "n3", folder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, err := os.ReadFile("../../bin/weir")
	if err != nil {
		t.Fatalf("%v (make build)", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "weir"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "../hubble", "-o", filepath.Join(dir, "ask"), "./ask")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build test/hubble/ask: %v\n%s", err, out)
	}
	apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: flows-asks, namespace: kube-system}
spec:
  nodeName: n3
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: weir.lab/toolbox:lab
    imagePullPolicy: Never
    command: [sleep, infinity]
    volumeMounts: [{name: programs, mountPath: /programs}, {name: tls, mountPath: /tls}]
  volumes:
  - {name: programs, hostPath: {path: `+folder+`, type: Directory}}
  - {name: tls, secret: {secretName: hubble-relay-client-certs}}
`)
	kubectl(t, "wait", "-n", "kube-system", "--for=condition=Ready", "pod/flows-asks", "--timeout=60s")
}

// ask has that pod run a program, with the certificate or without, and wants success.
func ask(t *testing.T, server string, tls bool, argv ...string) string {
	t.Helper()
	return kubectl(t, asksWith(server, tls, argv...)...)
}

// asksWith is how kubectl is told to. Both programs are told of a server by the same
// variable, and of files weir is told by flags.
func asksWith(server string, tls bool, argv ...string) []string {
	env := []string{"HUBBLE_SERVER=" + server}
	if tls && argv[0] == "weir" {
		argv = append(slices.Clone(argv), "--tls-ca-cert-files", "/tls/ca.crt", "--tls-client-cert-file", "/tls/tls.crt", "--tls-client-key-file", "/tls/tls.key", "--tls-server-name", agentName)
	} else if tls {
		env = append(env, "HUBBLE_TLS_CA_CERT_FILES=/tls/ca.crt", "HUBBLE_TLS_CLIENT_CERT_FILE=/tls/tls.crt", "HUBBLE_TLS_CLIENT_KEY_FILE=/tls/tls.key", "HUBBLE_TLS_SERVER_NAME="+agentName)
	}
	exec := append([]string{"exec", "-n", "kube-system", "flows-asks", "--", "env"}, env...)
	return append(append(exec, "/programs/"+argv[0]), argv[1:]...)
}

// agentName is what the certificate of n2's agent names.
const agentName = "n2.default.hubble-grpc.cilium.io"

// strangers have no certificate of the cluster's: they are told nothing.
func strangers(t *testing.T, agent string) {
	for _, flags := range [][]string{nil, {"--tls-ca-cert-files", "/tls/ca.crt", "--tls-server-name", agentName}} {
		r := k.Kubectl(t.Context(), asksWith(agent, false, append([]string{"weir", "observe", "--last", "1"}, flags...)...)...)
		if r.OK() || !strings.Contains(r.Stderr, "nobody serves flows at "+agent) {
			t.Errorf("with %q: %d %s%s", flags, r.Code, r.Stdout, r.Stderr)
		}
	}
}

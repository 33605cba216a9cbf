// Package kube proves Weir on a real Kubernetes: three nodes with kubelets and
// containerd, an API server, no kube-proxy, and upstream's own tests. It needs
// root, Weir's image and manifest (make image), and what `weir lab build` puts
// into the cache.
//
// All tests share one lab. It has, from before Weir, a pod of another network
// plugin and another's BPF pins. The tests run in the order of their files; the
// last one uninstalls Weir.
package kube

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"weir/lab/kube"
	"weir/test/kubetest"
)

const (
	labName = "tk"
	results = "../../results/kube"
	// What people select Cilium's pods by selects Weir's.
	agentLabel    = "k8s-app=cilium"
	operatorLabel = "io.cilium/app=operator"
)

// k is the lab; nil when it could not be made, and why says the reason.
var (
	k       *kube.Lab
	why     string
	install kube.Install
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		why = "a lab with Kubernetes needs root"
		return m.Run() // every test skips and says why
	}
	ctx := context.Background()
	install = kube.Install{Image: file("WEIR_IMAGE", "../../bin/image/weir-"+runtime.GOARCH+".tar"), Manifest: file("WEIR_MANIFEST", "../../deploy/weir.yaml"), Set: map[string]string{"ipv6.enabled": "true"}}
	if _, err := os.Stat(install.Image); err != nil {
		why = fmt.Sprintf("no image: %v (make image)", err)
		return m.Run()
	}
	if err := kube.Remove(ctx, labName, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if os.Getenv("WEIR_KEEP") == "" {
		defer func() {
			if err := kube.Remove(ctx, labName, os.Stderr); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
	if err := up(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		saveLogs(ctx)
		return 1
	}
	code := m.Run()
	if code != 0 {
		saveLogs(ctx)
	}
	return code
}

func file(variable, fallback string) string {
	name := os.Getenv(variable)
	if name == "" {
		name = fallback
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return name
	}
	return abs
}

// up makes the lab, what was there before Weir, and installs Weir.
func up(ctx context.Context) error {
	lab, err := kube.Up(ctx, kube.Spec{Name: labName, Progress: os.Stderr, Keep: true})
	if err != nil {
		return err
	}
	k = lab
	if err := otherNetwork(ctx); err != nil {
		return fmt.Errorf("what was there before Weir: %w", err)
	}
	if err := k.Install(ctx, install); err != nil {
		return err
	}
	if r := k.Kubectl(ctx, "taint", "node", "n2", otherTaint+"-"); !r.OK() {
		return fmt.Errorf("take the taint from n2: %s", r.Stderr)
	}
	return nil
}

func saveLogs(ctx context.Context) {
	if k == nil {
		var err error
		if k, err = kube.Open(labName); err != nil {
			return
		}
	}
	k.Report(os.Stderr)
	fmt.Fprintln(os.Stderr, k.Describe(ctx))
	if err := k.SaveLogs(ctx, filepath.Join(results, "logs")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	fmt.Fprintln(os.Stderr, "logs of all nodes and pods are in", filepath.Join(results, "logs"))
}

// need skips without a lab.
func need(t *testing.T) {
	t.Helper()
	if why != "" {
		t.Skip(why)
	}
}

// kubectl runs it and wants success; outputs come without the last newline.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return kubetest.Kubectl(t, k, args...)
}

// words is kubectl with a list for an answer.
func words(t *testing.T, args ...string) []string {
	t.Helper()
	return strings.Fields(kubectl(t, args...))
}

// on runs a program of the host on a node or in the world, and wants success.
func on(t *testing.T, where string, argv ...string) string {
	t.Helper()
	return kubetest.On(t, k, where, argv...)
}

// apply applies a manifest and takes it away when the test ends.
func apply(t *testing.T, manifest string) {
	t.Helper()
	if err := k.Apply(t.Context(), manifest); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd := k.Command(context.WithoutCancel(t.Context()), "kubectl", "delete", "--ignore-not-found", "--wait=false", "-f", "-")
		cmd.Stdin = strings.NewReader(manifest)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("delete: %v: %s", err, out)
		}
	})
}

// agent is the name of the agent's pod on a node.
func agent(t *testing.T, node string) string {
	t.Helper()
	pods := words(t, "get", "pods", "-n", "kube-system", "-l", agentLabel, "--field-selector", "spec.nodeName="+node+",status.phase=Running",
		"-o", "jsonpath={.items[*].metadata.name}")
	if len(pods) != 1 {
		t.Fatalf("agents on %s: %q, want one", node, pods)
	}
	return pods[0]
}

// weir runs the command of that name in the agent's pod.
func weir(t *testing.T, node string, args ...string) string {
	t.Helper()
	return kubectl(t, append([]string{"exec", "-n", "kube-system", agent(t, node), "--", "weir"}, args...)...)
}

func nodes() []string { return []string{"n1", "n2", "n3"} }

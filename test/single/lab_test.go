// Package single proves Weir on a cluster of one program, as k3s and k0s are: on each node
// one process is kubelet, containerd's parent and, on one of them, the control plane with
// SQLite for etcd, and everything is where k3s has it. It is no distribution, whose programs
// are not to be had as Go modules, but built of the same parts.
//
// It needs root, Weir's image (make image), and what `weir lab build` and `weir lab build
// single` put into the cache.
package single

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

// lab is a lab in which commands succeed, or the test is over.
type lab struct {
	*kube.Lab
}

// up makes the lab, without a network, until the test ends.
func up(t *testing.T) lab {
	t.Helper()
	const name = "tks"
	ctx := context.WithoutCancel(t.Context())
	if err := kube.Remove(ctx, name, nil); err != nil {
		t.Fatal(err)
	}
	l, err := kube.Up(t.Context(), kube.Spec{Name: name, Nodes: 2, Single: true, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			saveLogs(ctx, t, l)
		}
		if os.Getenv("WEIR_KEEP") != "" {
			return
		}
		if err := l.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	return lab{l}
}

func saveLogs(ctx context.Context, t *testing.T, l *kube.Lab) {
	const dir = "../../results/single/logs"
	t.Log(l.Describe(ctx))
	if err := l.SaveLogs(ctx, dir); err != nil {
		t.Log(err)
		return
	}
	t.Log("logs of all nodes and pods are in", dir)
}

// fromChart is what Helm makes of the chart with these values: definitions and objects.
func fromChart(t *testing.T, sets ...string) kube.Install {
	t.Helper()
	image := os.Getenv("WEIR_IMAGE")
	if image == "" {
		image = "../../bin/image/weir-" + runtime.GOARCH + ".tar"
	}
	definitions, err := filepath.Glob("../../deploy/crds/*.yaml")
	if err != nil || len(definitions) == 0 {
		t.Fatalf("definitions: %q %v", definitions, err)
	}
	var all strings.Builder
	for _, file := range definitions {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "---\n%s\n", data)
	}
	all.Write(kubetest.FromChart(t, sets...))
	manifest := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(manifest, []byte(all.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return kube.Install{Image: image, Manifest: manifest}
}

// kubectl runs it; outputs come without the last newline.
func (l lab) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return kubetest.Kubectl(t, l.Lab, args...)
}

// on runs a program of the host on a node or in the world.
func (l lab) on(t *testing.T, where string, argv ...string) string {
	t.Helper()
	return kubetest.On(t, l.Lab, where, argv...)
}

// in runs a program of a pod's container.
func (l lab) in(t *testing.T, pod string, argv ...string) string {
	t.Helper()
	return l.kubectl(t, append([]string{"exec", pod, "--"}, argv...)...)
}

// agents are the agents' pods by node.
func (l lab) agents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(l.kubectl(t, "get", "pods", "-n", "kube-system", "-l", "k8s-app=cilium", "-o",
		`jsonpath={range .items[*]}{.spec.nodeName} {.metadata.name}{"\n"}{end}`)) {
		if f := strings.Fields(line); len(f) == 2 {
			out[f[0]] = f[1]
		}
	}
	return out
}

package kube

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/lab/kube"
	"weir/test/kubetest"
)

// A second lab has the addresses of the first, its programs can be stopped and
// started, and it goes without a trace.
func TestALabBesideAnotherComesAndGoes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a lab with Kubernetes needs root")
	}
	const name = "tk-b"
	before := sysctls(t)
	l, err := kube.Up(t.Context(), kube.Spec{Name: name, Nodes: 1, IPv4: true, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if r := l.Exec(t.Context(), "n1", "ip", "-o", "addr", "show", "dev", "eth0"); !strings.Contains(r.Stdout, "172.18.0.2/16") || strings.Contains(r.Stdout, "fc00:") {
		t.Errorf("addresses of n1, IPv4 only: %+v", r)
	}
	if r := l.Kubectl(t.Context(), "get", "node", "n1", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`); r.Stdout != "False" {
		t.Errorf("without a network n1 is Ready: %+v", r)
	}
	if _, err := kube.Up(t.Context(), kube.Spec{Name: name, Nodes: 1}); err == nil || !l.Running(t.Context()) {
		t.Errorf("a second up of the same lab: %v, and it runs: %v; want it refused and the lab untouched", err, l.Running(t.Context()))
	}
	if err := l.Program(t.Context(), "stop", "n1", "kube-apiserver"); err != nil || l.Running(t.Context()) {
		t.Errorf("stop of the API server: %v, and it runs: %v", err, l.Running(t.Context()))
	}
	if err := l.Program(t.Context(), "start", "n1", "kube-apiserver"); err != nil {
		t.Error(err)
	}
	kubetest.Eventually(t, 60*time.Second, "the API server is back", func() string {
		if !l.Running(t.Context()) {
			return "it is not"
		}
		return ""
	})
	if err := l.Program(t.Context(), "stop", "n1", "weird"); err == nil {
		t.Error("a program that is not there was stopped")
	}
	for range 2 { // the second time there is nothing to remove
		if err := l.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	nothingLeft(t, name)
	if k == nil && sysctls(t) != before {
		t.Errorf("sysctls were %s, are %s", before, sysctls(t))
	}
}

func sysctls(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sysctl", "vm.overcommit_memory", "vm.panic_on_oom", "kernel.panic", "kernel.panic_on_oops").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func nothingLeft(t *testing.T, name string) {
	t.Helper()
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil || strings.Contains(string(out), "weir-"+name+"-") {
		t.Errorf("namespaces: %v\n%s", err, out)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	dir := filepath.Join(kube.StateDir(), name)
	if err != nil || strings.Contains(string(mounts), dir+"/") {
		t.Errorf("mounts below %s are left: %v", dir, err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("folder %s is left", dir)
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*/weir-kube/" + name)
	if err != nil || len(groups) > 0 {
		t.Errorf("control groups are left: %q %v", groups, err)
	}
}

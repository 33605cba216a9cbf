package uninstall

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"weir/agent"
	"weir/agent/config"
)

// A node of k3s has its folders elsewhere, and an agent that was told the usual ones first
// has put its files there, too.
func TestFilesForOtherRuntimesAreFoundAndRemoved(t *testing.T) {
	root := t.TempDir()
	put := func(file string) {
		t.Helper()
		file = filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const (
		conf   = "/var/lib/rancher/k3s/agent/etc/cni/net.d/05-weir.conflist"
		plugin = "/var/lib/rancher/k3s/data/cni/weir-cni"
		old    = "/var/lib/rancher/k3s/data/current/bin/weir-cni"
		others = "/var/lib/rancher/k3s/agent/etc/cni/net.d/10-flannel.conflist"
	)
	for _, file := range []string{"/etc/cni/net.d/05-weir.conflist", "/opt/cni/bin/weir-cni", conf, plugin, old, others} {
		put(file)
	}
	usual := config.CNI{ConfDir: "/etc/cni/net.d", BinDir: "/opt/cni/bin"}
	found, err := elsewhere(root, usual)
	want := []agent.Remain{{Kind: "file", Name: conf}, {Kind: "file", Name: plugin}, {Kind: "file", Name: old}}
	if err != nil || !slices.Equal(found, want) {
		t.Fatalf("beside the usual folders: %v, %v; want %v", found, err, want)
	}
	for range 2 { // the second time they are gone, as where one folder is a link to another
		if err := removeAll(root, found); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := elsewhere(root, usual); err != nil || len(found) > 0 {
		t.Errorf("after they were removed: %v, %v", found, err)
	}
	for _, file := range []string{"/etc/cni/net.d/05-weir.conflist", others} {
		if _, err := os.Stat(filepath.Join(root, file)); err != nil {
			t.Errorf("removed, too: %v", err)
		}
	}
}

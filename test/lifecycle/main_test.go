// Package lifecycle tests real agents, plugins and commands in labs: what
// survives a restart, what goes and what stays, and what is said about bad
// input. Each row of the acceptance list that speaks of it has a test of its
// name.
//
// It builds the programs once and needs root; without root every test skips.
// How packets are judged and rewritten is the matter of test/packets.
package lifecycle

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"weir/lab"
)

// bin is the folder of weir, weir-agent and weir-cni; empty without root.
var bin string

// TestMain makes this binary stand for the traffic programs that tests run in
// pods, builds ours, and takes down the labs that tests share.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(playRole(role, os.Args[1:]))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "weir-lifecycle-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin = dir
	// What a run that was killed left behind would be in the way.
	if !removeShared() {
		return 1
	}
	code := m.Run()
	if !removeShared() {
		return 1
	}
	return code
}

func removeShared() (ok bool) {
	ok = true
	for _, s := range shared {
		if err := lab.Remove(context.Background(), s.name, nil); err != nil {
			fmt.Fprintln(os.Stderr, err)
			ok = false
		}
	}
	return ok
}

func build(dir string) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	if objects, _ := filepath.Glob(filepath.Join(root, "bpf/obj/*.o")); len(objects) == 0 {
		return fmt.Errorf("BPF objects are missing: run make build first")
	}
	cmd := exec.Command("go", "build", "-o", dir, "./cmd/weir", "./cmd/weir-agent", "./cmd/weir-cni")
	cmd.Dir = root
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out.String())
	}
	return nil
}

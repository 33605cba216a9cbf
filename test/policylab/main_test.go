// Package policylab proves policy in labs: real agents, pods and packets. What
// a policy forbids must not arrive, whatever happens to agents and objects
// meanwhile; what it allows must; and what commands say of it must be what the
// packets got.
//
// Whether a verdict is the right reading of the API is the matter of
// test/policy; here a handful of each kind of rule is seen on the wire.
package policylab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"weir/lab"
)

// bin is the folder of weir, weir-agent and weir-cni; empty without root.
var bin string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // every test skips and says why
	}
	dir, err := os.MkdirTemp("", "weir-policylab-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = errors.Join(build(dir), removeLabs()) // what a killed run left would be in the way
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin = dir
	code := m.Run()
	if err := removeLabs(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func build(dir string) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	for _, o := range []string{"pod.o", "overlay.o", "host.o", "expire.o"} {
		if _, err := os.Stat(filepath.Join(root, "bpf/obj", o)); err != nil {
			return fmt.Errorf("%s is missing: run make build first", o)
		}
	}
	cmd := exec.Command("go", "build", "-o", dir, "./cmd/weir", "./cmd/weir-agent", "./cmd/weir-cni")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

func removeLabs() error {
	var errs []error
	for _, k := range labs {
		errs = append(errs, lab.Remove(context.Background(), k.name, nil))
	}
	return errors.Join(errs...)
}

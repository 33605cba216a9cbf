// Package packets proves the datapath end to end: labs of real agents in
// network namespaces, real pods, and packets whose way is watched on the wire.
// Each test named TestRow... is the acceptance check of one row of
// docs/coverage.md.
//
// Tests share labs and compare counters exactly, so none runs in parallel. The
// package holds no tests of single rooms: those stand beside their code.
package packets

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

const moduleRoot = "../.."

// shared is the one state of the package: programs are built once, and labs
// are made once and used by many tests.
var shared = labs{up: map[string]*cluster{}}

func TestMain(m *testing.M) {
	if os.Getenv(clientRole) != "" {
		holdAll(os.Args[1:])
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // every test skips and says why
	}
	bin, err := build()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	shared.bin = bin
	// What a run that was killed left behind would be in the way.
	if err := shared.down(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := shared.down(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// build makes the programs that a lab starts and returns their folder.
func build() (string, error) {
	for _, o := range []string{"pod.o", "overlay.o", "host.o"} {
		target := filepath.Join("bpf/obj", o)
		if _, err := os.Stat(filepath.Join(moduleRoot, target)); err == nil {
			continue
		}
		if err := tool("make", target); err != nil {
			return "", err
		}
	}
	dir, err := os.MkdirTemp("", "weir-packets-")
	if err != nil {
		return "", fmt.Errorf("make folder for programs: %w", err)
	}
	err = tool("go", "build", "-o", dir, "./cmd/weir-agent", "./cmd/weir-cni", "./cmd/weir")
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

func tool(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = moduleRoot
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
	}
	return nil
}

// down removes every lab that this package may have made.
func (l *labs) down() error {
	var errs []error
	for _, name := range append(labNames(), throwaway...) {
		errs = append(errs, lab.Remove(context.Background(), name, nil))
	}
	return errors.Join(errs...)
}

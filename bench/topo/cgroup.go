package topo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"weir/datapath"
)

// Cgroup makes a control group of a node's own, whose sockets its agent sees, and
// no others. Empty where no cgroup v2 is mounted.
func Cgroup(name string) (string, error) {
	root, err := datapath.CgroupRoot("")
	if err != nil {
		return "", nil //nolint:nilerr // agents do without, and say so
	}
	dir := filepath.Join(root, "weir-bench-"+name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("make control group %s: %w (left over? remove it with rmdir)", dir, err)
	}
	return dir, nil
}

// RemoveCgroup removes it. A process that has ended may be in it for a moment.
func RemoveCgroup(dir string) error {
	if dir == "" {
		return nil
	}
	var err error
	for range 50 {
		if err = os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("remove control group: %w", err)
}

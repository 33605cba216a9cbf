package datapath

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is the one folder on bpffs that is ours, with the folders in it.
type Tree struct{ root string }

// NewTree returns the tree on the bpffs that is mounted at root.
func NewTree(root string) Tree { return Tree{filepath.Join(root, "weir")} }

// Root is the folder weir itself.
func (t Tree) Root() string { return t.root }

// Map is where a map is pinned.
func (t Tree) Map(name string) string { return filepath.Join(t.root, "maps", name) }

// Program is where a program is pinned that may be attached more than once.
func (t Tree) Program(name string) string { return filepath.Join(t.root, "programs", name) }

// DeviceLinks is the folder of the links of one device of the node. A dot in
// the device's name becomes a dash: bpffs allows none.
func (t Tree) DeviceLinks(device string) string {
	return filepath.Join(t.root, "links", "devices", strings.ReplaceAll(device, ".", "-"))
}

// EndpointLinks is the folder of the links of one pod.
func (t Tree) EndpointLinks(id uint32) string {
	return filepath.Join(t.root, "links", "endpoints", fmt.Sprint(id))
}

func (t Tree) mkdirs() error {
	for _, dir := range []string{"maps", "programs", "links/devices", "links/endpoints"} {
		if err := os.MkdirAll(filepath.Join(t.root, dir), 0o700); err != nil {
			return fmt.Errorf("make folder on bpffs: %w", err)
		}
	}
	return nil
}

// Remove takes the whole tree away: programs attached by pinned links detach.
// A tree that is not there is not an error.
func (t Tree) Remove() error {
	if err := os.RemoveAll(t.root); err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	return nil
}

// MountBPFFS mounts a BPF file system at root unless one is there. A mount of
// another kind is refused, not covered.
func MountBPFFS(root string) (mounted bool, err error) {
	kind, isMount, err := MountAt(root)
	if err != nil {
		return false, err
	}
	if isMount && kind == "bpf" {
		return false, nil
	}
	if isMount {
		return false, fmt.Errorf("bpf.root %s is a mount of type %s, not bpf: unmount it, or set bpf.root to another folder", root, kind)
	}
	if err := os.MkdirAll(root, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return false, fmt.Errorf("make bpf.root: %w", err)
	}
	if err := unix.Mount("bpf", root, "bpf", 0, "mode=0700"); err != nil {
		return false, fmt.Errorf("mount bpffs at %s: %w", root, err)
	}
	return true, nil
}

// MountAt tells the type of the topmost mount at path, if path is a mount point.
func MountAt(path string) (kind string, isMount bool, err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return "", false, fmt.Errorf("read mounts: %w", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		before, after, ok := strings.Cut(s.Text(), " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 || fields[4] != path {
			continue
		}
		kind, isMount = strings.Fields(after)[0], true
	}
	return kind, isMount, nil
}

// MountsAt counts the BPF file systems mounted over each other at root: with
// more than one, pins may be in one that nobody sees.
func MountsAt(root string) int {
	b, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return 0
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && fields[4] == root && strings.Contains(line, " - bpf ") {
			n++
		}
	}
	return n
}

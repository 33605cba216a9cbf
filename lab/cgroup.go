package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What runs on a node is in the node's part of the cgroup2 hierarchy, so that
// an agent's programs see the sockets of its own node and of no other:
//
//	MOUNT/weir-lab/LAB/NODE/agent           the agent
//	MOUNT/weir-lab/LAB/NODE/host            commands that are run on the node
//	MOUNT/weir-lab/LAB/NODE/NAMESPACE_POD   a pod's containers, and commands in it
//	MOUNT/weir-lab/LAB/world                commands of the world
const (
	cgroupFolder = "weir-lab"
	agentGroup   = "agent"
	hostGroup    = "host"
)

// ownCgroupMount is where cgroup2 is mounted on a host that has not done so. It
// is not in root, where each folder is a lab.
const ownCgroupMount = "/run/weir/lab-cgroup2"

// cgroupMount returns where cgroup2 is mounted for writing, or "".
func cgroupMount() string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "" // without /proc nothing works: somebody else will say so
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		mount, kind, _ := strings.Cut(s.Text(), " - ")
		fields := strings.Fields(mount)
		if len(fields) > 5 && strings.HasPrefix(kind, "cgroup2 ") && slices.Contains(strings.Split(fields[5], ","), "rw") {
			return fields[4]
		}
	}
	return ""
}

// labCgroup is the folder of a lab in the hierarchy, mounted or not.
func labCgroup(lab string) string {
	mount := cgroupMount()
	if mount == "" {
		mount = ownCgroupMount
	}
	return filepath.Join(mount, cgroupFolder, lab)
}

// cgroup is the lab's folder; empty for a lab that was made without one.
func (r *record) cgroup() string {
	if len(r.Nodes) == 0 || r.Nodes[0].Cgroup == "" {
		return ""
	}
	return filepath.Dir(r.Nodes[0].Cgroup)
}

// group is a control group of the node, or "" when it has none.
func (n Node) group(name string) string {
	if n.Cgroup == "" {
		return ""
	}
	return filepath.Join(n.Cgroup, name)
}

// podGroup is the name of a pod's group in that of its node. The underscore
// keeps it apart from the others.
func podGroup(p Pod) string { return p.Namespace + "_" + p.Name }

// makeCgroups makes the groups of nodes and world.
func (r *record) makeCgroups() error {
	if cgroupMount() == "" {
		if err := os.MkdirAll(ownCgroupMount, 0o755); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		if err := unix.Mount("cgroup2", ownCgroupMount, "cgroup2", 0, ""); err != nil {
			return fmt.Errorf("mount cgroup2 at %s: %w", ownCgroupMount, err)
		}
	}
	errs := []error{makeCgroup(filepath.Join(r.cgroup(), worldName)), makeCgroup(filepath.Join(r.cgroup(), underlayNS))}
	for _, n := range r.Nodes {
		errs = append(errs, makeCgroup(n.group(agentGroup)), makeCgroup(n.group(hostGroup)))
	}
	return errors.Join(errs...)
}

// makeCgroup makes a group and those above it. Another lab that goes may take
// away one of those in between.
func makeCgroup(dir string) error {
	if dir == "" {
		return nil
	}
	err := os.MkdirAll(dir, 0o755)
	for try := 0; errors.Is(err, os.ErrNotExist) && try < 100; try++ {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return fmt.Errorf("make control group: %w", err)
	}
	return nil
}

// startIn starts a command in a network namespace and a control group: it is in
// both before its first instruction.
func startIn(ns, group string, cmd *exec.Cmd) error {
	if group == "" {
		return inside(ns, cmd.Start)
	}
	dir, err := os.Open(group)
	if err != nil {
		return fmt.Errorf("open control group: %w", err)
	}
	defer dir.Close()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	return inside(ns, cmd.Start)
}

// enterCgroup moves this process.
func enterCgroup(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("enter control group: %w", err)
	}
	return nil
}

// removeCgroup ends what is left in a group and those below it, and removes
// them all. This process, should it be in there, leaves it first.
func removeCgroup(dir string) error {
	if _, err := os.Stat(dir); dir == "" || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if slices.Contains(processesBelow(dir), os.Getpid()) {
		mount, _, _ := strings.Cut(dir, "/"+cgroupFolder+"/")
		if err := enterCgroup(mount); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0); err != nil {
		return fmt.Errorf("end the processes of control group %s: %w", dir, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := poll(ctx, 5*time.Millisecond, func() bool { return len(processesBelow(dir)) == 0 }); err != nil {
		return fmt.Errorf("processes %v of control group %s did not end after SIGKILL", processesBelow(dir), dir)
	}
	var err error
	_ = poll(ctx, 5*time.Millisecond, func() bool { // one that ends is not listed any more, but counts still
		err = removeGroups(dir)
		return !errors.Is(err, syscall.EBUSY)
	})
	return err
}

// groupsBelow lists a group and those below it, each before its own.
func groupsBelow(dir string) []string {
	var out []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // one that went meanwhile has nothing below
		if err == nil && d.IsDir() {
			out = append(out, path)
		}
		return nil
	})
	return out
}

func processesBelow(dir string) []int {
	var out []int
	for _, group := range groupsBelow(dir) {
		data, _ := os.ReadFile(filepath.Join(group, "cgroup.procs")) // likewise
		for _, text := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(text); err == nil {
				out = append(out, pid)
			}
		}
	}
	return out
}

func removeGroups(dir string) error {
	for _, group := range slices.Backward(groupsBelow(dir)) {
		if err := os.Remove(group); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove control group: %w", err)
		}
	}
	return nil
}

// removeLabCgroup removes all of a lab's groups, and what labs share when no
// other uses it.
func removeLabCgroup(dir string) error {
	if dir == "" {
		return nil
	}
	if err := removeCgroup(dir); err != nil {
		return err
	}
	shared := filepath.Dir(dir)
	if os.Remove(shared) != nil || filepath.Dir(shared) != ownCgroupMount {
		return nil // it has other labs' groups, or is gone; the mount is the host's
	}
	if err := unix.Unmount(ownCgroupMount, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", ownCgroupMount, err)
	}
	_ = os.Remove(ownCgroupMount) // somebody's mount may be below
	return nil
}

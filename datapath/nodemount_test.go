package datapath

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A node is a process in a mount namespace of its own, found by its proc file
// system as a container's is.
func TestMountsAreMadeOnTheNodeOnce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts file systems in a namespace of its own")
	}
	dir := t.TempDir()
	node := exec.Command("unshare", "--mount", "--cgroup", "--propagation", "private", "sh", "-c", "echo; read go; cat /proc/self/mountinfo")
	in, _ := node.StdinPipe()
	out, _ := node.StdoutPipe()
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	defer node.Wait()
	lines := bufio.NewScanner(out)
	lines.Scan() // it is in its namespaces now
	proc := filepath.Join(dir, "proc")
	if err := os.MkdirAll(filepath.Join(proc, "1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("/proc", strconv.Itoa(node.Process.Pid), "ns"), filepath.Join(proc, "1", "ns")); err != nil {
		t.Fatal(err)
	}
	bpffs, cgroup := filepath.Join(dir, "bpf"), filepath.Join(dir, "run", "cgroup")
	for _, first := range []bool{true, false} {
		err := OnNode(proc, func() error {
			madeBPF, err1 := MountBPFFS(bpffs)
			madeCgroup, err2 := MountCgroup(cgroup)
			if madeBPF != first || madeCgroup != first {
				t.Errorf("mounted bpffs %v, cgroup %v, want %v", madeBPF, madeCgroup, first)
			}
			return errors.Join(err1, err2)
		})
		if err != nil {
			t.Error(err)
		}
	}
	if isCgroup(cgroup) {
		t.Error("the cgroup is mounted outside of the node, too")
	}
	in.Write([]byte("go\n"))
	var mounts []string
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) > 4 && strings.HasPrefix(f[4], dir) {
			mounts = append(mounts, f[3]+" at "+strings.TrimPrefix(f[4], dir))
		}
	}
	if got := strings.Join(mounts, ", "); got != "/ at /bpf, / at /run/cgroup" {
		t.Errorf("mounts of the node: %s", got)
	}
}

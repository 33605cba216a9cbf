package datapath

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A node is a process in a mount namespace of its own, as pod's containers see it: by
// the proc file system of the node.
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
	for i, want := range []int{2, 0} {
		mounted, err := MountOnNode(proc, bpffs, cgroup)
		if err != nil || len(mounted) != want {
			t.Errorf("time %d: mounted %q, err %v; want %d mounts", i+1, mounted, err, want)
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

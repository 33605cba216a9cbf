package datapath

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"weir/bpf"
)

// socketLinks is the ids of the links on a cgroup, as the kernel lists them.
func socketLinks(t *testing.T, d *Datapath, cgroup string) map[string]link.ID {
	t.Helper()
	id, err := cgroupID(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]link.ID{}
	for name := range bpf.SocketPrograms {
		l, err := link.LoadPinnedLink(filepath.Join(d.Tree().SocketLinks(), name), nil)
		if err != nil {
			continue
		}
		info, err := l.Info()
		if err != nil {
			t.Fatal(err)
		}
		if at, _ := cgroupInfo(l); at == id {
			out[name] = info.ID
		}
		l.Close()
	}
	return out
}

// Each program is on the node's cgroup once, whatever starts again.
func TestSocketProgramsAreOnTheCgroupOnce(t *testing.T) {
	d := start(t, small(bpffs(t), AttachAuto))
	load(t, d, bpf.Config{IPv4: 1, Services: 1})
	root, err := CgroupRoot("")
	if err != nil {
		t.Skip(err)
	}
	cgroup := filepath.Join(root, fmt.Sprint("weir-test-", os.Getpid()))
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(cgroup); err != nil {
			t.Error(err)
		}
	})
	attach := func() map[string]link.ID {
		t.Helper()
		if err := d.AttachSockets(cgroup); err != nil {
			t.Fatal(err)
		}
		return socketLinks(t, d, cgroup)
	}
	first := attach()
	if len(first) != len(bpf.SocketPrograms) {
		t.Fatalf("%d programs are attached, want %d", len(first), len(bpf.SocketPrograms))
	}
	same := func(when string, got map[string]link.ID) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(first) {
			t.Errorf("%s: the links are %v, and were %v", when, got, first)
		}
	}
	same("attached again", attach())
	load(t, d, bpf.Config{IPv4: 1, IPv6: 1, Services: 1})
	same("other programs", socketLinks(t, d, cgroup))
	l, err := link.LoadPinnedLink(filepath.Join(d.Tree().SocketLinks(), "sock4_connect"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := ebpf.LoadPinnedProgram(d.Tree().Program("sock4_connect"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	want, _ := programID(p)
	if _, got := cgroupInfo(l); got != want {
		t.Errorf("the link has program %d, want the one that was loaded last, %d", got, want)
	}
	if err := d.DetachSockets(); err != nil {
		t.Fatal(err)
	}
	if left := socketLinks(t, d, cgroup); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

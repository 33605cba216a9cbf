package datapath

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

func mapIDs(t *testing.T, d *Datapath) map[string]uint32 {
	t.Helper()
	infos, err := d.Maps()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]uint32{}
	for _, i := range infos {
		out[i.Name] = i.ID
	}
	return out
}

// Seed row A1.
func TestBPFFSIsMountedOnce(t *testing.T) {
	root := emptyRoot(t)
	for i, want := range []bool{true, false} {
		mounted, err := MountBPFFS(root)
		if err != nil {
			t.Fatal(err)
		}
		if mounted != want {
			t.Errorf("start %d: mounted %v, want %v", i+1, mounted, want)
		}
	}
	if n := MountsAt(root); n != 1 {
		t.Errorf("%d mounts at the root, want 1", n)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil || fs.Type != unix.BPF_FS_MAGIC {
		t.Errorf("file system type %#x, %v", fs.Type, err)
	}
}

func TestBPFFSIsFoundThroughASymbolicLink(t *testing.T) {
	root := bpffs(t)
	alias := filepath.Join(t.TempDir(), "alias")
	if err := os.Symlink(root, alias); err != nil {
		t.Fatal(err)
	}
	if mounted, err := MountBPFFS(alias); err != nil || mounted {
		t.Errorf("mounted %v, %v; want the mount that is there", mounted, err)
	}
}

func TestMountOfAnotherKindIsNotCovered(t *testing.T) {
	root := emptyRoot(t)
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	_, err := MountBPFFS(root)
	if err == nil || !strings.Contains(err.Error(), "tmpfs") || !strings.Contains(err.Error(), root) {
		t.Errorf("got %v, want an error that names %s and tmpfs", err, root)
	}
	if n := MountsAt(root); n != 0 {
		t.Errorf("%d bpffs over the tmpfs", n)
	}
}

// Seed row A2: what is pinned outlives the agent, entries and all.
func TestRestartAdoptsMapsWithTheirEntries(t *testing.T) {
	root := bpffs(t)
	d := start(t, small(root, AttachAuto))
	apply(t, d.Endpoints, endpointRows(5, 1), Changes{Added: 5})
	apply(t, d.IPCache, ipcacheRows(9, 1), Changes{Added: 9})
	before := mapIDs(t, d)
	d.Close()
	d = start(t, small(root, AttachAuto))
	for name, id := range mapIDs(t, d) {
		if id != before[name] {
			t.Errorf("map %s has id %d after a restart, had %d", name, id, before[name])
		}
	}
	apply(t, d.Endpoints, endpointRows(5, 1), Changes{})
	apply(t, d.IPCache, ipcacheRows(9, 1), Changes{})
}

// Seed row A3.
func TestCleanStartsWithNothing(t *testing.T) {
	root := bpffs(t)
	d := start(t, small(root, AttachAuto))
	apply(t, d.IPCache, ipcacheRows(9, 1), Changes{Added: 9})
	before := mapIDs(t, d)
	d.Close()
	o := small(root, AttachAuto)
	o.Clean = true
	d = start(t, o)
	for name, id := range mapIDs(t, d) {
		if id == before[name] {
			t.Errorf("map %s was kept", name)
		}
	}
	if n := len(d.IPCache.Desired()); n != 0 {
		t.Errorf("%d entries were kept", n)
	}
}

// Seed row A7: maps of another size take the entries over, and the programs
// that forward go on with the old ones until they are replaced.
func TestBiggerMapsTakeOverEntriesWhileProgramsGoOn(t *testing.T) {
	linktest.Enter(t)
	root := bpffs(t)
	d := start(t, small(root, AttachTCX))
	load(t, d, bpf.Config{IPv4: 1})
	eth := device(t, d, "eth7")
	attach(t, d, eth)
	apply(t, d.Endpoints, endpointRows(5, 1), Changes{Added: 5})
	apply(t, d.IPCache, ipcacheRows(64, 1), Changes{Added: 64})
	send(t, "eth7", 3)
	linktest.Eventually(t, 5*time.Second, "three packets counted", func() bool { return passed(t, d) == 3 })
	before := mapIDs(t, d)
	d.Close()

	bigger := Options{Root: root, AttachMode: AttachTCX, Sizes: map[string]uint32{bpf.MapEndpoints: 128, bpf.MapIPCache: 256, bpf.MapMetrics: 5000, bpf.MapTraces: 64 << 10}}
	next := start(t, bigger)
	for name, id := range mapIDs(t, next) {
		if _, other := bigger.Sizes[name]; other != (id != before[name]) {
			t.Errorf("map %s: another size %v, another map %v", name, other, id != before[name])
		}
	}
	apply(t, next.Endpoints, endpointRows(5, 1), Changes{})
	apply(t, next.IPCache, ipcacheRows(64, 1), Changes{})
	if got := passed(t, next); got != 3 {
		t.Errorf("%d packets counted after the move, want 3", got)
	}
	old, err := ebpf.LoadPinnedMap(next.Tree().Map(bpf.MapMetrics), nil)
	if err != nil {
		t.Fatalf("until programs are loaded the old map keeps its pin: %v", err)
	}
	defer old.Close()
	send(t, "eth7", 2)
	linktest.Eventually(t, 5*time.Second, "the old program counting on", func() bool {
		counters, err := ReadMetrics(old)
		return err == nil && len(counters) == 1 && counters[0].Packets == 5
	})
	link := linkID(t, eth)
	load(t, next, bpf.Config{IPv4: 1})
	attach(t, next, eth)
	if got := linkID(t, eth); got != link {
		t.Errorf("link id %d, was %d: there was a moment without a program", got, link)
	}
	send(t, "eth7", 4)
	linktest.Eventually(t, 5*time.Second, "the new program counting", func() bool { return passed(t, next) == 7 })
	next.Close()
	apply(t, start(t, bigger).IPCache, ipcacheRows(64, 1), Changes{}) // the successors have the pins
}

func TestForeignPinInOurPlaceIsRefusedAndLeftAlone(t *testing.T) {
	pins := map[string]func(t *testing.T, tree Tree, pin string) (still func() bool){
		"map": func(t *testing.T, _ Tree, pin string) func() bool {
			m := newForeign(t, "theirs").seen
			if err := m.Pin(pin); err != nil {
				t.Fatal(err)
			}
			return func() bool { m, err := ebpf.LoadPinnedMap(pin, nil); return err == nil && m.Close() == nil }
		},
		"program": func(t *testing.T, _ Tree, pin string) func() bool {
			if err := newForeign(t, "theirs").program.Pin(pin); err != nil {
				t.Fatal(err)
			}
			return func() bool { p, err := ebpf.LoadPinnedProgram(pin, nil); return err == nil && p.Close() == nil }
		},
		"directory": func(t *testing.T, _ Tree, pin string) func() bool {
			if err := os.Mkdir(pin, 0o700); err != nil {
				t.Fatal(err)
			}
			return func() bool { s, err := os.Stat(pin); return err == nil && s.IsDir() }
		},
	}
	for what, put := range pins {
		t.Run(what+" for a map", func(t *testing.T) {
			tree := NewTree(bpffs(t))
			if err := tree.mkdirs(); err != nil {
				t.Fatal(err)
			}
			pin := tree.Map(bpf.MapIPCache)
			still := put(t, tree, pin)
			_, err := Open(slog.New(slog.DiscardHandler), small(filepath.Dir(tree.Root()), AttachAuto))
			refusedAt(t, err, pin, still)
		})
		t.Run(what+" for a program", func(t *testing.T) {
			d := start(t, small(bpffs(t), AttachAuto))
			pin := d.Tree().Program(bpf.ProgFromPod)
			still := put(t, d.Tree(), pin)
			_, err := d.Load(bpf.Config{})
			refusedAt(t, err, pin, still)
		})
	}
}

func refusedAt(t *testing.T, err error, pin string, still func() bool) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), pin) {
		t.Errorf("got %v, want an error that names %s", err, pin)
	}
	if !still() {
		t.Errorf("%s is not what it was", pin)
	}
}

// Seed row N1, on bpffs.
func TestRemovingOurTreeLeavesOthersAlone(t *testing.T) {
	root := bpffs(t)
	theirs := newForeign(t, "theirs")
	var pins []string
	for _, dir := range []string{"calico", "calico/xdp", "tc/globals", "cilium/devices"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		pins = append(pins, filepath.Join(root, dir, "theirs"))
	}
	pins = append(pins, filepath.Join(root, "weir2"), filepath.Join(root, "theirs"))
	for _, pin := range pins {
		m, err := theirs.seen.Clone()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Pin(pin); err != nil {
			t.Fatal(err)
		}
		m.Close()
	}
	d := start(t, small(root, AttachAuto))
	load(t, d, bpf.Config{})
	for range 2 {
		if err := d.Tree().Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(d.Tree().Root()); !os.IsNotExist(err) {
		t.Errorf("our tree is still there: %v", err)
	}
	d.Close()
	o := small(root, AttachAuto)
	o.Clean = true
	start(t, o)
	for _, pin := range pins {
		m, err := ebpf.LoadPinnedMap(pin, nil)
		if err != nil {
			t.Errorf("%s: %v", pin, err)
			continue
		}
		m.Close()
	}
}

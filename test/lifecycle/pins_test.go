package lifecycle

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"weir/api/agent"
	"weir/lab"
)

func bpfRoot(n lab.Node) string { return filepath.Join(n.Dir, "bpf") }

func tree(n lab.Node) string { return filepath.Join(bpfRoot(n), "weir") }

// pins opens everything that is pinned in a node's tree and returns the
// kernel's ids by path. A link's id is that of its program.
func pins(t *testing.T, n lab.Node) map[string]uint32 {
	t.Helper()
	out := map[string]uint32{}
	err := filepath.WalkDir(tree(n), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(tree(n), path)
		out[name] = pinned(t, path, strings.SplitN(name, "/", 2)[0])
		return nil
	})
	if err != nil {
		t.Fatalf("list pins: %v", err)
	}
	return out
}

func pinned(t *testing.T, path, folder string) uint32 {
	t.Helper()
	switch folder {
	case "maps":
		m, err := ebpf.LoadPinnedMap(path, nil)
		if err != nil {
			t.Fatalf("open %s: %v", path, err)
		}
		defer m.Close()
		info, err := m.Info()
		if err != nil {
			t.Fatalf("open %s: %v", path, err)
		}
		id, _ := info.ID()
		return uint32(id)
	case "programs":
		p, err := ebpf.LoadPinnedProgram(path, nil)
		if err != nil {
			t.Fatalf("open %s: %v", path, err)
		}
		defer p.Close()
		info, err := p.Info()
		if err != nil {
			t.Fatalf("open %s: %v", path, err)
		}
		id, _ := info.ID()
		return uint32(id)
	default:
		l, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			t.Fatalf("open %s: %v", path, err)
		}
		defer l.Close()
		info, err := l.Info()
		if err != nil {
			t.Fatalf("open %s: %v", path, err)
		}
		return uint32(info.Program)
	}
}

// settled waits until the programs of every pod are attached by pinned links:
// right after ADD they are in force as filters, which are quicker to make.
func settled(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, n := range nodesOf(t, l) {
		if get[agent.Status](t, l, n.Name, agent.PathStatus).Routing.AttachMode != "TCX" {
			continue
		}
		until(t, 10*time.Second, func() string {
			for _, e := range get[[]agent.Endpoint](t, l, n.Name, agent.PathEndpoints) {
				pin := filepath.Join(tree(n), "links/endpoints", fmt.Sprint(e.ID), "from_pod")
				if _, err := os.Stat(pin); err != nil {
					return err.Error()
				}
				if filters := l.Exec(t.Context(), n.Name, "tc", "filter", "show", "dev", e.Device, "ingress").Stdout; strings.Contains(filters, "from_pod") {
					return "a filter is left beside the link: " + filters
				}
			}
			return ""
		})
	}
}

// mapPins keeps the maps.
func mapPins(all map[string]uint32) map[string]uint32 {
	out := map[string]uint32{}
	for name, id := range all {
		if strings.HasPrefix(name, "maps/") {
			out[name] = id
		}
	}
	return out
}

func bpfMounts(t *testing.T, root string) (n int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[4] == root {
			n++
		}
	}
	return n
}

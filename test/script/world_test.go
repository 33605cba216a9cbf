package script

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weir/bpf"
	"weir/control/identity"
	"weir/control/ipcache"
	"weir/datapath"
	"weir/source/convert"
	"weir/source/files"
	"weir/state"
)

const (
	cluster   = "lab"
	localNode = "n1"
)

// world is one agent without a kernel: what a restart keeps, and what it makes
// anew.
type world struct {
	dir         string // of the objects, one file each
	ipcache     *datapath.Memory[bpf.IPCacheKey, bpf.IPCacheEntry]
	nodes       *datapath.Memory[uint32, bpf.Node]
	generations generations
	marked      generations                         // as they were at the last mark
	endpoints   map[state.EndpointID]state.Endpoint // as the state files of an agent
	devices     map[string]state.Device
	now         time.Time

	tables   *state.Tables
	source   *files.Source
	identity *identity.Control
	control  *ipcache.Control
	log      *bytes.Buffer
}

// generations are weir_generations without a kernel.
type generations [bpf.Generations]uint32

func (g *generations) Bump(slots ...uint32) error {
	for _, s := range slots {
		g[s]++
	}
	return nil
}

func (g *generations) BumpAll() error {
	for s := range g {
		g[s]++
	}
	return nil
}

func newWorld(dir string) (*world, error) {
	w := &world{dir: dir, ipcache: &datapath.Memory[bpf.IPCacheKey, bpf.IPCacheEntry]{}, nodes: &datapath.Memory[uint32, bpf.Node]{},
		endpoints: map[state.EndpointID]state.Endpoint{}, devices: map[string]state.Device{}, now: time.Unix(0, 0)}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return w, w.start()
}

// start makes tables, source and controls anew over the same maps.
func (w *world) start() error {
	entries, err1 := datapath.OpenMirror(bpf.MapIPCache, w.ipcache)
	nodes, err2 := datapath.OpenMirror(bpf.MapNodes, w.nodes)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	w.log = &bytes.Buffer{}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	w.tables = state.New()
	w.source = files.New(log, w.dir, convert.Scope{Cluster: cluster, LocalNode: localNode}, w.tables)
	w.identity = identity.New(log, identity.Options{Cluster: cluster, Now: func() time.Time { return w.now }}, w.tables)
	w.control = ipcache.New(log, ipcache.Options{Nodes: 64, Underlay6: w.underlay6}, w.tables,
		ipcache.Maps{IPCache: entries, Nodes: nodes, Generations: &w.generations})
	w.tables.Endpoints.MarkSynced()
	return w.step()
}

func (w *world) underlay6() bool {
	n, _ := w.tables.Nodes.Get(localNode)
	return n.Underlay6("auto")
}

// step brings everything up to date. The source reads its folder and returns
// at once, because its context has ended. Time passes until nothing more comes
// of it: labels that no policy sees are forgotten after a while.
func (w *world) step() error {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.source.Run(ended); err != nil {
		return err
	}
	for _, d := range w.devices {
		w.tables.Devices.Put(d)
	}
	for range 4 {
		if err := w.identity.Step(context.Background()); err != nil {
			return err
		}
		for _, e := range w.endpoints {
			e.Identity = w.identityOf(e.Pod)
			w.tables.Endpoints.Put(e)
		}
		if err := w.control.Step(context.Background()); err != nil {
			return err
		}
		w.now = w.now.Add(time.Minute)
	}
	return nil
}

// identityOf plays the endpoint slice.
func (w *world) identityOf(name state.PodName) state.IdentityID {
	if p, ok := w.tables.PodIdentities.Get(name); ok {
		return p.ID
	}
	return state.IdentityInit
}

// restart fails when it changes a map though nothing else changed.
func (w *world) restart() error {
	writes, numbers := w.ipcache.Writes+w.nodes.Writes, w.generations
	if err := w.start(); err != nil {
		return err
	}
	if n := w.ipcache.Writes + w.nodes.Writes - writes; n != 0 || numbers != w.generations {
		return fmt.Errorf("a restart wrote %d entries, want 0; it left generations as they were: %v", n, numbers == w.generations)
	}
	return nil
}

// file is where an object stands.
func (w *world) file(o files.Object) string {
	return filepath.Join(w.dir, strings.ToLower(o.Kind)+"_"+o.Namespace+"_"+o.Name+".yaml")
}

func (w *world) put(o files.Object) error {
	return os.WriteFile(w.file(o), o.JSON, 0o600)
}

func (w *world) remove(o files.Object) error {
	err := os.Remove(w.file(o))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// table prints a table, its rows sorted.
func (w *world) table(name string) (string, error) {
	for _, v := range w.tables.Views() {
		if v.Name != name {
			continue
		}
		var rows []string
		for r := range v.Rows {
			rows = append(rows, line(r.Columns()))
		}
		slices.Sort(rows)
		return line(v.Heading) + strings.Join(rows, ""), nil
	}
	return "", fmt.Errorf("no table %q", name)
}

func line(cells []string) string {
	cells = slices.Clone(cells)
	for i, c := range cells {
		if c == "" {
			cells[i] = "-"
		}
	}
	return strings.Join(cells, " | ") + "\n"
}

// dump prints the map as a user sees it, sorted by prefix.
func (w *world) dump(name string) (string, error) {
	if name != "ipcache" {
		return "", fmt.Errorf("no map %q; there is ipcache", name)
	}
	held, err := w.ipcache.Load()
	if err != nil {
		return "", err
	}
	keys := slices.SortedFunc(maps.Keys(held), func(x, y bpf.IPCacheKey) int { return comparePrefix(x.Prefix(), y.Prefix()) })
	var out strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&out, "%s %s\n", k, held[k])
	}
	return out.String(), nil
}

func comparePrefix(x, y netip.Prefix) int {
	return cmp.Or(x.Addr().Compare(y.Addr()), cmp.Compare(x.Bits(), y.Bits()))
}

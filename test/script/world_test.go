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

	"weir/bpf"
	"weir/control/ipcache"
	"weir/datapath"
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
	dir       string // of the objects, one file each
	store     *datapath.Memory[bpf.IPCacheKey, bpf.IPCacheEntry]
	endpoints map[state.EndpointID]state.Endpoint // as the state files of an agent
	devices   map[string]state.Device

	tables  *state.Tables
	source  *files.Source
	control *ipcache.Control
	log     *bytes.Buffer
}

func newWorld(dir string) (*world, error) {
	w := &world{dir: dir, store: &datapath.Memory[bpf.IPCacheKey, bpf.IPCacheEntry]{},
		endpoints: map[state.EndpointID]state.Endpoint{}, devices: map[string]state.Device{}}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return w, w.start()
}

// start makes tables, source and control anew over the same store.
func (w *world) start() error {
	mirror, err := datapath.OpenMirror(bpf.MapIPCache, w.store)
	if err != nil {
		return err
	}
	w.log = &bytes.Buffer{}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	w.tables = state.New()
	w.source = files.New(log, w.dir, localNode, cluster, w.tables)
	w.control = ipcache.New(log, ipcache.Options{Cluster: cluster, Underlay6: w.underlay6}, w.tables, mirror)
	w.tables.Endpoints.MarkSynced()
	return w.step()
}

func (w *world) underlay6() bool {
	n, _ := w.tables.Nodes.Get(localNode)
	return n.Underlay6("auto")
}

// step brings everything up to date. The source reads its folder and returns
// at once, because its context has ended.
func (w *world) step() error {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.source.Run(ended); err != nil {
		return err
	}
	for _, d := range w.devices {
		w.tables.Devices.Put(d)
	}
	for _, e := range w.endpoints {
		e.Identity = w.identityOf(e.Pod)
		w.tables.Endpoints.Put(e)
	}
	return w.control.Step(context.Background())
}

// identityOf plays the endpoint slice: a pod of this node has the lowest
// identity with its labels, and is reserved:init before there is one.
func (w *world) identityOf(name state.PodName) state.IdentityID {
	p, ok := w.tables.Pods.Get(name)
	best := state.IdentityInit
	for _, i := range w.tables.Identities.All() {
		if ok && i.Labels.Key() == state.PodLabels(p, cluster).Key() && (best == state.IdentityInit || i.ID < best) {
			best = i.ID
		}
	}
	return best
}

// restart fails when it changes a map though nothing else changed.
func (w *world) restart() error {
	before := w.store.Writes
	if err := w.start(); err != nil {
		return err
	}
	if n := w.store.Writes - before; n != 0 {
		return fmt.Errorf("a restart wrote %d entries, want 0", n)
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
	held, err := w.store.Load()
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

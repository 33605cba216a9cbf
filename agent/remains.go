package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"weir/agent/config"
	"weir/control/health"
	"weir/datapath"
	"weir/datapath/link"
	"weir/datapath/route"
)

// Remain is something of Weir on this host that Cleanup takes away.
type Remain struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// Remains lists what Weir has on this host: what Cleanup takes away, and nothing else.
func Remains(cfg config.Config) ([]Remain, error) {
	var out []Remain
	add := func(kind string, names ...string) {
		for _, n := range names {
			out = append(out, Remain{kind, n})
		}
	}
	pins, errPins := countFiles(datapath.NewTree(cfg.BPF.Root).Root())
	if pins > 0 {
		add("pins", fmt.Sprintf("%s (%d)", datapath.NewTree(cfg.BPF.Root).Root(), pins))
	}
	filters, errFilters := datapath.Filters()
	add("filter", filters...)
	base, errBase := link.BaseNames()
	pods, errPods := podDevices()
	add("device", append(base, pods...)...)
	errs := []error{errPins, errFilters, errBase, errPods}
	for _, owner := range []route.Owner{route.Nodes, route.Endpoints} {
		routes, neighbors, err := route.List(owner)
		add("route", routes...)
		add("neighbour", neighbors...)
		errs = append(errs, err)
	}
	files := []string{cfg.RunDir}
	if !strings.HasPrefix(cfg.StateDir, cfg.RunDir+"/") {
		files = append(files, cfg.StateDir)
	}
	for _, f := range append(files, CNIFiles(cfg.CNI)...) {
		if _, err := os.Lstat(f); err == nil {
			add("file", f)
		}
	}
	return out, errors.Join(errs...)
}

// podDevices are the node's ends of pods' devices, that of the health endpoint too.
func podDevices() ([]string, error) {
	devices, err := net.Interfaces()
	var out []string
	for _, d := range devices {
		if podDevice.MatchString(d.Name) || d.Name == health.Device {
			out = append(out, d.Name)
		}
	}
	return out, err
}

// countFiles counts what is pinned below a folder.
func countFiles(root string) (n int, err error) {
	err = filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return n, err
}

package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"

	"weir/agent/config"
	"weir/control/health"
	"weir/datapath"
	"weir/datapath/link"
	"weir/datapath/route"
)

// podDevice matches the host side of a pod and nothing else.
var podDevice = regexp.MustCompile(`^weir[0-9a-f]{11}$`)

// Cleanup removes everything of Weir from this node: pins and with them the
// programs, devices and with them their routes, state. Pods lose their network.
// Nothing that Weir did not make is touched. Doing it twice is fine; doing it
// to a running agent is refused.
func Cleanup(log *slog.Logger, cfg config.Config) error {
	unlock, err := (&Agent{log: log, cfg: config.Loaded{Config: cfg}}).lock()
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	defer unlock()
	// What is below a mounted cgroup is the whole node's: nothing is removed through it.
	if err := datapath.UnmountCgroup(filepath.Join(cfg.RunDir, "cgroup")); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	errs := []error{datapath.NewTree(cfg.BPF.Root).Remove(), datapath.RemoveFilters(), removePods(cfg), link.RemoveBase(), RemoveFiles(CNIFiles(cfg.CNI)), os.RemoveAll(cfg.RunDir)}
	for _, owner := range []route.Owner{route.Nodes, route.Endpoints} {
		_, err := route.Apply(owner, nil)
		errs = append(errs, err)
		_, err = route.ApplyNeighbors(owner, nil)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	log.Info("everything of Weir is removed from this node", "bpf_root", cfg.BPF.Root, "run_dir", cfg.RunDir)
	return nil
}

// removePods unmakes every endpoint, the health endpoint too, and forgets it.
func removePods(cfg config.Config) error {
	devices, err := podDevices()
	errs := []error{err, health.RemoveNetns(healthOptions(cfg).Netns())}
	for _, d := range devices {
		errs = append(errs, link.DeletePod(d))
	}
	return errors.Join(append(errs, os.RemoveAll(cfg.StateDir))...)
}

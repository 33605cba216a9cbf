package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"

	"weir/agent/config"
	"weir/datapath"
	"weir/datapath/link"
)

// podDevice matches the host side of a pod and nothing else.
var podDevice = regexp.MustCompile(`^weir[0-9a-f]{11}$`)

// Cleanup removes everything of Weir from this node: pins and with them the
// programs, devices and with them their routes, state. Pods lose their network.
// Nothing that Weir did not make is touched. Doing it twice is fine.
func Cleanup(log *slog.Logger, cfg config.Config) error {
	errs := []error{datapath.NewTree(cfg.BPF.Root).Remove()}
	devices, err := net.Interfaces()
	errs = append(errs, err)
	for _, d := range devices {
		if podDevice.MatchString(d.Name) {
			errs = append(errs, link.DeletePod(d.Name))
		}
	}
	errs = append(errs, link.RemoveBase(), os.RemoveAll(cfg.StateDir), os.RemoveAll(cfg.RunDir))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	log.Info("everything of Weir is removed from this node", "bpf_root", cfg.BPF.Root, "run_dir", cfg.RunDir)
	return nil
}

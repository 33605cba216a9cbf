package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weir/internal/reconcile"
	"weir/source/convert"
	"weir/source/kube"
	"weir/source/kube/connect"
	"weir/state"
)

// Told is a line of what the following process says.
type Told struct {
	Ready time.Duration `json:"ready,omitempty"` // from its start until all tables were synced
	CPU   time.Duration `json:"cpu,omitempty"`   // of the process until then
	Pods  int           `json:"pods,omitempty"`  // rows then
	RSS   int           `json:"rss,omitempty"`   // KiB
	Peak  int           `json:"peak,omitempty"`  // KiB
	Round string        `json:"round,omitempty"` // value of the label that the last change had
}

// Follow follows the server at url and tells. It ends with ctx.
func Follow(ctx context.Context, url, dir string, out io.Writer) error {
	began := time.Now()
	tell := json.NewEncoder(out)
	tables := state.New()
	s := kube.New(slog.New(slog.DiscardHandler), kube.Options{Scope: convert.Scope{Cluster: "default", LocalNode: name(0)}, Dir: dir,
		Connect: connect.Options{Servers: []string{url}}}, tables)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if !reconcile.Wait(ctx, tables.Nodes, tables.Namespaces, tables.CIDRGroups, tables.Services, tables.Slices, tables.ClusterIdentities, tables.Policies, tables.Pods) {
		return <-done
	}
	ready := time.Since(began)
	rss, peak, err := memory()
	if err != nil {
		return err
	}
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return fmt.Errorf("read CPU time: %w", err)
	}
	cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano())
	if err := tell.Encode(Told{Ready: ready, CPU: cpu, Pods: tables.Pods.Len(), RSS: rss, Peak: peak}); err != nil {
		return err
	}
	wake := make(chan struct{}, 1)
	defer tables.Pods.Notify(wake)()
	rest := time.NewTicker(10 * time.Second) // long enough for the heap to shrink
	defer rest.Stop()
	_, rev, _ := tables.Pods.Changes(0)
	for {
		select {
		case err := <-done:
			return err
		case <-wake:
		case <-rest.C:
			if rss, peak, err = memory(); err != nil {
				return err
			}
			if err := tell.Encode(Told{RSS: rss, Peak: peak}); err != nil {
				return err
			}
		}
		changes, now, _ := tables.Pods.Changes(rev)
		rev = now
		for _, c := range changes {
			if round := c.Row.Labels["round"]; round != "" {
				if err := tell.Encode(Told{Round: round}); err != nil {
					return err
				}
			}
		}
	}
}

// memory is what the kernel says of this process, in KiB.
func memory() (rss, peak int, err error) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, fmt.Errorf("read memory: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		switch {
		case len(f) < 2:
		case f[0] == "VmRSS:":
			rss, _ = strconv.Atoi(f[1])
		case f[0] == "VmHWM:":
			peak, _ = strconv.Atoi(f[1])
		}
	}
	return rss, peak, nil
}

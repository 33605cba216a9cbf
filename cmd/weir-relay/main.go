// Command weir-relay serves the flows of a cluster. All it does is in package relay; this
// reads the flags, listens and handles signals.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"weir/internal/version"
	"weir/relay/run"
)

func main() { os.Exit(do(os.Args[1:])) }

func do(args []string) int {
	cfg, err := run.Parse(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "weir-relay:", err)
		return 2
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Info("relay starting", "version", version.Version, "commit", version.Commit, "peer_service", cfg.Relay.PeerService, "listen", cfg.Listen)
	if err := run.Run(ctx, log, cfg); err != nil {
		log.Error("relay ended", "err", err)
		return 1
	}
	return 0
}

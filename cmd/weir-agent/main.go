// Command weir-agent is the network of one node. All it does is in package
// agent; this reads the configuration and handles signals.
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

	"weir/agent"
	"weir/agent/config"
	"weir/internal/version"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if len(args) > 0 && args[0] == "prepare" {
		return prepare(args[1:])
	}
	cleanup := len(args) > 0 && args[0] == "cleanup"
	if cleanup {
		args = args[1:]
	}
	cfg, err := config.Load(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil && !cleanup {
		err = cfg.Runnable()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "weir-agent:", err)
		return 2
	}
	level := slog.LevelInfo
	if cfg.Debug.Enabled {
		level = slog.LevelDebug
	}
	log := logger(level)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := start(ctx, log, cfg, cleanup); err != nil {
		log.Error("agent ended", "err", err)
		return 1
	}
	return 0
}

// prepare is what an init container does before the agent starts.
func prepare(args []string) int {
	log := logger(slog.LevelInfo)
	switch err := agent.Prepare(log, args, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		log.Error("node is not prepared", "err", err)
		return 1
	}
	return 0
}

func logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

func start(ctx context.Context, log *slog.Logger, cfg config.Loaded, cleanup bool) error {
	if cleanup {
		return agent.Cleanup(log, cfg.Config)
	}
	log.Info("agent starting", "version", version.Version, "commit", version.Commit, "node", cfg.NodeName, "config", cfg.File)
	a, err := agent.New(log, cfg)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

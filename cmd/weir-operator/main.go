// Command weir-operator does what a cluster needs done once. All it does is in
// package operator/run; this reads the configuration and handles signals.
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
	"weir/operator/config"
	"weir/operator/run"
)

func main() { os.Exit(start(os.Args[1:])) }

func start(args []string) int {
	flags := flag.NewFlagSet("weir-operator", flag.ContinueOnError)
	file := flags.String("config", "", "the configuration `FILE` (YAML)")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(os.Stderr, "weir-operator: unexpected argument %q: flags only, such as -config FILE\n", flags.Arg(0))
		return 2
	}
	cfg, err := config.Read(*file)
	if err != nil {
		fmt.Fprintln(os.Stderr, "weir-operator:", err)
		return 2
	}
	level := slog.LevelInfo
	if cfg.Debug.Enabled {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Info("operator starting", "version", version.Version, "commit", version.Commit, "config", *file)
	o, err := run.New(log, cfg)
	if err == nil {
		err = o.Run(ctx)
	}
	if err != nil {
		log.Error("operator ended", "err", err)
		return 1
	}
	return 0
}

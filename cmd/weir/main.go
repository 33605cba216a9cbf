// Command weir shows and changes the network of this node. All it does is in
// package cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"weir/agent/config"
	"weir/agent/preflight"
	"weir/agent/sysdump"
	"weir/agent/uninstall"
	"weir/api/agent"
	"weir/cli"
	"weir/internal/version"
	"weir/lab"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := cli.Command(&cli.Env{
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,
		Socket: os.Getenv("WEIR_SOCKET"),
		Now:    time.Now,
		Build:  cli.Build{Version: version.Version, Commit: version.Commit},

		ExplainFile: explainFile,
	})
	root.AddCommand(lab.Command(), preflight.Command(), uninstall.Command(), sysdump.Command())
	return cli.Execute(ctx, root, os.Args[1:])
}

// explainFile is the CLI's part of package config, which it does not know.
func explainFile(file, key string) (out []agent.ConfigKey, err error) {
	keys, err := config.ExplainFile(file, key)
	for _, k := range keys {
		out = append(out, agent.ConfigKey(k))
	}
	return out, err
}

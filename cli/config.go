package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func configCommand(env *Env) *cobra.Command {
	return verb(env, "config", "Show the configuration in force, of the agent and of its programs", cobra.NoArgs, config)
}

func config(ctx context.Context, env *Env, _ []string) error {
	var c agent.Config
	if err := env.agent.Get(ctx, agent.PathConfig, &c); err != nil {
		return err
	}
	return env.show(c, func(w io.Writer) {
		file := c.File
		if file == "" {
			file = "no file"
		}
		fmt.Fprintf(w, "Agent (%s)\n", file)
		optionGrid(c.Agent, "KEY", "VALUE", "SET BY").print(w, "  ")
		fmt.Fprintln(w, "Datapath (constants of the loaded programs)")
		optionGrid(c.Datapath, "KEY", "VALUE").print(w, "  ")
	})
}

// optionGrid says who set a value where the heading has a column for it.
func optionGrid(options []agent.Option, head ...string) grid {
	g := grid{head}
	for _, o := range options {
		by := "user"
		if o.Default {
			by = "default"
		}
		g.add([]string{o.Key, o.Value, by}[:len(head)]...)
	}
	return g
}

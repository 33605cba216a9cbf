package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func tableCommand(env *Env) *cobra.Command {
	return verb(env, "table [NAME]", "Show a table of the agent's state, or which there are", cobra.MaximumNArgs(1), table)
}

func table(ctx context.Context, env *Env, args []string) error {
	names, err := list[string](ctx, env, agent.PathTables)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return env.show(names, func(w io.Writer) {
			for _, name := range names {
				fmt.Fprintln(w, name)
			}
		})
	}
	name, err := pick("table", args[0], "", names)
	if err != nil {
		return err
	}
	t := agent.Table{}
	if err := env.agent.Get(ctx, agent.PathTables+"/"+name, &t); err != nil {
		return err
	}
	if t.Rows == nil {
		t.Rows = [][]string{}
	}
	return env.show(t, func(w io.Writer) { append(grid{t.Heading}, t.Rows...).print(w, "") })
}

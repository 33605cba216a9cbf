package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func versionCommand(env *Env) *cobra.Command {
	client := false
	c := verb(env, "version", "Show the versions of this command and of the agent", cobra.NoArgs,
		func(ctx context.Context, env *Env, _ []string) error { return versions(ctx, env, client) })
	c.Flags().BoolVar(&client, "client", false, "do not ask the agent")
	return c
}

// versions prints its own also when the agent's cannot be had.
func versions(ctx context.Context, env *Env, client bool) error {
	type build struct {
		Version string `json:"version"`
		Commit  string `json:"commit"`
	}
	out := struct {
		Client build  `json:"client"`
		Agent  *build `json:"agent,omitempty"`
	}{Client: build(env.Build)}
	g := grid{{"Client:", version(env.Build.Version, env.Build.Commit)}}
	var failed error
	if !client {
		var s agent.Status
		if failed = env.agent.Get(ctx, agent.PathStatus, &s); failed == nil {
			out.Agent = &build{s.Version, s.Commit}
			g.add("Agent:", version(s.Version, s.Commit))
		}
	}
	if err := env.show(out, func(w io.Writer) { g.print(w, "") }); err != nil {
		return err
	}
	return failed
}

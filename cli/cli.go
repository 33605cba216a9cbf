package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

// Env is all that a command may touch.
type Env struct {
	Stdin  io.Reader // for a file called "-"
	Stdout io.Writer
	Stderr io.Writer
	Socket string           // of the agent, unless --socket says otherwise; "": the default
	Now    func() time.Time // for "3s ago"
	Build  Build

	// ExplainFile explains a weir.yaml that no agent needs to have: one key or group, or
	// all of them for "". An error names what is wrong with the file, beside the keys, or
	// why there are none.
	ExplainFile func(file, key string) ([]agent.ConfigKey, error)

	output string
	agent  *agent.Client
	pause  func(context.Context, time.Duration) // between two looks of what follows
}

// Build names this binary.
type Build struct{ Version, Commit string }

// patience is how long the agent may take for an answer.
const patience = 8 * time.Second

// The forms of output.
const (
	outputTable = "table"
	outputJSON  = "json"
)

// run is a command without the dressing: what it may touch comes in env.
type run func(ctx context.Context, env *Env, args []string) error

// Command returns the weir command with all nouns of this package; the caller
// may add others. Flags --socket and -o belong to it, so that no command below
// may use the letter o for something else.
func Command(env *Env) *cobra.Command {
	if env.Socket == "" {
		env.Socket = agent.DefaultSocket
	}
	if env.pause == nil {
		env.pause = pause
	}
	root := &cobra.Command{
		Use:           "weir",
		Short:         "See and change the eBPF network of this node",
		Long:          "weir NOUN [list|get] reads, weir VERB changes.\n\nExit code: 0 well, 1 unhealthy or failed, 2 wrong usage.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	env.Stdout, env.Stderr = &safe{w: env.Stdout}, &safe{w: env.Stderr}
	root.PersistentFlags().StringVar(&env.Socket, "socket", env.Socket, "unix socket of the agent (environment: WEIR_SOCKET)")
	root.PersistentFlags().StringVarP(&env.output, "output", "o", outputTable, "form of the output: table or json")
	root.AddCommand(
		statusCommand(env), endpointCommand(env), nodeCommand(env), ipCommand(env), identityCommand(env),
		serviceCommand(env), backendCommand(env), policyCommand(env), connectionsCommand(env), natCommand(env), l2Command(env), affinityCommand(env), dropsCommand(env), monitorCommand(env), observeCommand(env), mapCommand(env), configCommand(env),
		metricsCommand(env), walkCommand(env), whyCommand(env), healthCommand(env), tableCommand(env), versionCommand(env))
	return root
}

// Execute runs the command that args name and returns the exit code: 2 when
// the arguments were wrong, else what the command says.
func Execute(ctx context.Context, root *cobra.Command, args []string) int {
	started := false
	mark(root, &started)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var code interface{ ExitCode() int }
	errs := &safe{w: root.ErrOrStderr()}
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return code.ExitCode() // whoever carries a code has spoken already
	case errors.As(err, new(undecided)):
		fmt.Fprintln(errs, "weir:", err)
		return 2
	case started && !errors.As(err, new(usage)):
		fmt.Fprintln(errs, "weir:", err)
		return 1
	default:
		fmt.Fprintf(errs, "weir: %v\nSee weir --help.\n", err)
		return 2
	}
}

// mark makes every command say that it runs: cobra does not tell an error in
// the arguments from one of the command.
func mark(c *cobra.Command, started *bool) {
	if inner := c.RunE; inner != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			*started = true
			return inner(c, args)
		}
	}
	for _, sub := range c.Commands() {
		mark(sub, started)
	}
}

// usage is an error in the arguments that only the command could see.
type usage struct{ error }

// unhealthy ends a command that has printed what is wrong.
type unhealthy struct{}

func (unhealthy) Error() string { return "not healthy" }

// ExitCode makes Execute return it without another word.
func (unhealthy) ExitCode() int { return 1 }

// undecided ends a command whose exit code 1 is an answer: it failed to get one.
type undecided struct{ error }

// verb dresses a run as a cobra command. Its agent has to answer within patience.
func verb(env *Env, use, short string, args cobra.PositionalArgs, do run) *cobra.Command {
	return lasting(env, use, short, args, func(ctx context.Context, env *Env, args []string) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return do(ctx, env, args)
	})
}

// lasting is a verb that may take as long as it likes.
func lasting(env *Env, use, short string, args cobra.PositionalArgs, do run) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(c *cobra.Command, args []string) error {
		if env.output != outputTable && env.output != outputJSON {
			return usage{fmt.Errorf("output %q: known are table and json", env.output)}
		}
		env.agent = agent.NewClient(env.Socket)
		return do(c.Context(), env, args)
	}}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// described adds to a command's help.
func described(c *cobra.Command, long, examples string) *cobra.Command {
	c.Long, c.Example = long, examples
	return c
}

// noun is a command that only has commands below it.
func noun(use, short string, below ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, RunE: func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage{fmt.Errorf("weir %s needs one of its commands: %s", use, names(c))}
		}
		return usage{fmt.Errorf("weir %s has no command %q; it has %s", use, args[0], names(c))}
	}}
	c.AddCommand(below...)
	return c
}

func names(c *cobra.Command) string {
	out := ""
	for _, sub := range c.Commands() {
		if out != "" {
			out += ", "
		}
		out += sub.Name()
	}
	return out
}

// list reads a list from the agent; none is an empty list, also in JSON.
func list[T any](ctx context.Context, env *Env, path string) ([]T, error) {
	var rows []T
	if err := env.agent.Get(ctx, path, &rows); err != nil {
		return nil, err
	}
	return some(rows), nil
}

// some is rows as JSON should have them: none is an empty list.
func some[T any](rows []T) []T {
	if rows == nil {
		return []T{}
	}
	return rows
}

// show prints value as JSON where that was asked for, or whatever print does.
func (env *Env) show(value any, print func(io.Writer)) error {
	if env.output != outputJSON {
		print(env.Stdout)
		return nil
	}
	enc := json.NewEncoder(env.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

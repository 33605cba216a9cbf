package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weir/lab/kube"
)

// Command returns `weir lab` with everything below it.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "lab",
		Short: "Run a cluster in a box: nodes and pods as network namespaces, real agents",
		Long: "A lab is a cluster on this host: nodes, and a host \"world\" outside of the cluster, are network\n" +
			"namespaces; each node runs a real weir-agent; pods are namespaces joined by the real weir-cni.\n" +
			"Commands run on a pod (NAME, a prefix of it, NAMESPACE/NAME, either with @NODE), a node or \"world\".",
		Example: "  weir lab up --mode native\n  weir lab apply -f pods.yaml\n  weir lab exec net -- ping -c1 10.0.1.3\n  weir lab exec n1 -- weir status\n  weir lab down",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return errors.New("weir lab needs one of its commands; see weir lab --help")
		},
		PersistentPreRunE: func(*cobra.Command, []string) error { return keepInherited() },
	}
	c.PersistentFlags().String("name", "", "the lab; default: $WEIR_LAB, or the only one there is")
	c.AddCommand(upCommand(), downCommand(), listCommand(), statusCommand(), servicesCommand(), applyCommand(), deleteCommand(),
		execCommand(), captureCommand(), logsCommand(), agentCommand(), serveCommand())
	c.AddCommand(kubeCommands()...)
	return c
}

// chosen is the lab's name that the user gave, or "".
func chosen(c *cobra.Command) string {
	if name, err := c.Flags().GetString("name"); err == nil && name != "" {
		return name
	}
	return os.Getenv("WEIR_LAB")
}

// pick opens the lab that the user named, or the only one.
func pick(c *cobra.Command) (*Lab, error) {
	name, err := pickName(c)
	if err != nil {
		return nil, err
	}
	if kube.Exists(name) {
		return nil, fmt.Errorf("lab %q has a real Kubernetes, where %q has no meaning: use weir lab kubectl", name, c.Name())
	}
	l, err := Open(name)
	if err != nil {
		return nil, err
	}
	l.Report(c.ErrOrStderr())
	return l, nil
}

// pickName is the lab that the user named, or the only one, of either kind.
func pickName(c *cobra.Command) (string, error) {
	if os.Geteuid() != 0 {
		return "", errNotRoot
	}
	if name := chosen(c); name != "" {
		return name, nil
	}
	names, err := everyName()
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		return "", errors.New(`no lab is up: make one with "weir lab up"`)
	}
	if len(names) > 1 {
		return "", fmt.Errorf("several labs are up: say which with --name: %s", strings.Join(names, ", "))
	}
	return names[0], nil
}

// everyName returns the names of all labs, of either kind.
func everyName() ([]string, error) {
	names, err := Names()
	if err != nil {
		return nil, err
	}
	more, err := kube.Names()
	if err != nil {
		return nil, err
	}
	names = append(names, more...)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// show prints value as JSON where -o json, a flag of the weir command, says so.
func show(c *cobra.Command, value any, table func() error) error {
	if form, err := c.Flags().GetString("output"); err != nil || form != "json" {
		return table()
	}
	enc := json.NewEncoder(c.OutOrStdout())
	enc.SetIndent("", "  ")
	if err := enc.Encode(value); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func listCommand() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "Name the labs", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		names, err := everyName()
		if err != nil {
			return err
		}
		if names == nil {
			names = []string{}
		}
		return show(c, names, func() error {
			for _, name := range names {
				fmt.Fprintln(c.OutOrStdout(), name)
			}
			return nil
		})
	}}
}

func statusCommand() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show nodes, agents and pods; exit code 1 when something is amiss", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		if k, err := pickKube(c); err != nil || k != nil {
			return orBecome(k, err, "status")
		}
		l, err := pick(c)
		if err != nil {
			return err
		}
		s, err := l.Status(c.Context())
		if err != nil {
			return err
		}
		if err := show(c, s, func() error { return s.print(c.OutOrStdout()) }); err != nil {
			return err
		}
		if !s.Healthy() {
			return spoken{}
		}
		return nil
	}}
}

// spoken ends a command that has printed what is wrong.
type spoken struct{}

func (spoken) Error() string { return "not healthy" }

// ExitCode is what the weir command ends with.
func (spoken) ExitCode() int { return 1 }

func agentCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "agent stop|start|kill|restart NODE",
		Short:     "Stop, start, kill or restart the agent of a node; its programs keep forwarding",
		Args:      cobra.ExactArgs(2),
		ValidArgs: []string{"stop", "start", "kill", "restart"},
		RunE: func(c *cobra.Command, args []string) error {
			l, err := pick(c)
			if err != nil {
				return err
			}
			return l.Agent(c.Context(), args[1], AgentAction(args[0]))
		},
	}
}

func serveCommand() *cobra.Command {
	var inherit, port int
	c := &cobra.Command{Use: "serve", Short: "The HTTP server of pods", Hidden: true, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return serve(c.Context(), inherit, port)
	}}
	c.Flags().IntVar(&inherit, "inherit", 0, "number of listening sockets handed over")
	c.Flags().IntVar(&port, "port", 80, "port to listen on")
	return c
}

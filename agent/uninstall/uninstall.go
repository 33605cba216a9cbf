// Package uninstall is `weir uninstall`: it shows what Weir has on a host, asks, takes
// it away, and looks again. What is taken away and what is not is agent.Cleanup's matter.
package uninstall

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"weir/agent"
	"weir/agent/config"
)

// options are what the user said.
type options struct {
	file            string
	confDir, binDir string
	anywhere        bool // nobody says where: look in folders of every runtime that is known
	dryRun, yes     bool
	json            bool
}

// Command is `weir uninstall`.
func Command() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove everything of Weir from this host; pods of it lose their network",
		Long: "Removes pins and with them programs, devices, routes, neighbours, state, the CNI plugin and its\n" +
			"configuration. What others have made stays. The agent has to be stopped first (in Kubernetes:\n" +
			"helm uninstall). Exit code 1 when something is left.",
		Example: "  weir uninstall --dry-run\n  weir uninstall --yes",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			form, _ := c.Flags().GetString("output")
			o.json = form == "json"
			cfg, err := o.config(c)
			if err != nil {
				return err
			}
			o.anywhere = o.file == "" && !c.Flags().Changed("cni-conf-dir") && !c.Flags().Changed("cni-bin-dir")
			return run(o, cfg, c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.file, "config", "", "weir.yaml of the agent; default: the defaults")
	f.StringVar(&o.confDir, "cni-conf-dir", "/etc/cni/net.d", "folder of the runtime's CNI configurations, if --config names none; without either k3s's is looked into, too")
	f.StringVar(&o.binDir, "cni-bin-dir", "/opt/cni/bin", "folder of the runtime's CNI plugins, if --config names none; without either k3s's is looked into, too")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be removed")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	return c
}

// config is the agent's. Without a file, which in Kubernetes is in no file of the host,
// the folders of the runtime are where they usually are.
func (o options) config(c *cobra.Command) (config.Config, error) {
	var args []string
	if o.file != "" {
		args = []string{"--config", o.file}
	}
	l, err := config.Load(args, io.Discard)
	if err != nil {
		return l.Config, fmt.Errorf("configuration: %w", err)
	}
	if l.CNI.ConfDir == "" && (o.file == "" || c.Flags().Changed("cni-conf-dir")) {
		l.CNI.ConfDir = o.confDir
	}
	if l.CNI.BinDir == "" && (o.file == "" || c.Flags().Changed("cni-bin-dir")) {
		l.CNI.BinDir = o.binDir
	}
	return l.Config, nil
}

func run(o options, cfg config.Config, in io.Reader, out, errs io.Writer) error {
	found, stray, err := look(o, cfg)
	if err != nil {
		return fmt.Errorf("look for what is here: %w", err)
	}
	if o.json {
		if err := printJSON(out, found); err != nil {
			return err
		}
	} else {
		print(out, found)
	}
	if o.dryRun || len(found) == 0 {
		return nil
	}
	if !o.yes && !agreed(in, errs) {
		return fmt.Errorf("nothing was removed: answer yes, or say --yes")
	}
	if err := agent.Cleanup(slog.New(slog.NewTextHandler(io.Discard, nil)), cfg); err != nil {
		return err
	}
	if err := removeAll("/", stray); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	left, _, err := look(o, cfg)
	if err != nil {
		return fmt.Errorf("look whether anything is left: %w", err)
	}
	if len(left) > 0 {
		print(errs, left)
		return fmt.Errorf("%d of %d are left", len(left), len(found))
	}
	if !o.json {
		fmt.Fprintf(out, "%d removed, nothing of Weir is left on this host.\n", len(found))
	}
	return nil
}

// look lists all that is here, and of it what is elsewhere than the configuration says.
func look(o options, cfg config.Config) (all, stray []agent.Remain, err error) {
	all, err = agent.Remains(cfg)
	if err != nil || !o.anywhere {
		return all, nil, err
	}
	stray, err = elsewhere("/", cfg.CNI)
	return append(all, stray...), stray, err
}

// agreed asks. No answer is a no.
func agreed(in io.Reader, out io.Writer) bool {
	fmt.Fprint(out, "Remove all of this? Pods of Weir lose their network. [yes/no] ")
	answer, _ := bufio.NewReader(in).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(answer), "yes")
}

func printJSON(w io.Writer, found []agent.Remain) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(append([]agent.Remain{}, found...)); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func print(w io.Writer, found []agent.Remain) {
	if len(found) == 0 {
		fmt.Fprintln(w, "Nothing of Weir is on this host.")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "KIND\tNAME")
	for _, r := range found {
		fmt.Fprintf(t, "%s\t%s\n", r.Kind, r.Name)
	}
	t.Flush()
}

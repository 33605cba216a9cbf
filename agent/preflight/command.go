package preflight

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"weir/agent/config"
)

// Command is `weir preflight`.
func Command() *cobra.Command {
	var file, confDir, server string
	c := &cobra.Command{
		Use:   "preflight",
		Short: "Look at this host: can Weir work here, and what is in its way",
		Long: "Looks at the kernel, its settings, mounts, devices, ports, the API server, and at what other\n" +
			"pod networks have left. Changes nothing. Exit code 1 when Weir would not work.",
		Example: "  weir preflight\n  weir preflight --config /etc/weir/weir.yaml -o json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			args := []string{}
			if file != "" {
				args = append(args, "--config", file)
			}
			cfg, err := config.Load(args, io.Discard)
			if err != nil {
				return fmt.Errorf("configuration: %w", err)
			}
			if cfg.CNI.ConfDir != "" && !c.Flags().Changed("cni-conf-dir") {
				confDir = cfg.CNI.ConfDir
			}
			facts := gather(c.Context(), cfg.Config, confDir, server)
			if file != "" {
				facts.ConfDir = cfg.CNI.ConfDir
			}
			form, _ := c.Flags().GetString("output")
			return show(c.OutOrStdout(), judge(facts, cfg.Config), form == "json")
		},
	}
	c.Flags().StringVar(&file, "config", "", "weir.yaml that the agent will have; default: the defaults")
	c.Flags().StringVar(&confDir, "cni-conf-dir", "/etc/cni/net.d", "folder of the runtime's CNI configurations, if --config names none")
	c.Flags().StringVar(&server, "api-server", "", "URL of the API server; default: the kubelet's")
	return c
}

// failed ends a command that has printed what is wrong.
type failed struct{}

func (failed) Error() string { return "Weir would not work here" }

// ExitCode makes the weir command end with it, without another word.
func (failed) ExitCode() int { return 1 }

func show(w io.Writer, all []Check, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(all); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	} else {
		table(w, all)
	}
	for _, c := range all {
		if c.State == Failure {
			return failed{}
		}
	}
	return nil
}

func table(w io.Writer, all []Check) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "CHECK\tSTATE\tMESSAGE")
	for _, c := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\n", c.Name, strings.ToUpper(string(c.State)), c.Message)
		if c.Advice != "" {
			fmt.Fprintf(t, "\t\t-> %s\n", c.Advice)
		}
	}
	t.Flush()
}

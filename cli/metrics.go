package cli

import (
	"context"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func metricsCommand(env *Env) *cobra.Command {
	drops := false
	c := verb(env, "list", "List how many packets met which end, and where", cobra.NoArgs,
		func(ctx context.Context, env *Env, _ []string) error { return metricsList(ctx, env, drops) })
	c.Flags().BoolVar(&drops, "drops", false, "only what was dropped")
	export := described(verb(env, "export", "Print every metric in Prometheus' text format", cobra.NoArgs, metricsExport),
		"Print what a scrape of the agent gets, whether prometheus.enabled is set or not.", "  weir metrics export")
	return noun("metrics", "Counters of the datapath, and all metrics", c, export)
}

func metricsExport(ctx context.Context, env *Env, _ []string) error {
	var e agent.Export
	if err := env.agent.Get(ctx, agent.PathExport, &e); err != nil {
		return err
	}
	return env.show(e, func(w io.Writer) { io.WriteString(w, e.Text) })
}

func metricsList(ctx context.Context, env *Env, drops bool) error {
	all, err := list[agent.Metric](ctx, env, agent.PathMetrics)
	if err != nil {
		return err
	}
	rows := all
	if drops {
		rows = []agent.Metric{}
		for _, m := range all {
			if m.Drop {
				rows = append(rows, m)
			}
		}
	}
	return env.show(rows, func(w io.Writer) {
		g := grid{{"REASON", "DIRECTION", "PACKETS", "BYTES", "PROGRAM"}}
		for _, m := range rows {
			g.add(m.Reason, m.Direction, strconv.FormatUint(m.Packets, 10), strconv.FormatUint(m.Bytes, 10), m.Place)
		}
		g.print(w, "")
	})
}

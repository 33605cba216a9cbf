package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func whyCommand(env *Env) *cobra.Command {
	return described(verb(env, "why POD PEER[:PORT[/PROTO]]", "Say why two ends do not reach each other, and what to do", cobra.ExactArgs(2), why),
		"Put together all that this node knows of what stands between two ends: the latest drops\n"+
			"between them with their cause, what the policies in force say of a new connection, how\n"+
			"packets get to the other end (route, neighbour, MTU, whether its node answers), and what\n"+
			"to do, the most likely first.\n\n"+
			"POD and PEER are NAMESPACE/POD, an address, host, world or identity:NUMBER.\n\n"+
			"Exit code: 0 nothing is wrong here, 1 something is, 2 not known or wrong usage.",
		"  weir why default/web default/db:5432\n  weir why default/web 192.0.2.7:53/UDP")
}

func why(ctx context.Context, env *Env, args []string) error {
	var r agent.Why
	to, err := askBetween(ctx, env, args, agent.PathWhy, &r)
	if err != nil {
		return err
	}
	r.Drops, r.Way, r.Advice = some(r.Drops), some(r.Way), some(r.Advice)
	if err := env.show(r, func(w io.Writer) { printWhy(w, r, to) }); err != nil {
		return undecided{err}
	}
	if r.Policy.Verdict == verdictDenied || len(r.Drops) > 0 || wrong(r.Way) {
		return unhealthy{}
	}
	return nil
}

func wrong(way []agent.WayFact) bool {
	for _, f := range way {
		if !f.OK {
			return true
		}
	}
	return false
}

func printWhy(w io.Writer, r agent.Why, asked target) {
	fmt.Fprintln(w, "What to do")
	for i, s := range r.Advice {
		fmt.Fprintf(w, "  %d. %s\n", i+1, oneLine(s))
	}
	fmt.Fprintln(w, "\nLast drops between them")
	if len(r.Drops) == 0 {
		fmt.Fprintln(w, "  none that the nodes that were asked remember")
	}
	if r.Missing != "" {
		fmt.Fprintf(w, "  not asked: %s\n", oneLine(r.Missing))
	}
	for _, d := range r.Drops {
		fmt.Fprint(w, "  ")
		printDrop(w, d.Drop)
		if d.Node != "" {
			fmt.Fprintf(w, "    on node %s\n", oneLine(d.Node))
		}
		fmt.Fprintf(w, "    %s\n", oneLine(d.Means))
	}
	fmt.Fprintln(w, "\nWay to "+oneLine(strings.TrimSpace(r.To.Name+" "+r.To.IP)))
	var g grid
	for _, f := range r.Way {
		mark := "ok"
		if !f.OK {
			mark = "WRONG"
		}
		g.add(mark, f.What, f.Is)
	}
	g.print(w, "  ")
	if r.Open > 0 {
		fmt.Fprintf(w, "  %s now\n", count(r.Open, "connection"))
	}
	fmt.Fprint(w, "\nPolicy now: ")
	printExplanation(w, r.Policy, asked)
}

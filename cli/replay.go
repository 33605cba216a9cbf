package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func replayCommand(env *Env) *cobra.Command {
	since := time.Hour
	c := described(verb(env, "replay FILE|-", "Say what the policies of a file would have done to the flows of the last hour, before they are applied", cobra.ExactArgs(1),
		func(ctx context.Context, env *Env, args []string) error { return replay(ctx, env, args[0], since) }),
		"Run the flows that this node's agent keeps through the policies and CIDR groups of a YAML\n"+
			"file, and list the connections that they would drop and those that they would newly allow,\n"+
			"with the rule or the policies that decide. Nothing is changed.\n\n"+
			"WAS is what became of them then, NOW what the policies in force say, THEN what they would\n"+
			"say with those of the file. Flows of other nodes are with their agents. Whose pod is gone\n"+
			"is judged by its identity, where that is known; the others are listed as not judged.\n\n"+
			"Exit code: 0, 1 when an object of the file would be refused, 2 when there is none to judge.",
		"  weir policy replay web.yaml --since 1h\n  kubectl get cnp web -o yaml | weir policy replay -")
	c.Flags().DurationVar(&since, "since", since, "how far to look back")
	return c
}

func replay(ctx context.Context, env *Env, path string, since time.Duration) error {
	if since <= 0 {
		return usage{fmt.Errorf("--since %s: give how far to look back, more than 0", since)}
	}
	name, text, err := readFile(env, path)
	if err != nil {
		return undecided{err}
	}
	var r agent.ReplayReply
	request := agent.ReplayRequest{TraceRequest: agent.TraceRequest{File: name, YAML: text}, Since: since}
	if err := env.agent.Post(ctx, agent.PathPolicyReplay, request, &r); err != nil {
		return undecided{err}
	}
	r.Problems, r.Changed, r.NotJudged = some(r.Problems), some(r.Changed), some(r.NotJudged)
	for i := range r.Changed {
		r.Changed[i].Origin = some(r.Changed[i].Origin)
	}
	if err := env.show(r, func(w io.Writer) { printReplay(w, name, r, env.Now()) }); err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		return unhealthy{}
	}
	return nil
}

func printReplay(w io.Writer, name string, r agent.ReplayReply, now time.Time) {
	printRefused(w, name, r.Problems)
	fmt.Fprintf(w, "Flows: %s of the last %s, of node %s alone\n", count(r.Connections, "connection"), span(min(r.Asked, r.Kept)), r.Node)
	if r.Kept < r.Asked {
		fmt.Fprintf(w, "  flows of the last %s are kept; asked for %s\n", span(r.Kept), span(r.Asked))
	}
	if r.Lost > 0 {
		fmt.Fprintf(w, "  %s lost: there was no room for what they tell\n", count(int(r.Lost), "event"))
	}
	if r.Apart > 0 {
		fmt.Fprintf(w, "  %s dropped for another reason than policy: not replayed\n", count(r.Apart, "packet"))
	}
	if r.Elsewhere > 0 {
		fmt.Fprintf(w, "  %s not judged here: policies of this node are about neither end\n", count(r.Elsewhere, "connection"))
	}
	printReplayed(w, "Would be dropped", verdictDenied, r.Changed, now)
	printReplayed(w, "Would newly be allowed", verdictAllowed, r.Changed, now)
	if len(r.NotJudged) == 0 {
		return
	}
	fmt.Fprintln(w, "Not judged:")
	g := grid{{"CONNECTIONS", "SOURCE", "DESTINATION", "PORT", "WHY"}}
	for _, x := range r.NotJudged {
		g.add(strconv.Itoa(x.Connections), x.Source, x.Destination, x.Port, x.Why)
	}
	g.print(w, "  ")
}

// printReplayed lists the flows that would get a verdict: a line each, and why below it.
func printReplayed(w io.Writer, title, then string, all []agent.ReplayedFlow, now time.Time) {
	g := grid{{"CONNECTIONS", "SOURCE", "DESTINATION", "PORT", "DIRECTION", "WAS", "NOW", "THEN", "FIRST", "LAST"}}
	var why [][]string
	for _, x := range all {
		if x.Then == then {
			g.add(strconv.Itoa(x.Connections), x.Source, x.Destination, x.Port, x.Direction, x.Was, x.Now, x.Then, ago(x.First, now), ago(x.Last, now))
			why = append(why, replayedBecause(x))
		}
	}
	if len(why) == 0 {
		fmt.Fprintf(w, "%s: nothing\n", title)
		return
	}
	fmt.Fprintf(w, "%s:\n", title)
	var table strings.Builder
	g.print(&table, "  ")
	for i, line := range strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n") {
		fmt.Fprintln(w, line)
		if i > 0 {
			for _, text := range why[i-1] {
				fmt.Fprintln(w, "      "+text)
			}
		}
	}
}

// span is a time as people say it: 1h, 12m, 12m30s.
func span(d time.Duration) string {
	text := d.Round(time.Second).String()
	if rest, ok := strings.CutSuffix(text, "m0s"); ok {
		text = rest + "m"
	}
	if rest, ok := strings.CutSuffix(text, "h0m"); ok {
		text = rest + "h"
	}
	return text
}

func replayedBecause(x agent.ReplayedFlow) []string {
	origin := strings.Join(x.Origin, ", ")
	switch {
	case x.Rule != "":
		return []string{x.Rule + " (" + origin + ")"}
	case x.Then == verdictAllowed && origin == "":
		return []string{"nothing isolates it in this direction any more"}
	case x.Then == verdictAllowed:
		return []string{origin}
	}
	out := []string{"isolated by " + origin + "; no rule allows it"}
	if origin == "" {
		out[0] = "no rule allows it"
	}
	if x.Nearest != "" {
		out = append(out, "nearest rule: "+x.Nearest)
	}
	if x.Missed != "" {
		out = append(out, "failed on: "+x.Missed)
	}
	return out
}

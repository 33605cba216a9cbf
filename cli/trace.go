package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func traceCommand(env *Env) *cobra.Command {
	return described(verb(env, "trace FILE|-", "Say what the policies of a file would change on this node, before they are applied", cobra.ExactArgs(1), trace),
		"Say what the policies and CIDR groups of a YAML file would change on this node if they were applied:\n"+
			"mistakes, endpoints that become isolated or are freed, rules that come (+) and go (-),\n"+
			"and open connections that would get another verdict. Nothing is changed.\n\n"+
			"Exit code: 0, 1 when an object of the file would be refused, 2 when there is none to judge.",
		"  weir policy trace web.yaml\n  kubectl get cnp web -o yaml | weir policy trace -")
}

func trace(ctx context.Context, env *Env, args []string) error {
	name, text, err := readFile(env, args[0])
	if err != nil {
		return undecided{err}
	}
	var r agent.TraceReply
	if err := env.agent.Post(ctx, agent.PathPolicyTrace, agent.TraceRequest{File: name, YAML: text}, &r); err != nil {
		return undecided{err}
	}
	r.Problems, r.Changes, r.Verdicts = some(r.Problems), some(r.Changes), some(r.Verdicts)
	for i := range r.Changes {
		r.Changes[i].Added, r.Changes[i].Removed = some(r.Changes[i].Added), some(r.Changes[i].Removed)
	}
	if err := env.show(r, func(w io.Writer) { printTrace(w, name, r) }); err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		return unhealthy{}
	}
	return nil
}

// readFile returns the content of a file, which may be standard input.
func readFile(env *Env, path string) (name, text string, err error) {
	var b []byte
	if path == "-" {
		path = "stdin"
		b, err = io.ReadAll(env.Stdin)
	} else {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return "", "", fmt.Errorf("read the policies: %w", err)
	}
	if len(b) == 0 {
		return "", "", fmt.Errorf("%s is empty: give a file with policy objects as YAML", path)
	}
	return path, string(b), nil
}

func printTrace(w io.Writer, name string, r agent.TraceReply) {
	printRefused(w, name, r.Problems)
	if len(r.Changes) == 0 {
		fmt.Fprintln(w, "Changes: none for the endpoints of this node")
	} else {
		fmt.Fprintln(w, "Changes:")
	}
	for _, c := range r.Changes {
		fmt.Fprintf(w, "  %s of %s (endpoint %d)%s\n", c.Direction, changedName(c), c.Endpoint, isolation(c))
		for _, rule := range c.Removed {
			fmt.Fprintln(w, "    - "+rule)
		}
		for _, rule := range c.Added {
			fmt.Fprintln(w, "    + "+rule)
		}
	}
	if len(r.Verdicts) == 0 {
		return
	}
	fmt.Fprintln(w, "Open connections that get another verdict:")
	g := grid{{"CONNECTION", "NOW", "THEN", "BECAUSE"}}
	for _, v := range r.Verdicts {
		g.add(v.Connection, v.Now, v.Then, v.Because)
	}
	g.print(w, "  ")
}

func printRefused(w io.Writer, name string, all []agent.Problem) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(w, "Problems: %s of %s would be refused\n", count(len(all), "object"), name)
	problemGrid(all).print(w, "  ")
}

func changedName(c agent.TraceChange) string {
	switch {
	case c.Pod != "":
		return c.Pod
	case c.Endpoint == 0:
		return theHost
	}
	return "the health endpoint"
}

func isolation(c agent.TraceChange) string {
	switch {
	case c.Isolates:
		return ": becomes isolated"
	case c.Frees:
		return ": is no longer isolated"
	}
	return ""
}

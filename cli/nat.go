package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func natCommand(env *Env) *cobra.Command {
	return noun("nat", "Connections in another's name",
		described(verb(env, "list", "List the connections in which another address takes the opener's", cobra.NoArgs, natList),
			"List the connections in which another address takes the opener's: masqueraded ones, and\n"+
				"those through this node to a service's backend. Each has two lines, one a direction:\n"+
				"OUT leaves with XLATE_SRC as its source, IN goes to XLATE_DST.",
			"  weir nat list"),
		verb(env, "retries", "Count connections by how many ports were tried until one was free", cobra.NoArgs, natRetries))
}

// natEntry is one direction of a connection in another's name.
type natEntry struct {
	Proto     string        `json:"proto"`
	Direction string        `json:"direction"` // "OUT" or "IN"
	From      string        `json:"from"`
	To        string        `json:"to"`
	Becomes   string        `json:"becomes"` // of OUT the source, of IN the destination
	State     string        `json:"state"`
	Idle      time.Duration `json:"idle"`
}

func natList(ctx context.Context, env *Env, _ []string) error {
	var all agent.Connections
	if err := env.agent.Get(ctx, agent.PathConnections, &all); err != nil {
		return err
	}
	rows := natEntries(all.Entries)
	return env.show(rows, func(w io.Writer) {
		for _, r := range rows {
			way := "XLATE_SRC"
			if r.Direction == "IN" {
				way = "XLATE_DST"
			}
			fmt.Fprintf(w, "%s %-3s %s -> %s %s %s %s idle %s\n", r.Proto, r.Direction, r.From, r.To, way, r.Becomes, r.State, r.Idle.Round(time.Second))
		}
	})
}

func natEntries(all []agent.Connection) []natEntry {
	out := []natEntry{}
	for _, c := range all {
		if c.SourceAs == "" {
			continue
		}
		other := c.Dest
		if c.Backend != "" {
			other = c.Backend
		}
		out = append(out, natEntry{c.Proto, "OUT", c.Source, c.Dest, c.SourceAs, c.State, c.Idle},
			natEntry{c.Proto, "IN", other, c.SourceAs, c.Source, c.State, c.Idle})
	}
	return out
}

func natRetries(ctx context.Context, env *Env, _ []string) error {
	rows, err := list[agent.NATRetries](ctx, env, agent.PathNATRetries)
	if err != nil {
		return err
	}
	return env.show(rows, func(w io.Writer) {
		g := grid{{"RETRIES", "CONNECTIONS"}}
		for _, r := range rows {
			g.add(r.Retries, count64(r.Connections))
		}
		g.print(w, "")
	})
}

func affinityCommand(env *Env) *cobra.Command {
	return noun("affinity", "Clients that get the same backend again",
		described(verb(env, "list", "List the clients whose backend is remembered", cobra.NoArgs, affinities),
			"List the clients of services with sessionAffinity whose backend is remembered. A client is an\n"+
				"address, or, where the socket itself finds the service, a pod's network namespace.",
			"  weir affinity list"))
}

func affinities(ctx context.Context, env *Env, _ []string) error {
	rows, err := list[agent.Affinity](ctx, env, agent.PathAffinities)
	if err != nil {
		return err
	}
	return env.show(rows, func(w io.Writer) {
		g := grid{{"CLIENT", "SERVICE", "FRONTEND", "BACKEND", "IDLE", "EXPIRES IN"}}
		for _, r := range rows {
			g.add(r.Client, r.Service, r.Port, r.Backend, r.Idle.String(), r.Expires.String())
		}
		g.print(w, "")
	})
}

package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func healthCommand(env *Env) *cobra.Command {
	probe, verbose := false, false
	status := verb(env, "status", "Show which nodes and health endpoints answer", cobra.NoArgs,
		func(ctx context.Context, env *Env, _ []string) error { return healthStatus(ctx, env, probe, verbose) })
	status.Flags().BoolVar(&verbose, "verbose", false, "say of each address how it answers ICMP and HTTP")
	status.Flags().BoolVar(&probe, "probe", false, "probe first, instead of showing the last round")
	return noun("health", "Reachability of the nodes", status)
}

func healthStatus(ctx context.Context, env *Env, probe, verbose bool) error {
	path := agent.PathHealth
	if probe {
		path += "?probe=1"
	}
	peers, err := list[agent.Peer](ctx, env, path)
	if err != nil {
		return err
	}
	if len(peers) == 0 && env.output == outputTable {
		return noPeers(ctx, env)
	}
	err = env.show(peers, func(w io.Writer) {
		if verbose {
			printPeers(w, peers)
		} else {
			peerGrid(peers).print(w, "")
		}
	})
	if err != nil {
		return err
	}
	for _, p := range peers {
		if !p.NodeOK || p.EndpointIP != "" && !p.EndpointOK {
			return unhealthy{}
		}
	}
	return nil
}

// noPeers says why nobody is probed.
func noPeers(ctx context.Context, env *Env) error {
	var s agent.Status
	if err := env.agent.Get(ctx, agent.PathStatus, &s); err != nil {
		return err
	}
	if !s.Health.Enabled {
		fmt.Fprintln(env.Stdout, "Disabled: health.enabled is false")
		return nil
	}
	fmt.Fprintln(env.Stdout, "No node is known yet")
	return nil
}

// printPeers is in the manner that the field knows.
func printPeers(w io.Writer, peers []agent.Peer) {
	last := time.Time{}
	for _, p := range peers {
		if p.LastProbe.After(last) {
			last = p.LastProbe
		}
	}
	fmt.Fprintf(w, "Probe time:%s%s\nNodes:\n", gap, stamp(last))
	for _, p := range peers {
		name := p.Node
		if p.Local {
			name += " (localhost)"
		}
		fmt.Fprintf(w, "  %s:\n    Host connectivity to %s:\n", name, p.NodeIP)
		ways(p.NodePing, p.NodeOK, p.NodeRTT, p.NodeError, p.LastProbe).print(w, "      ")
		if p.EndpointIP == "" {
			continue
		}
		fmt.Fprintf(w, "    Endpoint connectivity to %s:\n", p.EndpointIP)
		ways(p.EndpointPing, p.EndpointOK, p.EndpointRT, p.Endpoint, p.LastProbe).print(w, "      ")
	}
}

// ways are how an address answers.
func ways(ping agent.Ping, ok bool, took time.Duration, trouble string, probed time.Time) grid {
	return grid{{"ICMP to stack:", answered(ping.OK, ping.RTT, ping.Error)}, {"HTTP to agent:", answered(ok, took, cmp.Or(trouble, unasked(probed)))}}
}

func unasked(probed time.Time) string {
	if probed.IsZero() {
		return "not probed"
	}
	return ""
}

func answered(ok bool, took time.Duration, trouble string) string {
	switch {
	case ok:
		return "OK, RTT=" + took.Round(time.Microsecond).String()
	case trouble == "":
		return "not probed"
	}
	return strings.ReplaceAll(trouble, "\n", "; ")
}

func peerGrid(peers []agent.Peer) grid {
	g := grid{{"Node", "Node IP", "Node", "RTT", "Endpoint IP", "Endpoint", "RTT", "Last probe", "Error"}}
	for _, p := range peers {
		name, trouble := p.Node, p.NodeError
		if p.Local {
			name += " (localhost)"
		}
		if trouble != "" && p.Endpoint != "" {
			trouble += "; "
		}
		trouble += p.Endpoint
		g.add(name, p.NodeIP, reached(p.NodeOK, p.LastProbe), rtt(p.NodeOK, p.NodeRTT),
			p.EndpointIP, endpointReached(p), rtt(p.EndpointOK, p.EndpointRT), stamp(p.LastProbe), trouble)
	}
	return g
}

func reached(ok bool, probed time.Time) string {
	switch {
	case ok:
		return "OK"
	case probed.IsZero():
		return "not probed"
	}
	return "unreachable"
}

func endpointReached(p agent.Peer) string {
	if p.EndpointIP == "" {
		return "" // the node has no health endpoint
	}
	return reached(p.EndpointOK, p.LastProbe)
}

func rtt(ok bool, d time.Duration) string {
	if !ok {
		return ""
	}
	return d.Round(time.Microsecond).String()
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

package cli

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func healthCommand(env *Env) *cobra.Command {
	probe := false
	status := verb(env, "status", "Show which nodes and health endpoints answer", cobra.NoArgs,
		func(ctx context.Context, env *Env, _ []string) error { return healthStatus(ctx, env, probe) })
	status.Flags().BoolVar(&probe, "probe", false, "probe first, instead of showing the last round")
	return noun("health", "Reachability of the nodes", status)
}

func healthStatus(ctx context.Context, env *Env, probe bool) error {
	path := agent.PathHealth
	if probe {
		path += "?probe=1"
	}
	peers, err := list[agent.Peer](ctx, env, path)
	if err != nil {
		return err
	}
	if err := env.show(peers, func(w io.Writer) { peerGrid(peers).print(w, "") }); err != nil {
		return err
	}
	for _, p := range peers {
		if !p.NodeOK || p.EndpointIP != "" && !p.EndpointOK {
			return unhealthy{}
		}
	}
	return nil
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

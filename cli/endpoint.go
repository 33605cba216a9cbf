package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func endpointCommand(env *Env) *cobra.Command {
	return noun("endpoint", "Pods of this node",
		verb(env, "list", "List the endpoints", cobra.NoArgs, endpointList),
		verb(env, "get ID|NAMESPACE/POD|IP", "Show all that is known of one endpoint", cobra.ExactArgs(1), endpointGet))
}

func endpointList(ctx context.Context, env *Env, _ []string) error {
	all, err := list[agent.Endpoint](ctx, env, agent.PathEndpoints)
	if err != nil {
		return err
	}
	return env.show(all, func(w io.Writer) { endpointGrid(all).print(w, "") })
}

// endpointGrid has one label on each line, as label lists are long.
func endpointGrid(all []agent.Endpoint) grid {
	g := grid{
		{"ENDPOINT", "POLICY (ingress)", "POLICY (egress)", "IDENTITY", "LABELS (source:key[=value])", "IPv6", "IPv4", "STATUS"},
		{"", "ENFORCEMENT", "ENFORCEMENT"},
	}
	for _, e := range all {
		g.add(number(e.ID), e.PolicyIn, e.PolicyOut, number(e.Identity), at(e.Labels, 0), e.IPv6, e.IPv4, e.State)
		for i := 1; i < len(e.Labels); i++ {
			g.add("", "", "", "", e.Labels[i])
		}
	}
	return g
}

func endpointGet(ctx context.Context, env *Env, args []string) error {
	e, err := findEndpoint(ctx, env, args[0])
	if err != nil {
		return err
	}
	return env.show(e, func(w io.Writer) { endpointLines(e).print(w, "") })
}

// findEndpoint returns the endpoint that has the number, pod or address.
func findEndpoint(ctx context.Context, env *Env, what string) (agent.Endpoint, error) {
	all, err := list[agent.Endpoint](ctx, env, agent.PathEndpoints)
	if err != nil {
		return agent.Endpoint{}, err
	}
	for _, e := range all {
		if what == number(e.ID) || what == e.Pod || "default/"+what == e.Pod || what == e.IPv4 || what == e.IPv6 {
			return e, nil
		}
	}
	return agent.Endpoint{}, fmt.Errorf("no endpoint %q on this node: give an ID, NAMESPACE/POD or address that weir endpoint list -o json shows", what)
}

func endpointLines(e agent.Endpoint) grid {
	pod := e.Pod
	if pod == "" {
		pod = "none (health endpoint)"
	}
	g := grid{
		{"ID:", number(e.ID)},
		{"Pod:", pod},
		{"Container:", e.ContainerID},
		{"Status:", e.State},
		{"IPv4:", e.IPv4},
		{"IPv6:", e.IPv6},
		{"Device:", fmt.Sprintf("%s (ifindex %d)", e.Device, e.Ifindex)},
		{"MAC:", e.MAC},
		{"Node MAC:", e.NodeMAC},
		{"Route MTU:", strconv.Itoa(e.MTU)},
		{"Policy (ingress):", e.PolicyIn},
		{"Policy (egress):", e.PolicyOut},
		{"Identity:", number(e.Identity)},
		{"Labels:", at(e.Labels, 0)},
	}
	for i := 1; i < len(e.Labels); i++ {
		g.add("", e.Labels[i])
	}
	return g
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

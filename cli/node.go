package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func nodeCommand(env *Env) *cobra.Command {
	return noun("node", "Members of the cluster", verb(env, "list", "List the nodes", cobra.NoArgs, nodeList))
}

func nodeList(ctx context.Context, env *Env, _ []string) error {
	all, err := list[agent.Node](ctx, env, agent.PathNodes)
	if err != nil {
		return err
	}
	return env.show(all, func(w io.Writer) { nodeGrid(all).print(w, "") })
}

// nodeGrid gives further pod CIDRs of a node a line of their own.
func nodeGrid(all []agent.Node) grid {
	g := grid{{"Name", "IPv4 Address", "Endpoint CIDR", "IPv6 Address", "Endpoint CIDR", "Source"}}
	for _, n := range all {
		g.add(n.Name, n.IPv4, at(n.IPv4CIDRs, 0), n.IPv6, at(n.IPv6CIDRs, 0), n.Source)
		for i := 1; i < max(len(n.IPv4CIDRs), len(n.IPv6CIDRs)); i++ {
			g.add("", "", at(n.IPv4CIDRs, i), "", at(n.IPv6CIDRs, i))
		}
	}
	return g
}

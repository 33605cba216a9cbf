package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

// theHost is what the node itself is called where an endpoint is asked for; as
// an endpoint it has number 0.
const theHost = "host"

func policyGetCommand(env *Env) *cobra.Command {
	return described(verb(env, "get ENDPOINT|NAMESPACE/POD|IP|host", "Show the rules of one endpoint, with the objects they come from", cobra.ExactArgs(1), policyGet),
		"Show what the maps hold for one endpoint of this node, direction by direction: every\n"+
			"rule with its peer and port, the objects it comes from, and the packets and bytes of\n"+
			"the connections that it decided. \"host\" is the node itself (host firewall).",
		"  weir policy get default/web\n  weir policy get 3 -o json\n  weir policy get host")
}

func policyGet(ctx context.Context, env *Env, args []string) error {
	what := args[0]
	if what == "0" {
		what = theHost
	}
	if what != theHost {
		e, err := findEndpoint(ctx, env, what)
		if err != nil {
			return err
		}
		what = number(e.ID)
	}
	var p agent.EndpointPolicy
	if err := env.agent.Get(ctx, agent.PathPolicyOf+"/"+what, &p); err != nil {
		return err
	}
	for _, d := range []*agent.DirectionRule{&p.Ingress, &p.Egress} {
		d.Rules, d.IsolatedBy = some(d.Rules), some(d.IsolatedBy)
		for i := range d.Rules {
			d.Rules[i].Origin = some(d.Rules[i].Origin)
		}
	}
	return env.show(p, func(w io.Writer) { printPolicy(w, p) })
}

func printPolicy(w io.Writer, p agent.EndpointPolicy) {
	grid{
		{"Endpoint:", fmt.Sprintf("%d (%s)", p.Endpoint, podOrKind(p))},
		{"Identity:", number(p.Identity)},
		{"Class:", fmt.Sprintf("%d (epoch %d)", p.Class, p.Epoch)},
	}.print(w, "")
	printDirection(w, "Ingress", p.Ingress)
	printDirection(w, "Egress", p.Egress)
}

func podOrKind(p agent.EndpointPolicy) string {
	switch {
	case p.Pod != "":
		return p.Pod
	case p.Endpoint == 0:
		return theHost
	}
	return "health endpoint"
}

// printDirection says first what happens to what no rule speaks of.
func printDirection(w io.Writer, name string, d agent.DirectionRule) {
	fmt.Fprintf(w, "\n%s: %s\n", name, defaultOf(d))
	if len(d.IsolatedBy) > 0 {
		fmt.Fprintln(w, "  Isolated by: "+strings.Join(d.IsolatedBy, ", "))
	}
	if len(d.Rules) == 0 {
		fmt.Fprintln(w, "  No rules.")
		return
	}
	g := grid{{"RULE", "ACTION", "PEER", "PORT", "PACKETS", "BYTES", "ORIGIN"}}
	for _, r := range d.Rules {
		g.add(number(r.ID), r.Action, r.Peer, r.Port, count64(r.Packets), count64(r.Bytes), at(r.Origin, 0))
		for i := 1; i < len(r.Origin); i++ {
			g.add("", "", "", "", "", "", r.Origin[i])
		}
	}
	g.print(w, "  ")
}

func defaultOf(d agent.DirectionRule) string {
	switch {
	case !d.Enforced:
		return "not enforced: what no rule denies is allowed"
	case d.Response == "reject":
		return "enforced: what no rule allows is rejected, the sender is told"
	}
	return "enforced: what no rule allows is dropped"
}

func count64(n uint64) string { return strconv.FormatUint(n, 10) }

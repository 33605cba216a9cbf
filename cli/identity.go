package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

// reservedSource is the source of labels that no pod can have.
const reservedSource = "reserved:"

func identityCommand(env *Env) *cobra.Command {
	all := described(verb(env, "list [LABEL...]", "List the identities this node knows", cobra.ArbitraryArgs, identityList),
		"List the identities this node knows: all of them, or those that have every LABEL.\n\n"+
			"REFCOUNT is the pods that have the identity. SCOPE is \"reserved\", \"cluster\", or\n"+
			"\"node\": a number of this node only, until the cluster has one for these labels.",
		"  weir identity list\n  weir identity list k8s:app=web\n  weir identity list app=web io.kubernetes.pod.namespace=default")
	one := described(verb(env, "get ID", "Show the labels of one identity, and which policies tell it apart", cobra.ExactArgs(1), identityGet),
		"Show the labels of one identity, and the selectors of this node's policies that it\n"+
			"meets: what may reach or be reached by these pods depends on nothing else.",
		"  weir identity get 257\n  weir identity get world")
	return noun("identity", "Sets of labels, and their numbers", all, one)
}

func identityList(ctx context.Context, env *Env, labels []string) error {
	all, err := list[agent.Identity](ctx, env, agent.PathIdentities)
	if err != nil {
		return err
	}
	for i := range all {
		all[i].Labels, all[i].Selectors = some(all[i].Labels), some(all[i].Selectors)
	}
	rows := some(slices.DeleteFunc(all, func(i agent.Identity) bool { return !hasLabels(i.Labels, labels) }))
	return env.show(rows, func(w io.Writer) { identityGrid(rows).print(w, "") })
}

// hasLabels reports whether every wanted label is among have. One without a
// source is meant whatever its source is.
func hasLabels(have, wanted []string) bool {
	for _, want := range wanted {
		found := slices.ContainsFunc(have, func(label string) bool {
			_, name, _ := strings.Cut(label, ":")
			return label == want || name == want
		})
		if !found {
			return false
		}
	}
	return true
}

// identityGrid has one label on each line, as label lists are long.
func identityGrid(all []agent.Identity) grid {
	g := grid{{"ID", "LABELS", "REFCOUNT", "SCOPE"}}
	for _, i := range all {
		g.add(number(i.ID), at(i.Labels, 0), strconv.Itoa(i.Refs), i.Scope)
		for n := 1; n < len(i.Labels); n++ {
			g.add("", i.Labels[n])
		}
	}
	return g
}

func identityGet(ctx context.Context, env *Env, args []string) error {
	what := args[0]
	id, err := strconv.ParseUint(what, 10, 32)
	numeric := err == nil
	if !numeric && (what == "" || what[0] >= '0' && what[0] <= '9' || what[0] == '-') {
		return usage{fmt.Errorf("%q is not an identity: give its number (257), or the name of a reserved one (world)", what)}
	}
	all, err := list[agent.Identity](ctx, env, agent.PathIdentities)
	if err != nil {
		return err
	}
	name := reservedSource + strings.TrimPrefix(what, reservedSource)
	for _, i := range all {
		if numeric && uint64(i.ID) == id || !numeric && slices.Equal(i.Labels, []string{name}) {
			i.Selectors = some(i.Selectors)
			return env.show(i, func(w io.Writer) { identityLines(i).print(w, "") })
		}
	}
	return fmt.Errorf("no identity %q on this node: weir identity list shows all", what)
}

func identityLines(i agent.Identity) grid {
	g := grid{{"ID:", number(i.ID)}, {"Scope:", i.Scope}, {"Pods:", strconv.Itoa(i.Refs)}}
	g.addList("Labels:", i.Labels)
	if len(i.Selectors) == 0 {
		g.add("Selectors:", "none: no policy of this node tells it from others")
		return g
	}
	g.addList("Selectors:", i.Selectors)
	return g
}

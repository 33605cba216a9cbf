package cli

import (
	"context"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

// inForce is the state of a policy that is compiled into the maps.
const inForce = "in force"

func policyCommand(env *Env) *cobra.Command {
	return noun("policy", "Who may reach whom, and why", policyListCommand(env), policyGetCommand(env), explainCommand(env), traceCommand(env), replayCommand(env))
}

func policyListCommand(env *Env) *cobra.Command {
	problems := false
	c := described(verb(env, "list", "List the objects that make policies, and whether they are in force", cobra.NoArgs,
		func(ctx context.Context, env *Env, _ []string) error { return policyList(ctx, env, problems) }),
		"List the objects that make policies. ENDPOINTS is how many of this node each selects.\n\n"+
			"A refused object says which field is wrong, and why; its last good version, if there was\n"+
			"one, stays in force. Rules that need what this version does not have stand below their\n"+
			"object: they allow nothing.",
		"  weir policy list\n  weir policy list --problems")
	c.Flags().BoolVar(&problems, "problems", false, "only what is not in force as it is written")
	return c
}

func policyList(ctx context.Context, env *Env, problems bool) error {
	all, err := list[agent.Policy](ctx, env, agent.PathPolicies)
	if err != nil {
		return err
	}
	rows := some(slices.DeleteFunc(all, func(p agent.Policy) bool {
		return problems && p.State == inForce && len(policyMessages(p)) == 0
	}))
	for i := range rows {
		rows[i].Endpoints = some(rows[i].Endpoints)
	}
	return env.show(rows, func(w io.Writer) { policyGrid(rows).print(w, "") })
}

// policyMessages are what is to be said of an object, and then of its rules.
func policyMessages(p agent.Policy) []string {
	var out []string
	if p.Message != "" {
		out = append(out, p.Message)
	}
	for _, c := range p.Conditions {
		out = append(out, c.Rule+": "+c.Message)
	}
	return out
}

func policyGrid(all []agent.Policy) grid {
	g := grid{{"KIND", "NAMESPACE", "NAME", "STATE", "RULES", "ENDPOINTS", "MESSAGE"}}
	for _, p := range all {
		messages := policyMessages(p)
		g.add(p.Kind, p.Namespace, p.Name, p.State, strconv.Itoa(p.Rules), strconv.Itoa(len(p.Endpoints)), at(messages, 0))
		for i := 1; i < len(messages); i++ {
			g.add("", "", "", "", "", "", messages[i])
		}
	}
	return g
}

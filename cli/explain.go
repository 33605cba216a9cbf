package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

// The verdicts of the agent that have an exit code of their own.
const (
	verdictAllowed = "allowed"
	verdictDenied  = "denied"
)

func explainCommand(env *Env) *cobra.Command {
	return described(verb(env, "explain POD PEER[:PORT[/PROTO]]", "Say whether a connection from POD to PEER is allowed, and which rule decides", cobra.ExactArgs(2), explain),
		"Say what would become of a connection from POD to PEER, by the rules in force on this\n"+
			"node: the verdict, then the rule that decides at each end and the objects it comes from.\n"+
			"Where no rule allows it: the rule that came nearest, and the field on which it failed.\n\n"+
			"POD and PEER are NAMESPACE/POD, an address, host, world or identity:NUMBER; either may\n"+
			"stand first. PORT needs no PROTO when it is TCP. ICMP alone is an echo request, :8/ICMP\n"+
			"names a type. Without a port only rules that speak of every port count.\n\n"+
			"An end on another node is judged there: ask its agent for the other half.\n\n"+
			"Exit code: 0 allowed, 1 denied, 2 not known or wrong usage.",
		"  weir policy explain default/web default/db:5432\n  weir policy explain default/web 192.0.2.7:53/UDP\n"+
			"  weir policy explain world default/web:80\n  weir policy explain default/web '[fd00::7]:443'\n  weir policy explain host default/web:ICMP")
}

// askBetween asks the agent about the two ends that args name: POD PEER[:PORT[/PROTO]].
func askBetween(ctx context.Context, env *Env, args []string, path string, reply any) (target, error) {
	from, err := parsePeer(args[0])
	if err != nil {
		return target{}, usage{err}
	}
	to, err := parseTarget(args[1])
	if err != nil {
		return target{}, usage{err}
	}
	request := agent.ExplainRequest{From: from, To: to.peer, Proto: to.proto, Port: to.port}
	if err := env.agent.Post(ctx, path, request, reply); err != nil {
		return target{}, undecided{err}
	}
	return to, nil
}

func explain(ctx context.Context, env *Env, args []string) error {
	var e agent.Explanation
	to, err := askBetween(ctx, env, args, agent.PathPolicyExplain, &e)
	if err != nil {
		return err
	}
	e.From.Labels, e.To.Labels = some(e.From.Labels), some(e.To.Labels)
	e.Egress.Origin, e.Ingress.Origin = some(e.Egress.Origin), some(e.Ingress.Origin)
	if err := env.show(e, func(w io.Writer) { printExplanation(w, e, to) }); err != nil {
		return undecided{err}
	}
	switch e.Verdict {
	case verdictAllowed:
		return nil
	case verdictDenied:
		return unhealthy{}
	}
	return undecided{fmt.Errorf("the verdict is %q: neither end is an endpoint of this node; ask the agent of the node that has one", e.Verdict)}
}

func printExplanation(w io.Writer, e agent.Explanation, asked target) {
	fmt.Fprintf(w, "%s: %s -> %s %s\n", e.Verdict, e.From.Name, e.To.Name, portText(e.Port, e.Proto))
	if asked.proto == "" && asked.port == 0 {
		fmt.Fprintln(w, "No port was given: only rules that speak of every port count.")
	}
	if e.Note != "" {
		fmt.Fprintln(w, e.Note)
	}
	printJudgement(w, "Egress of ", e.From, e.Egress)
	printJudgement(w, "Ingress of ", e.To, e.Ingress)
}

// portText is a port as rules write it. Of ICMP it is the type, which may be 0.
func portText(port uint16, proto string) string {
	switch {
	case strings.HasPrefix(proto, "ICMP"):
		return fmt.Sprintf("type %d/%s", port, proto)
	case port == 0:
		return "ANY/" + proto
	}
	return fmt.Sprintf("%d/%s", port, proto)
}

func printJudgement(w io.Writer, direction string, end agent.ExplainedEnd, j agent.Judgement) {
	fmt.Fprintf(w, "\n%s%s: %s\n", direction, end.Name, judgement(j))
	var g grid
	if end.IP != "" && end.IP != end.Name {
		g.add("Address:", end.IP)
	}
	if end.Endpoint != 0 {
		g.add("Endpoint:", number(end.Endpoint))
	}
	g.add("Identity:", strings.TrimSpace(number(end.Identity)+gap+strings.Join(end.Labels, " ")))
	if j.Rule != "" {
		g.add("Rule:", j.Rule)
	}
	if len(j.Origin) > 0 {
		g.addList(originLabel(j), j.Origin)
	}
	if j.Nearest != "" {
		g.add("Nearest rule:", j.Nearest)
	}
	if j.Missed != "" {
		g.add("Failed on:", j.Missed)
	}
	g.print(w, "  ")
}

// originLabel says what the objects did: they have the rule that decided, or
// isolate an end for which no rule did.
func originLabel(j agent.Judgement) string {
	if j.Rule == "" {
		return "Isolated by:"
	}
	return "From:"
}

func judgement(j agent.Judgement) string {
	switch {
	case !j.Known:
		return "not judged here: no policy of this node is about it"
	case j.Verdict == verdictDenied && j.Rule == "":
		return "denied: no rule allows it"
	case j.Verdict == verdictDenied:
		return "denied by a rule"
	case j.Rule != "":
		return "allowed by a rule"
	case !j.Enforced:
		return "allowed: it is not isolated in this direction"
	}
	return j.Verdict
}

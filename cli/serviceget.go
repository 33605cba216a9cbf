package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func serviceGetCommand(env *Env) *cobra.Command {
	return described(verb(env, "get NAMESPACE/NAME", "Show everything about one service, and why an endpoint is not used", cobra.ExactArgs(1), serviceGet),
		"Show everything about one service on this node: its policies, and port by port its\n"+
			"frontends and endpoints. INSIDE is who clients of the ClusterIP may get, OUTSIDE who\n"+
			"others may get; of whoever is not chosen it says why.",
		"  weir service get default/web\n  weir service get kube-system/kube-dns -o json")
}

func serviceGet(ctx context.Context, env *Env, args []string) error {
	name := args[0]
	if !strings.Contains(name, "/") {
		name = "default/" + name // as kubectl takes a name
	}
	if !podPattern.MatchString(name) {
		return usage{fmt.Errorf("%q is not a service: write NAMESPACE/NAME", args[0])}
	}
	var s agent.Service
	if err := env.agent.Get(ctx, agent.PathServices+"/"+name, &s); err != nil {
		return err
	}
	return env.show(s, func(w io.Writer) { printService(w, s) })
}

func printService(w io.Writer, s agent.Service) {
	serviceGrid(s).print(w, "")
	for _, p := range s.Ports {
		printServicePort(w, p)
	}
	if len(s.Problems) > 0 {
		fmt.Fprintln(w, "\nProblems:")
		for _, p := range s.Problems {
			fmt.Fprintln(w, "  "+p)
		}
	}
}

func serviceGrid(s agent.Service) grid {
	kind, affinity := s.Type, "none"
	if kind == "" {
		kind = "none (headless, or a name of elsewhere): it has no frontends"
	}
	if s.Affinity > 0 {
		affinity = "by client address, " + (time.Duration(s.Affinity) * time.Second).String()
	}
	g := grid{{"Service:", s.Namespace + "/" + s.Name}, {"Type:", kind}}
	some := func(label string, list []string) {
		if len(list) > 0 {
			g.add(label, strings.Join(list, ", "))
		}
	}
	some("Cluster IPs:", s.ClusterIPs)
	some("External IPs:", s.ExternalIPs)
	some("Load balancer IPs:", s.LoadBalancerIPs)
	some("Source ranges:", s.SourceRanges)
	g.add("Internal traffic policy:", s.InternalPolicy)
	g.add("External traffic policy:", s.ExternalPolicy)
	if s.Distribution != "" {
		g.add("Traffic distribution:", s.Distribution)
	}
	g.add("Session affinity:", affinity)
	g.add("Publish unready:", yes(s.PublishUnready))
	if s.HealthPort != 0 {
		g.add("Health check port:", strconv.Itoa(int(s.HealthPort)))
	}
	g.add("Algorithm:", s.Algorithm)
	g.add("Forwarding:", s.Forwarding)
	return g
}

func printServicePort(w io.Writer, p agent.ServicePort) {
	title := fmt.Sprintf("Port %s (%s)", p.Port, p.Family)
	if p.Name != "" {
		title = fmt.Sprintf("Port %s, %s (%s)", p.Name, p.Port, p.Family)
	}
	title += ", id " + number(p.ID)
	if p.NodePort != 0 {
		title += ", node port " + strconv.Itoa(int(p.NodePort))
	}
	if p.Hints != "" {
		title += ", topology hints for this " + p.Hints
	}
	fmt.Fprintf(w, "\n%s\n", title)
	frontends := grid{{"FRONTEND", "ID", "TYPE", "INSIDE", "OUTSIDE", "FLAGS"}}
	for _, f := range p.Frontends {
		if f.Instead != "" {
			frontends.add(f.Frontend, "-", f.Type, "-", "-", "it is "+f.Instead+"'s")
			continue
		}
		frontends.add(f.Frontend, number(f.ID), f.Type, strconv.Itoa(f.Inside), strconv.Itoa(f.Outside), strings.Join(f.Flags, ","))
	}
	frontends.print(w, "  ")
	if len(p.Endpoints) == 0 {
		fmt.Fprintln(w, "  no endpoints")
		return
	}
	endpoints := grid{{"ENDPOINT", "ID", "STATE", "NODE", "ZONE", "SLICE", "INSIDE", "OUTSIDE", "WHY NOT"}}
	for _, e := range p.Endpoints {
		endpoints.add(e.Backend, number(e.ID), e.State, e.Node, e.Zone, e.Slice, yes(e.Inside), yes(e.Outside), whyNot(e))
	}
	endpoints.print(w, "  ")
}

func whyNot(e agent.ServiceEndpoint) string {
	switch {
	case e.NotInside == e.NotOutside || e.NotOutside == "" && !e.Outside:
		return e.NotInside
	case e.NotInside == "":
		return "outside: " + e.NotOutside
	case e.NotOutside == "":
		return "inside: " + e.NotInside
	}
	return "inside: " + e.NotInside + "; outside: " + e.NotOutside
}

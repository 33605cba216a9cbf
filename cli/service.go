package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

// servicesWanted is what `weir service list` was asked to show.
type servicesWanted struct {
	namespace, name string
	problems        bool
}

func (s servicesWanted) keeps(namespace, name string) bool {
	return (s.namespace == "" || s.namespace == namespace) && (s.name == "" || s.name == name)
}

func serviceCommand(env *Env) *cobra.Command {
	var s servicesWanted
	c := described(verb(env, "list", "List the frontends of services, with their backends", cobra.NoArgs,
		func(ctx context.Context, env *Env, _ []string) error { return serviceList(ctx, env, s) }),
		"List the frontends of services, and of HostPorts of this node's pods, that are in the\n"+
			"maps, with the backends that new connections may get, and those that drain. 0.0.0.0 and\n"+
			"[::] stand for every address of any node, with a HostPort of this one. weir service get says why an endpoint is not among the backends.",
		"  weir service list\n  weir service list --namespace kube-system --name kube-dns\n  weir service list --problems")
	c.Flags().StringVar(&s.namespace, "namespace", "", "only those of services in this namespace")
	c.Flags().StringVar(&s.name, "name", "", "only those of services of this name")
	c.Flags().BoolVar(&s.problems, "problems", false, "list what of services is not in force, and why")
	return noun("service", "Services and their backends", c, serviceGetCommand(env))
}

func serviceList(ctx context.Context, env *Env, want servicesWanted) error {
	var all agent.Services
	if err := env.agent.Get(ctx, agent.PathServices, &all); err != nil {
		return err
	}
	if want.problems {
		list := some(slices.DeleteFunc(all.Problems, func(p agent.ServiceProblem) bool { return !want.keeps(p.Namespace, p.Name) }))
		return env.show(list, func(w io.Writer) { serviceProblemGrid(list).print(w, "") })
	}
	list := some(slices.DeleteFunc(all.Frontends, func(f agent.Frontend) bool { return !want.keeps(f.Namespace, f.Name) }))
	for i := range list {
		list[i].Backends = some(list[i].Backends)
	}
	return env.show(list, func(w io.Writer) {
		if !all.Replacement {
			fmt.Fprintln(w, "kubeProxyReplacement is false: services are kube-proxy's.")
			return
		}
		frontendGrid(list).print(w, "")
	})
}

// frontendGrid has one backend on each line.
func frontendGrid(all []agent.Frontend) grid {
	g := grid{{"ID", "Frontend", "Service Type", "Backend"}}
	for _, f := range all {
		first := ""
		if len(f.Backends) > 0 {
			first = backendLine(1, f.Backends[0])
		}
		g.add(number(f.ID), f.Frontend, f.Type, first)
		for i := 1; i < len(f.Backends); i++ {
			g.add("", "", "", backendLine(i+1, f.Backends[i]))
		}
	}
	return g
}

func backendLine(i int, b agent.BackendName) string {
	return fmt.Sprintf("%d => %s (%s)", i, b.Backend, b.State)
}

func serviceProblemGrid(all []agent.ServiceProblem) grid {
	g := grid{{"Service", "Problem"}}
	for _, p := range all {
		owner := p.Namespace + "/" + p.Name
		if p.Pod {
			owner = "pod " + owner
		}
		g.add(owner, p.Problem)
	}
	return g
}

func backendCommand(env *Env) *cobra.Command {
	return noun("backend", "Endpoints that stand for services", verb(env, "list", "List the backends of all services", cobra.NoArgs, backendList))
}

func backendList(ctx context.Context, env *Env, _ []string) error {
	all, err := list[agent.Backend](ctx, env, agent.PathBackends)
	if err != nil {
		return err
	}
	return env.show(all, func(w io.Writer) {
		g := grid{{"ID", "Backend", "State", "Generation", "Services"}}
		for _, b := range all {
			g.add(number(b.ID), b.Backend, b.State, number(b.Generation), strings.Join(b.Services, ", "))
		}
		g.print(w, "")
	})
}

// serviceLines are about services, as far as the agent knows them.
func serviceLines(g *grid, s agent.Status) {
	x := s.Services
	if x == nil {
		return
	}
	if !x.Replacement {
		g.add("KubeProxyReplacement:", "False")
		return
	}
	names := make([]string, 0, len(s.Devices))
	for _, d := range s.Devices {
		text := strings.Join(append([]string{d.Name}, d.Addrs...), " ")
		if d.Name == x.DirectRouting {
			text += " (Direct Routing)"
		}
		names = append(names, text)
	}
	g.add("KubeProxyReplacement:", "True"+gap+"["+strings.Join(names, ", ")+"]")
	if x.Acceleration != "" {
		g.add("XDP Acceleration:", x.Acceleration)
	}
	text := fmt.Sprintf("%s, %s, %s", count(x.Services, "service"), count(x.Frontends, "frontend"), count(x.Backends, "backend"))
	if x.Problems > 0 {
		text += fmt.Sprintf(", %s (weir service list --problems)", count(x.Problems, "problem"))
	}
	g.add("Services:", text)
	g.add("Health checks:", healthChecks(*x))
}

// healthChecks says who answers load balancers' questions.
func healthChecks(x agent.ServicesStatus) string {
	node := "node Disabled"
	switch {
	case x.HealthzError != "":
		node = "node not answered (" + x.HealthzError + ")"
	case x.Healthz != "":
		node = "node at " + x.Healthz
	}
	return node + ", " + count(x.HealthChecks, "service port")
}

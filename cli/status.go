package cli

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func statusCommand(env *Env) *cobra.Command {
	verbose, local := false, false
	c := verb(env, "status", "Show how the agent and its datapath are doing", cobra.NoArgs,
		func(ctx context.Context, env *Env, _ []string) error { return status(ctx, env, verbose, local) })
	c.Long = "Show how the agent and its datapath are doing. Exit code 1 when something is amiss."
	c.Flags().BoolVar(&verbose, "verbose", false, "add details of services, controllers, programs, maps, and the health of each node")
	c.Flags().BoolVar(&local, "local", false, "exit code 1 for what is amiss on this node alone: not for a Kubernetes API server that is away")
	return c
}

func status(ctx context.Context, env *Env, verbose, local bool) error {
	var s agent.Status
	if err := env.agent.Get(ctx, agent.PathStatus, &s); err != nil {
		return err
	}
	var more details
	if verbose && env.output == outputTable {
		var err error
		if more, err = moreDetails(ctx, env); err != nil {
			return err
		}
	}
	err := env.show(s, func(w io.Writer) {
		statusLines(s, env.Now()).print(w, "")
		printNotes(w, s)
		if verbose {
			more.print(w, s, env.Now())
		}
	})
	if err == nil && !s.OK && !(local && works(s)) {
		return unhealthy{}
	}
	return err
}

// works reports whether the node does its part with what it knows.
func works(s agent.Status) bool {
	return s.Datapath.OK && s.Controllers.Healthy == s.Controllers.Total
}

// statusLines are the lines of one label and one value each: those that the field
// knows, in its order, and Weir's own where they belong.
func statusLines(s agent.Status, now time.Time) grid {
	var g grid
	absentLines(&g, s, "KVStore")
	label, message := "Source:", s.Source.Message
	if rest, ok := strings.CutPrefix(message, "Kubernetes"); ok {
		label, message = "Kubernetes:", strings.TrimLeft(rest, ": ")
	}
	g.add(label, word(s.Source.OK)+gap+message)
	if len(s.KubernetesAPIs) > 0 {
		g.add("Kubernetes APIs:", `["`+strings.Join(s.KubernetesAPIs, `", "`)+`"]`)
	}
	serviceLines(&g, s)
	l2Line(&g, s)
	policyLines(&g, s)
	absentLines(&g, s, "SRv6", "CNI Chaining")
	g.add("CNI Config file:", s.CNIConfig)
	g.add("Weir:", word(s.OK)+gap+version(s.Version, s.Commit))
	g.add("Node:", fmt.Sprintf("%s%s(cluster %s, agent started %s)", s.Node, gap, s.Cluster, ago(s.Started, now)))
	g.add("NodeMonitor:", monitorText(s.Monitor))
	g.add("Weir health daemon:", healthDaemon(s.Health))
	g.add("IPAM:", pools(s.IPAM))
	g.add("Endpoints:", strconv.Itoa(s.Endpoints))
	absentLines(&g, s, "IPv4 BIG TCP", "IPv6 BIG TCP", "BandwidthManager")
	routingLines(&g, s)
	masqueradeLine(&g, s)
	if s.ClockSource != "" {
		g.add("Clock Source for BPF:", s.ClockSource)
	}
	g.add("BPF root:", s.BPFRoot)
	g.add("Controller Status:", fmt.Sprintf("%d/%d healthy", s.Controllers.Healthy, s.Controllers.Total))
	for _, c := range s.Controllers.All {
		if c.LastError != "" {
			g.add("", c.Name+": "+strings.ReplaceAll(c.LastError, "\n", "; "))
		}
	}
	absentLines(&g, s, "Proxy Status")
	if i := s.Identities; i != nil {
		g.add("Global Identity Range:", fmt.Sprintf("min %d, max %d", i.Min, i.Max))
	}
	g.add("Hubble:", flows(s.Flows))
	absentLines(&g, s, "Encryption", "ClusterMesh")
	g.add("Cluster health:", cluster(s.Health))
	g.add("Kernel:", s.Kernel)
	return g
}

// absentLines say of features that the agent does not have that they are off.
func absentLines(g *grid, s agent.Status, names ...string) {
	for _, name := range names {
		for _, a := range s.Absent {
			if a.Name == name {
				g.add(name+":", a.State)
			}
		}
	}
}

// routingLines are about the way of packets.
func routingLines(g *grid, s agent.Status) {
	r := s.Routing
	g.add("Routing:", "Network: "+r.Mode+gap+"Host: "+r.Host)
	if r.TunnelPort != 0 {
		g.add("Tunnel port:", strconv.Itoa(r.TunnelPort))
	}
	if r.NativeIPv4 != "" {
		g.add("IPv4 native routing CIDR:", r.NativeIPv4)
	}
	if r.NativeIPv6 != "" {
		g.add("IPv6 native routing CIDR:", r.NativeIPv6)
	}
	g.add("Host Routing:", r.Host)
	g.add("Attach Mode:", r.AttachMode)
	if r.DeviceMode != "" {
		g.add("Device Mode:", r.DeviceMode)
	}
	g.add("Devices:", devices(s.Devices))
	g.add("Route MTU:", strconv.Itoa(r.RouteMTU))
	g.add("Datapath:", word(s.Datapath.OK)+gap+s.Datapath.Message)
}

// monitorText is how events come to the agent: "Listening for events on 2 CPUs with
// 64x4096 of shared memory", and what was lost, if anything was.
func monitorText(m agent.MonitorStatus) string {
	if !m.Listening {
		return "Disabled" + gap + "(the agent does not read events yet)"
	}
	text := fmt.Sprintf("Listening for events on %s with %dx%d of shared memory", count(m.CPUs, "CPU"), m.Pages, m.PageSize)
	if m.Lost > 0 || m.Unknown > 0 {
		text += fmt.Sprintf("%s%s lost, %s", gap, count(int(m.Lost), "event"), count(int(m.Unknown), "unknown notification"))
	}
	return text
}

func healthDaemon(h agent.HealthStatus) string {
	switch {
	case !h.Enabled:
		return "Disabled"
	case h.Daemon.OK:
		return "Ok"
	}
	return "Failure" + gap + strings.ReplaceAll(h.Daemon.Message, "\n", "; ")
}

// flows is how many flows the agent remembers.
func flows(f *agent.FlowsStatus) string {
	switch {
	case f == nil:
		return "Disabled"
	case !f.OK:
		return "Failure" + gap + f.Message
	}
	full := 0.0
	if f.Max > 0 {
		full = 100 * float64(f.Current) / float64(f.Max)
	}
	where := "node's socket"
	if f.Address != "" {
		where = f.Address
	}
	return fmt.Sprintf("Ok%sCurrent/Max Flows: %d/%d (%.2f%%), Flows/s: %.2f%sMetrics: %s%s[%s]", gap, f.Current, f.Max, full, f.PerSecond, gap,
		map[bool]string{true: "Ok", false: "Disabled"}[f.Metrics], gap, where)
}

// policyLines are about connections and policy, as far as the agent knows them.
func policyLines(g *grid, s agent.Status) {
	if c := s.Connections; c != nil {
		g.add("Connections:", fmt.Sprintf("%d/%d (limit %d, %s)", c.Count, c.Capacity, c.Limit, percent(c.Pressure)))
	}
	if p := s.Policy; p != nil {
		g.add("Policy:", policySummary(*p))
		firewall := "Disabled"
		if p.HostFirewall {
			names := make([]string, 0, len(s.Devices))
			for _, d := range s.Devices {
				names = append(names, d.Name)
			}
			firewall = "Enabled" + gap + "[" + strings.Join(names, ", ") + "]"
		}
		g.add("Host firewall:", firewall)
	}
	if i := s.Identities; i != nil {
		g.add("Identities:", fmt.Sprintf("%d of the cluster, %d of this node", i.Cluster, i.Local))
	}
}

// policySummary names what is not as it is written only where there is any.
func policySummary(p agent.PolicyStatus) string {
	out := fmt.Sprintf("%d in force, %d refused", p.InForce, p.Refused)
	if p.NotEnforced > 0 {
		out += fmt.Sprintf(", %d not enforced", p.NotEnforced)
	}
	if p.Partly > 0 {
		out += fmt.Sprintf(", %d with rules that are not enforced yet", p.Partly)
	}
	if p.Refused+p.NotEnforced+p.Partly > 0 {
		out += " (weir policy list)"
	}
	if p.Mode != "" && p.Mode != "default" {
		out += gap + "Enforcement mode: " + p.Mode
	}
	return out
}

// percent writes a share of one.
func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

func word(ok bool) string {
	if ok {
		return "Ok"
	}
	return "Failure"
}

func version(version, commit string) string {
	if commit == "" {
		return version
	}
	return version + " (" + commit + ")"
}

// pools lists the pod CIDRs under their family: "IPv4: 6/254 allocated from
// 10.0.0.0/24, 0/254 allocated from 10.0.7.0/24, IPv6: ...".
func pools(all []agent.PoolStatus) string {
	if len(all) == 0 {
		return "no pod CIDR yet"
	}
	out, family := make([]string, 0, len(all)), ""
	for _, p := range all {
		text := fmt.Sprintf("%d/%s allocated from %s", p.Allocated, capacity(p), p.CIDR)
		if p.Family != family {
			text, family = p.Family+": "+text, p.Family
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// capacity writes numbers that the agent could only saturate as powers of two.
func capacity(p agent.PoolStatus) string {
	prefix, err := netip.ParsePrefix(p.CIDR)
	if err != nil || p.Capacity < math.MaxInt64 {
		return strconv.FormatUint(p.Capacity, 10)
	}
	return "2^" + strconv.Itoa(prefix.Addr().BitLen()-prefix.Bits())
}

func devices(all []agent.DeviceStatus) string {
	if len(all) == 0 {
		return "none"
	}
	out := make([]string, 0, len(all))
	for _, d := range all {
		out = append(out, fmt.Sprintf("%s (%s)", strings.Join(append([]string{d.Name}, d.Addrs...), " "), "MTU "+strconv.Itoa(d.MTU)))
	}
	return strings.Join(out, ", ")
}

func cluster(h agent.HealthStatus) string {
	if !h.Enabled {
		return "Disabled"
	}
	if h.LastProbe.IsZero() {
		return fmt.Sprintf("%d/%d reachable%s(not probed yet)", h.Reachable, h.Total, gap)
	}
	return fmt.Sprintf("%d/%d reachable%s(%s)", h.Reachable, h.Total, gap, h.LastProbe.UTC().Format(time.RFC3339))
}

// printNotes adds what asks for somebody's attention, if anything does.
func printNotes(w io.Writer, s agent.Status) {
	if len(s.Problems) > 0 {
		fmt.Fprintln(w, "Problems:"+gap+count(len(s.Problems), "object")+" refused")
		problemGrid(s.Problems).print(w, "  ")
	}
	if len(s.Warnings) > 0 {
		fmt.Fprintln(w, "Warnings:"+gap+strconv.Itoa(len(s.Warnings)))
		for _, warning := range s.Warnings {
			fmt.Fprintln(w, "  "+warning)
		}
	}
}

func problemGrid(all []agent.Problem) grid {
	var g grid
	for _, p := range all {
		place := p.File
		if p.Line > 0 {
			place = fmt.Sprintf("%s:%d", p.File, p.Line)
		}
		g.add(p.Object, place, p.Error)
	}
	return g
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// ago is a time as people say it.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return now.Sub(t).Round(time.Second).String() + " ago"
}

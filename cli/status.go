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
	verbose := false
	c := verb(env, "status", "Show how the agent and its datapath are doing", cobra.NoArgs,
		func(ctx context.Context, env *Env, _ []string) error { return status(ctx, env, verbose) })
	c.Long = "Show how the agent and its datapath are doing. Exit code 1 when something is amiss."
	c.Flags().BoolVar(&verbose, "verbose", false, "add controllers, programs and the health of each node")
	return c
}

func status(ctx context.Context, env *Env, verbose bool) error {
	var s agent.Status
	if err := env.agent.Get(ctx, agent.PathStatus, &s); err != nil {
		return err
	}
	var peers []agent.Peer
	if verbose && env.output == outputTable {
		var err error
		if peers, err = list[agent.Peer](ctx, env, agent.PathHealth); err != nil {
			return err
		}
	}
	err := env.show(s, func(w io.Writer) {
		statusLines(s, env.Now()).print(w, "")
		printNotes(w, s)
		if verbose {
			printDetails(w, s, peers, env.Now())
		}
	})
	if err == nil && !s.OK {
		return unhealthy{}
	}
	return err
}

// statusLines are the lines of one label and one value each.
func statusLines(s agent.Status, now time.Time) grid {
	var g grid
	label, message := "Source:", s.Source.Message
	if rest, ok := strings.CutPrefix(message, "Kubernetes"); ok {
		label, message = "Kubernetes:", strings.TrimSpace(rest)
	}
	g.add(label, word(s.Source.OK)+gap+message)
	if len(s.KubernetesAPIs) > 0 {
		g.add("Kubernetes APIs:", `["`+strings.Join(s.KubernetesAPIs, `", "`)+`"]`)
	}
	g.add("Weir:", word(s.OK)+gap+version(s.Version, s.Commit))
	g.add("Node:", fmt.Sprintf("%s%s(cluster %s, agent started %s)", s.Node, gap, s.Cluster, ago(s.Started, now)))
	g.add("CNI Config file:", s.CNIConfig)
	g.add("IPAM:", pools(s.IPAM))
	g.add("Endpoints:", strconv.Itoa(s.Endpoints))
	g.add("Routing:", "Network: "+s.Routing.Mode+gap+"Host: "+s.Routing.Host)
	if s.Routing.TunnelPort != 0 {
		g.add("Tunnel port:", strconv.Itoa(s.Routing.TunnelPort))
	}
	if s.Routing.NativeIPv4 != "" {
		g.add("IPv4 native routing CIDR:", s.Routing.NativeIPv4)
	}
	if s.Routing.NativeIPv6 != "" {
		g.add("IPv6 native routing CIDR:", s.Routing.NativeIPv6)
	}
	g.add("Host Routing:", s.Routing.Host)
	g.add("Attach Mode:", s.Routing.AttachMode)
	g.add("Devices:", devices(s.Devices))
	g.add("Route MTU:", strconv.Itoa(s.Routing.RouteMTU))
	g.add("Datapath:", word(s.Datapath.OK)+gap+s.Datapath.Message)
	serviceLines(&g, s)
	l2Line(&g, s)
	masqueradeLine(&g, s)
	policyLines(&g, s)
	flowsLine(&g, s)
	g.add("BPF root:", s.BPFRoot)
	g.add("Controller Status:", fmt.Sprintf("%d/%d healthy", s.Controllers.Healthy, s.Controllers.Total))
	for _, c := range s.Controllers.All {
		if c.LastError != "" {
			g.add("", c.Name+": "+strings.ReplaceAll(c.LastError, "\n", "; "))
		}
	}
	g.add("Cluster health:", cluster(s.Health))
	g.add("Kernel:", s.Kernel)
	return g
}

// flowsLine has the field's name for them.
func flowsLine(g *grid, s agent.Status) {
	f := s.Flows
	if f == nil {
		g.add("Hubble:", "Disabled")
		return
	}
	share := 0.0
	if f.Max > 0 {
		share = 100 * float64(f.Current) / float64(f.Max)
	}
	where := "node's socket"
	if f.Address != "" {
		where = f.Address
	}
	word := "Ok"
	if f.Error != "" {
		word, where = "Warning", f.Error
	}
	g.add("Hubble:", fmt.Sprintf("%s%sCurrent/Max Flows: %d/%d (%.2f%%), Flows/s: %.2f%s[%s]", word, gap, f.Current, f.Max, share, f.Rate, gap, where))
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
		g.add("Global Identity Range:", fmt.Sprintf("min %d, max %d", i.Min, i.Max))
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

func printDetails(w io.Writer, s agent.Status, peers []agent.Peer, now time.Time) {
	controllers := grid{{"Name", "Last success", "Runs", "Failures", "Last error"}}
	for _, c := range s.Controllers.All {
		controllers.add(c.Name, ago(c.LastSuccess, now), strconv.FormatUint(c.Runs, 10), strconv.FormatUint(c.Failures, 10), c.LastError)
	}
	programs := grid{{"Device", "Direction", "Program", "ID", "Attached", "Error"}}
	for _, p := range s.Programs {
		programs.add(p.Device, p.Direction, p.Name, strconv.FormatUint(uint64(p.ProgramID), 10), yes(p.Attached), p.Error)
	}
	if s.Services != nil && s.Services.Replacement {
		fmt.Fprintln(w, "KubeProxyReplacement Details:")
		serviceDetails(s.Services).print(w, "  ")
	}
	fmt.Fprintln(w, "Controllers:")
	controllers.print(w, "  ")
	fmt.Fprintln(w, "Programs:")
	programs.print(w, "  ")
	fmt.Fprintln(w, "Health of nodes:")
	peerGrid(peers).print(w, "  ")
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

package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"weir/api/agent"
)

// details are what `weir status --verbose` asks for beside the status.
type details struct {
	peers []agent.Peer
	maps  []agent.Map
}

func moreDetails(ctx context.Context, env *Env) (d details, err error) {
	if d.peers, err = list[agent.Peer](ctx, env, agent.PathHealth); err != nil {
		return d, err
	}
	d.maps, err = list[agent.Map](ctx, env, agent.PathMaps)
	return d, err
}

func (d details) print(w io.Writer, s agent.Status, now time.Time) {
	if s.Services != nil && s.Services.Replacement {
		fmt.Fprintln(w, "KubeProxyReplacement Details:")
		serviceDetails(s).print(w, "  ")
	}
	fmt.Fprintln(w, "BPF Maps:")
	mapSizes(d.maps).print(w, "  ")
	fmt.Fprintln(w, "Controllers:")
	controllerGrid(s.Controllers.All, now).print(w, "  ")
	fmt.Fprintln(w, "Programs:")
	programGrid(s.Programs).print(w, "  ")
	fmt.Fprintln(w, "Health of nodes:"+interval(s.Health))
	if s.Health.Enabled {
		peerGrid(d.peers).print(w, "  ")
	}
}

func interval(h agent.HealthStatus) string {
	if !h.Enabled {
		return gap + "Disabled"
	}
	return gap + "(Probe interval: " + h.Interval + ")"
}

func controllerGrid(all []agent.Controller, now time.Time) grid {
	g := grid{{"Name", "Last success", "Last error", "Runs", "Failures", "Message"}}
	for _, c := range all {
		g.add(c.Name, ago(c.LastSuccess, now), ago(c.LastFailure, now), strconv.FormatUint(c.Runs, 10), strconv.FormatUint(c.Failures, 10),
			strings.ReplaceAll(c.LastError, "\n", "; "))
	}
	return g
}

func programGrid(all []agent.ProgramStatus) grid {
	g := grid{{"Device", "Direction", "Program", "ID", "Attached", "Error"}}
	for _, p := range all {
		g.add(p.Device, p.Direction, p.Name, strconv.FormatUint(uint64(p.ProgramID), 10), yes(p.Attached), p.Error)
	}
	return g
}

// mapSizes are the maps with how full they are, as far as that is known.
func mapSizes(all []agent.Map) grid {
	g := grid{{"Name", "Size", "Entries"}}
	for _, m := range all {
		entries := "-"
		if m.Entries >= 0 {
			entries = strconv.Itoa(m.Entries)
		}
		g.add(m.Name, strconv.FormatUint(uint64(m.MaxEntries), 10), entries)
	}
	return g
}

// serviceDetails are about what stands in kube-proxy's place, in the words of the
// field.
func serviceDetails(s agent.Status) grid {
	var g grid
	x := s.Services
	word := func(of map[string]string, value string) string { return cmp.Or(of[value], value) }
	g.add("Status:", "True")
	g.add("Socket LB:", enabled(x.SocketLB))
	if x.SocketLB {
		g.add("Socket LB Coverage:", "Full")
	}
	names := make([]string, 0, len(s.Devices))
	for _, d := range s.Devices {
		names = append(names, d.Name)
	}
	g.add("Devices:", strings.Join(names, ", "))
	g.add("Mode:", word(map[string]string{"snat": "SNAT", "dsr": "DSR", "hybrid": "Hybrid"}, x.Mode))
	if x.Dispatch != "" {
		g.add("DSR Dispatch Mode:", word(map[string]string{"opt": "IP Option/Extension"}, x.Dispatch))
	}
	g.add("Backend Selection:", word(map[string]string{"random": "Random", "maglev": "Maglev"}, x.Algorithm))
	g.add("Session Affinity:", "Enabled")
	g.add("XDP Acceleration:", cmp.Or(x.Acceleration, "Disabled"))
	g.add("Services:", "ClusterIP: Enabled")
	g.add("", "NodePort: Enabled"+inRange(x.NodePorts))
	for _, kind := range []string{"LoadBalancer", "externalIPs", "HostPort"} {
		g.add("", kind+": Enabled")
	}
	return g
}

func inRange(ports string) string {
	if ports == "" {
		return ""
	}
	return " (Range: " + ports + ")"
}

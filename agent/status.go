package agent

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	api "weir/api/agent"
	"weir/bpf"
	"weir/datapath"
	"weir/internal/version"
	"weir/state"
)

// status reads every line from the thing it speaks of.
func (a *Agent) status(*http.Request) (api.Status, error) {
	cfg := a.cfg.Config
	s := api.Status{
		Version: version.Version, Commit: version.Commit, Node: cfg.NodeName, Cluster: cfg.Cluster.Name, Started: a.started,
		CNIConfig: a.cniConfig(), BPFRoot: a.dp.Tree().Root(), Endpoints: a.tables.Endpoints.Len(), Kernel: kernelRelease(),
		Devices: []api.DeviceStatus{}, Problems: []api.Problem{}, Warnings: append(append([]string{}, a.warnings...), nodeWarnings(a.tables)...),
		Routing: a.routing(), IPAM: a.poolStatus(), Programs: a.programs(), Controllers: a.controllers(), Health: a.healthStatus(),
	}
	for _, d := range a.tables.Devices.Rows(func(x, y state.Device) int { return cmp.Compare(x.Name, y.Name) }) {
		s.Devices = append(s.Devices, api.DeviceStatus{Name: d.Name, MTU: d.MTU, Addrs: addrs(d)})
	}
	for _, p := range a.tables.Problems.Rows(func(x, y state.Problem) int { return cmp.Compare(x.Key.Object, y.Key.Object) }) {
		s.Problems = append(s.Problems, api.Problem{Object: p.Key.Object, File: p.Key.File, Line: p.Line, Error: p.Error})
	}
	a.sourceStatus(&s)
	if text := confWarning(cfg.CNI.ConfDir); text != "" {
		s.Warnings = append(s.Warnings, text)
	}
	if a.scraped != nil && a.scraped.Failed() != nil {
		s.Warnings = append(s.Warnings, "metrics cannot be scraped: "+a.scraped.Failed().Error())
	}
	s.Datapath = a.datapathCondition(s.Programs)
	s.Connections, s.Policy, s.Identities = a.connectionsStatus(), a.policyStatus(), a.identitiesStatus()
	s.Services, s.Masquerade, s.L2, s.Flows = a.servicesStatus(), a.masqueradeStatus(), a.l2Status(), a.flowsStatus()
	s.Monitor, s.ClockSource, s.Absent = a.monitorStatus(), a.clockSource(), absentFeatures()
	s.OK = s.Source.OK && s.Datapath.OK && s.Controllers.Healthy == s.Controllers.Total
	return s, nil
}

func (a *Agent) datapathCondition(programs []api.ProgramStatus) api.Condition {
	if err := a.explain(a.endpoints.Ready()); err != nil {
		return api.Condition{Message: err.Error()}
	}
	for _, p := range programs {
		if !p.Attached {
			return api.Condition{Message: fmt.Sprintf("%s is not attached to %s: %s", p.Name, p.Device, p.Error)}
		}
	}
	return api.Condition{OK: true, Message: fmt.Sprintf("%d programs attached", len(programs))}
}

func (a *Agent) routing() api.RoutingStatus {
	cfg := a.cfg.Config
	r := api.RoutingStatus{Mode: "Native", Host: "Legacy", AttachMode: "TCX", DeviceMode: "veth"}
	if cfg.RoutingMode == "tunnel" {
		r.Mode, r.TunnelPort = "Tunnel ["+cfg.TunnelProtocol+"]", cfg.TunnelPort
	}
	if a.bpfRouted {
		r.Host = "BPF"
	}
	if a.dp.Mode() == datapath.AttachTC {
		r.AttachMode = "Legacy TC"
	}
	if cfg.IPv4NativeRoutingCIDR.IsValid() {
		r.NativeIPv4 = cfg.IPv4NativeRoutingCIDR.String()
	}
	if cfg.IPv6NativeRoutingCIDR.IsValid() {
		r.NativeIPv6 = cfg.IPv6NativeRoutingCIDR.String()
	}
	r.RouteMTU = a.endpoints.RouteMTU()
	return r
}

func (a *Agent) poolStatus() []api.PoolStatus {
	out := []api.PoolStatus{}
	for _, u := range a.pool.Usage() {
		family := "IPv6"
		if u.CIDR.Addr().Is4() {
			family = "IPv4"
		}
		out = append(out, api.PoolStatus{Family: family, CIDR: u.CIDR.String(), Allocated: u.Allocated, Capacity: u.Capacity})
	}
	return out
}

func (a *Agent) programs() []api.ProgramStatus {
	out := []api.ProgramStatus{}
	for _, at := range a.dp.Attachments() {
		p := api.ProgramStatus{Device: at.Device, Name: at.Program, Direction: at.Direction(), ProgramID: at.ProgramID,
			Kind: string(at.Kind), Attached: at.Err == nil}
		if at.Err != nil {
			p.Error = at.Err.Error()
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(x, y api.ProgramStatus) int {
		return cmp.Or(cmp.Compare(x.Device, y.Device), cmp.Compare(x.Name, y.Name))
	})
	return out
}

func (a *Agent) controllers() api.ControllersStatus {
	s := api.ControllersStatus{All: []api.Controller{}}
	for _, c := range a.tables.Controls.Rows(func(x, y state.ControllerState) int { return cmp.Compare(x.Name, y.Name) }) {
		s.Total++
		if c.Consecutive == 0 {
			s.Healthy++
		}
		s.All = append(s.All, api.Controller{Name: c.Name, Runs: c.Runs, Failures: c.Failures, LastSuccess: c.LastSuccess, LastFailure: c.LastFailure, LastError: c.LastError})
	}
	return s
}

func (a *Agent) healthStatus() api.HealthStatus {
	h := api.HealthStatus{Enabled: a.cfg.Health.Enabled}
	if !h.Enabled {
		return h
	}
	h.Interval, h.Daemon = a.cfg.Health.Interval.String(), a.healthDaemon()
	for _, p := range a.tables.Peers.All() {
		h.Total++
		if p.Reachable() {
			h.Reachable++
		}
		if p.LastProbe.After(h.LastProbe) {
			h.LastProbe = p.LastProbe
		}
	}
	return h
}

// healthDaemon is how this node's own part of the probes does.
func (a *Agent) healthDaemon() api.Condition {
	c, ok := a.tables.Controls.Get("health")
	switch {
	case !ok:
		return api.Condition{Message: "starting"}
	case c.LastError != "":
		return api.Condition{Message: c.LastError}
	}
	return api.Condition{OK: true}
}

func addrs(d state.Device) []string {
	out := []string{}
	for _, p := range d.Addrs {
		out = append(out, p.Addr().String())
	}
	return out
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// config answers `weir config`: what the agent runs with, and every constant
// that the programs were loaded with.
func (a *Agent) config(*http.Request) (api.Config, error) {
	out := api.Config{File: a.cfg.File}
	for _, o := range a.cfg.Options() {
		out.Agent = append(out.Agent, api.Option{Key: o.Key, Value: o.Value, Default: o.Default, From: o.From})
	}
	c := a.dp.Config()
	add := func(key string, value any) {
		out.Datapath = append(out.Datapath, api.Option{Key: key, Value: fmt.Sprint(value)})
	}
	add("router_ipv4", c.RouterIPv4)
	add("router_ipv6", addrText(c.RouterIPv6.Netip()))
	add("node_ipv4", c.NodeIPv4)
	add("node_ipv6", addrText(c.NodeIPv6.Netip()))
	add("build", fmt.Sprintf("%016x", c.Build))
	add("tunnel_ifindex", c.TunnelIfindex)
	add("host_ifindex", c.HostIfindex)
	add("tunnel_mtu", c.TunnelMTU)
	add("vlan_bypass", strings.Trim(fmt.Sprint(c.VLANBypass), "[]"))
	add("ipv4", c.IPv4)
	add("ipv6", c.IPv6)
	add("host_routing", c.HostRouting)
	add("underlay_ipv6", c.UnderlayIPv6)
	add("host_firewall", c.HostFirewall)
	add("tunnel_port", bpf.Host(c.TunnelPort))
	add("services", c.Services)
	add("set_retval", c.SetRetval)
	add("masquerade", c.Masquerade)
	add("l2", c.L2)
	add("acceleration", c.Acceleration)
	add("nat_first", c.NATFirst)
	add("nat_last", c.NATLast)
	add("monitor", c.Monitor)
	add("monitor_rate", c.MonitorRate)
	add("dns", c.DNS)
	add("drop_events", c.DropEvents)
	add("netns", c.Netns)
	add("failsafe", failSafeText(c.Failsafe[:]))
	return out, nil
}

// failSafeText is what hostFirewall.failSafe says, as the programs have it.
func failSafeText(ports []uint32) string {
	var out []string
	for _, p := range ports {
		if p != 0 {
			out = append(out, fmt.Sprintf("%s:%s/%d", [...]string{"egress", "ingress"}[p>>24&1], state.ProtoName(uint8(p>>16)), uint16(p)))
		}
	}
	return strings.Join(out, ",")
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return "::"
	}
	return a.String()
}

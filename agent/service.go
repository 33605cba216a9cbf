package agent

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"

	"weir/agent/config"
	api "weir/api/agent"
	"weir/control/healthcheck"
	"weir/control/host"
	"weir/control/service"
	"weir/datapath"
	"weir/state"
)

func (a *Agent) serviceOptions() service.Options {
	cfg := a.cfg.Config
	first, last, _ := cfg.NodePort.Ports() // checked when the configuration was read
	return service.Options{Ports: [2]uint16{first, last}, IPv4: cfg.IPv4.Enabled, IPv6: cfg.IPv6.Enabled, Algorithm: state.Algorithm(cfg.LoadBalancer.Algorithm),
		Forwarding: cfg.LoadBalancer.Mode, Addresses: cfg.NodePort.Addresses, Generations: a.dp.Generations(), Ready: a.knowsItself}
}

// partService is the part of the agent that writes services.
const partService = "service"

func (a *Agent) checkOptions() healthcheck.Options {
	cfg := a.cfg.Config
	return healthcheck.Options{Healthz: cfg.HealthzBindAddr, Addresses: cfg.NodePort.Addresses, IPv4: cfg.IPv4.Enabled, IPv6: cfg.IPv6.Enabled,
		Proxy: func() healthcheck.Proxy {
			row, _ := a.tables.Controls.Get(partService)
			return healthcheck.Proxy{Last: row.LastSuccess, Failing: row.Failing}
		}}
}

// hostServices is what the programs need to know for services.
func (a *Agent) hostServices() host.Services {
	out := host.Services{On: a.cfg.KubeProxyReplacement, SetRetval: datapath.SetRetval()}
	if !out.On {
		return out
	}
	var err error
	if out.Netns, err = datapath.NetnsCookie(); err == nil {
		out.Cgroup, err = datapath.CgroupRoot(a.cfg.CgroupRoot)
	}
	if err != nil {
		a.warn("sockets do not find services, so each packet is translated: " + err.Error())
	}
	return out
}

// natPortsOf are those of this node for connections in another's name.
func natPortsOf(cfg config.Config) [2]uint16 {
	first, last, _ := cfg.NodePort.Ports() // checked when the configuration was read
	return natPortsBeside(ephemeral(), [2]uint16{first, last})
}

// fewPorts are too few for connections in another's name.
const fewPorts = 4096

// natPortsBeside shares ports with the node's own sockets where these leave too
// few, and with NodePorts where those do: of the two, only who asks the same port of
// the same host from the same port loses.
func natPortsBeside(own, nodePorts [2]uint16) (p [2]uint16) {
	for _, beside := range [][][2]uint16{{own, nodePorts}, {nodePorts}, {own}, nil} {
		if p = natPorts(beside...); p[1]-p[0] >= fewPorts {
			return p
		}
	}
	return p
}

// socketEnder ends sockets of backends that are no more.
func (a *Agent) socketEnder() *datapath.SocketEnder {
	if !a.cfg.KubeProxyReplacement {
		return nil
	}
	e, err := a.dp.SocketEnder()
	if err != nil {
		a.warn("sockets of backends that are no more are not ended: " + err.Error())
		return nil
	}
	return e
}

// xdpMode is the setting as the datapath says it.
func xdpMode(acceleration string) datapath.XDPMode {
	if acceleration == "disabled" {
		return ""
	}
	return datapath.XDPMode(acceleration)
}

// accelerated says how from_xdp runs, if it does: "Native [eth0]".
func accelerated(all []datapath.Attached) string {
	devices := map[string][]string{}
	for _, a := range all {
		if a.XDP != "" && a.Err == nil {
			mode := "Native"
			if a.Kind == datapath.AttachXDPGeneric {
				mode = "Generic"
			}
			devices[mode] = append(devices[mode], a.Device)
		}
	}
	var out []string
	for _, mode := range slices.Sorted(maps.Keys(devices)) {
		slices.Sort(devices[mode])
		out = append(out, mode+"   ["+strings.Join(devices[mode], ", ")+"]")
	}
	if len(out) == 0 {
		return "Disabled"
	}
	return strings.Join(out, ", ")
}

// ephemeral is the range of ports that the node's own sockets get.
func ephemeral() [2]uint16 {
	out := [2]uint16{32768, 60999} // the kernel's default
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return out
	}
	var first, last uint16
	if n, _ := fmt.Sscan(string(b), &first, &last); n == 2 && first <= last {
		out = [2]uint16{first, last}
	}
	return out
}

// natPorts is the longest range of ports that neither the node's own sockets
// nor NodePorts have. Below 1024 are services of the node.
func natPorts(taken ...[2]uint16) [2]uint16 {
	slices.SortFunc(taken, func(a, b [2]uint16) int { return cmp.Compare(a[0], b[0]) })
	best, from := [2]uint16{}, 1024
	for _, t := range append(taken, [2]uint16{65535, 65535}) {
		if int(t[0])-from > int(best[1])-int(best[0]) {
			best = [2]uint16{uint16(from), t[0] - 1}
		}
		from = max(from, int(t[1])+1)
	}
	return best
}

func portText(at netip.AddrPort, proto uint8) string {
	return at.String() + "/" + state.ProtoName(proto)
}

func (a *Agent) listServices(*http.Request) (api.Services, error) {
	out := api.Services{Replacement: a.cfg.KubeProxyReplacement, Frontends: []api.Frontend{}, Problems: []api.ServiceProblem{}}
	for _, f := range a.services.Frontends() {
		row := api.Frontend{ID: f.Number, Frontend: portText(f.At, f.Proto), Type: string(f.Kind), Namespace: f.Of.Namespace,
			Name: f.Of.Name, Port: f.Port, Backends: []api.BackendName{}}
		for _, b := range f.Backends {
			row.Backends = append(row.Backends, backendName(b))
		}
		out.Frontends = append(out.Frontends, row)
	}
	for _, p := range a.services.Problems() {
		out.Problems = append(out.Problems, api.ServiceProblem{Namespace: p.Of.Namespace, Name: p.Of.Name, Pod: p.Of.Pod, Problem: p.Text})
	}
	for _, p := range a.checks.Status().Problems {
		out.Problems = append(out.Problems, api.ServiceProblem{Namespace: p.Service.Namespace, Name: p.Service.Name, Problem: p.Text})
	}
	return out, nil
}

func backendName(b service.Backend) api.BackendName {
	return api.BackendName{Backend: portText(b.At, b.Proto), State: b.State}
}

func (a *Agent) listBackends(*http.Request) ([]api.Backend, error) {
	out := []api.Backend{}
	for _, b := range a.services.Backends() {
		row := api.Backend{BackendName: backendName(b.Backend), ID: b.Number, Generation: b.Generation}
		for _, s := range b.Of {
			row.Services = append(row.Services, s.String())
		}
		out = append(out, row)
	}
	return out, nil
}

func (a *Agent) getService(r *http.Request) (api.Service, error) {
	name := state.ServiceName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	if !a.cfg.KubeProxyReplacement {
		return api.Service{}, fmt.Errorf("service %s is kube-proxy's: kubeProxyReplacement is false", name)
	}
	d, ok := a.services.Service(name)
	if !ok {
		return api.Service{}, fmt.Errorf("no service %s is known; `weir table services` names all", name)
	}
	out := serviceOf(d)
	for _, p := range a.checks.Status().Problems {
		if p.Service == name {
			out.Problems = append(out.Problems, p.Text)
		}
	}
	return out, nil
}

func serviceOf(d service.Detail) api.Service {
	s := d.Row
	out := api.Service{Namespace: s.Name.Namespace, Name: s.Name.Name, Type: string(s.Kind), ClusterIPs: texts(s.ClusterIPs),
		ExternalIPs: texts(s.ExternalIPs), LoadBalancerIPs: texts(s.LoadBalancerIPs), SourceRanges: texts(s.SourceRanges),
		InternalPolicy: trafficPolicy(s.InternalLocal), ExternalPolicy: trafficPolicy(s.ExternalLocal), Distribution: string(s.Distribution),
		Affinity: int(s.Affinity.Seconds()), PublishUnready: s.PublishUnready, HealthPort: s.HealthPort, Algorithm: string(d.Algorithm),
		Forwarding: d.Forwarding, Ports: []api.ServicePort{}, Problems: append([]string{}, d.Problems...)}
	for _, p := range d.Ports {
		row := api.ServicePort{Name: p.Name, Port: fmt.Sprintf("%d/%s", p.Port, state.ProtoName(p.Proto)), Family: "IPv4", NodePort: p.NodePort,
			ID: p.ID, Hints: p.Hints, Frontends: []api.ServiceFrontend{}, Endpoints: []api.ServiceEndpoint{}}
		if p.IPv6 {
			row.Family = "IPv6"
		}
		for _, f := range p.Frontends {
			row.Frontends = append(row.Frontends, api.ServiceFrontend{ID: f.Number, Frontend: portText(f.At, f.Proto), Type: string(f.Kind),
				Flags: append([]string{}, f.Flags...), Inside: f.Inside, Outside: f.Outside, Instead: f.Instead})
		}
		for _, e := range p.Endpoints {
			row.Endpoints = append(row.Endpoints, api.ServiceEndpoint{BackendName: backendName(e.Backend), ID: e.Number, Node: e.Node, Zone: e.Zone,
				Slice: e.Slice, Inside: e.Inside, Outside: e.Outside, NotInside: e.NotInside, NotOutside: e.NotOutside})
		}
		out.Ports = append(out.Ports, row)
	}
	return out
}

func texts[T fmt.Stringer](list []T) []string {
	out := []string{}
	for _, x := range list {
		out = append(out, x.String())
	}
	return out
}

func trafficPolicy(local bool) string {
	if local {
		return "Local"
	}
	return "Cluster"
}

func (a *Agent) servicesStatus() *api.ServicesStatus {
	n, checks := a.services.Count(), a.checks.Status()
	s := &api.ServicesStatus{Replacement: a.cfg.KubeProxyReplacement, Mode: a.cfg.LoadBalancer.Mode, Algorithm: a.cfg.LoadBalancer.Algorithm, Services: n.Services, Frontends: n.Frontends, Backends: n.Backends,
		Problems: n.Problems + len(checks.Problems), HealthChecks: checks.Open, Healthz: checks.Healthz, HealthzError: checks.Node,
		SocketLB: a.dp.Sockets(), NodePorts: a.cfg.NodePort.Range, Acceleration: accelerated(a.dp.Attachments())}
	if s.Mode != "snat" {
		s.Dispatch = a.cfg.LoadBalancer.DSRDispatch
	}
	for _, node := range a.tables.Nodes.All() {
		if node.Local {
			s.DirectRouting = deviceWith(a.tables.Devices.Rows(func(x, y state.Device) int { return x.Index - y.Index }), node.Addresses)
		}
	}
	return s
}

// deviceWith is the device that has one of the addresses.
func deviceWith(devices []state.Device, addrs []netip.Addr) string {
	for _, d := range devices {
		if slices.ContainsFunc(d.Addrs, func(p netip.Prefix) bool { return slices.Contains(addrs, p.Addr()) }) {
			return d.Name
		}
	}
	return ""
}

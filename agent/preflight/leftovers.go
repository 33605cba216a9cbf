package preflight

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"weir/agent/config"
)

// plugin is another pod network, and what of it stays on a host.
type plugin struct {
	name    string
	devices []string // names, or beginnings that end in *
	chains  []string // what chains of iptables begin with
	pins    []string // folders on bpffs
}

var plugins = []plugin{
	{"Calico", []string{"tunl0", "vxlan.calico", "wireguard.cali", "cali*"}, []string{"cali-"}, []string{"calico"}},
	{"Cilium", []string{"cilium_*", "lxc_health", "lxc*"}, []string{"CILIUM_"}, []string{"cilium"}},
	{"Flannel", []string{"flannel.1", "flannel-v6.1", "cni0"}, []string{"FLANNEL-"}, nil},
	{"Weave", []string{"weave", "vethwe*", "datapath"}, []string{"WEAVE-"}, nil},
	{"kube-router", []string{"kube-bridge", "kube-dummy-if"}, []string{"KUBE-ROUTER-", "KUBE-NWPLCY-", "KUBE-POD-FW-"}, nil},
	{"Antrea", []string{"antrea-*"}, []string{"ANTREA-"}, nil},
	{"kube-proxy", []string{"kube-ipvs0"}, []string{"KUBE-SVC-", "KUBE-SEP-"}, nil},
}

// leftovers names what other networks have here. They are in nobody's way by being there;
// their rules may be.
func (c *checks) leftovers(f Facts, cfg config.Config) {
	before := len(*c)
	for _, p := range plugins {
		found := p.find(f)
		if len(found) == 0 {
			continue
		}
		if p.name == "kube-proxy" {
			c.kubeProxy(found, cfg)
			continue
		}
		c.add("leftovers", Warning, "pods of "+p.name+" keep working until they are made anew; when none is left, remove these, or reboot",
			"of %s: %s", p.name, strings.Join(found, ", "))
	}
	if len(*c) == before {
		c.add("leftovers", OK, "", "nothing of other pod networks")
	}
}

func (c *checks) kubeProxy(found []string, cfg config.Config) {
	if !cfg.KubeProxyReplacement {
		c.add("leftovers", OK, "", "kube-proxy is at work: %s", strings.Join(found, ", "))
		return
	}
	c.add("leftovers", Warning, "end kube-proxy on all nodes, then kube-proxy --cleanup on each; or set kubeProxyReplacement to false",
		"of kube-proxy: %s", strings.Join(found, ", "))
}

// find lists what there is of a plugin: devices, then chains, then pins.
func (p plugin) find(f Facts) []string {
	var out []string
	many := map[string]int{}
	for _, d := range f.Devices {
		for _, pattern := range p.devices {
			if begin, all := strings.CutSuffix(pattern, "*"); d.Name == pattern || all && strings.HasPrefix(d.Name, begin) {
				many["device "+pattern]++
				break
			}
		}
	}
	for _, what := range slices.Sorted(maps.Keys(many)) {
		out = append(out, counted(what, many[what]))
	}
	for _, begin := range p.chains {
		if n := f.Chains[begin]; n > 0 {
			out = append(out, fmt.Sprintf("%d chains %s* of iptables", n, begin))
		}
	}
	for _, pin := range p.pins {
		if slices.Contains(f.Pins, pin) {
			out = append(out, "pins in "+pin)
		}
	}
	return out
}

func counted(what string, n int) string {
	if n == 1 {
		return what
	}
	return fmt.Sprintf("%s (%d)", what, n)
}

// ours is what the agent writes; runtimes take the first of the folder.
const ours = "05-weir.conflist"

// folders looks whether the container runtime looks where Weir writes.
func (c *checks) folders(f Facts, cfg config.Config) {
	message, advice := config.CNI{ConfDir: f.ConfDir, BinDir: cfg.CNI.BinDir}.Unseen(f.Kubelet)
	if message != "" {
		c.add("cni folders", Warning, advice, "%s", message)
	}
}

func (c *checks) confs(f Facts) {
	var earlier, later []string
	for _, name := range f.Confs {
		switch {
		case name == ours:
		case name < ours:
			earlier = append(earlier, name)
		default:
			later = append(later, name)
		}
	}
	switch {
	case len(earlier) > 0:
		c.add("cni config", Failure, "remove it once Weir shall make pods", "%s comes before %s: the runtime will use that", strings.Join(earlier, ", "), ours)
	case len(later) > 0:
		c.add("cni config", Warning, "remove it when nobody needs it", "%s is used whenever %s is not there", strings.Join(later, ", "), ours)
	default:
		c.add("cni config", OK, "", "no other plugin is configured")
	}
}

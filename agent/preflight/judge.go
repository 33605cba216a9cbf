package preflight

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"weir/agent/config"
)

// judge turns facts into checks, those of the kernel first.
func judge(f Facts, cfg config.Config) []Check {
	var c checks
	c.kernel(f)
	c.options(f, cfg)
	c.mounts(f, cfg)
	c.sysctls(f, cfg)
	c.devices(f, cfg)
	c.leftovers(f, cfg)
	c.folders(f, cfg)
	c.confs(f)
	c.ports(f, cfg)
	c.server(f.Server)
	return c
}

type checks []Check

func (c *checks) add(name string, state State, advice, format string, args ...any) {
	*c = append(*c, Check{Name: name, State: state, Message: fmt.Sprintf(format, args...), Advice: advice})
}

// oldest is the kernel that Weir needs, 5.10; tcx, to which programs attach without a
// gap, has 6.6.
const (
	oldest = 5<<8 | 10
	tcx    = 6<<8 | 6
)

func (c *checks) kernel(f Facts) {
	if !f.Root {
		c.add("rights", Warning, "run it as root", "not root: what asks the kernel is left out or may be wrong")
	}
	switch v, ok := version(f.Kernel); {
	case ok && v < oldest:
		c.add("kernel", Failure, "boot Linux 5.10 or later", "%s is older than 5.10", f.Kernel)
	case ok && v < tcx:
		c.add("kernel", OK, "", "%s; programs attach by filters (tcx has 6.6)", f.Kernel)
	default:
		c.add("kernel", OK, "", "%s", f.Kernel)
	}
	switch {
	case len(f.Missing) > 0:
		c.add("bpf", Failure, "boot Linux 5.10 or later, built with BPF", "the kernel lacks %s", strings.Join(f.Missing, ", "))
	case f.Routing != "":
		c.add("bpf", Warning, "", "host routing will be legacy: %s", f.Routing)
	default:
		c.add("bpf", OK, "", "the kernel has every feature that is needed")
	}
}

// version reads a release: 5<<8 | 10 of "5.10.0-38-amd64".
func version(release string) (int, bool) {
	var major, minor int
	n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return major<<8 | minor, n == 2
}

// options are those of the kernel's configuration that nothing works without.
func (c *checks) options(f Facts, cfg config.Config) {
	if len(f.Options) == 0 {
		c.add("kernel config", OK, "", "cannot be read here (neither /proc/config.gz nor /boot/config-%s); the features above were tried", f.Kernel)
		return
	}
	needed := []string{"BPF", "BPF_SYSCALL", "BPF_JIT", "NET_CLS_ACT", "NET_CLS_BPF", "NET_SCH_INGRESS", "CGROUP_BPF", "VETH"}
	if cfg.RoutingMode == "tunnel" {
		needed = append(needed, "VXLAN")
	}
	if cfg.IPv6.Enabled {
		needed = append(needed, "IPV6")
	}
	var missing []string
	for _, o := range needed {
		if f.Options[o] == "" {
			missing = append(missing, "CONFIG_"+o)
		}
	}
	if len(missing) > 0 {
		c.add("kernel config", Failure, "use a kernel that is built with them", "without %s", strings.Join(missing, ", "))
		return
	}
	c.add("kernel config", OK, "", "has the %d options that are needed", len(needed))
}

func (c *checks) mounts(f Facts, cfg config.Config) {
	if f.BTF {
		c.add("btf", OK, "", "the kernel describes its types")
	} else {
		c.add("btf", Warning, "use a kernel with CONFIG_DEBUG_INFO_BTF", "/sys/kernel/btf/vmlinux is missing: sockets of services whose backend goes are not ended")
	}
	switch f.BPFFS {
	case "bpf":
		c.add("bpffs", OK, "", "mounted at %s", cfg.BPF.Root)
	case "":
		c.add("bpffs", Warning, "mount -t bpf bpf "+cfg.BPF.Root, "not mounted at %s: Weir mounts it, if it may", cfg.BPF.Root)
	default:
		c.add("bpffs", Failure, "unmount it, or set bpf.root to another folder", "%s is a mount of type %s", cfg.BPF.Root, f.BPFFS)
	}
	switch {
	case f.Cgroup != "":
		c.add("cgroup v2", OK, "", "mounted at %s", f.Cgroup)
	case !cfg.KubeProxyReplacement:
		c.add("cgroup v2", OK, "", "not mounted, and not needed with kubeProxyReplacement false")
	default:
		c.add("cgroup v2", Warning, "mount -t cgroup2 none /run/weir/cgroup", "not mounted: Weir mounts one, if it may; without it services are for packets alone")
	}
}

func (c *checks) sysctls(f Facts, cfg config.Config) {
	before := len(*c)
	if v := f.Sysctls["net/ipv6/conf/all/disable_ipv6"]; cfg.IPv6.Enabled && v != "0" {
		c.add("sysctls", Failure, "sysctl -w net.ipv6.conf.all.disable_ipv6=0, or set ipv6.enabled to false", "ipv6.enabled is true, and the host has no IPv6 (disable_ipv6 is %q)", v)
	}
	if f.Sysctls["net/core/bpf_jit_enable"] == "0" {
		c.add("sysctls", Warning, "sysctl -w net.core.bpf_jit_enable=1", "net.core.bpf_jit_enable is 0: programs are interpreted, and slow")
	}
	if f.Sysctls["net/ipv4/ip_forward"] == "0" {
		c.add("sysctls", OK, "", "net.ipv4.ip_forward is 0: Weir sets it to 1")
	}
	if len(*c) == before {
		c.add("sysctls", OK, "", "as they should be")
	}
}

// devices looks at the MTUs: pods have that of the underlay, less the tunnel.
func (c *checks) devices(f Facts, cfg config.Config) {
	least, overhead := 576, 0
	if cfg.IPv6.Enabled {
		least = 1280
	}
	if cfg.RoutingMode == "tunnel" {
		overhead = config.Overhead(cfg.UnderlayProtocol == "ipv6")
	}
	var names []string
	mtus := map[int]bool{}
	for _, d := range f.Devices {
		if !d.Underlay {
			continue
		}
		names = append(names, d.Name+" "+strconv.Itoa(d.MTU))
		mtus[d.MTU] = true
		if d.MTU < least+overhead {
			c.add("mtu", Failure, "raise it", "%s has MTU %d: pods need %d, and the tunnel takes %d", d.Name, d.MTU, least, overhead)
			return
		}
	}
	switch {
	case len(names) == 0:
		c.add("mtu", Warning, "name the devices as devices in weir.yaml", "no device with an address leads out")
	case len(mtus) > 1:
		c.add("mtu", Warning, "", "devices differ (%s): pods get the lowest", strings.Join(names, ", "))
	default:
		c.add("mtu", OK, "", "%s; pods get %d", strings.Join(names, ", "), slices.Min(slices.Collect(maps.Keys(mtus)))-overhead)
	}
}

func (c *checks) ports(f Facts, cfg config.Config) {
	if f.Agent {
		c.add("ports", OK, "", "not looked at: an agent of Weir runs here")
		return
	}
	wanted := map[Port]string{}
	if cfg.RoutingMode == "tunnel" {
		wanted[Port{"UDP", cfg.TunnelPort}] = "tunnelPort"
	}
	if cfg.Health.Enabled {
		wanted[Port{"TCP", cfg.Health.Port}] = "health.port"
	}
	if i := strings.LastIndexByte(cfg.HealthzBindAddr, ':'); i >= 0 && cfg.KubeProxyReplacement {
		n, _ := strconv.Atoi(cfg.HealthzBindAddr[i+1:]) // it is valid
		wanted[Port{"TCP", n}] = "kubeProxyReplacementHealthzBindAddr"
	}
	before := len(*c)
	for _, p := range f.Ports {
		if key, ok := wanted[p]; ok {
			c.add("ports", Failure, "end what listens there (ss -lnp), or set "+key, "%d/%s is in use, and is %s", p.Port, p.Proto, key)
		}
	}
	if len(*c) == before {
		c.add("ports", OK, "", "the %d that are needed are free", len(wanted))
	}
}

func (c *checks) server(s Server) {
	switch {
	case s.URL == "":
		c.add("api server", OK, "", "not asked: no kubeconfig of a kubelet is here (--api-server URL)")
	case s.Error != "":
		c.add("api server", Failure, "see that this host gets there without any CNI", "%s (%s): %s", s.URL, s.From, s.Error)
	default:
		c.add("api server", OK, "", "%s answers (%s)", s.URL, s.From)
	}
}

package preflight

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"weir/agent/config"
	"weir/datapath"
)

// gather reads the host. What cannot be read stays empty: judge knows what that means.
func gather(ctx context.Context, cfg config.Config, confDir, apiServer string) Facts {
	f := Facts{Kernel: release(), Root: os.Geteuid() == 0, Sysctls: map[string]string{}, Pins: names(cfg.BPF.Root), Confs: confs(confDir), ConfDir: confDir}
	f.Missing = datapath.Missing()
	if err := datapath.HostRouting(); err != nil {
		f.Routing = err.Error()
	}
	f.Options = options(f.Kernel)
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	f.BTF = err == nil
	f.BPFFS, _, _ = datapath.MountAt(cfg.BPF.Root) // no mount is no answer
	f.Cgroup, _ = datapath.CgroupRoot(cfg.CgroupRoot)
	for _, key := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/disable_ipv6", "net/core/bpf_jit_enable"} {
		if b, err := os.ReadFile("/proc/sys/" + key); err == nil {
			f.Sysctls[key] = strings.TrimSpace(string(b))
		}
	}
	f.Devices = devices(cfg)
	f.Chains = chains(ctx)
	f.Ports = ports()
	f.Agent = running(cfg.RunDir)
	f.Server, f.Kubelet = findServer(apiServer)
	f.Server = askServer(ctx, f.Server)
	return f
}

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// options reads the kernel's configuration, wherever the distribution has it.
func options(release string) map[string]string {
	if f, err := os.Open("/proc/config.gz"); err == nil {
		defer f.Close()
		if z, err := gzip.NewReader(f); err == nil {
			return parseOptions(z)
		}
	}
	for _, path := range []string{"/boot/config-" + release, "/lib/modules/" + release + "/config", "/usr/lib/modules/" + release + "/config"} {
		if b, err := os.ReadFile(path); err == nil {
			return parseOptions(bytes.NewReader(b))
		}
	}
	return nil
}

func parseOptions(r io.Reader) map[string]string {
	out := map[string]string{}
	for s := bufio.NewScanner(r); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), "="); ok && strings.HasPrefix(key, "CONFIG_") {
			out[strings.TrimPrefix(key, "CONFIG_")] = value
		}
	}
	return out
}

// devices are all of the host; those that lead out are the configured ones, or those
// with an address that are made by nobody's network of pods.
func devices(cfg config.Config) []Device {
	all, _ := net.Interfaces()
	var out []Device
	for _, d := range all {
		addrs, _ := d.Addrs()
		out = append(out, Device{Name: d.Name, MTU: d.MTU,
			Underlay: d.Flags&net.FlagLoopback == 0 && d.Flags&net.FlagUp != 0 && global(addrs) && chosen(d.Name, cfg.Devices)})
	}
	return out
}

func global(addrs []net.Addr) bool {
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			return true
		}
	}
	return false
}

func chosen(name string, globs []string) bool {
	for _, g := range globs {
		if ok, _ := filepath.Match(g, name); ok {
			return true
		}
	}
	if len(globs) > 0 || strings.HasPrefix(name, "weir") {
		return false
	}
	for _, p := range plugins {
		for _, pattern := range p.devices {
			if ok, _ := filepath.Match(pattern, name); ok {
				return false
			}
		}
	}
	return name != "docker0"
}

func names(dir string) []string {
	var out []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// confs are the files that a runtime would read.
func confs(dir string) []string {
	var out []string
	for _, name := range names(dir) {
		switch filepath.Ext(name) {
		case ".conf", ".conflist", ".json":
			out = append(out, name)
		}
	}
	return out
}

// chains counts those of iptables by what they begin with. Without the tools there are
// none to see.
func chains(ctx context.Context) map[string]int {
	out := map[string]int{}
	for _, tool := range []string{"iptables-save", "ip6tables-save"} {
		text, _ := exec.CommandContext(ctx, tool).Output()
		countChains(out, string(text))
	}
	return out
}

func countChains(out map[string]int, save string) {
	for line := range strings.Lines(save) {
		name, ok := strings.CutPrefix(line, ":")
		for _, p := range plugins {
			for _, begin := range p.chains {
				if ok && strings.HasPrefix(name, begin) {
					out[begin]++
				}
			}
		}
	}
}

// ports are those of sockets that wait for others, of this network namespace.
func ports() []Port {
	var out []Port
	for file, proto := range map[string]string{"tcp": "TCP", "tcp6": "TCP", "udp": "UDP", "udp6": "UDP"} {
		b, _ := os.ReadFile("/proc/thread-self/net/" + file)
		out = append(out, parsePorts(string(b), proto)...)
	}
	return out
}

// parsePorts reads proc(5)'s table: local address in the second column, state in the
// fourth; 0A is LISTEN, and 07 a UDP socket that is not connected.
func parsePorts(table, proto string) []Port {
	waiting := map[string]string{"TCP": "0A", "UDP": "07"}[proto]
	var out []Port
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != waiting {
			continue
		}
		port, err := strconv.ParseUint(f[1][strings.LastIndexByte(f[1], ':')+1:], 16, 16)
		if err == nil {
			out = append(out, Port{proto, int(port)})
		}
	}
	return out
}

// running reports whether an agent holds its run folder.
func running(runDir string) bool {
	f, err := os.Open(filepath.Join(runDir, "weir.pid"))
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}

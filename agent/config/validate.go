package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"weir/internal/suggest"
)

// problem is what is wrong with the value of a key.
type problem struct{ key, text string }

func (p problem) Error() string { return p.key + ": " + p.text }

var (
	label     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

// flowSocket is where flows are served, in runDir.
const flowSocket = "hubble.sock"

const (
	maxClusterName = 63  // it is the value of a label
	ciliumsNames   = 32  // what clusters of Cilium's mesh may have
	maxSocketPath  = 107 // sun_path holds 108 bytes with its closing zero, unix(7)
	minMTU4        = 576 // RFC 791: what every IPv4 host takes
	minMTU6        = 1280
	maxMTU         = 65535
	maxPort        = 65535
	maxEndpoints   = 16384
	minIPCache     = 1024
	maxIPCache     = 1 << 24
	maxVLAN        = 4094
	maxVLANs       = 8 // slots of the programs' constant vlan_bypass
	maxFailSafes   = 16
	maxTimeout     = 432000 // five days, what Linux gives an established connection
	minConnections = 1024
	maxConnections = 1 << 24
	maxRules       = 1 << 20
	minFlowBytes   = 65536
	maxFlowBytes   = 1 << 32
	maxFlows       = 1 << 24
)

// Runnable says what an agent needs beside a valid configuration, which other
// commands do without.
func (c Config) Runnable() error {
	if c.Source.Files == "" && !c.Source.Kubernetes.Enabled {
		return errors.New("source.files is empty and source.kubernetes.enabled false: set the latter to true in a cluster, or name a folder of Kubernetes objects with source.files or --files FOLDER")
	}
	return nil
}

// Validate returns every problem of the configuration, joined.
func (c Config) Validate() error {
	var errs []error
	for _, p := range check(c) {
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

// findings collects problems.
type findings []problem

func (f *findings) add(key, format string, args ...any) {
	*f = append(*f, problem{key, fmt.Sprintf(format, args...)})
}

// check returns every problem, in the order of the keys.
func check(c Config) []problem {
	var f findings
	f.names(c)
	f.source(c)
	f.paths(c)
	f.bpf(c.BPF)
	f.monitor(c.BPF)
	f.devices(c.Devices)
	f.mtu(c)
	if !c.IPv4.Enabled && !c.IPv6.Enabled {
		f.add("ipv4.enabled", "both families are off: set ipv4.enabled or ipv6.enabled to true")
	}
	f.oneOf("ipam.mode", c.IPAM.Mode)
	f.routing(c)
	f.services(c)
	f.policy(c)
	f.conntrack(c.Conntrack)
	f.within("health.port", c.Health.Port)
	f.within("prometheus.port", c.Prometheus.Port)
	f.hubble(c.Hubble)
	return f
}

func (f *findings) hubble(h Hubble) {
	if h.ListenAddress != "" {
		if _, port, err := net.SplitHostPort(h.ListenAddress); err != nil || !isPort(port) {
			f.add("hubble.listenAddress", "%q is not an address with a port: write :4244 or 10.0.0.1:4244, or leave it empty", h.ListenAddress)
		}
	}
	f.within("hubble.bufferBytes", h.BufferBytes)
	f.within("hubble.eventBufferCapacity", h.BufferFlows)
	for _, m := range h.Metrics.Enabled {
		f.flowMetric(m)
	}
	t := h.TLS
	if (t.CertFile == "") != (t.KeyFile == "") {
		f.add("hubble.tls.certFile", "%q, and hubble.tls.keyFile is %q: set both, or neither", t.CertFile, t.KeyFile)
	}
	if t.ClientCAFile != "" && t.CertFile == "" {
		f.add("hubble.tls.clientCAFile", "%q, and there is no certificate of this node: set hubble.tls.certFile, too", t.ClientCAFile)
	}
}

func (f *findings) flowMetric(m string) {
	const key = "hubble.metrics.enabled"
	if name, context, ok := strings.Cut(m, ":"); ok && slices.Contains(FlowMetrics(), name) {
		f.add(key, "%q: metrics of flows have no options here, such as %q: write %s", m, context, name)
		return
	}
	f.oneOf(key, m)
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

func (f *findings) policy(c Config) {
	f.oneOf("policy.enforcementMode", c.Policy.EnforcementMode)
	f.oneOf("policy.denyResponse", c.Policy.DenyResponse)
	for _, m := range c.Policy.CIDRMatchMode {
		f.oneOf("policy.cidrMatchMode", m)
	}
	if n := len(c.HostFirewall.FailSafe); n > maxFailSafes {
		f.add("hostFirewall.failSafe", "%d ports: at most %d are possible", n, maxFailSafes)
	}
	if _, err := c.HostFirewall.Ports(); err != nil {
		f.add("hostFirewall.failSafe", "%s", err)
	}
}

func (f *findings) conntrack(c Conntrack) {
	for _, t := range []struct {
		key   string
		value int
	}{
		{"tcpNew", c.TCPNew}, {"tcpEstablished", c.TCPEstablished}, {"tcpClosing", c.TCPClosing},
		{"udpNew", c.UDPNew}, {"udpEstablished", c.UDPEstablished}, {"icmp", c.ICMP},
	} {
		if t.value < 1 || t.value > maxTimeout {
			f.add("conntrack."+t.key, "%d is not a number of seconds between 1 and %d", t.value, maxTimeout)
		}
	}
}

func (f *findings) names(c Config) {
	if len(c.NodeName) > 253 || !subdomain.MatchString(c.NodeName) {
		f.add("nodeName", "%q is not a node name: use the name of the Kubernetes node (lower-case letters, digits, dashes, dots)", c.NodeName)
	}
	switch n := c.Cluster.Name; {
	case len(n) > maxClusterName:
		f.add("cluster.name", "%q has %d characters: use at most %d", n, len(n), maxClusterName)
	case !label.MatchString(n):
		f.add("cluster.name", "%q is not a cluster name: use lower-case letters, digits and dashes, with a letter or digit at both ends", n)
	}
}

func (f *findings) paths(c Config) {
	paths := []struct {
		key, value string
		optional   bool
	}{
		{"source.files", c.Source.Files, true},
		{"source.kubernetes.kubeconfig", c.Source.Kubernetes.Kubeconfig, true},
		{"runDir", c.RunDir, false},
		{"stateDir", c.StateDir, false},
		{"socket", c.Socket, false},
		{"bpf.root", c.BPF.Root, false},
		{"cgroupRoot", c.CgroupRoot, true},
		{"ipMasqAgent.configFile", c.IPMasqAgent.ConfigFile, !c.IPMasqAgent.Enabled},
		{"cni.confDir", c.CNI.ConfDir, true},
		{"cni.binDir", c.CNI.BinDir, true},
	}
	for _, p := range paths {
		if p.value == "" && p.optional {
			continue
		}
		if !filepath.IsAbs(p.value) {
			f.add(p.key, "%q is not an absolute path: begin it with /", p.value)
		}
	}
	if n := len(c.Socket); n > maxSocketPath {
		f.add("socket", "the path has %d bytes, a socket's at most %d: choose a shorter runDir or socket (%s)", n, maxSocketPath, c.Socket)
	}
	// Sockets are bound under a name with a number behind, and renamed.
	if n := len(filepath.Join(c.RunDir, flowSocket)) + len(".4194304"); c.Hubble.Enabled && n > maxSocketPath && len(c.Socket) <= maxSocketPath {
		f.add("runDir", "the path of %s in it has %d bytes, a socket's at most %d: choose a shorter runDir, or set hubble.enabled to false", flowSocket, n, maxSocketPath)
	}
}

func (f *findings) bpf(b BPF) {
	f.oneOf("bpf.hostRouting", b.HostRouting)
	f.oneOf("bpf.attachMode", b.AttachMode)
	f.within("bpf.ipcacheSize", b.IPCacheSize)
	f.within("bpf.endpoints", b.Endpoints)
	f.within("bpf.ctSize", b.CTSize)
	f.within("bpf.policyRules", b.PolicyRules)
	if b.CTLimit != 0 && (b.CTLimit < b.CTSize || b.CTLimit > maxConnections) {
		f.add("bpf.ctLimit", "%d is neither 0 nor between bpf.ctSize (%d) and %d", b.CTLimit, b.CTSize, maxConnections)
	}
	if n := len(b.VLANBypass); n > maxVLANs {
		f.add("bpf.vlanBypass", "%d ids, and there is room for %d: name fewer, or 0 for all", n, maxVLANs)
	}
	for i, id := range b.VLANBypass {
		if id < 0 || id > maxVLAN {
			f.add("bpf.vlanBypass", "%d is not a VLAN id: use 1 to %d, or 0 for all", id, maxVLAN)
		}
		if slices.Contains(b.VLANBypass[:i], id) {
			f.add("bpf.vlanBypass", "%d stands twice: remove one", id)
		}
	}
}

func (f *findings) devices(globs []string) {
	for _, g := range globs {
		switch _, err := path.Match(g, "eth0"); {
		case g == "":
			f.add("devices", "an empty name: remove it, or leave devices out to have them detected")
		case err != nil:
			f.add("devices", "%q is not a glob: write a name, or a pattern such as eth* or ens[0-9]", g)
		case strings.HasSuffix(g, "+"):
			f.add("devices", "%q: a trailing + is not a pattern here, write %s*", g, strings.TrimSuffix(g, "+"))
		case strings.ContainsAny(g, "/ \t"):
			f.add("devices", "%q is not the name of a device", g)
		}
	}
}

func (f *findings) mtu(c Config) {
	if c.MTU == 0 {
		return
	}
	least := minMTU4
	if c.IPv6.Enabled {
		least = minMTU6
	}
	if c.RoutingMode == "tunnel" {
		least += Overhead(c.UnderlayProtocol == "ipv6")
	}
	if c.MTU < least || c.MTU > maxMTU {
		f.add("mtu", "%d is out of range: it is the underlay's MTU and must be %d to %d here, or 0 to have it detected", c.MTU, least, maxMTU)
	}
}

// Overhead is what VXLAN adds to a pod's packet: Ethernet 14, VXLAN 8, UDP 8,
// and the outer IP header.
func Overhead(outerIPv6 bool) int {
	if outerIPv6 {
		return 14 + 8 + 8 + 40
	}
	return 14 + 8 + 8 + 20
}

func (f *findings) routing(c Config) {
	f.oneOf("routingMode", c.RoutingMode)
	switch c.TunnelProtocol {
	case "vxlan":
	case "geneve":
		f.add("tunnelProtocol", "geneve is not supported by this version: use vxlan")
	default:
		f.oneOf("tunnelProtocol", c.TunnelProtocol)
	}
	f.within("tunnelPort", c.TunnelPort)
	f.oneOf("underlayProtocol", c.UnderlayProtocol)
	native := c.RoutingMode == "native"
	f.nativeCIDR("ipv4NativeRoutingCIDR", c.IPv4NativeRoutingCIDR, true, native && c.IPv4.Enabled)
	f.nativeCIDR("ipv6NativeRoutingCIDR", c.IPv6NativeRoutingCIDR, false, native && c.IPv6.Enabled)
}

func (f *findings) nativeCIDR(key string, p netip.Prefix, is4, needed bool) {
	family, example := "IPv6", "fd00::/104"
	if is4 {
		family, example = "IPv4", "10.0.0.0/8"
	}
	switch {
	case !p.IsValid() && needed:
		f.add(key, "is empty, and routingMode is native: set it to the %s range within which the underlay routes pod addresses, such as %s", family, example)
	case !p.IsValid():
	case p.Addr().Is4() != is4:
		f.add(key, "%s is not an %s CIDR: set one such as %s, or move it to the other family's key", p, family, example)
	case p != p.Masked():
		f.add(key, "%s has host bits set: write %s", p, p.Masked())
	}
}

func (f *findings) oneOf(key, value string) {
	if !slices.Contains(choices[key], value) {
		f.add(key, "%s", noneOf(value, choices[key]))
	}
}

// noneOf says which words there are.
func noneOf(value string, allowed []string) string {
	hint := ""
	if meant := suggest.Nearest(value, allowed); meant != "" {
		hint = fmt.Sprintf(": did you mean %q?", meant)
	}
	return fmt.Sprintf("%q is not supported, use %s%s", value, strings.Join(allowed, " or "), hint)
}

func (f *findings) within(key string, value int) {
	if r := ranges[key]; value < r[0] || value > r[1] {
		f.add(key, "%d is out of range: use %d to %d", value, r[0], r[1])
	}
}

// warnings names settings that are valid and do nothing, or not everywhere.
func warnings(c Config) []string {
	out := append(idle(c), aboutSource(c)...)
	if n := len(c.Cluster.Name); n > ciliumsNames {
		out = append(out, fmt.Sprintf("cluster.name: has %d characters; clusters that shall be joined one day have at most %d", n, ciliumsNames))
	}
	if c.IPMasqAgent.Enabled && !c.EnableIPv4Masquerade && !c.EnableIPv6Masquerade {
		out = append(out, "ipMasqAgent.enabled: has no effect without enableIPv4Masquerade or enableIPv6Masquerade")
	}
	if h := c.Hubble; h.Enabled && h.ListenAddress != "" && !h.TLS.Enabled {
		out = append(out, "hubble.tls.enabled: is false, so that whoever reaches "+h.ListenAddress+" can read all flows of this node")
	}
	if c.RoutingMode != "tunnel" {
		return out
	}
	if c.AutoDirectNodeRoutes {
		out = append(out, "autoDirectNodeRoutes: has no effect with routingMode tunnel")
	}
	if c.IPv4NativeRoutingCIDR.IsValid() {
		out = append(out, "ipv4NativeRoutingCIDR: has no effect with routingMode tunnel")
	}
	if c.IPv6NativeRoutingCIDR.IsValid() {
		out = append(out, "ipv6NativeRoutingCIDR: has no effect with routingMode tunnel")
	}
	return out
}

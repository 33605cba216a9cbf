package config

import (
	"net/netip"
	"reflect"
)

// Shape is what the value of a key may be, as far as that depends on no other key. The
// chart's schema is made of it.
type Shape struct {
	Key, Means  string
	Kind        string   // "bool", "int", "cidr" or "text"
	List        bool     // of such
	OneOf       []string // of a text; none: any
	Least, Most int      // of an int; equal: any
	Pattern     string   // of a text that is not empty
	MostOf      int      // how long a list may be; 0: any
}

// Shapes lists them in the order of Config.
func Shapes() []Shape {
	c := Defaults()
	var out []Shape
	for _, l := range leaves(&c) {
		of := l.value.Type()
		s := Shape{Key: l.key, Means: meanings[l.key], OneOf: choices[l.key], Pattern: patterns[l.key], MostOf: lengths[l.key]}
		s.Least, s.Most = ranges[l.key][0], ranges[l.key][1]
		if of.Kind() == reflect.Slice {
			s.List, of = true, of.Elem()
		}
		s.Kind = kindName(of)
		out = append(out, s)
	}
	return out
}

func kindName(of reflect.Type) string {
	switch {
	case of == reflect.TypeFor[netip.Prefix]():
		return "cidr"
	case of.Kind() == reflect.Bool:
		return "bool"
	case of.Kind() == reflect.Int:
		return "int"
	}
	return "text"
}

// choices are the words that keys take.
var choices = map[string][]string{
	"bpf.hostRouting":           {"auto", "bpf", "legacy"},
	"bpf.attachMode":            {"auto", "tcx", "tc"},
	"bpf.monitorAggregation":    {"none", "low", "medium", "maximum"},
	"ipam.mode":                 {"cluster-pool", "kubernetes"},
	"routingMode":               {"tunnel", "native"},
	"tunnelProtocol":            {"vxlan"},
	"underlayProtocol":          {"auto", "ipv4", "ipv6"},
	"loadBalancer.algorithm":    {"random", "maglev"},
	"loadBalancer.mode":         {"snat", "dsr", "hybrid"},
	"loadBalancer.dsrDispatch":  {"opt"},
	"loadBalancer.acceleration": {"disabled", "native", "best-effort"},
	"policy.enforcementMode":    {"default", "always", "never"},
	"policy.cidrMatchMode":      {"pods", "nodes"},
	"policy.denyResponse":       {"drop", "reject"},
	"hubble.metrics.enabled":    FlowMetrics(),
}

// ranges are the least and the most that keys take, whatever the others are.
var ranges = map[string][2]int{
	"k8sServicePort":             {1, maxPort},
	"mtu":                        {0, maxMTU},
	"tunnelPort":                 {1, maxPort},
	"bpf.vlanBypass":             {0, maxVLAN},
	"bpf.ipcacheSize":            {minIPCache, maxIPCache},
	"bpf.endpoints":              {1, maxEndpoints},
	"bpf.ctSize":                 {minConnections, maxConnections},
	"bpf.ctLimit":                {0, maxConnections},
	"bpf.policyRules":            {minConnections, maxRules},
	"bpf.dropEventsLimit":        {0, 100_000_000},
	"bpf.eventsSize":             {minRing, maxRing},
	"bpf.tracesSize":             {minRing, maxRing},
	"conntrack.tcpNew":           {1, maxTimeout},
	"conntrack.tcpEstablished":   {1, maxTimeout},
	"conntrack.tcpClosing":       {1, maxTimeout},
	"conntrack.udpNew":           {1, maxTimeout},
	"conntrack.udpEstablished":   {1, maxTimeout},
	"conntrack.icmp":             {1, maxTimeout},
	"health.port":                {1, maxPort},
	"prometheus.port":            {1, maxPort},
	"hubble.bufferBytes":         {minFlowBytes, maxFlowBytes},
	"hubble.eventBufferCapacity": {0, maxFlows},
}

// lengths are how many a list may have.
var lengths = map[string]int{"bpf.vlanBypass": maxVLANs, "hostFirewall.failSafe": maxFailSafes}

// patterns say of texts what a pattern can; the checks say the rest.
var patterns = map[string]string{
	"nodeName":                            `^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`,
	"cluster.name":                        `^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`,
	"source.files":                        absolute,
	"source.kubernetes.kubeconfig":        absolute,
	"runDir":                              absolute,
	"stateDir":                            absolute,
	"socket":                              absolute,
	"bpf.root":                            absolute,
	"cgroupRoot":                          absolute,
	"ipMasqAgent.configFile":              absolute,
	"cni.confDir":                         absolute,
	"cni.binDir":                          absolute,
	"hubble.tls.certFile":                 absolute,
	"hubble.tls.keyFile":                  absolute,
	"hubble.tls.clientCAFile":             absolute,
	"devices":                             `^[^ \t/]*[^ \t/+]$`,
	"nodePort.range":                      `^[0-9]{1,5} *[-,] *[0-9]{1,5}$`,
	"bpf.monitorInterval":                 `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`,
	"hostFirewall.failSafe":               `^(ingress|egress):([Tt][Cc][Pp]|[Uu][Dd][Pp]|[Ss][Cc][Tt][Pp])/` + portNumber + `$`,
	"hubble.listenAddress":                `^([^:]*|\[[^]]+\]):` + portNumber + `$`,
	"kubeProxyReplacementHealthzBindAddr": `^((` + octet + `\.){3}` + octet + `|\[[0-9A-Fa-f:.]+\])?:` + portNumber + `$`,
}

const (
	absolute   = `^/`
	octet      = `(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])`
	portNumber = `(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})`
)

package lab

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"sigs.k8s.io/yaml"
)

// agentConfig is the node's weir.yaml. The lab's agent keys win over the rest.
func (s Spec) agentConfig(n Node) ([]byte, error) {
	c := map[string]any{
		"nodeName":       n.Name,
		"cluster":        map[string]any{"name": s.ClusterName},
		"runDir":         filepath.Join(n.Dir, "run"),
		"bpf":            map[string]any{"root": filepath.Join(n.Dir, "bpf")},
		"source":         map[string]any{"files": filepath.Join(labDir(s.Name), "objects")},
		"ipv4":           map[string]any{"enabled": *s.IPv4},
		"ipv6":           map[string]any{"enabled": *s.IPv6},
		"routingMode":    "tunnel",
		"tunnelProtocol": "vxlan",
		"cgroupRoot":     n.Cgroup,
		"hubble": map[string]any{"tls": map[string]any{
			"certFile": certificate(s.Name, "node.crt"), "keyFile": certificate(s.Name, "node.key"), "clientCAFile": certificate(s.Name, "ca.crt"),
		}},
	}
	if s.Mode == ModeNative {
		delete(c, "tunnelProtocol")
		c["routingMode"] = "native"
		c["autoDirectNodeRoutes"] = true
		if *s.IPv4 {
			c["ipv4NativeRoutingCIDR"] = s.Pools.IPv4[0].String()
		}
		if *s.IPv6 {
			c["ipv6NativeRoutingCIDR"] = s.Pools.IPv6[0].String()
		}
	}
	data, err := yaml.Marshal(merge(c, s.Agent))
	if err != nil {
		return nil, fmt.Errorf("encode configuration of node %s: %w", n.Name, err)
	}
	return data, nil
}

// merge lays over on top of base, mapping by mapping.
func merge(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	for _, k := range slices.Sorted(maps.Keys(over)) {
		b, isMap := out[k].(map[string]any)
		o, both := over[k].(map[string]any)
		if isMap && both {
			out[k] = merge(b, o)
			continue
		}
		out[k] = over[k]
	}
	return out
}

package cli

import (
	"strings"

	"weir/api/agent"
)

// masqueradeLine says whose pods leave the cluster as their node, by which
// devices, and where they do not: "BPF [eth0] 10.0.0.0/8 [IPv4: Enabled, IPv6: Disabled]".
func masqueradeLine(g *grid, s agent.Status) {
	m := s.Masquerade
	if m == nil {
		return
	}
	if !m.IPv4 && !m.IPv6 {
		g.add("Masquerading:", "Disabled")
		return
	}
	names := make([]string, 0, len(s.Devices))
	for _, d := range s.Devices {
		names = append(names, d.Name)
	}
	how := "BPF"
	if m.IPMasqAgent {
		how += " (ip-masq-agent)"
	}
	parts := append([]string{how, "[" + strings.Join(names, ", ") + "]"}, m.Exempt...)
	g.add("Masquerading:", strings.Join(append(parts, "[IPv4: "+enabled(m.IPv4)+", IPv6: "+enabled(m.IPv6)+"]"), " "))
}

func enabled(on bool) string {
	if on {
		return "Enabled"
	}
	return "Disabled"
}

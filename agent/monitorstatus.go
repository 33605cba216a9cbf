package agent

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"

	api "weir/api/agent"
	"weir/bpf"
)

// monitorStatus reads the rings' size and what was lost from the kernel.
func (a *Agent) monitorStatus() api.MonitorStatus {
	s := api.MonitorStatus{Listening: a.listening.Load(), Unknown: a.unknown.Load(), PageSize: os.Getpagesize()}
	s.CPUs, _ = ebpf.PossibleCPU() // the kernel's list is always readable
	if maps, err := a.dp.MapUse(); err == nil {
		for _, m := range maps {
			if m.Name == bpf.MapEvents || m.Name == bpf.MapTraces {
				s.Pages += int(m.MaxEntries) / s.PageSize
			}
		}
	}
	if counters, err := a.dp.Metrics(); err == nil {
		for _, c := range counters {
			if c.Reason == bpf.ReasonEventLost || c.Reason == bpf.ReasonTraceLost {
				s.Lost += c.Packets
			}
		}
	}
	return s
}

// clockSource is what connections are timed by.
func (a *Agent) clockSource() string {
	if t := a.conntrack.Stats().Ticks; t > 0 {
		return fmt.Sprintf("jiffies [%.0f Hz]", t)
	}
	return "jiffies [not measured yet]"
}

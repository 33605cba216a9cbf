package agent

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"

	api "weir/api/agent"
)

// monitorStatus reads the rings' size and what was lost from the kernel.
func (a *Agent) monitorStatus() api.MonitorStatus {
	s := api.MonitorStatus{Listening: a.listening.Load(), Unknown: a.unknown.Load(), PageSize: os.Getpagesize()}
	s.CPUs, _ = ebpf.PossibleCPU() // the kernel's list is always readable
	s.Pages = int(a.dp.RingOctets()) / s.PageSize
	lost := a.ringLoss()
	s.Lost = lost.Verdicts + lost.Traces
	return s
}

// clockSource is what connections are timed by.
func (a *Agent) clockSource() string {
	if t := a.conntrack.Stats().Ticks; t > 0 {
		return fmt.Sprintf("jiffies [%.0f Hz]", t)
	}
	return "jiffies [not measured yet]"
}

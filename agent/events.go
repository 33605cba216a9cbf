package agent

import (
	"context"
	"os"

	"weir/agent/config"
	"weir/bpf"
	"weir/control/host"
	"weir/datapath"
	"weir/internal/reconcile"
)

// levels are the values of bpf.monitorAggregation.
var levels = map[string]bpf.Monitor{"none": bpf.MonitorNone, "low": bpf.MonitorLow, "medium": bpf.MonitorMedium, "maximum": bpf.MonitorMaximum}

// monitorOptions is what the programs tell of beside drops: nothing where nobody
// wants flows.
func (a *Agent) monitorOptions() host.Monitor {
	cfg := a.cfg.Config
	m := host.Monitor{Drops: uint32(cfg.BPF.DropEventsLimit), DNS: cfg.HearsDNS()}
	if !cfg.Hubble.Enabled {
		return m
	}
	m.Level = levels[cfg.BPF.MonitorAggregation]
	if a.jiffies != 0 {
		m.Interval = a.jiffies.Of(cfg.BPF.Interval())
	}
	return m
}

// measureTicks finds out how fast the kernel's clock runs; 0: it cannot be told.
func (a *Agent) measureTicks() datapath.Ticks {
	ticks, err := datapath.MeasureTicks()
	if err != nil {
		a.log.Warn("connections that go on are not told of: the kernel's clock cannot be measured", "err", err)
	}
	return ticks
}

// tracesSize is that of the ring, which is one page where nothing is written to it.
func tracesSize(cfg config.Config) uint32 {
	if !cfg.Hubble.Enabled {
		return uint32(os.Getpagesize())
	}
	return uint32(cfg.BPF.TracesSize)
}

// dnsSize is likewise that of the ring of DNS answers.
func dnsSize(cfg config.Config) uint32 {
	if !cfg.HearsDNS() {
		return uint32(os.Getpagesize())
	}
	return dnsRing
}

// dnsRing has room for 436 answers. It is looked at 20 times a second, and the more often
// the fuller it is.
const dnsRing = 256 << 10

// readEvents takes what programs tell, with the names that count at the time: not
// before the tables have names.
func (a *Agent) readEvents(ctx context.Context) error {
	if !reconcile.Wait(ctx, a.tables.IPs, a.tables.EndpointPolicies) {
		return nil
	}
	a.listening.Store(true)
	defer a.listening.Store(false)
	return a.dp.ReadEvents(ctx, datapath.Reader{Event: a.event, Answer: a.answer})
}

// answer is one of DNS that a pod got. It is the kernel's memory, likewise.
func (a *Agent) answer(x *bpf.DNSAnswer) {
	if a.flows != nil {
		a.flows.Hear(x)
	}
}

// event is one of a packet. It is the kernel's memory, and gone afterwards.
func (a *Agent) event(e *bpf.Event) {
	if kind := bpf.EventKind(e.Kind); kind < bpf.EventDrop || kind > bpf.EventPacket {
		a.unknown.Add(1) // of programs of another build, while they are exchanged
		return
	}
	a.followers.tell(e)
	if a.flows != nil {
		a.flows.Add(e)
	}
	if bpf.EventKind(e.Kind) == bpf.EventDrop {
		a.drops.note(e)
	}
}

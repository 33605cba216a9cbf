package config

import (
	"time"
)

const (
	minRing     = 64 << 10
	maxRing     = 256 << 20
	minInterval = time.Second
	maxInterval = time.Hour
)

// Interval is how often there is an event of a connection that goes on.
func (b BPF) Interval() time.Duration {
	d, _ := time.ParseDuration(b.MonitorInterval) // checked when the configuration was read
	return d
}

func (f *findings) monitor(b BPF) {
	f.oneOf("bpf.monitorAggregation", b.MonitorAggregation)
	if d, err := time.ParseDuration(b.MonitorInterval); err != nil || d < minInterval || d > maxInterval {
		f.add("bpf.monitorInterval", "%q is not a time between %s and %s, such as 5s", b.MonitorInterval, minInterval, maxInterval)
	}
	f.within("bpf.dropEventsLimit", b.DropEventsLimit)
	f.ring("bpf.eventsSize", b.EventsSize)
	f.ring("bpf.tracesSize", b.TracesSize)
}

func (f *findings) ring(key string, octets int) {
	f.within(key, octets)
	if octets > 0 && octets&(octets-1) != 0 {
		f.add(key, "%d is no power of two: use %d, for instance", octets, 1<<20)
	}
}

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Family is all samples of one name.
type Family struct {
	Name   string
	Help   string
	Labels []string

	desc *prometheus.Desc
	kind prometheus.ValueType
}

// Counter defines a family that only rises, until what it counts begins anew.
func Counter(name, help string, labels ...string) *Family {
	return define(prometheus.CounterValue, name, help, labels)
}

// Gauge defines a family that rises and falls.
func Gauge(name, help string, labels ...string) *Family {
	return define(prometheus.GaugeValue, name, help, labels)
}

func define(kind prometheus.ValueType, name, help string, labels []string) *Family {
	return &Family{Name: name, Help: help, Labels: labels, desc: prometheus.NewDesc(name, help, labels, nil), kind: kind}
}

// Out takes the samples of one scrape.
type Out struct{ to chan<- prometheus.Metric }

// Put adds a sample. The values of labels are in the family's order; those of two
// samples of a family must differ.
func (o Out) Put(f *Family, value float64, labels ...string) {
	m, err := prometheus.NewConstMetric(f.desc, f.kind, value, labels...)
	o.metric(f, m, err)
}

// spread adds a histogram of values that are known at once.
func (o Out) spread(f *Family, bounds, values []float64, labels ...string) {
	buckets, sum := map[float64]uint64{}, 0.0
	for _, b := range bounds {
		buckets[b] = 0
	}
	for _, v := range values {
		sum += v
		for _, b := range bounds {
			if v <= b {
				buckets[b]++
			}
		}
	}
	m, err := prometheus.NewConstHistogram(f.desc, uint64(len(values)), sum, buckets, labels...)
	o.metric(f, m, err)
}

// total adds a sum of many times with how many they were.
func (o Out) total(f *Family, count uint64, sum float64, labels ...string) {
	m, err := prometheus.NewConstSummary(f.desc, count, sum, nil, labels...)
	o.metric(f, m, err)
}

func (o Out) metric(f *Family, m prometheus.Metric, err error) {
	if err != nil {
		m = prometheus.NewInvalidMetric(f.desc, err)
	}
	o.to <- m
}

// Collector reads the families by read at each scrape.
func Collector(families []*Family, read func(Out)) prometheus.Collector {
	return collector{families, read}
}

type collector struct {
	families []*Family
	read     func(Out)
}

// Describe implements prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, f := range c.families {
		to <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) { c.read(Out{to}) }

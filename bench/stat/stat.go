// Package stat turns paired measurements into a ratio with an interval, and
// samples into percentiles.
//
// It measures nothing and assumes no distribution: intervals are bootstrapped.
package stat

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Ratio is the median of paired ratios with its bootstrap 95 % interval.
type Ratio struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	Pairs  int     `json:"pairs"`
}

const resamples = 2000

// Paired compares a[i] with base[i]. Pairs in which either is missing (zero)
// are left out. The generator is seeded, so that the same figures give the
// same interval.
func Paired(a, base []float64) Ratio {
	var q []float64
	for i := range min(len(a), len(base)) {
		if a[i] > 0 && base[i] > 0 {
			q = append(q, a[i]/base[i])
		}
	}
	return Of(q)
}

// Of is the median of samples with its bootstrap 95 % interval.
func Of(q []float64) Ratio {
	if len(q) == 0 {
		return Ratio{}
	}
	rng := rand.New(rand.NewPCG(1, uint64(len(q))))
	medians := make([]float64, resamples)
	draw := make([]float64, len(q))
	for i := range medians {
		for j := range draw {
			draw[j] = q[rng.IntN(len(q))]
		}
		medians[i] = Median(draw)
	}
	return Ratio{Median: Median(q), Low: Percentile(medians, 2.5), High: Percentile(medians, 97.5), Pairs: len(q)}
}

// Within reports whether the whole interval lies between low and high: what an
// A/A control has to show.
func (r Ratio) Within(low, high float64) bool { return r.Pairs > 0 && r.Low >= low && r.High <= high }

// Differs reports whether the interval excludes 1.
func (r Ratio) Differs() bool { return r.Pairs > 0 && (r.Low > 1 || r.High < 1) }

// Median of the samples; 0 when there are none.
func Median(q []float64) float64 { return Percentile(q, 50) }

// Percentile interpolates between the two nearest samples.
func Percentile(q []float64, p float64) float64 {
	if len(q) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(q))
	at := p / 100 * float64(len(s)-1)
	i := int(math.Floor(at))
	if i+1 >= len(s) {
		return s[len(s)-1]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}

package stat

import (
	"math"
	"testing"
)

func TestPercentileInterpolates(t *testing.T) {
	q := []float64{40, 10, 30, 20}
	for p, want := range map[float64]float64{0: 10, 50: 25, 100: 40, 99: 39.7} {
		if got := Percentile(q, p); math.Abs(got-want) > 1e-9 {
			t.Errorf("Percentile(%v, %v) = %v, want %v", q, p, got, want)
		}
	}
	if got := Median(nil); got != 0 {
		t.Errorf("Median(nil) = %v, want 0", got)
	}
}

func TestPairedIgnoresDriftThatBothShare(t *testing.T) {
	base := []float64{100, 50, 200, 80, 10}
	var a []float64
	for _, b := range base {
		a = append(a, b*1.25)
	}
	got := Paired(a, base)
	if got.Low != 1.25 || got.High != 1.25 || got.Median != 1.25 || got.Pairs != 5 || !got.Differs() {
		t.Errorf("Paired = %+v, want 1.25 in five pairs", got)
	}
}

func TestPairedLeavesOutPairsWithoutAMeasurement(t *testing.T) {
	if got := Paired([]float64{0, 4}, []float64{1, 2}); got.Pairs != 1 || got.Median != 2 {
		t.Errorf("Paired = %+v, want 2 in one pair", got)
	}
	if got := Paired([]float64{0}, []float64{1}); got.Differs() || got.Within(0, 9) {
		t.Errorf("Paired without pairs = %+v says something", got)
	}
}

func TestTheIntervalOfNoiseContainsOne(t *testing.T) {
	q := []float64{0.96, 1.04, 0.99, 1.01, 1.02, 0.98, 1, 1.03, 0.97}
	if got := Of(q); got.Differs() || got.Low < 0.96 || got.High > 1.04 {
		t.Errorf("Of = %+v, want an interval around 1", got)
	}
}

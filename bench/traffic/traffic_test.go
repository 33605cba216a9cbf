package traffic

import (
	"math"
	"testing"
	"time"
)

func TestPercentilesAreWithinTwoPercent(t *testing.T) {
	h := &histogram{}
	for us := 1; us <= 1000; us++ {
		h.add(time.Duration(us) * time.Microsecond)
	}
	for p, want := range map[float64]float64{50: 501, 99: 991} {
		if got := h.percentile(p); math.Abs(got-want)/want > 0.02 {
			t.Errorf("percentile(%v) = %v us, want about %v", p, got, want)
		}
	}
}

func TestBucketsAreInOrderAndInRange(t *testing.T) {
	last := -1
	for ns := uint64(0); ns < 1<<40; ns = ns*5/4 + 1 {
		at := bucket(ns)
		if at < last || at >= len((&histogram{}).count) {
			t.Fatalf("bucket(%d) = %d after %d", ns, at, last)
		}
		if v := value(at); ns > 128 && math.Abs(v-float64(ns))/float64(ns) > 0.02 {
			t.Errorf("value(bucket(%d)) = %v", ns, v)
		}
		last = at
	}
}

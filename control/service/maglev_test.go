package service

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// some are n backends with addresses drawn from a seed.
func some(n int, seed uint64) []backendKey {
	r := rand.New(rand.NewPCG(seed, 3))
	seen, out := map[netip.Addr]bool{}, []backendKey{}
	for len(out) < n {
		a := netip.AddrFrom4([4]byte{10, byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))})
		if seed%2 == 1 {
			b := netip.MustParseAddr("fd00::").As16()
			b[14], b[15] = byte(len(out)>>8), byte(len(out)) // in a row, as pods often are
			a = netip.AddrFrom16(b)
		}
		if !seen[a] {
			seen[a] = true
			out = append(out, backendAt(netip.AddrPortFrom(a, 8080), 6))
		}
	}
	return out
}

func isPrime(n uint32) bool {
	for d := uint32(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}

func TestTablesHaveAPrimeSizeAndAHundredSlotsForEach(t *testing.T) {
	for _, p := range primes {
		if !isPrime(p) {
			t.Errorf("%d is no prime", p)
		}
	}
	for _, n := range []int{1, 2, 10, 11, 100, 1000, 10_000, 100_000} {
		if size := tableSize(n); uint64(size) < 100*uint64(n) || uint64(size) > 256*uint64(n) && size > 127 {
			t.Errorf("%d backends have a table of %d", n, size)
		}
	}
}

func TestShareOfABackendIsAtMostOnePercentMoreThanOfOthers(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 10, 40, 100, 101, 500} {
		for seed := range uint64(10) {
			backends := some(n, seed)
			table := maglev(backends)
			count := make([]int, n)
			for _, b := range table {
				count[b]++
			}
			if most := float64(slices.Max(count)) * float64(n) / float64(len(table)); most > 1.01 {
				t.Errorf("seed %d, %d backends: one has %.4f of its share", seed, n, most)
			}
			if slices.Min(count) == 0 {
				t.Errorf("seed %d, %d backends: one has no slot", seed, n)
			}
		}
	}
}

// moved is the part of the slots of others that changes when one backend goes.
func moved(backends []backendKey, gone int) float64 {
	left := slices.Delete(slices.Clone(backends), gone, gone+1)
	before, after := maglev(backends), maglev(left)
	others, changed := 0, 0
	for i := range before {
		if int(before[i]) == gone {
			continue
		}
		others++
		if i >= len(after) || backends[before[i]] != left[after[i]] {
			changed++
		}
	}
	return float64(changed) / float64(others)
}

func TestRemovalOfOneOfAHundredMovesAtMostOnePercentOfTheOthersSlots(t *testing.T) {
	worst, sum := 0.0, 0.0
	for seed := range uint64(40) {
		m := moved(some(100, seed), int(seed*7%100))
		worst, sum = max(worst, m), sum+m
	}
	t.Logf("moved: %.2f %% on average, %.2f %% at worst", 100*sum/40, 100*worst)
	if worst > 0.01 {
		t.Errorf("a removal moved %.2f %% of the others' slots", 100*worst)
	}
}

func TestRemovalOfOneOfTenMovesFewOfTheOthersSlots(t *testing.T) {
	for seed := range uint64(40) {
		if m := moved(some(10, seed), int(seed%10)); m > 0.03 {
			t.Errorf("seed %d: a removal moved %.2f %% of the others' slots", seed, 100*m)
		}
	}
}

func TestEveryNodeMakesTheSameTable(t *testing.T) {
	backends := some(50, 4)
	want := maglev(backends)
	other := slices.Clone(backends)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
	for i, b := range maglev(other) {
		if other[b] != backends[want[i]] {
			t.Fatalf("slot %d is of %v in one order, of %v in another", i, backends[want[i]], other[b])
		}
	}
	sum := uint64(0) // it is also what other versions make
	for i, b := range want {
		sum = mix(sum + uint64(i) + backends[b].hash())
	}
	if sum != 0x67d5dea4e2d0a7b5 {
		t.Errorf("the table is another than in earlier versions: %#x", sum)
	}
}

func BenchmarkMaglev(b *testing.B) {
	for _, n := range []int{10, 100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			backends := some(n, 2)
			for b.Loop() {
				maglev(backends)
			}
		})
	}
}

package policytest

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"weir/test/policy/generate"
)

// How many triples of policies and a packet a run makes, and from which number,
// by environment: `make fuzz-policy N=1000000 SEED=1`.
const (
	envTriples = "FUZZ_POLICY_N"
	envSeed    = "FUZZ_POLICY_SEED"
	perCase    = 25 // packets that one set of policies is asked about
)

// triples is how many a run makes when it is not told.
func triples() uint64 {
	if testing.Short() {
		return 1_000
	}
	return 10_000
}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: want a number", name, text)
	}
	return n
}

func TestEveryReaderSaysWhatTheObjectsSay(t *testing.T) {
	n := number(t, envTriples, triples())
	if k := theKernel(t); k != nil {
		defer func() {
			for _, name := range slices.Sorted(maps.Keys(k.ran)) {
				t.Logf("%s: %d packets", name, k.ran[name])
			}
		}()
	}
	for _, from := range []struct {
		name string
		seed uint64
		n    uint64
	}{
		{"fixed", 1, n / 2},
		{"fresh", number(t, envSeed, uint64(time.Now().UnixNano())>>16), n - n/2},
	} {
		t.Run(from.name, func(t *testing.T) {
			t.Logf("seed %d, %d triples", from.seed, from.n)
			l := newLab(t)
			for i := range (from.n + perCase - 1) / perCase {
				c := generate.Random(from.seed+i, perCase)
				if bad := l.compare(c); bad != nil {
					t.Fatal(report(l, from.seed+i, c, bad))
				}
			}
		})
	}
}

// report shrinks a case and tells all about it.
func report(l lab, seed uint64, c generate.Case, bad *mismatch) string {
	small := generate.Shrink(c, func(s generate.Case) bool {
		b := l.compare(s)
		return b != nil && b.stage == bad.stage
	}, 4000)
	if b := l.compare(small); b != nil {
		bad = b
	}
	return fmt.Sprintf("seed %d (%s=%d %s=%d repeats it): %s\n%s", seed, envSeed, seed, envTriples, perCase, bad, small)
}

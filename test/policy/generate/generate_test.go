package generate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/test/policy/oracle"
)

func TestACaseIsReadBackAsItWasPrinted(t *testing.T) {
	for seed := range uint64(100) {
		c := Random(seed, 5)
		back, err := Parse(c.String())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if a, b := c.String(), back.String(); a != b {
			t.Fatalf("seed %d: %s", seed, cmp.Diff(a, b))
		}
	}
}

func TestEqualSeedsMakeEqualCases(t *testing.T) {
	if a, b := Random(7, 5).String(), Random(7, 5).String(); a != b {
		t.Error(cmp.Diff(a, b))
	}
	if Random(7, 5).String() == Random(8, 5).String() {
		t.Error("seeds 7 and 8 make the same case")
	}
}

// A generator whose packets are all allowed, or that never gets to a rule,
// would prove nothing.
func TestEveryVerdictIsCommon(t *testing.T) {
	const cases, packets = 1000, 10
	seen, rules := map[oracle.Verdict]int{}, map[string]bool{}
	for seed := range uint64(cases) {
		c := Random(seed, packets)
		w, err := c.World()
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, c)
		}
		for _, p := range c.Packets {
			e, i := w.Judge(p)
			seen[e.Verdict]++
			seen[i.Verdict]++
			for _, by := range append(e.By, i.By...) {
				rules[by] = true
			}
			if e.Verdict == oracle.NotJudged && i.Verdict == oracle.NotJudged && c.Settings.HostFirewall {
				t.Fatalf("seed %d: nobody judges %+v", seed, p)
			}
		}
	}
	for _, v := range []oracle.Verdict{oracle.NotJudged, oracle.NotEnforced, oracle.Allowed, oracle.DefaultDeny, oracle.RuleDeny} {
		t.Logf("%-18s %5d", v, seen[v])
		if seen[v] < cases*packets*2/40 {
			t.Errorf("%q: %d of %d ends, want at least one in forty", v, seen[v], cases*packets*2)
		}
	}
	t.Logf("%d distinct names decided", len(rules))
}

func TestShrinkingFindsThePolicyThatMatters(t *testing.T) {
	denies := func(c Case) bool {
		w, err := c.World()
		if err != nil || len(c.Packets) == 0 {
			return false
		}
		for _, p := range c.Packets {
			if e, _ := w.Judge(p); e.Verdict == oracle.RuleDeny {
				return true
			}
		}
		return false
	}
	for seed := range uint64(1000) {
		c := Random(seed, 20)
		if !denies(c) {
			continue
		}
		s := Shrink(c, denies, 5000)
		policies := 0
		for _, o := range s.Objects {
			if strings.HasSuffix(o["kind"].(string), "Policy") {
				policies++
			}
		}
		if !denies(s) || policies != 1 || len(s.Packets) != 1 {
			t.Errorf("seed %d shrinks to %d policies and %d packets, want one each:\n%s", seed, policies, len(s.Packets), s)
		}
		return
	}
	t.Fatal("no case of a thousand has a deny rule that matches")
}

package policylab

import (
	"strings"
	"testing"

	"weir/api/agent"
)

// nowhere are addresses that this test has routes for on n1.
var nowhere = map[bool]struct{ prohibited, unreachable, narrow, bits string }{
	true:  {"203.0.113.9", "203.0.113.10", "203.0.113.11", "/32"},
	false: {"2001:db8:99::9", "2001:db8:99::10", "2001:db8:99::11", "/128"},
}

// A drop says what the kernel said: which kind of route it was, and what would have
// fitted; in `weir drops`, in `weir why`, in the monitor's words and on a walk.
func TestADropSaysWhatTheKernelSaid(t *testing.T) {
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		eachFamily(t, func(t *testing.T, is4 bool) {
			at := nowhere[is4]
			family := map[bool]string{true: "-4", false: "-6"}[is4]
			route := func(action string, args ...string) {
				if r := c.Exec(t.Context(), "n1", append([]string{"ip", family, "route", action}, args...)...); !r.OK() {
					t.Fatalf("ip route %s %v: %s", action, args, r.Stderr)
				}
			}
			add := func(args ...string) {
				route("add", args...)
				t.Cleanup(func() { c.Exec(t.Context(), "n1", append([]string{"ip", family, "route", "del"}, args...)...) })
			}
			add("prohibit", at.prohibited+at.bits)
			add("unreachable", at.unreachable+at.bits)
			add(at.narrow+at.bits, "via", c.addr(t, "n2", is4).String(), "mtu", "lock", "1300")
			for to, want := range map[string]struct{ reason, cause string }{
				at.prohibited:  {"FIB lookup failed", "a prohibit route"},
				at.unreachable: {"FIB lookup failed", "an unreachable route"},
				at.narrow:      {"Fragmentation needed", "1300 octets fit"},
			} {
				c.Exec(t.Context(), "a", "ping", "-n", "-c1", "-W1", "-M", "do", "-s", "1350", to)
				var why agent.Why
				await(patience, func() bool {
					why = weirJSON[agent.Why](t, c, "n1", "why", "default/a", to)
					return len(why.Drops) > 0
				})
				if len(why.Drops) != 1 || why.Drops[0].Reason != want.reason || why.Drops[0].Cause != want.cause {
					t.Errorf("%s: %+v, want one drop: %s, %s", to, why.Drops, want.reason, want.cause)
				}
				if text, _ := c.weir(t, "n1", "drops"); !strings.Contains(text, want.reason+", "+want.cause) {
					t.Errorf("%s: weir drops says %q, want %q in it", to, text, want.cause)
				}
			}
			w := weirJSON[agent.Walk](t, c, "n1", "trace", "pod/a", at.prohibited, "--port", "80")
			if last := w.Steps[len(w.Steps)-1]; last.Verdict != "dropped" || last.Cause != "a prohibit route" {
				t.Errorf("the walk ends with %+v", last)
			}
		})
	})
}

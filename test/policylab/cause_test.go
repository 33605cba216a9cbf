package policylab

import (
	"context"
	"slices"
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
			if len(w.Steps) == 0 {
				t.Fatalf("a walk without a step: %+v", w)
			}
			if last := w.Steps[len(w.Steps)-1]; last.Verdict != "dropped" || last.Cause != "a prohibit route" {
				t.Errorf("the walk ends with %+v", last)
			}
		})
	})
}

// Somebody switches forwarding off for a pod's device. What is masqueraded is dropped
// then, and told of. What is not is the stack's, of native routing: IPv4's drops it, which
// is told of, and IPv6's asks the setting of all devices.
func TestForwardingThatIsOffIsToldOf(t *testing.T) {
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		device := c.pod(t, "a").HostDevice
		eachFamily(t, func(t *testing.T, is4 bool) {
			key := map[bool]string{true: "net.ipv4.conf.", false: "net.ipv6.conf."}[is4] + device + ".forwarding"
			set := func(value string) {
				if r := c.Exec(context.WithoutCancel(t.Context()), "n1", "sysctl", "-qw", key+"="+value); !r.OK() {
					t.Fatalf("sysctl: %s", r.Stderr)
				}
			}
			arrives := map[string]bool{"world": false}
			if c.kind.mode == "native" {
				arrives["c"] = !is4
			}
			ping := func(to string) bool {
				return c.Exec(t.Context(), "a", "ping", "-n", "-c1", "-W1", c.addr(t, to, is4).String()).OK()
			}
			told := func(to string) bool {
				return slices.ContainsFunc(weirJSON[[]agent.Drop](t, c, "n1", "drops"), func(d agent.Drop) bool {
					return d.Dest == c.addr(t, to, is4).String() && d.Cause == "forwarding is off on the device"
				})
			}
			for to := range arrives {
				if !ping(to) {
					t.Fatalf("a does not reach %s", to)
				}
			}
			set("0")
			t.Cleanup(func() { set("1") })
			for to, want := range arrives {
				if got := ping(to); got != want {
					t.Errorf("a reaches %s while forwarding is off for its device: %v", to, got)
				}
				if want && told(to) {
					t.Errorf("a drop to %s is told of, which arrived", to)
				}
				if !want && !await(patience, func() bool { return told(to) }) {
					t.Errorf("no drop to %s is told of", to)
				}
			}
		})
	})
}

package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "weir/api/v1"
	"weir/state"
	"weir/test/fakeapi"
)

func TestAForgottenVersionIsListedAgain(t *testing.T) {
	w := newWorld(t)
	w.put(some(5)...)
	w.ready()
	for i := range 3 {
		w.api.Expire() // 410 for every watch
		w.put(pod(fmt.Sprintf("after-%d", i)))
		w.eventually("a pod made after 410", func() bool { return w.hasPod(fmt.Sprintf("after-%d", i)) })
	}
	w.pods(8)
}

func TestAServerWithoutStreamedListsIsListed(t *testing.T) {
	w := newWorld(t)
	w.api.NoStream()
	w.put(everyKind()...)
	w.ready()
	if got := w.lens(); got != oneOfEach {
		t.Fatalf("rows %v, want %v", got, oneOfEach)
	}
	w.put(some(10)...)
	w.pods(10)
}

func TestOrderAndRepetitionDoNotMatter(t *testing.T) {
	w := newWorld(t)
	w.api.Shuffle(true)
	w.api.Duplicate(true)
	w.put(some(20)...)
	w.ready()
	for round := range 20 {
		for i := range 20 {
			w.put(pod(fmt.Sprintf("web-%d", i), fmt.Sprintf("round=%d", round)))
		}
		w.delete(pod(fmt.Sprintf("web-%d", round)))
	}
	w.put(pod("end"))
	w.eventually("the end of it", func() bool { return w.hasPod("end") })
	w.eventually("every pod as it was put last", func() bool {
		for i := range 20 {
			p, ok := w.tables.Pods.Get(state.PodName{Namespace: "default", Name: fmt.Sprintf("web-%d", i)})
			if want := i < 19; ok != want || want && p.Labels["round"] != "19" {
				return false
			}
		}
		return true
	})
}

func TestAListThatLacksMostIsNotBelieved(t *testing.T) {
	w := newWorld(t)
	w.opts.Confirm = time.Second
	w.put(some(20)...)
	w.ready()
	w.api.Hide("pods", func(string) bool { return true })
	w.api.Expire()
	w.hasProblem("pods list", "lacks 20 of 20")
	if w.tables.Pods.Len() != 20 {
		t.Fatalf("%d pods while the empty list is doubted, want 20", w.tables.Pods.Len())
	}
	w.api.Hide("pods", nil)
	w.always(2*time.Second, "all pods stay", func() bool { return w.tables.Pods.Len() == 20 })
	w.eventually("the problem is settled", func() bool { return w.problem("pods list") == "" })
}

// Half of everything is as bad as nearly all of it.
func TestAListThatLacksHalfIsNotBelieved(t *testing.T) {
	w := newWorld(t)
	w.opts.Confirm = time.Hour
	w.put(some(20)...)
	w.ready()
	w.api.Hide("pods", func(key string) bool { return len(key) == len("default/web-0") }) // web-0 to web-9
	w.api.Expire()
	w.hasProblem("pods list", "of 20 objects, more than a quarter")
	if w.tables.Pods.Len() != 20 {
		t.Errorf("%d pods while the list is doubted, want 20", w.tables.Pods.Len())
	}
}

func TestAListThatLacksMostCountsWhenASecondOneDoes(t *testing.T) {
	w := newWorld(t)
	w.put(some(20)...)
	w.ready()
	w.stop()
	w.delete(some(15)...)
	w.start()
	w.pods(5)
	w.eventually("the problem is settled", func() bool { return w.problem("pods list") == "" })
}

func TestAListThatLacksFewCountsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.opts.Confirm = time.Hour
	w.put(some(20)...)
	w.ready()
	w.stop()
	w.delete(some(3)...)
	w.start()
	w.pods(17)
}

// A storm of 410 makes list follow list, faster than any of them is confirmed.
func TestAStormOfListsPutsNothingOffForEver(t *testing.T) {
	w := newWorld(t)
	w.put(some(10)...)
	w.ready()
	w.pods(10)
	w.api.Hide("pods", func(key string) bool { return key != "default/web-0" })
	began := time.Now()
	w.eventually("what every list lacks is gone", func() bool {
		w.api.Expire()
		time.Sleep(20 * time.Millisecond)
		return w.tables.Pods.Len() == 1
	})
	if took := time.Since(began); took < w.opts.Confirm {
		t.Errorf("gone within %s, before it can have been confirmed", took)
	}
	w.eventually("the problem is settled", func() bool { return w.problem("pods list") == "" })
}

func TestARestoredServerDeletesNothingAtOnce(t *testing.T) {
	w := newWorld(t)
	w.opts.Confirm, w.opts.Grace = time.Millisecond, 2*time.Second
	w.put(some(10)...)
	was := w.api.Snapshot()
	w.ready()
	w.pods(10)
	w.eventually("all kinds are watched", func() bool { return len(w.source.Status().APIs) == len(kinds()) })
	w.put(pod("young-1"), pod("young-2"))
	w.pods(12) // by watches, which go on where they were, in a future that is not any more
	w.api.Restore(was)
	w.put(pod("web-0", "restored=yes"))
	w.hasProblem("pods list", "restored")
	if w.tables.Pods.Len() != 12 {
		t.Fatalf("%d pods after the restore, want all 12", w.tables.Pods.Len())
	}
	w.eventually("an object that the restored server changed", func() bool {
		p, _ := w.tables.Pods.Get(state.PodName{Namespace: "default", Name: "web-0"})
		return p.Labels["restored"] == "yes"
	})
	w.put(pod("young-1")) // somebody makes it again
	w.pods(11)
	if !w.hasPod("young-1") || w.hasPod("young-2") {
		t.Error("want young-1, which came back, and not young-2, which did not within the grace")
	}
}

func TestAKindThatIsNotDefinedIsEmptyAndBlocksNobody(t *testing.T) {
	w := newWorld(t)
	w.api.Unserve("ciliumcidrgroups")
	w.put(some(3)...)
	w.ready()
	w.hasProblem("ciliumcidrgroups.cilium.io", "CustomResourceDefinition")
	w.eventually("all others are watched, and said to be", func() bool {
		list := w.source.Status().APIs
		return len(list) == len(kinds())-1 && !slices.ContainsFunc(list, func(api string) bool { return strings.HasSuffix(api, "::CiliumCIDRGroup") })
	})
	w.stop()
	w.api.Down()
	w.start()
	w.within(time.Second, "every table is synced without a server, too", w.synced)
	if err := w.api.Up(); err != nil {
		t.Fatal(err)
	}
	w.api.Serve(fakeapi.Kind{Group: v1.Group, Version: v1.Version, Resource: "ciliumcidrgroups", Kind: "CiliumCIDRGroup"})
	w.put(everyKind()[4])
	w.within(20*time.Second, "the kind is watched once it is defined", func() bool { return w.tables.CIDRGroups.Len() == 1 })
	w.eventually("the problem is settled", func() bool { return w.problem("ciliumcidrgroups.cilium.io") == "" })
}

// Definitions of CiliumCIDRGroup from before its version v2 serve as well, and a newer
// one takes over.
func TestAnOlderDefinitionIsFollowed(t *testing.T) {
	w := newWorld(t)
	group := func(version, name string) {
		t.Helper()
		text := fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"externalCIDRs":["192.0.2.0/24"]}}`, name)
		if err := w.api.PutJSON("cilium.io/"+version, v1.KindCiliumCIDRGroup, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	define := func(version string) {
		w.api.Unserve("ciliumcidrgroups")
		w.api.Serve(fakeapi.Kind{Group: v1.Group, Version: version, Resource: "ciliumcidrgroups", Kind: v1.KindCiliumCIDRGroup})
	}
	follows := func(version string, names ...string) {
		t.Helper()
		w.eventually(fmt.Sprint(names, " of version ", version), func() bool {
			for _, name := range names {
				if _, ok := w.tables.CIDRGroups.Get(name); !ok {
					return false
				}
			}
			return w.tables.CIDRGroups.Len() == len(names) && w.problem("ciliumcidrgroups.cilium.io") == "" &&
				slices.Contains(w.source.Status().APIs, "cilium/"+version+"::CiliumCIDRGroup")
		})
	}
	define("v2alpha1")
	group("v2alpha1", "old")
	w.ready()
	follows("v2alpha1", "old")
	group("v2alpha1", "more")
	follows("v2alpha1", "more", "old")
	w.stop()
	w.start() // what is on disk is the same in either version
	follows("v2alpha1", "more", "old")
	define("v2")
	group("v2", "old")
	group("v2", "more")
	follows("v2", "more", "old")
	group("v2", "new")
	follows("v2", "more", "new", "old")
}

func TestAKindThatIsNoLongerDefinedKeepsItsRows(t *testing.T) {
	w := newWorld(t)
	w.put(policy("allow", "web"))
	w.ready()
	w.api.Unserve("ciliumnetworkpolicies") // nobody is told of its objects' end
	w.hasProblem("ciliumnetworkpolicies.cilium.io", "the last 1 known objects stay")
	w.stop()
	w.ready() // another agent
	w.hasProblem("ciliumnetworkpolicies.cilium.io", "the last 1 known objects stay")
	if w.tables.Policies.Len() != 1 {
		t.Errorf("%d policies, want the last known one", w.tables.Policies.Len())
	}
}

func TestAKindThatIsForbiddenWaitsOrStays(t *testing.T) {
	w := newWorld(t)
	w.api.Forbid("ciliumnetworkpolicies")
	w.put(policy("allow", "web"), pod("web"))
	w.start()
	w.hasProblem("ciliumnetworkpolicies.cilium.io", "forbidden")
	if text := w.problem("ciliumnetworkpolicies.cilium.io"); !strings.Contains(text, "ClusterRole") {
		t.Errorf("problem %q names no way out", text)
	}
	w.eventually("other kinds are there", func() bool { return w.tables.Pods.Synced() && w.tables.Pods.Len() == 1 })
	if w.tables.Policies.Synced() {
		t.Fatal("policies are synced although some may not be seen: traffic would be open")
	}
	w.api.Allow("ciliumnetworkpolicies")
	w.eventually("policies", func() bool { return w.tables.Policies.Synced() && w.tables.Policies.Len() == 1 })
	w.api.Forbid("ciliumnetworkpolicies")
	w.hasProblem("ciliumnetworkpolicies.cilium.io", "the last 1 known objects stay")
	if w.tables.Policies.Len() != 1 {
		t.Error("the last known policy is gone")
	}
}

// Whatever permission is taken away, it is named, and no row goes.
func TestEachKindThatIsForbiddenIsNamedAndLosesNothing(t *testing.T) {
	w := newWorld(t)
	w.put(everyKind()...)
	w.ready()
	w.eventually("a row of each kind", func() bool { return w.lens() == oneOfEach })
	for _, k := range kinds() {
		w.api.Forbid(k.resource)
	}
	for _, k := range kinds() {
		w.hasProblem(k.where(), "let the agent's ClusterRole get, list and watch "+k.where())
		w.hasProblem(k.where(), "the last 1 known objects stay in force")
	}
	if w.lens() != oneOfEach {
		t.Errorf("rows %v, want those of before", w.lens())
	}
	for _, k := range kinds() {
		w.api.Allow(k.resource)
	}
	w.eventually("all problems are settled", func() bool { return w.tables.Problems.Len() == 0 })
}

// A kind whose conversion webhook is away, or whose objects the server cannot read, fails
// alone: the connection is well, so nothing else would tell.
func TestAKindThatTheServerCannotReadIsNamed(t *testing.T) {
	w := newWorld(t)
	w.put(everyKind()...)
	w.ready()
	w.api.FailReads("ciliumnetworkpolicies", "conversion webhook for cilium.io/v2 failed: connection refused")
	w.hasProblem("ciliumnetworkpolicies.cilium.io", "conversion webhook for cilium.io/v2 failed")
	w.hasProblem("ciliumnetworkpolicies.cilium.io", "the last 1 known objects stay in force")
	if w.lens() != oneOfEach {
		t.Errorf("rows %v, want those of before", w.lens())
	}
	w.put(pod("web-1"))
	w.pods(2)
	w.api.FailReads("ciliumnetworkpolicies", "")
	w.eventually("the problem is settled", func() bool { return w.problem("ciliumnetworkpolicies.cilium.io") == "" })
}

func TestABadObjectLeavesItsLastGoodVersionInForce(t *testing.T) {
	w := newWorld(t)
	w.put(policy("good", "web"), policy("turns-bad", "web"))
	w.ready()
	bad := `{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{"namespace":"default","name":%q},"spec":{"endpointSelector":%s,"ingress":[{}]}}`
	put := func(name, selector string) {
		t.Helper()
		if err := w.api.PutJSON(v1.APIVersion, v1.KindCiliumNetworkPolicy, fmt.Appendf(nil, bad, name, selector)); err != nil {
			t.Fatal(err)
		}
	}
	put("turns-bad", `"web"`)
	put("born-bad", `{"matchLabels":{"app":7}}`)
	w.hasProblem("CiliumNetworkPolicy default/turns-bad", "endpointSelector")
	w.hasProblem("CiliumNetworkPolicy default/born-bad", "matchLabels")
	if w.tables.Policies.Len() != 2 {
		t.Fatalf("%d policies, want the good one and the last good version of the other", w.tables.Policies.Len())
	}
	w.stop()
	w.ready()
	w.hasProblem("CiliumNetworkPolicy default/turns-bad", "endpointSelector")
	if w.tables.Policies.Len() != 2 {
		t.Errorf("%d policies after a restart, want the same 2", w.tables.Policies.Len())
	}
	put("turns-bad", `{"matchLabels":{"app":"db"}}`)
	w.eventually("the problem is settled", func() bool { return w.problem("CiliumNetworkPolicy default/turns-bad") == "" })
	b := policy("born-bad", "web")
	w.delete(b)
	w.eventually("a bad object that is gone is no problem", func() bool { return w.problem("CiliumNetworkPolicy default/born-bad") == "" })
}

func TestAServerThatStopsAnsweringIsNoticedAndGoesOn(t *testing.T) {
	w := newWorld(t)
	w.put(some(3)...)
	w.ready()
	w.api.Hang()
	w.within(15*time.Second, "the hanging server is noticed", func() bool { return !w.source.Status().OK })
	w.put(pod("meanwhile"))
	w.api.Resume()
	w.eventually("what changed meanwhile", func() bool { return w.hasPod("meanwhile") && w.source.Status().OK })
}

func TestASlowServerIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.api.Slow(700 * time.Millisecond)
	w.put(some(3)...)
	w.ready()
	w.pods(3)
}

func TestAServerWhoseClockStepsIsFollowed(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.api.Clock = func() time.Time { return now }
	w.ready()
	for i, step := range []time.Duration{0, time.Hour, -24 * time.Hour, 0} {
		w.api.Clock = func() time.Time { return now.Add(step) }
		w.put(pod(fmt.Sprintf("web-%d", i)))
		w.pods(i + 1)
	}
}

func TestBrokenConnectionsLoseNothing(t *testing.T) {
	w := newWorld(t)
	w.put(some(5)...)
	w.ready()
	for i := range 5 {
		if err := w.api.Cut(); err != nil {
			t.Fatal(err)
		}
		w.put(pod(fmt.Sprintf("after-%d", i)))
		w.delete(pod(fmt.Sprintf("web-%d", i)))
		w.eventually("what changed after the cut", func() bool {
			return w.hasPod(fmt.Sprintf("after-%d", i)) && !w.hasPod(fmt.Sprintf("web-%d", i))
		})
	}
}

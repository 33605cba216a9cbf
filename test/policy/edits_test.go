package policytest

import (
	"math/rand/v2"
	"testing"
	"time"

	"weir/test/policy/generate"
)

// Objects come, change and go one by one in a random order while one agent runs,
// and is restarted now and then:
// what it wrote in the end is what the objects say, as if it had started with
// them.
func TestTheWayToAStateDoesNotMatter(t *testing.T) {
	scripts := number(t, envTriples, triples()) / 200
	seed := number(t, envSeed, uint64(time.Now().UnixNano())>>16)
	t.Logf("%s=%d, %d scripts", envSeed, seed, scripts)
	l := newLab(t)
	for i := range scripts {
		if text := editScript(t, l, seed+i); text != "" {
			t.Fatalf("%s=%d: %s", envSeed, seed+i, text)
		}
	}
}

// editScript brings an agent from one random world to another over many small
// changes, and compares at several stops. It returns what differs.
func editScript(t *testing.T, l lab, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 1))
	from, to := generate.Random(seed, perCase), generate.Random(seed+1_000_003, perCase)
	to.Settings, from.Settings.Orphans = from.Settings, nil
	to.Settings.Orphans = nil
	if from.Settings.IPv4 != from.Settings.IPv6 {
		return "" // the other world may have the other family
	}
	a, err := newAgent(l.dir, from.Settings)
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string]generate.Object{}
	var todo []generate.Object // what is in the new world
	wanted := map[string]bool{}
	for _, o := range from.Objects {
		objects[nameOf(o)] = o
	}
	for _, o := range to.Objects {
		wanted[nameOf(o)] = true
		todo = append(todo, o)
	}
	for name, o := range objects {
		if !wanted[name] {
			todo = append(todo, generate.Object{"delete": name, "object": o})
		}
	}
	r.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
	for len(todo) > 0 {
		n := 1 + r.IntN(3)
		for _, o := range todo[:min(n, len(todo))] {
			if name, ok := o["delete"].(string); ok {
				delete(objects, name)
			} else {
				objects[nameOf(o)] = o
			}
		}
		todo = todo[min(n, len(todo)):]
		now := generate.Case{Settings: to.Settings, Packets: append(from.Packets, to.Packets...)}
		for _, o := range objects {
			now.Objects = append(now.Objects, o)
		}
		if r.IntN(8) == 0 {
			if err := a.start(); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.apply(now.ObjectsYAML()); err != nil {
			return err.Error() + "\n" + now.String()
		}
		if len(todo) > 0 && r.IntN(4) > 0 {
			continue
		}
		bad := a.compare(l.kernel, now)
		if bad == nil {
			continue
		}
		if alone := l.compare(now); alone != nil {
			return "from scratch, too: " + report(l, seed, now, alone)
		}
		return "only on the way: " + bad.Error() + "\n" + now.String()
	}
	return ""
}

// nameOf tells objects apart. A pod takes the place of the one that had its
// address, in whatever namespace that was.
func nameOf(o generate.Object) string {
	meta := o["metadata"].(generate.Object)
	namespace, _ := meta["namespace"].(string)
	if o["kind"] == "Pod" {
		namespace = ""
	}
	return o["kind"].(string) + " " + namespace + "/" + meta["name"].(string)
}

// Package script runs the scripts in testdata: Kubernetes objects in, tables
// and map dumps out, without a kernel and without root. A script says what a
// user may rely on.
//
// Every script runs several times: its objects one by one, at once, backwards,
// each twice, and with a restart after each. Whatever the order, the dumps are
// those that stand in the script; and a restart writes nothing.
package script

import (
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"weir/bpf"
	"weir/source/files"
	"weir/state"
)

var update = flag.Bool("update", false, "rewrite the expected dumps from what comes out")

// way is an order in which the objects of a command are given to the agent.
type way struct {
	name    string
	arrange func([]files.Object) []files.Object
	restart bool // after each object
	once    bool // the agent looks only when all are there
}

var ways = []way{
	{name: "in-order", arrange: slices.Clone[[]files.Object]},
	{name: "at-once", arrange: slices.Clone[[]files.Object], once: true},
	{name: "backwards", arrange: func(o []files.Object) []files.Object { o = slices.Clone(o); slices.Reverse(o); return o }},
	{name: "each-twice", arrange: func(o []files.Object) []files.Object {
		var out []files.Object
		for _, x := range o {
			out = append(out, x, x)
		}
		return append(out, o...)
	}},
	{name: "restarts", arrange: slices.Clone[[]files.Object], restart: true},
}

func TestScripts(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) { runScripts(t, w) })
	}
}

func runScripts(t *testing.T, w way) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update && w.name == ways[0].name,
		Setup: func(env *testscript.Env) error {
			made, err := newWorld(env.WorkDir + "/objects")
			env.Values[key{}] = made
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"apply":    command(func(x *world, ts *testscript.TestScript, args []string) error { return each(x, ts, w, args, x.put) }),
			"delete":   command(func(x *world, ts *testscript.TestScript, args []string) error { return each(x, ts, w, args, x.remove) }),
			"endpoint": command(endpoint),
			"device":   command(device),
			"table":    command(printTable),
			"maps":     command(printMap),
			"mark":     command(func(x *world, _ *testscript.TestScript, _ []string) error { x.marked = x.generations; return nil }),
			"voided":   command(voided),
			"restart":  command(func(x *world, _ *testscript.TestScript, _ []string) error { return x.restart() }),
		},
	})
}

// key is where a script finds its world.
type key struct{}

func command(do func(*world, *testscript.TestScript, []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		w := ts.Value(key{}).(*world)
		err := do(w, ts, args)
		if neg && err == nil {
			ts.Fatalf("it worked, and should have failed")
		}
		if !neg && err != nil {
			ts.Fatalf("%v\n%s", err, w.log.String())
		}
	}
}

// each does something with every object of the files, in the way's order.
func each(x *world, ts *testscript.TestScript, w way, args []string, do func(files.Object) error) error {
	var all []files.Object
	for _, name := range args {
		objects, problems := files.Parse(name, []byte(ts.ReadFile(name)))
		if len(problems) > 0 {
			return fmt.Errorf("%s: %+v", name, problems)
		}
		all = append(all, objects...)
	}
	for _, o := range w.arrange(all) {
		if err := do(o); err != nil {
			return err
		}
		if w.once {
			continue
		}
		if err := x.step(); err != nil {
			return err
		}
		// An agent that starts over a refused object has no last good version of it.
		if w.restart && x.tables.Problems.Len() == 0 {
			if err := x.restart(); err != nil {
				return err
			}
		}
	}
	return x.step()
}

// endpoint plays CNI: endpoint add ID NAMESPACE/POD ADDRESS..., endpoint delete ID.
func endpoint(x *world, _ *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: endpoint add ID NAMESPACE/POD ADDRESS..., endpoint delete ID")
	}
	id, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	if args[0] == "delete" {
		delete(x.endpoints, state.EndpointID(id))
		x.tables.Endpoints.Delete(state.EndpointID(id))
		return x.step()
	}
	namespace, name, _ := strings.Cut(args[2], "/")
	e := state.Endpoint{ID: state.EndpointID(id), Pod: state.PodName{Namespace: namespace, Name: name}, State: state.EndpointReady}
	for _, text := range args[3:] {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return err
		}
		if a.Is4() {
			e.IPv4 = a
		} else {
			e.IPv6 = a
		}
	}
	x.endpoints[e.ID] = e
	return x.step()
}

// device gives the node a device on the underlay: device NAME ADDRESS/LENGTH...
func device(x *world, _ *testscript.TestScript, args []string) error {
	d := state.Device{Name: args[0], Index: 2, MTU: 1500}
	for _, text := range args[1:] {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return err
		}
		d.Addrs = append(d.Addrs, p)
	}
	x.devices[d.Name] = d
	return x.step()
}

func printTable(x *world, ts *testscript.TestScript, args []string) error {
	text, err := x.table(args[0])
	fmt.Fprint(ts.Stdout(), text)
	return err
}

func printMap(x *world, ts *testscript.TestScript, args []string) error {
	text, err := x.dump(args[0])
	fmt.Fprint(ts.Stdout(), text)
	return err
}

// voided fails when connections of an address were not voided since the mark.
func voided(x *world, _ *testscript.TestScript, args []string) error {
	for _, text := range args {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return err
		}
		if slot := bpf.AddrSlot(a); x.generations[slot] == x.marked[slot] {
			return fmt.Errorf("connections of %s are as they were", text)
		}
	}
	return nil
}

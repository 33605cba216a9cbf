package files

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/state"
)

func TestADuplicateIsAProblemAndTheFirstWins(t *testing.T) {
	second := strings.Replace(pod("one"), "nodeName: n1", "nodeName: n2", 1)
	dir, tables := start(t, map[string]string{"a.yaml": pod("one"), "b.yaml": second})
	if p, _ := tables.Pods.Get(name("one")); p.Node != "n1" {
		t.Errorf("node = %s, want n1: the first file's", p.Node)
	}
	got := problems(tables)
	if len(got) != 1 || got[0].Key.File != "b.yaml" || !strings.Contains(got[0].Error, "a.yaml:1") || !strings.Contains(got[0].Error, "b.yaml:1") {
		t.Errorf("problems = %+v, want one that names both files", got)
	}
	os.Remove(filepath.Join(dir, "a.yaml"))
	eventually(t, "the second counts when the first goes", func() bool {
		p, _ := tables.Pods.Get(name("one"))
		return p.Node == "n2" && tables.Problems.Len() == 0
	})
}

// nodeOf is where the object that counts says pod one is.
func nodeOf(tables *state.Tables) string {
	p, _ := tables.Pods.Get(name("one"))
	return p.Node
}

func TestAGoodObjectCountsWhateverIsWrongWithAnotherOfItsName(t *testing.T) {
	on := func(node string) string { return strings.Replace(pod("one"), "nodeName: n1", "nodeName: "+node, 1) }
	bad := strings.Replace(pod("one"), "nodeName", "nodeNam", 1)
	dir, keep := t.TempDir(), t.TempDir()
	put := func(a, b string) {
		write(t, dir, "a.yaml", a)
		write(t, dir, "b.yaml", b)
		rest(t, dir, "a.yaml")
		rest(t, dir, "b.yaml")
	}
	put(bad, on("n2"))
	tables, stop := run(t, dir, keep)
	said := func(file, instead string, parts ...string) {
		t.Helper()
		for _, p := range problems(tables) {
			if p.Key.File != file {
				continue
			}
			for _, part := range parts {
				if !strings.Contains(p.Error, part) {
					t.Errorf("%s: %q, want %q in it", file, p.Error, part)
				}
			}
			if p.Instead != instead {
				t.Errorf("%s: counts instead: %q, want %q", file, p.Instead, instead)
			}
			return
		}
		t.Errorf("%s: no problem among %+v", file, problems(tables))
	}
	if nodeOf(tables) != "n2" || tables.Problems.Len() != 1 {
		t.Errorf("node %q, %d problems: want n2 of the good one", nodeOf(tables), tables.Problems.Len())
	}
	said("a.yaml", "b.yaml:1", "nodeNam", "b.yaml:1 counts")

	write(t, dir, "a.yaml", on("n3"))
	eventually(t, "the first counts when it is mended", func() bool { return nodeOf(tables) == "n3" })
	write(t, dir, "a.yaml", bad)
	eventually(t, "the other counts again", func() bool { return nodeOf(tables) == "n2" })

	for _, tt := range []struct{ a, b, want string }{{bad, on("n2"), "n2"}, {on("n4"), bad, "n4"}, {bad, bad, "n4"}} {
		stop()
		put(tt.a, tt.b)
		tables, stop = run(t, dir, keep)
		if nodeOf(tables) != tt.want {
			t.Errorf("after a restart: node %q, want %s", nodeOf(tables), tt.want)
		}
	}
	said("a.yaml", "", "nodeNam")
	said("b.yaml", "", "nodeNam")
}

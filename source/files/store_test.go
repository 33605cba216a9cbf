package files

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/state"
)

const namespaceYAML = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: red}, annotations: {policy.weir.io/deny-response: reject}}\n"

// broken puts a file in place of another while nobody looks.
func broken(t *testing.T, dir, file, text string) {
	t.Helper()
	write(t, dir, file, text)
	rest(t, dir, file)
}

func team(tables *state.Tables) string {
	n, _ := tables.Namespaces.Get("shop")
	return n.Labels["team"]
}

func TestARefusedObjectKeepsItsLastGoodVersionOverARestart(t *testing.T) {
	dir, keep := t.TempDir(), filepath.Join(t.TempDir(), "state", "good")
	broken(t, dir, "policy.yaml", policyYAML)
	broken(t, dir, "ns.yaml", namespaceYAML)
	broken(t, dir, "pod.yaml", pod("one"))
	tables, stop := run(t, dir, keep)
	write(t, dir, "policy.yaml", strings.Replace(policyYAML, "toPorts", "toPortz", 1))
	eventually(t, "it is refused", func() bool { return tables.Problems.Len() == 1 })
	stop()
	// The others are broken while no agent runs, one of them in such a way that
	// its name is all that is left, one so that nothing is.
	broken(t, dir, "ns.yaml", strings.Replace(namespaceYAML, "reject", "rejekt", 1))
	broken(t, dir, "pod.yaml", "{{ garbage\n")
	for range 3 {
		tables, stop = run(t, dir, keep)
		if firstPort(tables) != 80 || team(tables) != "red" || !has(tables, "one")() || tables.Problems.Len() != 3 {
			t.Fatalf("port %d, team %q, pod %v, problems %+v: want the last good versions", firstPort(tables), team(tables), has(tables, "one")(), problems(tables))
		}
		stop()
	}
	broken(t, dir, "policy.yaml", strings.Replace(policyYAML, `"80"`, `"81"`, 1))
	tables, _ = run(t, dir, keep)
	if firstPort(tables) != 81 {
		t.Errorf("port %d: the mended policy does not apply", firstPort(tables))
	}
}

func TestVersionsOfObjectsThatAreGoneGo(t *testing.T) {
	dir, keep := t.TempDir(), filepath.Join(t.TempDir(), "good")
	broken(t, dir, "a.yaml", policyYAML)
	broken(t, dir, "b.yaml", namespaceYAML+"---\n"+pod("one"))
	tables, stop := run(t, dir, keep)
	if got := kept(t, keep); len(got) != 3 {
		t.Fatalf("kept %q, want three objects", got)
	}
	write(t, dir, "b.yaml", pod("one"))
	eventually(t, "an object that goes takes its version along", func() bool { return tables.Namespaces.Len() == 0 && len(kept(t, keep)) == 2 })
	stop()
	os.Remove(filepath.Join(dir, "a.yaml")) // while no agent runs
	tables, stop = run(t, dir, keep)
	stop()
	if got := kept(t, keep); len(got) != 1 || tables.Policies.Len() != 0 {
		t.Errorf("kept %q and %d policies: want the pod's only", got, tables.Policies.Len())
	}
	broken(t, dir, "a.yaml", strings.Replace(policyYAML, `"80"`, `"80000"`, 1))
	tables, _ = run(t, dir, keep)
	if tables.Policies.Len() != 0 {
		t.Error("a version outlived its object")
	}
}

func kept(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", name, info.Mode())
		}
	}
	if info, err := os.Stat(dir); err == nil && len(names) > 0 && info.Mode().Perm() != 0o700 {
		t.Errorf("%s has mode %v, want 0700", dir, info.Mode())
	}
	return names
}

func TestADirectoryThatCannotBeReadAtStartHasItsLastContent(t *testing.T) {
	dir, keep := t.TempDir(), filepath.Join(t.TempDir(), "good")
	broken(t, dir, "a.yaml", policyYAML)
	_, stop := run(t, dir, keep)
	stop()
	tables := state.New()
	s := New(slog.New(slog.DiscardHandler), filepath.Join(dir, "gone"), scope, tables)
	s.Keep(keep)
	if err := s.store.load(); err != nil {
		t.Fatal(err)
	}
	s.start(t.Context(), nil)
	s.publish()
	if firstPort(tables) != 80 || tables.Problems.Len() != 1 || len(kept(t, keep)) != 1 {
		t.Errorf("port %d, problems %+v, kept %q: want the last content", firstPort(tables), problems(tables), kept(t, keep))
	}
	s.dir = dir
	os.Remove(filepath.Join(dir, "a.yaml"))
	s.scan(true)
	s.publish()
	if tables.Policies.Len() != 0 || len(kept(t, keep)) != 0 {
		t.Error("the policy stays after its file was seen to be gone")
	}
}

func TestAStartWithoutAChangeWritesNoVersion(t *testing.T) {
	dir, keep := t.TempDir(), filepath.Join(t.TempDir(), "good")
	broken(t, dir, "a.yaml", policyYAML+"---\n"+pod("one"))
	_, stop := run(t, dir, keep)
	stop()
	old := time.Now().Add(-time.Hour)
	for _, name := range kept(t, keep) {
		if err := os.Chtimes(name, time.Time{}, old); err != nil {
			t.Fatal(err)
		}
	}
	_, stop = run(t, dir, keep)
	stop()
	for _, name := range kept(t, keep) {
		if info, err := os.Stat(name); err != nil || info.ModTime().After(old.Add(time.Second)) {
			t.Errorf("%s was written again: %v", name, err)
		}
	}
}

func TestVersionsThatCannotBeKeptAreAProblemAndObjectsApply(t *testing.T) {
	dir, keep := t.TempDir(), filepath.Join(t.TempDir(), "good")
	broken(t, dir, "a.yaml", policyYAML)
	write(t, filepath.Dir(keep), "good", "a file in the way")
	tables := state.New()
	s := New(slog.New(slog.DiscardHandler), dir, scope, tables)
	s.Keep(keep)
	s.store.held = map[objectKey]held{}
	s.scan(true)
	s.publish()
	if firstPort(tables) != 80 || tables.Problems.Len() != 1 || problems(tables)[0].Key.File != keep {
		t.Errorf("port %d, problems %+v: want the policy, and a problem that names the folder", firstPort(tables), problems(tables))
	}
	os.Remove(keep)
	s.publish()
	if tables.Problems.Len() != 0 || len(kept(t, keep)) != 1 {
		t.Errorf("problems %+v, kept %q: want it written when it can be", problems(tables), kept(t, keep))
	}
}

func TestAVersionThatIsNoGoodCostsOnlyItself(t *testing.T) {
	dir, keep := t.TempDir(), filepath.Join(t.TempDir(), "good")
	broken(t, dir, "a.yaml", policyYAML)
	broken(t, dir, "b.yaml", namespaceYAML)
	_, stop := run(t, dir, keep)
	stop()
	var s store
	s.dir = keep
	write(t, keep, filepath.Base(s.path(objectKey{"Namespace", "", "shop"})), "")
	write(t, keep, "left.tmp", "half")
	broken(t, dir, "a.yaml", strings.Replace(policyYAML, "toPorts", "toPortz", 1))
	broken(t, dir, "b.yaml", strings.Replace(namespaceYAML, "reject", "rejekt", 1))
	tables, _ := run(t, dir, keep)
	if firstPort(tables) != 80 || tables.Namespaces.Len() != 0 || len(kept(t, keep)) != 1 {
		t.Errorf("port %d, %d namespaces, kept %q: want the policy only", firstPort(tables), tables.Namespaces.Len(), kept(t, keep))
	}
}

func TestAHalfWrittenFileIsWaitedForAtStart(t *testing.T) {
	dir := t.TempDir()
	whole := pod("one") + "---\n" + pod("two")
	f, err := os.Create(filepath.Join(dir, "a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(whole[:len(pod("one"))])
	time.AfterFunc(quiet/4, func() {
		f.WriteString(whole[len(pod("one")):])
		f.Close()
	})
	tables, _ := run(t, dir, "")
	if !has(tables, "two")() {
		t.Error("half a file was taken for all of it")
	}
}

func TestAFileThatDoesNotRestAtStartHasItsLastGoodContent(t *testing.T) {
	dir, keep := t.TempDir(), filepath.Join(t.TempDir(), "good")
	broken(t, dir, "a.yaml", pod("one")+"---\n"+pod("two"))
	_, stop := run(t, dir, keep)
	stop()
	f, err := os.Create(filepath.Join(dir, "a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(pod("one"))
	done, ended := make(chan bool), make(chan bool)
	go func() { // a slow writer
		defer close(ended)
		for tick := time.NewTicker(quiet / 10); ; {
			select {
			case <-tick.C:
				f.WriteString("# more\n")
			case <-done:
				f.Close()
				return
			}
		}
	}()
	began := time.Now()
	tables, _ := run(t, dir, keep)
	if took := time.Since(began); took > limit+time.Second || !has(tables, "two")() || len(kept(t, keep)) != 2 {
		t.Errorf("synced after %v, pod two %v, kept %q: want the last good content after %v", took, has(tables, "two")(), kept(t, keep), limit)
	}
	close(done)
	<-ended
	eventually(t, "the file counts when it is closed", func() bool { return !has(tables, "two")() && has(tables, "one")() })
}

func TestTenThousandVersionsDoNotMakeAStartSlow(t *testing.T) {
	dir, keep := t.TempDir(), filepath.Join(t.TempDir(), "good")
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, "%s---\n", pod(fmt.Sprint("p", i)))
	}
	s := New(slog.New(slog.DiscardHandler), dir, scope, state.New())
	s.Keep(keep)
	took := func(f func()) time.Duration {
		began := time.Now()
		f()
		return time.Since(began)
	}
	parsed := took(func() { s.files["a.yaml"] = load("a.yaml", []byte(b.String()), scope) })
	find := func() {
		if err := s.store.load(); err != nil {
			t.Fatal(err)
		}
	}
	find()
	first := took(s.publish)
	found, again := took(find), took(s.publish)
	s.good = map[objectKey]row{}
	s.files = map[string]*file{"a.yaml": {unsure: true}}
	restored := took(s.publish)
	t.Logf("parsed in %v, first publication %v; then versions found in %v, publication %v, all restored %v", parsed, first, found, again, restored)
	if s.tables.Pods.Len() != 10_000 || found > parsed {
		t.Errorf("%d pods; found in %v, want less than the %v of reading the objects themselves", s.tables.Pods.Len(), found, parsed)
	}
}

package journal

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, dir string) (*Journal, func()) {
	t.Helper()
	j, err := Open(slog.New(slog.DiscardHandler), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- j.Run(ctx) }()
	stop := func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return j, stop
}

// content is what a new process finds: objects by kind and name, and "Pod " for
// a kind that is complete.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	j, err := Open(slog.New(slog.DiscardHandler), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer j.file.Close()
	out := map[string]string{}
	if err := j.Load(func(r Record) { out[r.Kind+" "+r.Name] = string(r.Object) }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhatIsThereIsFoundAgain(t *testing.T) {
	dir := t.TempDir()
	j, stop := open(t, dir)
	j.Put("Pod", "default/a", 1, []byte(`{"v":1}`))
	j.Put("Pod", "default/b", 2, []byte(`{"v":1}`))
	j.Put("Pod", "default/a", 3, []byte(`{"v":2}`))
	j.Delete("Pod", "default/b")
	j.Complete("Pod")
	stop()
	want := map[string]string{"Pod default/a": `{"v":2}`, "Pod ": ""}
	for range 2 { // opening it adds a file and changes nothing
		if got := content(t, dir); !maps.Equal(got, want) {
			t.Fatalf("found %v, want %v", got, want)
		}
	}
}

func TestHalfALineCostsThatLineOnly(t *testing.T) {
	dir := t.TempDir()
	j, stop := open(t, dir)
	j.Put("Pod", "default/a", 1, []byte(`{}`))
	j.Put("Pod", "default/b", 2, []byte(`{"long":"value"}`))
	stop()
	path := j.path(1)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		got := content(t, dir)
		first := slices.Index(whole, '\n') + 1
		want := 0
		if cut >= first-1 { // the line is whole without its end, too
			want = 1
		}
		if cut == len(whole)-1 {
			want = 2
		}
		if len(got) != want {
			t.Fatalf("cut at %d of %d: found %v, want %d objects", cut, len(whole), got, want)
		}
		if list, err := j.segments(); err != nil || j.remove(list[1:], 1<<30) != nil {
			t.Fatal(err)
		}
	}
}

func TestRewritingKeepsWhatCountsAndForgetsTheRest(t *testing.T) {
	dir := t.TempDir()
	j, stop := open(t, dir)
	filler := fmt.Sprintf(`{"filler":%q}`, strings.Repeat("x", 4096))
	for i := range 3 * minRewrite / len(filler) {
		j.Put("Pod", fmt.Sprintf("default/%d", i%7), uint64(i), []byte(filler))
	}
	j.Delete("Pod", "default/0")
	deadline := time.Now().Add(time.Minute)
	for {
		if list, err := j.segments(); err == nil && !slices.Contains(list, 1) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("not rewritten within a minute")
		}
		time.Sleep(10 * time.Millisecond)
		j.Put("Pod", "default/1", 0, []byte(filler))
	}
	stop()
	if got := content(t, dir); len(got) != 6 || got["Pod default/0"] != "" {
		t.Errorf("found %v objects, want those of 1 to 6", slices.Sorted(maps.Keys(got)))
	}
}

func TestAnOldFileBeforeARewrittenOneDoesNotCount(t *testing.T) {
	dir := t.TempDir()
	j, stop := open(t, dir)
	j.Put("Pod", "default/gone", 1, []byte(`{}`))
	stop()
	old, err := os.ReadFile(j.path(1))
	if err != nil {
		t.Fatal(err)
	}
	j, stop = open(t, dir)
	j.Delete("Pod", "default/gone")
	stop()
	j, err = Open(slog.New(slog.DiscardHandler), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.rewrite(); err != nil {
		t.Fatal(err)
	}
	j.file.Close()
	if err := os.WriteFile(j.path(1), old, 0o600); err != nil { // the crash came before its removal
		t.Fatal(err)
	}
	if got := content(t, dir); len(got) != 0 {
		t.Errorf("found %v, want nothing", got)
	}
}

func TestWhatAFullDiskRefusesIsWrittenLater(t *testing.T) {
	dir := t.TempDir()
	j, err := Open(slog.New(slog.DiscardHandler), dir)
	if err != nil {
		t.Fatal(err)
	}
	whole := j.file
	if j.file, err = os.OpenFile("/dev/full", os.O_WRONLY, 0); err != nil {
		t.Fatal(err)
	}
	j.Put("Pod", "default/a", 1, []byte(`{}`))
	j.flush(false)
	if j.Failed() == nil {
		t.Error("no failure is told while the disk is full")
	}
	j.file.Close()
	j.file = whole
	j.Put("Pod", "default/b", 2, []byte(`{}`))
	j.flush(true)
	if err := j.Failed(); err != nil {
		t.Errorf("failure %v, want none once there is room", err)
	}
	j.file.Close()
	if got := content(t, dir); len(got) != 2 {
		t.Errorf("found %v, want both objects", got)
	}
}

// An agent that starts again and again, with something new each time, keeps few files.
func TestManyStartsLeaveFewFiles(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 * manyFiles {
		j, stop := open(t, dir)
		if i%2 == 0 {
			j.Put("Pod", fmt.Sprintf("default/p%d", i%3), uint64(i+1), fmt.Appendf(nil, `{"v":%d}`, i))
		}
		time.Sleep(3 * flushEvery / 2)
		stop()
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) > manyFiles+2 {
		t.Errorf("%d files, %v; want %d at most", len(list), err, manyFiles+2)
	}
	if got := content(t, dir); len(got) != 3 {
		t.Errorf("it holds %v, want all three pods", got)
	}
}

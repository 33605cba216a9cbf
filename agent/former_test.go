package agent

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"weir/agent/config"
	"weir/state"
)

// formerAgent is what of an agent keeps identities, with a table of its own.
func formerAgent(dir string) *Agent {
	a := &Agent{log: slog.New(slog.DiscardHandler), tables: state.New(), cfg: config.Loaded{Config: config.Config{StateDir: dir}}}
	a.former = a.openFormer()
	return a
}

// knows fails unless an agent that starts now is told exactly this.
func knows(t *testing.T, dir string, want map[state.IdentityID]string) {
	t.Helper()
	got := map[state.IdentityID]string{}
	for _, i := range formerAgent(dir).former.identities() {
		got[i.ID] = i.Labels.Key()
	}
	if !maps.Equal(got, want) {
		t.Errorf("the next agent is told %v, want %v", got, want)
	}
}

// lives is an agent whose table changes as f says, until it has written all of it.
func lives(t *testing.T, dir string, f func(*state.Tables)) {
	t.Helper()
	a := formerAgent(dir)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1) // 1: it need not wait
	go func() { done <- a.former.journal.Run(ctx) }()
	f(a.tables)
	a.former.follow(a.tables)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTheNextAgentKnowsWhatNumbersMeant(t *testing.T) {
	dir := t.TempDir()
	web, db, local := state.Labels{"k8s:app=web"}, state.Labels{"k8s:app=db"}, state.IdentityLocal+7
	lives(t, dir, func(tables *state.Tables) {
		tables.Identities.Put(state.AllReserved()...)
		tables.Identities.Put(state.Identity{ID: 300, Labels: web}, state.Identity{ID: local, Labels: db}, state.Identity{ID: 301, Labels: db})
	})
	knows(t, dir, map[state.IdentityID]string{300: web.Key(), 301: db.Key(), local: db.Key()})
	lives(t, dir, func(tables *state.Tables) {
		tables.Identities.Put(state.Identity{ID: 300, Labels: db}, state.Identity{ID: local, Labels: db, Pods: 3})
	})
	knows(t, dir, map[state.IdentityID]string{300: db.Key(), local: db.Key()})
	lives(t, dir, func(tables *state.Tables) {
		tables.Identities.Put(state.Identity{ID: 300, Labels: db}, state.Identity{ID: 302, Labels: web})
		tables.Identities.Delete(300, 302)
	})
	knows(t, dir, map[state.IdentityID]string{})
}

// TestAFolderOfIdentitiesThatIsNone costs what is in it, and nothing else.
func TestAFolderOfIdentitiesThatIsNone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "identities"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if a := formerAgent(dir); a.former.journal != nil || len(a.former.identities()) > 0 {
		t.Errorf("former %+v of a file", a.former)
	}
	dir = t.TempDir()
	_ = os.Mkdir(filepath.Join(dir, "identities"), 0o700)
	if err := os.WriteFile(filepath.Join(dir, "identities", "objects-00000001.log"), []byte("not a line\n\x00\xff"), 0o600); err != nil {
		t.Fatal(err)
	}
	if a := formerAgent(dir); a.former.journal == nil || len(a.former.identities()) > 0 {
		t.Errorf("former %+v of a folder with rubbish in it", a.former)
	}
}

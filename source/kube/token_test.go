package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// account is the folder of a service account as a kubelet keeps it: its content is
// another folder, by a link that is replaced at once.
type account struct {
	*testing.T
	dir string
}

func newAccount(t *testing.T, token string) account {
	t.Helper()
	a := account{t, t.TempDir()}
	a.renew(token)
	if err := os.Symlink(filepath.Join("..data", "token"), filepath.Join(a.dir, "token")); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a account) renew(token string) {
	a.Helper()
	data, err := os.MkdirTemp(a.dir, "..data_")
	if err == nil {
		err = os.WriteFile(filepath.Join(data, "token"), []byte(token), 0o600)
	}
	next := filepath.Join(a.dir, "..data_next")
	if err == nil {
		err = os.Symlink(filepath.Base(data), next)
	}
	if err == nil {
		err = os.Rename(next, filepath.Join(a.dir, "..data"))
	}
	if err != nil {
		a.Fatal(err)
	}
}

// A token that is renewed counts at once, and one that the server refuses is tried
// again as soon as the file has another. Nothing that is known goes meanwhile.
func TestATokenThatIsRenewedIsUsedWithoutARestart(t *testing.T) {
	w := newWorld(t)
	a := newAccount(t, "one")
	w.opts.Connect.Account = a.dir
	w.api.RequireToken("one")
	w.put(some(3)...)
	w.ready()

	a.renew("two")
	w.api.RequireToken("two") // as with another signing key: the old one is worth nothing
	if err := w.api.Cut(); err != nil {
		t.Fatal(err)
	}
	w.put(pod("after"))
	w.within(5*time.Second, "the pod of the second token", func() bool { return w.hasPod("after") })

	w.api.RequireToken("three") // before the kubelet has it
	if err := w.api.Cut(); err != nil {
		t.Fatal(err)
	}
	w.put(pod("later"))
	w.eventually("a status that says 401", func() bool {
		s := w.source.Status()
		return !s.OK && s.Err != nil && strings.Contains(s.Err.Error(), "credentials (401)")
	})
	w.always(time.Second, "the rows", func() bool { return w.tables.Pods.Len() == 4 && w.synced() })
	a.renew("three")
	w.within(15*time.Second, "the pod of the third token", func() bool { return w.hasPod("later") })
	w.eventually("a status without errors", func() bool { return w.source.Status().OK && w.tables.Problems.Len() == 0 })
}

package run

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"weir/source/kube/connect"
	"weir/test/fakeapi"
)

// kept is a log that is read while it is written.
type kept struct {
	mu   sync.Mutex
	text strings.Builder
}

func (k *kept) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.Write(p)
}

func (k *kept) has(text string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return strings.Contains(k.text.String(), text)
}

// In a new cluster the operator is there before any agent has written where the server
// is, and the service's address does not answer yet.
func TestTheOperatorWaitsForTheServerToBeKnown(t *testing.T) {
	s := fakeapi.New()
	if err := s.StartTLS(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.RequireToken("mine")
	c := newCluster(t)
	c.Server = s
	c.put(node(1))
	root, account := t.TempDir(), t.TempDir()
	for name, data := range map[string][]byte{"token": []byte("mine"), "ca.crt": s.CA()} {
		if err := os.WriteFile(filepath.Join(account, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := &kept{}
	conn, rc, err := connection(slog.New(slog.NewTextHandler(log, nil)), "", connect.Options{Root: root, Account: account,
		Getenv: func(key string) string {
			return map[string]string{"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}[key]
		}})
	if err != nil {
		t.Fatal(err)
	}
	r := c.startWith("a", rc, conn)
	until(t, func() string {
		if !log.has("no API server answers") || !log.has("in-cluster variables") {
			return "the log does not say that no server answers, and which"
		}
		return ""
	})
	select {
	case err := <-r.ended:
		t.Fatalf("it has ended: %v", err)
	default:
	}
	text, err := connect.PodKubeconfig(s.URL(), "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "etc/kubernetes/kubelet.conf")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte("/var/run/secrets/kubernetes.io/serviceaccount"), []byte(account))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c.wantCIDRs("n1", "[10.0.0.0/24 fd00::/120]")
	r.stop() // as SIGTERM does: the lease is given up by the same connection
	select {
	case err := <-r.ended:
		if r.ended <- err; err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("does not end")
	}
	var l coordinationv1.Lease
	if c.Get("kube-system", "weir-operator", &l); l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity != "" {
		t.Errorf("the lease is not given up: %+v", l.Spec)
	}
}

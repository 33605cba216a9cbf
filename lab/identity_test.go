package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/state"
)

// The lab gives numbers as agents see labels: those that a policy tells apart.
func TestIdentitiesFollowThePolicies(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a lab's folder is below " + root + ", which takes root")
	}
	r := &record{Name: "identity-test"}
	r.Spec.ClusterName = "lab"
	if err := os.MkdirAll(r.objects(), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(r.dir()) })
	for _, app := range []string{"web", "db"} {
		r.Pods = append(r.Pods, Pod{Namespace: "default", Name: app, Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: app, Labels: map[string]string{"app": app}}}})
	}
	policy := filepath.Join(r.objects(), "networkpolicy_default_p.yaml")
	write := func() []state.Identity {
		t.Helper()
		if err := r.writeIdentities(); err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(filepath.Join(r.objects(), "ciliumidentity_*.yaml"))
		if len(files) != len(r.Identities) {
			t.Errorf("%d files for %d identities", len(files), len(r.Identities))
		}
		return r.Identities
	}
	if got := write(); len(got) != 1 || got[0].ID != 256 {
		t.Errorf("without a policy: got %v, want one", got)
	}
	text := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {matchLabels: {app: db}}}\n"
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := write(); len(got) != 2 || got[0].ID != 257 || !strings.HasPrefix(got[0].Labels[0], "k8s:app=") {
		t.Errorf("with a policy: got %v, want two new ones", got)
	}
	if err := os.Remove(policy); err != nil {
		t.Fatal(err)
	}
	if got := write(); len(got) != 1 || got[0].ID != 259 {
		t.Errorf("without it: got %v, want 259: 258 was given a moment ago", got)
	}
}

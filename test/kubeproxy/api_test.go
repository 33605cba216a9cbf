package kubeproxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func node(name string) *corev1.Node {
	return &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func get(t *testing.T, url string) *http.Response {
	t.Helper()
	r, err := http.Get(url) //nolint:noctx // the server ends with the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close() })
	return r
}

// A list and the watch that goes on from its version tell every change once, in
// order, and only of the object that is asked for.
func TestWatchGoesOnWhereTheListEnded(t *testing.T) {
	a := New()
	if err := a.Put(node("a"), node("b")); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(a)
	defer s.Close()
	defer s.CloseClientConnections()
	var list corev1.NodeList
	if err := json.NewDecoder(get(t, s.URL+"/api/v1/nodes?fieldSelector=metadata.name%3Da").Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 || list.Items[0].Name != "a" {
		t.Fatalf("the list has %+v", list.Items)
	}
	watch := json.NewDecoder(get(t, s.URL+"/api/v1/nodes?watch=true&fieldSelector=metadata.name%3Da&resourceVersion="+list.ResourceVersion).Body)
	if err := a.Put(node("b"), node("a")); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(node("a")); err != nil {
		t.Fatal(err)
	}
	if err := a.Put(node("a")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"MODIFIED a", "DELETED a", "ADDED a"} {
		var e struct {
			Type   string
			Object corev1.Node
		}
		if err := watch.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(e.Type, " ", e.Object.Name); got != want {
			t.Errorf("the watch says %s, want %s", got, want)
		}
	}
}

func TestWhatIsNotServedIsNamed(t *testing.T) {
	s := httptest.NewServer(New())
	defer s.Close()
	for path, code := range map[string]int{"/api/v1/pods": http.StatusNotFound, "/api/v1/nodes?watch=true": http.StatusBadRequest,
		"/api/v1/nodes?watch=true&sendInitialEvents=true": http.StatusUnprocessableEntity} {
		r := get(t, s.URL+path)
		var status metav1.Status
		if err := json.NewDecoder(r.Body).Decode(&status); err != nil || r.StatusCode != code || status.Kind != "Status" || status.Message == "" {
			t.Errorf("%s: %d %+v, %v; want %d", path, r.StatusCode, status, err, code)
		}
	}
	if err := New().Put(&corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}}); err == nil {
		t.Error("a pod is taken")
	}
}

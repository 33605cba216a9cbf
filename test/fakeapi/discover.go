package fakeapi

import (
	"encoding/json"
	"net/http"
	"runtime"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
)

// discover answers what is asked of the server itself, and reports whether it did.
func (s *Server) discover(w http.ResponseWriter, r *http.Request) bool {
	path := strings.TrimSuffix(r.URL.Path, "/")
	var out any
	switch {
	case path == "/healthz" || path == "/livez" || path == "/readyz":
		_, _ = w.Write([]byte("ok")) // whoever is gone needs no answer
		return true
	case path == "/version":
		out = version.Info{Major: "1", Minor: "34", GitVersion: "v1.34.4", GoVersion: runtime.Version(), Compiler: "gc", Platform: "linux/amd64"}
	case path == "/api":
		out = metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}}
	case path == "/apis":
		out = s.groups()
	case path == "/api/v1" || strings.HasPrefix(path, "/apis/") && strings.Count(path, "/") == 3:
		out = s.kinds(path)
	default:
		return false
	}
	if list, ok := out.(*metav1.APIResourceList); ok && list == nil {
		refuse(w, missing(path))
		return true
	}
	data, _ := json.Marshal(out) // these types always encode
	answer(w, http.StatusOK, data)
	return true
}

func (s *Server) groups() metav1.APIGroupList {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	seen := map[string]bool{"": true}
	for _, r := range s.sorted() {
		if seen[r.Group] {
			continue
		}
		seen[r.Group] = true
		v := metav1.GroupVersionForDiscovery{GroupVersion: r.groupVersion(), Version: r.Version}
		out.Groups = append(out.Groups, metav1.APIGroup{Name: r.Group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v})
	}
	return out
}

// kinds are those of a group and version; nil when it has none.
func (s *Server) kinds(path string) *metav1.APIResourceList {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out *metav1.APIResourceList
	for _, r := range s.sorted() {
		if strings.TrimSuffix(r.path(), "/"+r.Resource) != path {
			continue
		}
		if out == nil {
			out = &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: r.groupVersion()}
		}
		out.APIResources = append(out.APIResources, r.apiResources()...)
	}
	return out
}

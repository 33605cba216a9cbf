package fakeapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// request is what a path and its query ask for.
type request struct {
	*http.Request
	resource        *resource
	namespace, name string
	sub             string // "status"
	labels          labels.Selector
	fields          fields.Selector
}

func (q *request) matches(o object) bool {
	if o.data == nil {
		return false
	}
	if q.namespace != "" && !strings.HasPrefix(o.key, q.namespace+"/") {
		return false
	}
	return q.labels.Matches(o.labels) && q.fields.Matches(o.fields)
}

// ServeHTTP answers one request, or fails as it was told to.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.pass(w, r) {
		return
	}
	if s.discover(w, r) {
		return
	}
	q, fault := s.request(r)
	if fault != nil {
		refuse(w, fault)
		return
	}
	if f := s.unreadable(q); f != nil {
		refuse(w, f)
		return
	}
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodGet && q.name != "" && query.Get("watch") != "true":
		s.get(w, q)
	case r.Method == http.MethodGet && (query.Get("watch") == "true" || query.Get("watch") == "1"):
		s.watch(w, q)
	case r.Method == http.MethodGet:
		s.list(w, q)
	default:
		s.change(w, q)
	}
}

// request finds what a path names: /api/v1/pods, /api/v1/namespaces/default/pods/web/status.
func (s *Server) request(r *http.Request) (*request, *metav1.Status) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	base, rest := "", parts
	switch {
	case parts[0] == "api" && len(parts) > 2:
		base, rest = "/api/"+parts[1], parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		base, rest = "/apis/"+parts[1]+"/"+parts[2], parts[3:]
	default:
		return nil, missing(r.URL.Path)
	}
	q := &request{Request: r}
	if rest[0] == "namespaces" && len(rest) > 2 && rest[2] != "status" && rest[2] != "finalize" {
		q.namespace, rest = rest[1], rest[2:]
	}
	s.mu.Lock()
	q.resource = s.resources[base+"/"+rest[0]]
	s.mu.Unlock()
	if q.resource == nil || len(rest) > 3 {
		return nil, missing(r.URL.Path)
	}
	if len(rest) > 1 {
		q.name = rest[1]
	}
	if len(rest) > 2 {
		q.sub = rest[2]
	}
	var err error
	if q.labels, err = labels.Parse(r.URL.Query().Get("labelSelector")); err == nil {
		q.fields, err = fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	}
	if err != nil {
		return nil, status(http.StatusBadRequest, metav1.StatusReasonBadRequest, "%s", err)
	}
	return q, nil
}

func (s *Server) get(w http.ResponseWriter, q *request) {
	s.mu.Lock()
	o, ok := q.resource.objects[q.namespace+"/"+q.name]
	s.mu.Unlock()
	if !ok {
		refuse(w, notFound(q))
		return
	}
	answer(w, http.StatusOK, o.data)
}

// list answers with all that match. It is always the newest state, which every
// resourceVersion but an exact one allows; a version of the future is refused, as
// after a restore.
func (s *Server) list(w http.ResponseWriter, q *request) {
	s.mu.Lock()
	version := s.version
	if asked, err := strconv.ParseUint(q.URL.Query().Get("resourceVersion"), 10, 64); err == nil && asked > version {
		s.mu.Unlock()
		refuse(w, tooLarge(asked, version))
		return
	}
	kept := s.snapshot(q)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"kind":"%sList","apiVersion":%q,"metadata":{"resourceVersion":"%d"},"items":[`, q.resource.Kind.Kind, q.resource.groupVersion(), version)
	for i, o := range kept {
		if i > 0 {
			_, _ = w.Write([]byte(",")) // whoever is gone needs no answer
		}
		_, _ = w.Write(o.data)
	}
	_, _ = w.Write([]byte("]}"))
}

// snapshot is what a list has now: in the order of names, or in none. The lock
// is held.
func (s *Server) snapshot(q *request) []object {
	var out []object
	for _, key := range slices.Sorted(maps.Keys(q.resource.objects)) {
		if o := q.resource.objects[key]; q.matches(o) && !s.faults.hides(q.resource.Resource, key) {
			out = append(out, o)
		}
	}
	if s.faults.shuffle {
		rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	return out
}

func status(code int32, reason metav1.StatusReason, format string, args ...any) *metav1.Status {
	return &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Reason: reason, Message: fmt.Sprintf(format, args...), Code: code}
}

// missing is what is said of a path that is not served.
func missing(path string) *metav1.Status {
	st := status(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
	st.Details = &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: metav1.CauseTypeUnexpectedServerResponse, Message: "404 page not found: " + path}}}
	return st
}

func notFound(q *request) *metav1.Status {
	st := status(http.StatusNotFound, metav1.StatusReasonNotFound, "%s %q not found", q.resource.Resource, q.name)
	st.Details = &metav1.StatusDetails{Name: q.name, Group: q.resource.Group, Kind: q.resource.Resource}
	return st
}

func tooLarge(asked, have uint64) *metav1.Status {
	st := status(http.StatusGatewayTimeout, metav1.StatusReasonTimeout, "Too large resource version: %d, current: %d", asked, have)
	st.Details = &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}, RetryAfterSeconds: 1}
	return st
}

func gone(asked uint64) *metav1.Status {
	return status(http.StatusGone, metav1.StatusReasonExpired, "too old resource version: %d", asked)
}

func refuse(w http.ResponseWriter, st *metav1.Status) {
	data, _ := json.Marshal(st) // it always encodes
	answer(w, int(st.Code), data)
}

func answer(w http.ResponseWriter, code int, data []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(data) // whoever is gone needs no answer
}

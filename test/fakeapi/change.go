package fakeapi

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// change answers what writes.
func (s *Server) change(w http.ResponseWriter, q *request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		refuse(w, status(http.StatusBadRequest, metav1.StatusReasonBadRequest, "read body: %s", err))
		return
	}
	if q.Header.Get("Content-Type") == runtime.ContentTypeProtobuf && len(body) > 0 {
		if body, err = fromProtobuf(body); err != nil {
			refuse(w, status(http.StatusBadRequest, metav1.StatusReasonBadRequest, "%s", err))
			return
		}
	}
	s.mu.Lock()
	code, data, fault := s.apply(q, body)
	s.mu.Unlock()
	if fault != nil {
		refuse(w, fault)
		return
	}
	answer(w, code, data)
}

// apply does what a request asks for. The lock is held.
func (s *Server) apply(q *request, body []byte) (int, []byte, *metav1.Status) {
	if fault := s.unwritable(q, body); fault != nil {
		return 0, nil, fault
	}
	if q.Method == http.MethodDelete && q.name == "" {
		for _, o := range s.snapshot(q) {
			s.finish(q.resource, o)
		}
		return http.StatusOK, success(), nil
	}
	if q.Method == http.MethodPost {
		return s.create(q, body)
	}
	old, ok := q.resource.objects[q.namespace+"/"+q.name]
	if !ok {
		return 0, nil, notFound(q)
	}
	switch q.Method {
	case http.MethodPut:
		return s.update(q, old, body)
	case http.MethodPatch:
		patched, fault := patch(q, old, body)
		if fault != nil {
			return 0, nil, fault
		}
		return s.update(q, old, patched)
	case http.MethodDelete:
		return s.delete(q, old, body)
	}
	return 0, nil, status(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, "%s is not supported", q.Method)
}

func (s *Server) create(q *request, body []byte) (int, []byte, *metav1.Status) {
	content, fault := decode(body)
	if fault != nil {
		return 0, nil, fault
	}
	meta, _ := content["metadata"].(map[string]any)
	if meta == nil {
		return 0, nil, status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "metadata is missing")
	}
	if name, _ := meta["name"].(string); name == "" {
		prefix, _ := meta["generateName"].(string)
		if prefix == "" {
			return 0, nil, status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "metadata.name: Required value: name or generateName is required")
		}
		meta["name"] = fmt.Sprintf("%s%05x", prefix, rand.IntN(1<<20))
	}
	if q.resource.Namespaced {
		meta["namespace"] = q.namespace
	}
	name, _ := meta["name"].(string)
	if _, ok := q.resource.objects[q.namespace+"/"+name]; ok {
		st := status(http.StatusConflict, metav1.StatusReasonAlreadyExists, "%s %q already exists", q.resource.Resource, name)
		st.Details = &metav1.StatusDetails{Name: name, Group: q.resource.Group, Kind: q.resource.Resource}
		return 0, nil, st
	}
	if q.resource.Status && q.resource.Group == "cilium.io" {
		delete(content, "status") // it has a writer of its own
	}
	if q.URL.Query().Get("dryRun") != "" {
		return http.StatusCreated, body, nil
	}
	o, err := s.write(q.resource, content, true)
	if err != nil {
		return 0, nil, status(http.StatusBadRequest, metav1.StatusReasonBadRequest, "%s", err)
	}
	return http.StatusCreated, o.data, nil
}

// update replaces an object, or with the subresource its status, unless it names
// another version than the newest.
func (s *Server) update(q *request, old object, body []byte) (int, []byte, *metav1.Status) {
	content, fault := decode(body)
	if fault != nil {
		return 0, nil, fault
	}
	before, fault := decode(old.data)
	if fault != nil {
		return 0, nil, fault
	}
	meta, _ := content["metadata"].(map[string]any)
	was, _ := before["metadata"].(map[string]any)
	if meta == nil {
		return 0, nil, status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "metadata is missing")
	}
	if version, _ := meta["resourceVersion"].(string); version != "" && version != was["resourceVersion"] {
		st := status(http.StatusConflict, metav1.StatusReasonConflict, "Operation cannot be fulfilled on %s %q: the object has been modified; please apply your changes to the latest version and try again", q.resource.Resource, q.name)
		st.Details = &metav1.StatusDetails{Name: q.name, Group: q.resource.Group, Kind: q.resource.Resource}
		return 0, nil, st
	}
	if uid, _ := meta["uid"].(string); uid != "" && uid != was["uid"] {
		return 0, nil, status(http.StatusConflict, metav1.StatusReasonConflict, "Precondition failed: UID in precondition: %s, UID in object meta: %s", uid, was["uid"])
	}
	if q.sub == "status" {
		before["status"] = content["status"]
		content, meta = before, was
	} else if q.resource.Status {
		content["status"] = before["status"]
		if content["status"] == nil {
			delete(content, "status")
		}
	}
	meta["name"] = q.name
	if q.resource.Namespaced {
		meta["namespace"] = q.namespace
	}
	o, err := s.write(q.resource, content, true)
	if err != nil {
		return 0, nil, status(http.StatusBadRequest, metav1.StatusReasonBadRequest, "%s", err)
	}
	if h, _, err := parse(o.data); err == nil && h.Metadata.DeletionTimestamp != nil && len(h.Metadata.Finalizers) == 0 {
		s.remove(q.resource, o)
	}
	return http.StatusOK, o.data, nil
}

func patch(q *request, old object, body []byte) ([]byte, *metav1.Status) {
	kind, _, _ := strings.Cut(q.Header.Get("Content-Type"), ";")
	var out []byte
	var err error
	switch kind {
	case "application/merge-patch+json", "application/strategic-merge-patch+json": // lists are replaced by both
		out, err = jsonpatch.MergePatch(old.data, body)
	case "application/json-patch+json":
		var p jsonpatch.Patch
		if p, err = jsonpatch.DecodePatch(body); err == nil {
			out, err = p.Apply(old.data)
		}
	default:
		return nil, status(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType, "%s is not supported", kind)
	}
	if err != nil {
		return nil, status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "%s", err)
	}
	return out, nil
}

func (s *Server) delete(q *request, old object, body []byte) (int, []byte, *metav1.Status) {
	var options metav1.DeleteOptions
	if len(body) > 0 {
		if err := json.Unmarshal(body, &options); err != nil {
			return 0, nil, status(http.StatusBadRequest, metav1.StatusReasonBadRequest, "%s", err)
		}
	}
	h, _, err := parse(old.data)
	if err != nil {
		return 0, nil, status(http.StatusInternalServerError, metav1.StatusReasonInternalError, "%s", err)
	}
	if p := options.Preconditions; p != nil {
		if p.UID != nil && string(*p.UID) != h.Metadata.UID || p.ResourceVersion != nil && *p.ResourceVersion != h.Metadata.ResourceVersion {
			return 0, nil, status(http.StatusConflict, metav1.StatusReasonConflict, "Precondition failed for %s %q", q.resource.Resource, q.name)
		}
	}
	s.finish(q.resource, old)
	return http.StatusOK, success(), nil
}

// finish deletes an object, or marks it until its finalizers are gone.
func (s *Server) finish(r *resource, old object) {
	h, _, err := parse(old.data)
	if err != nil || len(h.Metadata.Finalizers) == 0 {
		s.remove(r, old)
		return
	}
	if h.Metadata.DeletionTimestamp != nil {
		return
	}
	content, fault := decode(old.data)
	if fault != nil {
		return
	}
	content["metadata"].(map[string]any)["deletionTimestamp"] = s.now().UTC().Format("2006-01-02T15:04:05Z")
	_, _ = s.write(r, content, true) // it was decoded just now
}

func decode(data []byte) (map[string]any, *metav1.Status) {
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, status(http.StatusBadRequest, metav1.StatusReasonBadRequest, "not an object: %s", err)
	}
	return out, nil
}

func success() []byte {
	return []byte(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}`)
}

package fakeapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// object is one version of an object, and what requests select by.
type object struct {
	key    string // "namespace/name", or "/name"
	data   json.RawMessage
	labels labels.Set
	fields fields.Set
}

// header is what the server looks at in an object.
type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name              string            `json:"name"`
		Namespace         string            `json:"namespace"`
		ResourceVersion   string            `json:"resourceVersion"`
		UID               string            `json:"uid"`
		Labels            map[string]string `json:"labels"`
		Finalizers        []string          `json:"finalizers"`
		DeletionTimestamp *metav1.Time      `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
	Status struct {
		Phase string `json:"phase"`
	} `json:"status"`
}

func parse(data []byte) (header, object, error) {
	var h header
	if err := json.Unmarshal(data, &h); err != nil {
		// a field that is selected by may have any type in kinds that do not know it
		var bare struct {
			Metadata json.RawMessage `json:"metadata"`
		}
		if json.Unmarshal(data, &bare) != nil || json.Unmarshal(bare.Metadata, &h.Metadata) != nil {
			return h, object{}, fmt.Errorf("not an object: %w", err)
		}
	}
	m := h.Metadata
	o := object{key: m.Namespace + "/" + m.Name, data: data, labels: m.Labels,
		fields: fields.Set{"metadata.name": m.Name, "metadata.namespace": m.Namespace, "spec.nodeName": h.Spec.NodeName, "status.phase": h.Status.Phase}}
	return h, o, nil
}

// Object is anything that Put takes: a Kubernetes object of any Go type.
type Object interface {
	metav1.Object
}

// Put makes objects, or replaces those of the same names, whatever versions they
// say. A kind that is not written into the object is that of its Go type.
func (s *Server) Put(objects ...Object) error {
	for _, o := range objects {
		data, err := json.Marshal(o)
		if err != nil {
			return fmt.Errorf("encode %s: %w", o.GetName(), err)
		}
		var h header
		_ = json.Unmarshal(data, &h) // what it cannot tell is found by the type
		if h.Kind == "" {
			h.Kind = reflect.TypeOf(o).Elem().Name()
		}
		if err := s.PutJSON(h.APIVersion, h.Kind, data); err != nil {
			return err
		}
	}
	return nil
}

// PutJSON is Put of an object as JSON, good or bad: nothing but its metadata is
// looked at.
func (s *Server) PutJSON(apiVersion, kind string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.ofKind(apiVersion, kind)
	if r == nil {
		return fmt.Errorf("%s %s is not served: call Serve", apiVersion, kind)
	}
	var content map[string]any
	if err := json.Unmarshal(data, &content); err != nil {
		return fmt.Errorf("decode %s: %w", kind, err)
	}
	_, err := s.write(r, content, true)
	return err
}

// Delete removes objects, without asking their finalizers.
func (s *Server) Delete(objects ...Object) error {
	for _, o := range objects {
		s.mu.Lock()
		r := s.ofKind("", reflect.TypeOf(o).Elem().Name())
		if r == nil {
			s.mu.Unlock()
			return fmt.Errorf("%T is not served", o)
		}
		if old, ok := r.objects[o.GetNamespace()+"/"+o.GetName()]; ok {
			s.remove(r, old)
		}
		s.mu.Unlock()
	}
	return nil
}

// Get fills into with the object of its Go type's kind and this name, and
// reports whether there is one.
func (s *Server) Get(namespace, name string, into Object) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.ofKind("", reflect.TypeOf(into).Elem().Name())
	if r == nil {
		return false
	}
	o, ok := r.objects[namespace+"/"+name]
	return ok && json.Unmarshal(o.data, into) == nil
}

// Count is how many objects a kind has: "pods".
func (s *Server) Count(resource string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.named(resource)
	if r == nil {
		return 0
	}
	return len(r.objects)
}

// write stores an object under the next version, and tells. The lock is held.
// meta.generation counts changes of what is not metadata and status.
func (s *Server) write(r *resource, content map[string]any, tell bool) (object, error) {
	meta, _ := content["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		content["metadata"] = meta
	}
	if !r.Namespaced {
		delete(meta, "namespace")
	}
	name, _ := meta["name"].(string)
	namespace, _ := meta["namespace"].(string)
	old, had := r.objects[namespace+"/"+name]
	content["apiVersion"], content["kind"] = r.groupVersion(), r.Kind.Kind
	s.version++
	meta["resourceVersion"] = strconv.FormatUint(s.version, 10)
	s.complete(meta, content, old, had)
	data, err := json.Marshal(content)
	if err != nil {
		return object{}, fmt.Errorf("encode %s: %w", r.Kind.Kind, err)
	}
	_, o, err := parse(data)
	if err != nil {
		return object{}, err
	}
	r.objects[o.key] = o
	r.remember(event{version: s.version, object: o, before: old})
	if r.Resource == "customresourcedefinitions" {
		s.define(data)
	}
	if tell {
		s.tell()
	}
	return o, nil
}

// complete fills what the server decides of an object's metadata.
func (s *Server) complete(meta, content map[string]any, old object, had bool) {
	if !had {
		if meta["uid"] == nil {
			s.uids++
			meta["uid"] = fmt.Sprintf("00000000-0000-4000-8000-%012d", s.uids)
		}
		if meta["creationTimestamp"] == nil {
			meta["creationTimestamp"] = s.now().UTC().Format("2006-01-02T15:04:05Z")
		}
		meta["generation"] = 1
		return
	}
	var before map[string]any
	_ = json.Unmarshal(old.data, &before) // it was encoded here
	was, _ := before["metadata"].(map[string]any)
	meta["uid"], meta["creationTimestamp"] = was["uid"], was["creationTimestamp"]
	generation, _ := was["generation"].(float64)
	if !reflect.DeepEqual(bare(before), bare(roundTrip(content))) {
		generation++
	}
	meta["generation"] = generation
}

// bare is an object without what does not count for its generation.
func bare(content map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range content {
		if k != "metadata" && k != "status" {
			out[k] = v
		}
	}
	return out
}

// roundTrip makes numbers what the decoder makes of them.
func roundTrip(content map[string]any) map[string]any {
	var out map[string]any
	data, _ := json.Marshal(content) // what came as JSON goes as JSON
	_ = json.Unmarshal(data, &out)
	return out
}

// remove deletes an object and tells its last form, as real servers do, with the
// version of its end. The lock is held.
func (s *Server) remove(r *resource, old object) {
	s.version++
	delete(r.objects, old.key)
	last := old
	var content map[string]any
	if json.Unmarshal(old.data, &content) == nil {
		meta, _ := content["metadata"].(map[string]any)
		meta["resourceVersion"] = strconv.FormatUint(s.version, 10)
		last.data, _ = json.Marshal(content) // it was decoded just now
	}
	r.remember(event{version: s.version, object: last, before: old, deleted: true})
	s.tell()
}

func (r *resource) remember(e event) {
	r.events = append(r.events, e)
	if len(r.events) > maxEvents {
		half := len(r.events) / 2
		r.horizon = r.events[half-1].version
		r.events = append([]event(nil), r.events[half:]...)
	}
}

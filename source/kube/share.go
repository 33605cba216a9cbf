package kube

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"weir/state"
)

// sharer lets rows share what is equal in many of them: labels of a deployment's
// pods, names of nodes. Rows are never changed, so nobody can tell.
type sharer struct {
	mu     sync.Mutex
	texts  map[string]string
	labels map[string]map[string]string // by what they say
}

// maxShared bounds what is remembered: beyond it everything is learned anew, and
// what rows have stays theirs.
const maxShared = 1 << 16

// row returns the row with shared parts in place of its own.
func (s *sharer) row(r any) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r := r.(type) {
	case state.Pod:
		r.Labels = s.set(r.Labels)
		r.Name.Namespace, r.Node, r.ServiceAccount = s.text(r.Name.Namespace), s.text(r.Node), s.text(r.ServiceAccount)
		r.Workload.Kind, r.Workload.Name = s.text(r.Workload.Kind), s.text(r.Workload.Name)
		for i := range r.Ports {
			r.Ports[i].Name = s.text(r.Ports[i].Name)
		}
		return r
	case state.Slice:
		r.Name.Namespace, r.Service.Namespace = s.text(r.Name.Namespace), s.text(r.Service.Namespace)
		for i := range r.Endpoints {
			r.Endpoints[i].Node, r.Endpoints[i].Zone = s.text(r.Endpoints[i].Node), s.text(r.Endpoints[i].Zone)
		}
		return r
	}
	return r
}

func (s *sharer) text(t string) string {
	if known, ok := s.texts[t]; ok {
		return known
	}
	if s.texts == nil || len(s.texts) >= maxShared {
		s.texts = map[string]string{}
	}
	s.texts[t] = t
	return t
}

func (s *sharer) set(labels map[string]string) map[string]string {
	if len(labels) == 0 {
		return labels
	}
	var id strings.Builder
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		id.WriteString(k + "=" + labels[k] + "\n") // neither has a line's end in it
	}
	if known, ok := s.labels[id.String()]; ok {
		return known
	}
	if s.labels == nil || len(s.labels) >= maxShared {
		s.labels = map[string]map[string]string{}
	}
	s.labels[id.String()] = labels
	return labels
}

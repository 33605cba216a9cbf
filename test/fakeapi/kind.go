package fakeapi

import (
	"encoding/json"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Kind is a kind of objects, as the server serves it.
type Kind struct {
	Group, Version, Resource, Kind string
	Namespaced                     bool
	Status                         bool // has the subresource
	ShortNames                     []string
}

func (k Kind) groupVersion() string {
	if k.Group == "" {
		return k.Version
	}
	return k.Group + "/" + k.Version
}

// path is where the kind is served, over all namespaces.
func (k Kind) path() string {
	if k.Group == "" {
		return "/api/" + k.Version + "/" + k.Resource
	}
	return "/apis/" + k.Group + "/" + k.Version + "/" + k.Resource
}

// resource is all objects of a kind, and what happened to them.
type resource struct {
	Kind
	objects map[string]object // by key
	events  []event           // in the order of their versions
	horizon uint64            // what happened up to this version is forgotten
}

// event is one change; before is the object as it was, without data when it is new.
type event struct {
	version uint64
	object  object
	before  object
	deleted bool
}

// maxEvents is how many events a kind remembers: who is further behind gets 410.
const maxEvents = 200000

func builtin() []Kind {
	namespaced := func(group, version, resource, kind string) Kind {
		return Kind{Group: group, Version: version, Resource: resource, Kind: kind, Namespaced: true, Status: true}
	}
	global := func(group, version, resource, kind string) Kind {
		return Kind{Group: group, Version: version, Resource: resource, Kind: kind, Status: true}
	}
	return []Kind{
		global("", "v1", "namespaces", "Namespace"), global("", "v1", "nodes", "Node"),
		namespaced("", "v1", "pods", "Pod"), namespaced("", "v1", "services", "Service"), namespaced("", "v1", "endpoints", "Endpoints"),
		namespaced("", "v1", "configmaps", "ConfigMap"), namespaced("", "v1", "secrets", "Secret"), namespaced("", "v1", "events", "Event"),
		namespaced("events.k8s.io", "v1", "events", "Event"), namespaced("coordination.k8s.io", "v1", "leases", "Lease"),
		namespaced("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
		namespaced("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
		namespaced("apps", "v1", "deployments", "Deployment"), namespaced("apps", "v1", "daemonsets", "DaemonSet"),
		global("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
		namespaced("cilium.io", "v2", "ciliumnetworkpolicies", "CiliumNetworkPolicy"),
		global("cilium.io", "v2", "ciliumclusterwidenetworkpolicies", "CiliumClusterwideNetworkPolicy"),
		{Group: "cilium.io", Version: "v2", Resource: "ciliumendpoints", Kind: "CiliumEndpoint", Namespaced: true}, global("cilium.io", "v2", "ciliumnodes", "CiliumNode"),
		global("cilium.io", "v2", "ciliumidentities", "CiliumIdentity"), global("cilium.io", "v2", "ciliumcidrgroups", "CiliumCIDRGroup"),
		global("cilium.io", "v2alpha1", "ciliuml2announcementpolicies", "CiliumL2AnnouncementPolicy"),
	}
}

// serve adds a kind. The lock is held, or nobody else knows the server yet.
func (s *Server) serve(k Kind) *resource {
	r := &resource{Kind: k, objects: map[string]object{}, horizon: s.version}
	s.resources[k.path()] = r
	return r
}

// Serve adds a kind, as creating its definition does.
func (s *Server) Serve(k Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resources[k.path()] == nil {
		s.serve(k)
	}
	s.tell()
}

// Unserve takes a kind away with its objects, as deleting its definition does:
// "ciliumnodes". Whoever watches it is cut off.
func (s *Server) Unserve(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.resources, func(_ string, r *resource) bool { return r.Resource == name })
	s.tell()
}

// named returns a kind by its name in paths. The lock is held.
func (s *Server) named(name string) *resource {
	for _, r := range s.sorted() {
		if r.Resource == name {
			return r
		}
	}
	return nil
}

// ofKind returns a kind by its name in objects; group and version may be unknown.
func (s *Server) ofKind(apiVersion, kind string) *resource {
	for _, r := range s.sorted() {
		if r.Kind.Kind == kind && (apiVersion == "" || apiVersion == r.groupVersion()) {
			return r
		}
	}
	return nil
}

// sorted are all kinds in the order of their paths, in which core comes first.
func (s *Server) sorted() []*resource {
	var out []*resource
	for _, path := range slices.Sorted(maps.Keys(s.resources)) {
		out = append(out, s.resources[path])
	}
	return out
}

// define serves what a CustomResourceDefinition defines: its version that is stored.
func (s *Server) define(data []byte) {
	var crd struct {
		Spec struct {
			Group string `json:"group"`
			Scope string `json:"scope"`
			Names struct {
				Plural, Kind string
				ShortNames   []string
			} `json:"names"`
			Versions []struct {
				Name         string `json:"name"`
				Served       bool   `json:"served"`
				Subresources struct {
					Status *struct{} `json:"status"`
				} `json:"subresources"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if json.Unmarshal(data, &crd) != nil {
		return
	}
	for _, v := range crd.Spec.Versions {
		k := Kind{Group: crd.Spec.Group, Version: v.Name, Resource: crd.Spec.Names.Plural, Kind: crd.Spec.Names.Kind,
			Namespaced: crd.Spec.Scope == "Namespaced", Status: v.Subresources.Status != nil, ShortNames: crd.Spec.Names.ShortNames}
		if v.Served && s.resources[k.path()] == nil {
			s.serve(k)
		}
	}
}

func (r *resource) apiResources() []metav1.APIResource {
	verbs := metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	out := []metav1.APIResource{{Name: r.Resource, Kind: r.Kind.Kind, Namespaced: r.Namespaced, Verbs: verbs, ShortNames: r.ShortNames}}
	if r.Status {
		out = append(out, metav1.APIResource{Name: r.Resource + "/status", Kind: r.Kind.Kind, Namespaced: r.Namespaced, Verbs: metav1.Verbs{"get", "patch", "update"}})
	}
	return out
}

// Package kubeproxy runs the real kube-proxy in a network namespace, beside Weir
// or in its place, and serves it the objects that it reads.
//
// API is as much of a Kubernetes API server as kube-proxy asks for: lists and
// watches of four kinds, in JSON. It checks nothing, and ignores label selectors:
// what they exclude kube-proxy passes over by itself.
package kubeproxy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object is what the API holds.
type Object interface {
	metav1.Object
	runtime.Object
}

// API holds objects and who watches them.
type API struct {
	mu      sync.Mutex
	version int
	kinds   map[string]*collection // by path
	changed chan struct{}          // closed, and made anew, with each change
}

// collection is all objects of one kind.
type collection struct {
	gvk    schema.GroupVersionKind
	items  map[string]json.RawMessage // by namespace/name
	events []event                    // in the order of their versions
}

// event is one change, as a watch tells it.
type event struct {
	version int
	name    string
	Type    string          `json:"type"`
	Object  json.RawMessage `json:"object"`
}

// New returns an API without objects.
func New() *API {
	a := &API{version: 1, kinds: map[string]*collection{}, changed: make(chan struct{})}
	for path, gvk := range map[string]schema.GroupVersionKind{
		"/api/v1/nodes":    corev1.SchemeGroupVersion.WithKind("Node"),
		"/api/v1/services": corev1.SchemeGroupVersion.WithKind("Service"),
		"/apis/discovery.k8s.io/v1/endpointslices": discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
		"/apis/networking.k8s.io/v1/servicecidrs":  {Group: "networking.k8s.io", Version: "v1", Kind: "ServiceCIDR"},
	} {
		a.kinds[path] = &collection{gvk: gvk, items: map[string]json.RawMessage{}}
	}
	return a
}

// Put makes objects, or replaces those of the same names. It gives each a
// resource version.
func (a *API) Put(objects ...Object) error {
	return a.change(objects, func(c *collection, name string, data json.RawMessage) {
		kind := "MODIFIED"
		if _, ok := c.items[name]; !ok {
			kind = "ADDED"
		}
		c.items[name] = data
		c.events = append(c.events, event{version: a.version, name: name, Type: kind, Object: data})
	})
}

// Delete removes objects.
func (a *API) Delete(objects ...Object) error {
	return a.change(objects, func(c *collection, name string, data json.RawMessage) {
		delete(c.items, name)
		c.events = append(c.events, event{version: a.version, name: name, Type: "DELETED", Object: data})
	})
}

func (a *API) change(objects []Object, apply func(*collection, string, json.RawMessage)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range objects {
		c := a.of(o.GetObjectKind().GroupVersionKind())
		if c == nil {
			return fmt.Errorf("%s %s: kube-proxy reads no such kind", o.GetObjectKind().GroupVersionKind(), o.GetName())
		}
		a.version++
		o.SetResourceVersion(strconv.Itoa(a.version))
		data, err := json.Marshal(o)
		if err != nil {
			return fmt.Errorf("encode %s %s: %w", c.gvk.Kind, o.GetName(), err)
		}
		apply(c, o.GetNamespace()+"/"+o.GetName(), data)
	}
	close(a.changed)
	a.changed = make(chan struct{})
	return nil
}

func (a *API) of(gvk schema.GroupVersionKind) *collection {
	for _, c := range a.kinds {
		if c.gvk == gvk {
			return c
		}
	}
	return nil
}

// list is a collection as it is now.
func (a *API) list(c *collection, only string) any {
	a.mu.Lock()
	defer a.mu.Unlock()
	items := []json.RawMessage{}
	for _, name := range slices.Sorted(maps.Keys(c.items)) {
		if only == "" || name == only {
			items = append(items, c.items[name])
		}
	}
	return map[string]any{"kind": c.gvk.Kind + "List", "apiVersion": c.gvk.GroupVersion().String(),
		"metadata": map[string]string{"resourceVersion": strconv.Itoa(a.version)}, "items": items}
}

// since are the changes after a version, and what is closed with the next one.
func (a *API) since(c *collection, version int) ([]event, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, _ := slices.BinarySearchFunc(c.events, version+1, func(e event, v int) int { return e.version - v })
	return slices.Clone(c.events[i:]), a.changed
}

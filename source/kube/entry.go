package kube

import (
	"hash/maphash"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// key names an object within its kind.
type key struct{ namespace, name string }

func (k key) String() string { return k.namespace + "/" + k.name }

// entry is an object on its way from a server to its store: reflectors get it in
// place of the object, so that no more than the trimmed JSON of a list is in
// memory, however it comes.
type entry struct {
	metav1.Object // nil: only the methods below are called

	key         key
	version     string
	annotations map[string]string // of bookmarks
	json        []byte
	err         error // the object is not one that can be trimmed
}

func newEntry(k *kind, o runtime.Object) (*entry, error) {
	m, err := meta.Accessor(o)
	if err != nil {
		return nil, err
	}
	e := &entry{key: key{m.GetNamespace(), m.GetName()}, version: m.GetResourceVersion()}
	if e.key.name == "" { // a bookmark
		e.annotations = m.GetAnnotations()
		return e, nil
	}
	e.json, e.err = k.trim(o)
	return e, nil
}

// GetNamespace implements metav1.Object, as do the next five.
func (e *entry) GetNamespace() string { return e.key.namespace }

// GetName returns the object's name.
func (e *entry) GetName() string { return e.key.name }

// GetResourceVersion returns the object's version.
func (e *entry) GetResourceVersion() string { return e.version }

// GetAnnotations returns those of a bookmark.
func (e *entry) GetAnnotations() map[string]string { return e.annotations }

// GetObjectKind implements runtime.Object.
func (e *entry) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object; entries are never changed.
func (e *entry) DeepCopyObject() runtime.Object { return e }

// number is the version as one that can be compared; 0: it cannot.
func number(version string) uint64 {
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

var seed = maphash.MakeSeed()

// sum tells contents apart; 0 is that of none.
func sum(json []byte) uint64 {
	if s := maphash.Bytes(seed, json); s != 0 {
		return s
	}
	return 1
}

// entries is a list of them.
type entries struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []runtime.Object
}

// DeepCopyObject implements runtime.Object.
func (l *entries) DeepCopyObject() runtime.Object { return l }

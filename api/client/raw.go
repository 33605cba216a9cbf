package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// Raw is an object of a custom resource as it came: its content is decoded one
// object at a time, so that one whose fields do not fit costs nobody else.
type Raw struct {
	metav1.TypeMeta
	metav1.ObjectMeta // name, namespace, version, uid and annotations only

	JSON []byte
}

// UnmarshalJSON keeps the object, and of its metadata what names it.
func (r *Raw) UnmarshalJSON(data []byte) error {
	var head struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        struct {
			Name            string            `json:"name"`
			Namespace       string            `json:"namespace"`
			ResourceVersion string            `json:"resourceVersion"`
			UID             types.UID         `json:"uid"`
			Annotations     map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("not an object: %w", err)
	}
	r.TypeMeta = head.TypeMeta
	r.Name, r.Namespace, r.ResourceVersion = head.Metadata.Name, head.Metadata.Namespace, head.Metadata.ResourceVersion
	r.UID, r.Annotations = head.Metadata.UID, head.Metadata.Annotations
	r.JSON = bytes.Clone(data)
	return nil
}

// DeepCopyObject implements runtime.Object.
func (r *Raw) DeepCopyObject() runtime.Object {
	out := &Raw{TypeMeta: r.TypeMeta, JSON: bytes.Clone(r.JSON)}
	r.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return out
}

// RawList is a list of them.
type RawList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []Raw `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (l *RawList) DeepCopyObject() runtime.Object {
	out := &RawList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].DeepCopyObject().(*Raw))
	}
	return out
}

// Trimmed is the object without its status and what of its metadata no row is made of. A
// field that does not fit stays as it is: the decoder says so.
func (r *Raw) Trimmed(apiVersion, kind string) ([]byte, error) {
	var content, meta map[string]json.RawMessage
	if err := json.Unmarshal(r.JSON, &content); err != nil {
		return nil, err
	}
	delete(content, "status")
	if json.Unmarshal(content["metadata"], &meta) == nil {
		kept := map[string]json.RawMessage{}
		for _, field := range []string{"name", "namespace", "labels", "deletionTimestamp"} {
			if v, ok := meta[field]; ok {
				kept[field] = v
			}
		}
		if a := Annotations(r.Annotations); len(a) > 0 {
			kept["annotations"], _ = json.Marshal(a) // strings always encode
		}
		content["metadata"], _ = json.Marshal(kept) // what came as JSON goes as JSON
	}
	// Lists of a kind need not repeat what their items are.
	content["apiVersion"], _ = json.Marshal(apiVersion)
	content["kind"], _ = json.Marshal(kind)
	return json.Marshal(content)
}

// Annotations leaves out the copy of the object that kubectl keeps in it.
func Annotations(all map[string]string) map[string]string {
	out := maps.Clone(all)
	delete(out, "kubectl.kubernetes.io/last-applied-configuration")
	return out
}

package kube

import (
	"bytes"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// raw is an object of a custom resource as it came: its content is decoded one
// object at a time, so that one whose fields do not fit costs nobody else.
type raw struct {
	metav1.TypeMeta
	metav1.ObjectMeta // name, namespace, version and annotations only

	data []byte
}

// UnmarshalJSON keeps the object, and of its metadata what names it.
func (r *raw) UnmarshalJSON(data []byte) error {
	var head struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        struct {
			Name            string            `json:"name"`
			Namespace       string            `json:"namespace"`
			ResourceVersion string            `json:"resourceVersion"`
			Annotations     map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("not an object: %w", err)
	}
	r.TypeMeta = head.TypeMeta
	r.Name, r.Namespace, r.ResourceVersion = head.Metadata.Name, head.Metadata.Namespace, head.Metadata.ResourceVersion
	r.Annotations = head.Metadata.Annotations
	r.data = bytes.Clone(data)
	return nil
}

// DeepCopyObject implements runtime.Object.
func (r *raw) DeepCopyObject() runtime.Object {
	out := &raw{TypeMeta: r.TypeMeta, data: bytes.Clone(r.data)}
	r.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return out
}

// rawList is a list of them.
type rawList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []raw `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (l *rawList) DeepCopyObject() runtime.Object {
	out := &rawList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].DeepCopyObject().(*raw))
	}
	return out
}

// trimmed is the object without its status and what of its metadata nobody here
// reads. A field that does not fit stays as it is: the decoder says so.
func (r *raw) trimmed(k *kind) ([]byte, error) {
	var content, meta map[string]json.RawMessage
	if err := json.Unmarshal(r.data, &content); err != nil {
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
		if a := annotations(r.Annotations); len(a) > 0 {
			kept["annotations"], _ = json.Marshal(a) // strings always encode
		}
		content["metadata"], _ = json.Marshal(kept) // what came as JSON goes as JSON
	}
	// Lists of a kind need not repeat what their items are.
	content["apiVersion"], _ = json.Marshal(k.group.String())
	content["kind"], _ = json.Marshal(k.name)
	return json.Marshal(content)
}

package kubeproxy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Load puts the services and endpoint slices of a folder of YAML files, as agents
// read it. Other kinds are passed over.
func (a *API) Load(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read objects: %w", err)
		}
		for _, doc := range bytes.Split(append([]byte("\n"), data...), []byte("\n---")) {
			if err := a.load(doc); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

func (a *API) load(doc []byte) error {
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &meta); err != nil {
		return err
	}
	var o Object
	switch meta.Kind {
	case "Service":
		o = &corev1.Service{}
	case "EndpointSlice":
		o = &discoveryv1.EndpointSlice{}
	default:
		return nil
	}
	if err := yaml.Unmarshal(doc, o); err != nil {
		return err
	}
	return a.Put(o)
}

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"weir/operator"
	"weir/source/files"
)

// sliceFile names the file of a slice that the lab makes. Slices that people
// write have files like other objects.
func sliceFile(namespace, name string) string { return "labslice_" + namespace + "_" + name + ".yaml" }

// Services returns the services of the lab with the addresses and ports that it
// gave them, sorted by namespace and name.
func (l *Lab) Services() ([]*corev1.Service, error) {
	r, err := readRecord(l.name)
	if err != nil {
		return nil, err
	}
	return r.services()
}

// Service returns the service NAME or NAMESPACE/NAME; the namespace is default
// when it is left out.
func (l *Lab) Service(ref string) (*corev1.Service, error) {
	namespace, name, ok := strings.Cut(ref, "/")
	if !ok {
		namespace, name = "default", ref
	}
	all, err := l.Services()
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if s.Namespace == namespace && s.Name == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("lab %q has no service %s/%s; see \"weir lab services\"", l.name, namespace, name)
}

func (r *record) services() ([]*corev1.Service, error) {
	var out []*corev1.Service
	err := eachObject(filepath.Join(r.objects(), "service_*.yaml"), func(o files.Object) {
		s := &corev1.Service{}
		if o.Kind == "Service" && o.Decode(s) == nil {
			s.Namespace = o.Namespace
			out = append(out, s)
		}
	})
	return out, err
}

// nodeObjects returns the nodes with the labels that somebody gave them.
func (r *record) nodeObjects() ([]*corev1.Node, error) {
	var out []*corev1.Node
	for _, n := range r.Nodes {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name}}
		err := eachObject(filepath.Join(r.objects(), objectFile("Node", "", n.Name)), func(o files.Object) {
			var said corev1.Node
			if o.Kind == "Node" && o.Decode(&said) == nil {
				node.Labels = said.Labels
			}
		})
		if err != nil {
			return nil, err
		}
		out = append(out, node)
	}
	return out, nil
}

// eachObject reads the objects of files, sorted by name. What an agent would
// refuse is passed over: it says so itself.
func eachObject(pattern string, do func(files.Object)) error {
	names, err := filepath.Glob(pattern)
	if err != nil {
		return fmt.Errorf("list objects: %w", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read object: %w", err)
		}
		objects, _ := files.Parse(name, data)
		for _, o := range objects {
			do(o)
		}
	}
	return nil
}

// give returns the YAML of a service with all that an API server would give it.
func (b *batch) give(o files.Object) ([]byte, error) {
	if b.book == nil {
		given, err := b.record.services()
		if err != nil {
			return nil, err
		}
		b.book = operator.NewServices(b.record.Spec.serviceRanges(), given)
	}
	svc := &corev1.Service{}
	if err := o.Decode(svc); err != nil {
		return nil, err
	}
	svc.Namespace = o.Namespace
	out, err := b.book.Give(svc)
	var bad *operator.ServiceError
	if errors.As(err, &bad) {
		return nil, o.Refuse(bad.Field, bad.Text)
	}
	if err != nil {
		return nil, err
	}
	data, err := yaml.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return data, nil
}

// writeSlices writes the EndpointSlices of all services with a selector, as far
// as they are not there already, and removes those that nobody needs. going are
// the keys of pods that are about to be deleted.
func (r *record) writeSlices(going []string) error {
	services, err := r.services()
	if err != nil {
		return err
	}
	nodes, err := r.nodeObjects()
	if err != nil {
		return err
	}
	pods := r.slicePods(going)
	want := map[string]bool{}
	var errs []error
	for _, svc := range services {
		for _, s := range operator.EndpointSlices(svc, pods, nodes) {
			file := sliceFile(s.Namespace, s.Name)
			want[file] = true
			errs = append(errs, r.updateObject(file, s))
		}
	}
	have, err := filepath.Glob(filepath.Join(r.objects(), sliceFile("*", "*")))
	if err != nil {
		return fmt.Errorf("list objects: %w", err)
	}
	for _, path := range have {
		if file := filepath.Base(path); !want[file] {
			errs = append(errs, r.removeObject(file))
		}
	}
	return errors.Join(errs...)
}

// slicePods returns the pods as the controller of slices would see them: ready
// when all their processes run.
func (r *record) slicePods(going []string) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range r.Pods {
		o := r.podObject(p)
		ready := corev1.ConditionFalse
		if podStatus(p).State == "Running" {
			ready = corev1.ConditionTrue
		}
		o.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
		if slices.Contains(going, p.Key()) {
			o.DeletionTimestamp = new(metav1.Now())
		}
		out = append(out, o)
	}
	return out
}

// updateObject is writeObject for a file that may hold the same already.
func (r *record) updateObject(file string, object any) error {
	data, err := yaml.Marshal(object)
	if err != nil {
		return fmt.Errorf("encode %s: %w", file, err)
	}
	path := filepath.Join(r.objects(), file)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return writeFile(r.dir(), path, data)
}

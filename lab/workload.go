package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	validation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/source/convert"
	"weir/source/files"
)

// workload is an object that pods are made from.
type workload struct {
	owner    string // "Deployment default/web"; empty for a bare pod
	kind     string
	meta     metav1.ObjectMeta
	template corev1.PodTemplateSpec
	replicas int // of a Deployment
}

// kinds that pods are made from, with their apiVersion.
var kinds = map[string]string{"Pod": "v1", "Deployment": "apps/v1", "DaemonSet": "apps/v1"}

// maxPrefix is what a generated name keeps of its owner's, as an API server
// does, so that the whole is a label.
const maxPrefix = 57

// word is what a kind looks like.
var word = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)

// others make pods on a real cluster; to pass them over in silence would
// mislead.
var others = map[string]bool{"ReplicaSet": true, "StatefulSet": true, "ReplicationController": true, "Job": true, "CronJob": true}

// decodeWorkload returns nil for an object that makes no pods.
func decodeWorkload(o files.Object) (*workload, error) {
	if others[o.Kind] {
		return nil, &files.DecodeError{Object: o.String(), Line: o.Line, Text: "kind: the lab runs Pod, Deployment and DaemonSet: write one of them"}
	}
	want, known := kinds[o.Kind]
	if !known {
		return nil, nil
	}
	if o.APIVersion != want {
		return nil, &files.DecodeError{Object: o.String(), Line: o.Line, Text: fmt.Sprintf("apiVersion: %q has no kind %s: write %s", o.APIVersion, o.Kind, want)}
	}
	w := &workload{kind: o.Kind}
	var err error
	switch o.Kind {
	case "Pod":
		var pod corev1.Pod
		err = o.Decode(&pod)
		w.meta, w.template.Spec = pod.ObjectMeta, pod.Spec
		w.template.ObjectMeta = metav1.ObjectMeta{Labels: pod.Labels, Annotations: pod.Annotations}
	case "Deployment":
		var d appsv1.Deployment
		err = o.Decode(&d)
		w.meta, w.template, w.replicas = d.ObjectMeta, d.Spec.Template, 1
		if d.Spec.Replicas != nil {
			w.replicas = int(*d.Spec.Replicas)
		}
	case "DaemonSet":
		var d appsv1.DaemonSet
		err = o.Decode(&d)
		w.meta, w.template = d.ObjectMeta, d.Spec.Template
	}
	if err != nil {
		return nil, err
	}
	w.meta.Namespace = o.Namespace
	if o.Kind != "Pod" {
		w.owner = o.String()
	}
	return w, w.check(o)
}

// checkObject refuses names that an API server would refuse. Names of objects
// become names of files, too.
func checkObject(o files.Object) error {
	bad := func(field, value string, why []string) error {
		return &files.DecodeError{Object: o.String(), Line: o.Line, Text: fmt.Sprintf("%s: %q: %s", field, value, strings.Join(why, "; "))}
	}
	if !word.MatchString(o.Kind) {
		return bad("kind", o.Kind, []string{"use letters and digits, such as Pod"})
	}
	if why := validation.ValidateNamespaceName(o.Namespace, false); o.Namespace != "" && len(why) > 0 {
		return bad("metadata.namespace", o.Namespace, why)
	}
	check := pathSegment
	if _, makesPods := kinds[o.Kind]; makesPods {
		check = validation.NameIsDNSSubdomain
	}
	if why := check(o.Name, false); len(why) > 0 {
		return bad("metadata.name", o.Name, why)
	}
	return nil
}

// pathSegment accepts what can be one element of a path, as the API server does
// for kinds whose names are no host names.
func pathSegment(name string, _ bool) (why []string) {
	if name == "." || name == ".." || strings.ContainsAny(name, "/%") {
		why = append(why, "may not be '.' or '..', nor contain '/' or '%'")
	}
	return why
}

func (w *workload) check(o files.Object) error {
	if err := checkObject(o); err != nil {
		return err
	}
	bad := func(text string, args ...any) error {
		return &files.DecodeError{Object: o.String(), Line: o.Line, Text: fmt.Sprintf(text, args...)}
	}
	if len(w.template.Spec.Containers) == 0 {
		return bad("spec.containers: is empty: a pod has one container at least")
	}
	seen := map[string]bool{}
	for i, c := range w.template.Spec.Containers {
		if c.Name == "" {
			return bad("spec.containers[%d].name: is empty: write one", i)
		}
		if seen[c.Name] {
			return bad("spec.containers[%d].name: %q stands twice: choose another", i, c.Name)
		}
		if why := validation.NameIsDNSLabel(c.Name, false); len(why) > 0 {
			return bad("spec.containers[%d].name: %q: %s", i, c.Name, strings.Join(why, "; "))
		}
		seen[c.Name] = true
	}
	if w.replicas < 0 {
		return bad("spec.replicas: %d is negative", w.replicas)
	}
	// What the agents would refuse of the pods: labels, names of ports.
	_, err := convert.Pod(w.pod("x", "", "").Object)
	var of *convert.Error
	if errors.As(err, &of) && o.Kind == "Pod" {
		return bad("%s: %s", of.Field, of.Text)
	}
	if of != nil {
		return bad("spec.template.%s: %s", of.Field, of.Text)
	}
	return err
}

// hash changes when the pods have to be made anew.
func (w *workload) hash() string {
	var what any = w.template
	if w.kind == "Pod" {
		what = w.template.Spec // labels of a pod may change while it runs
	}
	data, err := json.Marshal(what)
	if err != nil {
		panic(err) // it was decoded from JSON
	}
	return suffix(10, string(data))
}

// pods returns the pods that the workload wants on these nodes. Those of a
// DaemonSet have their node; others only when the template names one. have are
// the pods of the lab: those that a Deployment keeps are among them.
func (w *workload) pods(nodes []string, have []Pod) []Pod {
	hash := w.hash()
	if w.kind == "Pod" {
		return []Pod{w.pod(w.meta.Name, w.template.Spec.NodeName, hash)}
	}
	var out []Pod
	used := map[string]bool{}
	name := func(prefix string, of ...string) string {
		for {
			n := prefix[:min(len(prefix), maxPrefix)] + "-" + suffix(5, append(of, w.owner, hash)...)
			if !used[n] {
				used[n] = true
				return n
			}
			of = append(of, "")
		}
	}
	if w.kind == "DaemonSet" {
		for _, node := range nodes {
			out = append(out, w.pod(name(w.meta.Name, node), node, hash))
		}
		return out
	}
	numbers := w.numbers(have, hash)
	for i := 0; len(out) < len(numbers); i++ {
		n := name(w.meta.Name+"-"+hash, fmt.Sprint(i)) // each depends on those before
		if i == numbers[len(out)] {
			out = append(out, w.pod(n, w.template.Spec.NodeName, hash))
			out[len(out)-1].Index = i
		}
	}
	return out
}

func (w *workload) pod(name, node, hash string) Pod {
	o := &corev1.Pod{ObjectMeta: *w.template.ObjectMeta.DeepCopy(), Spec: *w.template.Spec.DeepCopy()}
	o.Name, o.Namespace = name, w.meta.Namespace
	if w.owner != "" {
		o.OwnerReferences = []metav1.OwnerReference{{APIVersion: kinds[w.kind], Kind: w.kind, Name: w.meta.Name, Controller: new(true)}}
	}
	return Pod{
		Namespace:   w.meta.Namespace,
		Name:        name,
		Node:        node,
		Owner:       w.owner,
		Hash:        hash,
		HostNetwork: o.Spec.HostNetwork,
		Object:      o,
	}
}

// place chooses the node of a pod: the one with the fewest pods of the same
// owner, then with the fewest pods, then the first.
func place(nodes []string, pods []Pod, owner string) string {
	best, least := "", 0
	for _, n := range nodes {
		load := 0
		for _, p := range pods {
			if p.Node == n {
				load++
				if owner != "" && p.Owner == owner {
					load += 1 << 20
				}
			}
		}
		if best == "" || load < least {
			best, least = n, load
		}
	}
	return best
}

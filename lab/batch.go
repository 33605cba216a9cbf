package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"weir/operator"
	"weir/source/files"
	"weir/state"
)

// batch collects the pods to add and to drop until all objects are read, so
// that they can be added side by side.
type batch struct {
	record   *record
	progress *progress
	report   *Report
	drop     []string // keys of pods
	add      []Pod
	objects  int                // that were read, good or bad
	book     *operator.Services // of the services, once one is read
}

func (b *batch) read(name string, data []byte, do func(*batch, files.Object) error) {
	objects, problems := files.Parse(name, data)
	b.objects += len(objects) + len(problems)
	b.report.Problems = append(b.report.Problems, problems...)
	for _, o := range objects {
		err := do(b, o)
		if err == nil {
			continue
		}
		p := state.Problem{Key: state.ProblemKey{File: name, Object: o.String()}, Line: o.Line, Error: err.Error()}
		var d *files.DecodeError
		if errors.As(err, &d) {
			p.Line, p.Error = d.Line, d.Text
		}
		b.report.Problems = append(b.report.Problems, p)
	}
}

// expect reports a file or folder that brought no object, good or bad, beyond
// the first so many.
func (b *batch) expect(before int, path string) {
	if b.objects == before {
		b.report.fail(fmt.Errorf("%s: no objects", path))
	}
}

func (b *batch) say(o files.Object, verb string) {
	b.report.Lines = append(b.report.Lines, o.String()+" "+verb)
}

func (b *batch) apply(o files.Object) error {
	w, err := decodeWorkload(o)
	if err != nil {
		return err
	}
	if w == nil {
		return b.pass(o)
	}
	r := b.record
	nodes := r.nodeNames()
	wanted := w.pods(nodes, r.Pods)
	names := map[string]bool{}
	changed := 0
	for _, p := range wanted {
		names[p.Key()] = true
		if p.Node != "" && !slices.Contains(nodes, p.Node) {
			return fmt.Errorf("spec.nodeName: there is no node %q: use %s", p.Node, strings.Join(nodes, ", "))
		}
		if old := r.pod(p.Key()); old != nil && old.Owner != p.Owner {
			return fmt.Errorf("pod %s exists and belongs to %q: choose another name", p.Key(), old.Owner)
		}
	}
	known := slices.Contains(r.Workloads, o.String())
	for _, p := range r.Pods {
		if w.owner != "" && p.Owner == w.owner && !names[p.Key()] {
			b.drop = append(b.drop, p.Key())
			changed++
		}
	}
	for _, p := range wanted {
		n, err := b.want(p)
		if err != nil {
			return err
		}
		changed += n
	}
	switch {
	case !known:
		r.Workloads = append(r.Workloads, o.String())
		b.say(o, "created")
	case changed > 0:
		b.say(o, "configured")
	default:
		b.say(o, "unchanged")
	}
	return nil
}

// want compares a pod with the one that is there, and returns 1 when something
// has to change.
func (b *batch) want(p Pod) (int, error) {
	if slices.ContainsFunc(b.add, func(q Pod) bool { return q.Key() == p.Key() }) {
		return 0, fmt.Errorf("pod %s stands twice: remove one", p.Key())
	}
	old := b.record.pod(p.Key())
	if old == nil {
		b.add = append(b.add, p)
		return 1, nil
	}
	if old.Hash != p.Hash || old.Error != "" {
		if p.Node == "" {
			p.Node = old.Node
		}
		b.drop = append(b.drop, p.Key())
		b.add = append(b.add, p)
		return 1, nil
	}
	if reflect.DeepEqual(old.Object.Labels, p.Object.Labels) && reflect.DeepEqual(old.Object.Annotations, p.Object.Annotations) {
		return 0, nil
	}
	old.Object = p.Object
	return 1, b.record.writePod(*old)
}

// pass hands an object that makes no pods to the agents as it is, and a service
// with what it was given.
func (b *batch) pass(o files.Object) error {
	data, err := yaml.JSONToYAML(o.JSON)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if err := checkObject(o); err != nil {
		return err
	}
	if err := files.Check(o); err != nil {
		return err // the agents would refuse it, and go on with what they have
	}
	if o.Kind == "Service" {
		if data, err = b.give(o); err != nil {
			return err
		}
	}
	r := b.record
	file := filepath.Join(r.objects(), objectFile(o.Kind, o.Namespace, o.Name))
	old, err := os.ReadFile(file)
	if err == nil && string(old) == string(data) {
		b.say(o, "unchanged")
		return nil
	}
	if err == nil {
		b.say(o, "configured")
	} else {
		b.say(o, "created")
	}
	return writeFile(r.dir(), file, data)
}

func (b *batch) remove(o files.Object) error {
	if err := checkObject(o); err != nil {
		return err
	}
	r := b.record
	if _, makesPods := kinds[o.Kind]; !makesPods {
		file := objectFile(o.Kind, o.Namespace, o.Name)
		if _, err := os.Stat(filepath.Join(r.objects(), file)); err != nil {
			return errors.New("not found")
		}
		b.say(o, "deleted")
		if b.book != nil && o.Kind == "Service" {
			b.book.Take(o.Namespace, o.Name)
		}
		return r.removeObject(file)
	}
	found := slices.Contains(r.Workloads, o.String())
	for _, p := range r.Pods {
		if p.Owner == o.String() || (o.Kind == "Pod" && p.Key() == o.Namespace+"/"+o.Name) {
			b.drop = append(b.drop, p.Key())
			found = true
		}
	}
	if !found {
		return errors.New("not found")
	}
	r.Workloads = slices.DeleteFunc(r.Workloads, func(s string) bool { return s == o.String() })
	b.say(o, "deleted")
	return nil
}

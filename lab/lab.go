package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

var errNoLab = errors.New(`no such lab; see "weir lab list", or make it with "weir lab up"`)

// Lab is a lab that is, or was, up. It holds nothing but the name: every call
// reads what is on disk, so that commands and tests can share a lab.
type Lab struct {
	name     string
	progress *progress
}

// Open returns the lab of that name.
func Open(name string) (*Lab, error) {
	if err := checkName("lab name", name, maxLabName); err != nil {
		return nil, err
	}
	_, err := readRecord(name)
	if _, gone := os.Lstat(labDir(name)); err != nil && gone == nil {
		return nil, fmt.Errorf("%w; remove what is left of it with: weir lab down --name %s", err, name)
	}
	if err != nil {
		return nil, err
	}
	return &Lab{name: name, progress: newProgress(nil)}, nil
}

// Names returns the names of all labs.
func Names() ([]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Report sends a line for each step to w from here on.
func (l *Lab) Report(w io.Writer) { l.progress = newProgress(w) }

// Name returns the lab's name.
func (l *Lab) Name() string { return l.name }

// Node returns a node of the lab.
func (l *Lab) Node(name string) (Node, error) {
	r, err := readRecord(l.name)
	if err != nil {
		return Node{}, err
	}
	if n := r.node(name); n != nil {
		return *n, nil
	}
	return Node{}, fmt.Errorf("lab %q has no node %q; it has %s", l.name, name, strings.Join(r.nodeNames(), ", "))
}

// Nodes returns all nodes.
func (l *Lab) Nodes() ([]Node, error) {
	r, err := readRecord(l.name)
	if err != nil {
		return nil, err
	}
	return r.Nodes, nil
}

// Pods returns all pods, sorted by namespace and name.
func (l *Lab) Pods() ([]Pod, error) {
	r, err := readRecord(l.name)
	if err != nil {
		return nil, err
	}
	return r.Pods, nil
}

// Pod returns the one pod that is meant by a name, a prefix of it that no
// other has, namespace/name, or either with @node.
func (l *Lab) Pod(ref string) (Pod, error) {
	r, err := readRecord(l.name)
	if err != nil {
		return Pod{}, err
	}
	return r.findPod(ref)
}

func (r *record) findPod(ref string) (Pod, error) {
	want, node, _ := strings.Cut(strings.TrimPrefix(ref, "pod/"), "@")
	var hits []Pod
	for _, p := range r.Pods {
		if node != "" && p.Node != node {
			continue
		}
		if want == p.Name || want == p.Key() {
			return p, nil
		}
		if strings.HasPrefix(p.Name, want) || strings.HasPrefix(p.Key(), want) {
			hits = append(hits, p)
		}
	}
	if len(hits) == 1 {
		return hits[0], nil
	}
	if len(hits) == 0 {
		return Pod{}, fmt.Errorf("lab %q has no pod %q; see \"weir lab status\"", r.Name, ref)
	}
	var names []string
	for _, p := range hits {
		names = append(names, p.Name+"@"+p.Node)
	}
	return Pod{}, fmt.Errorf("%q may mean %s: name one of them", ref, strings.Join(names, ", "))
}

// change runs f on the lab's record with nobody else at work on it, and saves
// the record whatever f returns.
func (l *Lab) change(ctx context.Context, f func(*record) error) error {
	if _, err := readRecord(l.name); err != nil {
		return err // before lock makes the folder
	}
	unlock, err := lock(ctx, l.name)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := readRecord(l.name)
	if err != nil {
		return err
	}
	err = f(r)
	slices.SortFunc(r.Pods, func(a, b Pod) int { return strings.Compare(a.Key(), b.Key()) })
	return errors.Join(err, r.save())
}

// progress prints steps with the time since the start.
type progress struct {
	mu    sync.Mutex
	w     io.Writer
	start time.Time
}

func newProgress(w io.Writer) *progress {
	if w == nil {
		w = io.Discard
	}
	return &progress{w: w, start: time.Now()}
}

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%6.2fs  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// each runs f for every item, at most width at once, and joins the errors.
func each[T any](width int, items []T, f func(T) error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(items))
	slots := make(chan struct{}, width) // as many as may run at once
	for i, item := range items {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = f(item)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func merged(ms ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range ms {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

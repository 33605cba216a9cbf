package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"weir/source/files"
	"weir/state"
)

// Report is what became of the objects of an Apply or Delete.
type Report struct {
	Lines    []string        // "daemonset default/evescn created"
	Problems []state.Problem // objects that were refused
	Failed   []error         // pods that are not as they should be, and everything else
}

// Err joins everything that went wrong.
func (r Report) Err() error {
	var errs []error
	for _, p := range r.Problems {
		where := p.Key.File
		if p.Line > 0 {
			where = fmt.Sprintf("%s:%d", where, p.Line)
		}
		errs = append(errs, fmt.Errorf("%s: %s: %s", where, p.Key.Object, strings.TrimPrefix(p.Error, p.Key.Object+": ")))
	}
	return errors.Join(append(errs, r.Failed...)...)
}

// Apply makes what the files, or all YAML and JSON files of folders, say. An
// object that is refused does not keep the others.
func (l *Lab) Apply(ctx context.Context, paths ...string) Report {
	return l.perform(ctx, paths, (*batch).apply)
}

// ApplyYAML is Apply with the content of a file that is called name.
func (l *Lab) ApplyYAML(ctx context.Context, name string, data []byte) Report {
	rep := Report{}
	rep.fail(l.change(ctx, func(r *record) error {
		b := &batch{record: r, progress: l.progress, report: &rep}
		b.read(name, data, (*batch).apply)
		b.expect(0, name)
		return b.finish(ctx)
	}))
	return rep
}

// Delete removes the objects that the files or folders name.
func (l *Lab) Delete(ctx context.Context, paths ...string) Report {
	return l.perform(ctx, paths, (*batch).remove)
}

// DeletePods removes pods. Those of a Deployment or DaemonSet do not come back
// until it is applied again.
func (l *Lab) DeletePods(ctx context.Context, refs ...string) error {
	rep := Report{}
	rep.fail(l.change(ctx, func(r *record) error {
		b := &batch{record: r, progress: l.progress, report: &rep}
		for _, ref := range refs {
			p, err := r.findPod(ref)
			if err != nil {
				return err
			}
			b.drop = append(b.drop, p.Key())
		}
		return b.finish(ctx)
	}))
	return rep.Err()
}

func (r *Report) fail(err error) {
	if err != nil {
		r.Failed = append(r.Failed, err)
	}
}

func (l *Lab) perform(ctx context.Context, paths []string, do func(*batch, files.Object) error) Report {
	rep := Report{}
	rep.fail(l.change(ctx, func(r *record) error {
		b := &batch{record: r, progress: l.progress, report: &rep}
		for _, path := range paths {
			names, err := manifests(path)
			rep.fail(err)
			before, broken := b.objects, err != nil
			for _, name := range names {
				data, err := os.ReadFile(name)
				if err != nil {
					rep.fail(fmt.Errorf("read manifest: %w", err))
					broken = true
					continue
				}
				b.read(name, data, do)
			}
			if !broken {
				b.expect(before, path)
			}
		}
		return b.finish(ctx)
	}))
	return rep
}

// manifests returns the file, or those of the folder.
func manifests(path string) ([]string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if !st.IsDir() {
		return []string{path}, nil
	}
	var out []string
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(p)) {
			out = append(out, p)
		}
		return err
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("folder %s holds no .yaml, .yml or .json file", path)
	}
	return out, err
}

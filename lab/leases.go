package lab

import (
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"weir/api/v1"
	"weir/operator"
	"weir/source/files"
	"weir/state"
)

// leaseFile names the file of a lease that the lab gives. Leases that people write
// have files like other objects.
func leaseFile(n state.LeaseName) string {
	return "lablease_" + n.Namespace + "_" + n.Name + ".yaml"
}

// writeLeases writes who answers for the addresses of services, as an operator would,
// and removes the leases that nobody needs.
func (r *record) writeLeases() error {
	old, err := r.leases()
	if err != nil {
		return err
	}
	policies, err := filepath.Glob(filepath.Join(r.objects(), objectFile(v1.KindL2Policy, "", "*")))
	if err != nil {
		return fmt.Errorf("list objects: %w", err)
	}
	if len(policies)+len(old) == 0 {
		return nil // most labs: reading all objects takes its time
	}
	tables, err := r.readObjects()
	if err != nil {
		return err
	}
	leases := operator.L2Leases(operator.L2Input{
		Policies: rows(tables.L2Policies.All()), Services: rows(tables.Services.All()), Slices: rows(tables.Slices.All()),
		Nodes: rows(tables.Nodes.All()), Leases: rows(tables.Leases.All()),
	})
	want := map[string]bool{}
	var errs []error
	for _, l := range leases {
		file := leaseFile(l.Name)
		want[file] = true
		errs = append(errs, r.updateObject(file, operator.LeaseObject(l, old[l.Name], time.Now())))
	}
	for name := range old {
		if file := leaseFile(name); !want[file] {
			errs = append(errs, r.removeObject(file))
		}
	}
	return errors.Join(errs...)
}

// leases are those that the lab has given.
func (r *record) leases() (map[state.LeaseName]*coordinationv1.Lease, error) {
	out := map[state.LeaseName]*coordinationv1.Lease{}
	err := eachObject(filepath.Join(r.objects(), "lablease_*.yaml"), func(o files.Object) {
		l := &coordinationv1.Lease{}
		if o.Decode(l) == nil {
			out[state.LeaseName{Namespace: l.Namespace, Name: l.Name}] = l
		}
	})
	return out, err
}

func rows[K, R any](all iter.Seq2[K, R]) (out []R) {
	for _, r := range all {
		out = append(out, r)
	}
	return out
}

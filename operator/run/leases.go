package run

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/operator"
	"weir/source/convert"
	"weir/state"
)

// errImplausible refuses lists: there is always a node, and the API server has a
// service and its slice.
var errImplausible = errors.New("the API server lists no nodes, services or slices, which cannot be: leases of L2 announcements stay as they are")

// leases keeps a lease for each service whose addresses a node has to answer for.
type leases struct {
	o   *Operator
	t   *tables
	log *slog.Logger

	mu    sync.Mutex
	known map[string]bool // policies that there have been
	gone  operator.Collector[string]
}

func newLeases(o *Operator, t *tables) *leases {
	return &leases{o: o, t: t, log: o.log.With("duty", "leases"), known: map[string]bool{},
		gone: operator.Collector[string]{Grace: o.cfg.Unused.Leases, Most: 1, Part: 10}}
}

// want is the leases that there should be.
func (d *leases) want() ([]state.Lease, error) {
	if d.t.l2.policies.Len()+d.t.l2.leases.Len() == 0 {
		return nil, nil
	}
	if d.t.l2.nodes.Len() == 0 || d.t.services.Len() == 0 || d.t.l2.slices.Len() == 0 {
		return nil, errImplausible
	}
	in := operator.L2Input{Policies: rows(d.t.l2.policies.All()), Services: rows(d.t.services.All()),
		Slices: rows(d.t.l2.slices.All()), Nodes: rows(d.t.l2.nodes.All())}
	for name, r := range d.t.l2.leases.All() {
		l := state.Lease{Name: name}
		if r.o.Spec.HolderIdentity != nil {
			l.Holder = *r.o.Spec.HolderIdentity
		}
		in.Leases = append(in.Leases, l)
	}
	return operator.L2Leases(in), nil
}

func rows[K, R any](all iter.Seq2[K, R]) (out []R) {
	for _, r := range all {
		out = append(out, r)
	}
	return out
}

// step gives leases that are missing, and those whose holder is to be another.
func (d *leases) step(ctx context.Context) error {
	d.mu.Lock()
	for name := range d.t.l2.policies.All() {
		d.known[name] = true
	}
	d.mu.Unlock()
	want, err := d.want()
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range want {
		if ctx.Err() != nil {
			break
		}
		if err := d.give(ctx, l); err != nil {
			errs = append(errs, fmt.Errorf("write Lease %s: %w", l.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (d *leases) give(ctx context.Context, l state.Lease) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	api := d.o.kube.CoordinationV1().Leases(l.Name.Namespace)
	r, there := d.t.l2.leases.Get(l.Name)
	out := operator.LeaseObject(l, r.o, time.Now())
	if !there {
		d.log.Info("lease is given", "lease", l.Name, "holder", l.Holder)
		_, err := api.Create(ctx, out, metav1.CreateOptions{})
		return overtaken(err)
	}
	if holderOf(out.Spec.HolderIdentity) == holderOf(r.o.Spec.HolderIdentity) {
		return nil
	}
	d.log.Info("lease moves", "lease", l.Name, "from", holderOf(r.o.Spec.HolderIdentity), "to", l.Holder)
	_, err := api.Update(ctx, out, metav1.UpdateOptions{})
	return overtaken(err)
}

func holderOf(said *string) string {
	if said == nil {
		return ""
	}
	return *said
}

// sweep removes leases of services that no policy has selected for a while. Agents
// look at policies themselves, so that one that stays too long does no harm.
func (d *leases) sweep(ctx context.Context) error {
	want, err := d.want()
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, l := range want {
		wanted[l.Name.Name] = true
	}
	all := func(yield func(string) bool) {
		for name := range d.t.l2.leases.All() {
			if !yield(name.Name) {
				return
			}
		}
	}
	for _, name := range d.gone.Collect(time.Now(), all, func(name string) bool { return wanted[name] }) {
		if err := d.remove(ctx, name); err != nil {
			return fmt.Errorf("remove Lease %s/%s: %w", state.L2LeaseNamespace, name, err)
		}
	}
	return nil
}

func (d *leases) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if needed, err := d.needed(ctx, name); needed || err != nil {
		return err
	}
	r, ok := d.t.l2.leases.Get(state.LeaseName{Namespace: state.L2LeaseNamespace, Name: name})
	if !ok {
		return nil
	}
	d.log.Info("lease of a service that nobody answers for is removed", "lease", name)
	return overtaken(d.o.kube.CoordinationV1().Leases(r.o.Namespace).Delete(ctx, name, thisOne(r.o)))
}

// needed asks the server itself for what a lease is of: whether a policy that its lists
// lack is there after all, or a service that it can be of and that a policy selects.
func (d *leases) needed(ctx context.Context, lease string) (bool, error) {
	if there, err := d.hidden(ctx); there || err != nil {
		return true, err
	}
	for _, s := range state.L2Services(lease) {
		o, err := d.o.kube.CoreV1().Services(s.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return true, err
		}
		row, err := convert.Service(o)
		if err != nil {
			return true, nil // an earlier version of it may be in force
		}
		for _, p := range d.t.l2.policies.All() {
			if p.OfService(row) {
				return true, nil
			}
		}
	}
	return false, nil
}

// hidden reports whether there is a policy that lists lack.
func (d *leases) hidden(ctx context.Context) (bool, error) {
	d.mu.Lock()
	known := maps.Clone(d.known)
	d.mu.Unlock()
	for name := range known {
		if _, listed := d.t.l2.policies.Get(name); listed {
			continue
		}
		if _, err := d.o.ours.L2Policies().Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return true, err // without an error it is there after all
		}
		d.mu.Lock()
		delete(d.known, name)
		d.mu.Unlock()
	}
	return false, nil
}

package run

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "weir/api/v1"
	"weir/operator"
	"weir/source/convert"
	"weir/state"
)

// identities gives numbers to sets of labels, and takes back those that nobody
// has.
type identities struct {
	o   *Operator
	t   *tables
	log *slog.Logger

	sets *labelSets // of the step alone

	mu     sync.Mutex
	wanted map[state.IdentityID]bool // that pods have, by the last step; nil: there was none
	spent  map[state.IdentityID]bool // given and taken back, or another's: not given again by this process
	unused operator.Collector[state.IdentityID]
}

func newIdentities(o *Operator, t *tables) *identities {
	return &identities{o: o, t: t, log: o.log.With("duty", "identities"), sets: newLabelSets(o.cfg.Cluster.Name),
		spent:  map[state.IdentityID]bool{},
		unused: operator.Collector[state.IdentityID]{Grace: o.cfg.Unused.Identities, Most: 10, Part: 20}}
}

// policies are all that are in force.
func (t *tables) policies() iter.Seq2[state.PolicyKey, state.Policy] {
	return func(yield func(state.PolicyKey, state.Policy) bool) {
		for _, of := range []iter.Seq2[state.PolicyKey, policy]{t.cnps.All(), t.ccnps.All(), t.netpols.All()} {
			for key, p := range of {
				if p.known && !yield(key, p.row) {
					return
				}
			}
		}
	}
}

// numbers are those that objects have, with their labels; an object that is not
// understood has its number all the same.
func (t *tables) numbers() []state.Identity {
	var out []state.Identity
	for name, r := range t.identities.All() {
		i, err := convert.CiliumIdentity(r.o)
		if id, bad := strconv.ParseUint(name, 10, 32); err != nil && bad == nil {
			i, err = state.Identity{ID: state.IdentityID(id)}, nil
		}
		if err == nil {
			out = append(out, i)
		}
	}
	return out
}

// step creates the objects that pods need.
func (d *identities) step(ctx context.Context) error {
	visible := state.VisibleLabels(d.t.policies(), d.t.services.All())
	pods, namespaces := d.sets.follow(d.t, visible)
	taken := d.t.numbers()
	have := map[state.IdentityID]bool{}
	for _, i := range taken {
		have[i.ID] = true
	}
	d.mu.Lock()
	for id := range d.spent {
		if !have[id] {
			taken = append(taken, state.Identity{ID: id})
		}
	}
	d.mu.Unlock()
	want := operator.Identities(pods, namespaces, visible, d.o.cfg.Cluster.Name, taken)
	wanted := map[state.IdentityID]bool{}
	var errs []error
	for _, i := range want {
		wanted[i.ID] = true
		if have[i.ID] || ctx.Err() != nil {
			continue
		}
		if err := d.create(ctx, i); err != nil {
			errs = append(errs, fmt.Errorf("create CiliumIdentity %s: %w", i.ID, err))
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = wanted
	if missing := d.sets.len() - len(want); missing > 0 {
		errs = append(errs, fmt.Errorf("%d sets of labels get no number: %d to %d are used up; nodes give them numbers of their own", missing, state.IdentityMin, state.IdentityMax))
	}
	return errors.Join(errs...)
}

func (d *identities) create(ctx context.Context, i state.Identity) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	o := &v1.CiliumIdentity{ObjectMeta: metav1.ObjectMeta{Name: i.ID.String()}, SecurityLabels: map[string]string{}}
	for _, l := range i.Labels {
		key, value := state.CutLabel(l)
		o.SecurityLabels[key] = value
		if key == state.LabelNamespace {
			o.Labels = map[string]string{"io.kubernetes.pod.namespace": value}
		}
	}
	_, err := d.o.ours.Identities().Create(ctx, o, metav1.CreateOptions{})
	if err != nil && overtaken(err) == nil { // the number is another's, of whom the watch has not told yet
		d.mu.Lock()
		defer d.mu.Unlock()
		d.spent[i.ID] = true
		return errors.New("the number is another's: the next one is tried")
	}
	return err
}

// sweep removes numbers that neither pods nor endpoints have had for a while. It
// does nothing while there are no pods at all, which cannot be.
func (d *identities) sweep(ctx context.Context) error {
	if d.t.pods.Len() == 0 {
		return nil
	}
	d.mu.Lock()
	wanted := d.wanted
	d.mu.Unlock()
	if wanted == nil {
		return nil
	}
	inUse := map[state.IdentityID]bool{}
	for _, e := range d.t.endpoints.All() {
		if i := e.o.Status.Identity; i != nil {
			inUse[state.IdentityID(i.ID)] = true
		}
	}
	own := state.LabelCluster + "=" + d.o.cfg.Cluster.Name
	all := map[state.IdentityID]bool{}
	for _, i := range d.t.numbers() {
		if i.ID >= state.IdentityMin && i.ID <= state.IdentityMax && slices.Contains(i.Labels, own) {
			all[i.ID] = true
		}
	}
	due := d.unused.Collect(time.Now(), maps.Keys(all), func(id state.IdentityID) bool { return wanted[id] || inUse[id] })
	d.o.report.setIdentities(len(all), d.unused.Waiting())
	for _, id := range due {
		if err := d.remove(ctx, id); err != nil {
			return fmt.Errorf("remove CiliumIdentity %s: %w", id, err)
		}
	}
	return nil
}

func (d *identities) remove(ctx context.Context, id state.IdentityID) error {
	r, ok := d.t.identities.Get(id.String())
	if !ok {
		return nil
	}
	d.mu.Lock()
	d.spent[id] = true
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d.log.Info("identity that nobody has is removed", "id", id)
	return overtaken(d.o.ours.Identities().Delete(ctx, id.String(), thisOne(r.o)))
}

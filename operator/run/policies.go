package run

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "weir/api/v1"
	"weir/operator"
	"weir/state"
)

// policies says in each policy's status whether it is valid.
type policies struct {
	o *Operator
	t *tables
}

// enforcement is what decides, beside a policy, what of it is in force.
func (d *policies) enforcement() operator.Enforcement {
	in := operator.Enforcement{Never: d.o.cfg.Policy.EnforcementMode == "never", HostFirewall: d.o.cfg.HostFirewall.Enabled}
	for _, g := range d.t.groups.All() {
		in.Groups = append(in.Groups, g.CIDRGroup)
	}
	return in
}

func newPolicies(o *Operator, t *tables) *policies {
	return &policies{o: o, t: t}
}

func (d *policies) step(ctx context.Context) error {
	var errs []error
	known, in := d.t.groups.Synced(), d.enforcement()
	for _, of := range []struct {
		name string
		rows func(func(state.PolicyKey, policy) bool)
	}{{v1.ResourceNetworkPolicies, d.t.cnps.All()}, {v1.ResourceClusterwideNetworkPolicies, d.t.ccnps.All()}} {
		for key, p := range of.rows {
			if !known && p.refused == nil && operator.NamesGroups(p.row) {
				continue // until it is known which groups are there
			}
			if err := d.tell(ctx, of.name, p, in); err != nil {
				errs = append(errs, fmt.Errorf("write the status of %s: %w", key, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (d *policies) tell(ctx context.Context, resource string, p policy, in operator.Enforcement) error {
	if ctx.Err() != nil {
		return nil
	}
	c := operator.PolicyCondition(p.row, p.refused, in)
	conditions, changed := operator.WithCondition(p.status, c, metav1.Now())
	if !changed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	meta := &metav1.ObjectMeta{UID: p.uid, ResourceVersion: p.version}
	r := d.o.ours.REST().Patch(types.MergePatchType).Resource(resource).Name(p.key.Name).SubResource("status").
		Body(patch(meta, "status", map[string]any{"conditions": conditions}))
	if p.key.Namespace != "" {
		r = r.Namespace(p.key.Namespace)
	}
	return overtaken(r.Do(ctx).Error())
}

package files

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"weir/api/v1"
	"weir/source/convert"
	"weir/state"
)

// kind is what the source knows of a kind of objects.
type kind struct {
	versions []string // the apiVersion it is written with; the first is the usual one
	strict   bool     // null is refused in its spec: see Object.refuseNull
	row      func(Object, convert.Scope) (any, error)
}

// kinds are those that become rows. Objects of others are passed over.
var kinds = map[string]kind{
	"Pod":       {versions: []string{"v1"}, row: decoded(unscoped(convert.Pod))},
	"Namespace": {versions: []string{"v1"}, row: decoded(unscoped(convert.Namespace))},
	"Service":   {versions: []string{"v1"}, row: decoded(unscoped(convert.Service))},
	"Node": {versions: []string{"v1"}, row: decoded(func(o *corev1.Node, s convert.Scope) (coreNode, error) {
		row, err := convert.Node(o, s)
		return coreNode(row), err
	})},
	"EndpointSlice":         {versions: []string{discoveryv1.SchemeGroupVersion.String()}, row: decoded(unscoped(convert.EndpointSlice))},
	"Lease":                 {versions: []string{coordinationv1.SchemeGroupVersion.String()}, row: decoded(unscoped(convert.Lease))},
	v1.KindL2Policy:         {versions: []string{v1.APIVersionL2Policy}, strict: true, row: decoded(unscoped(convert.L2AnnouncementPolicy))},
	v1.KindCiliumNode:       {versions: []string{v1.APIVersion}, row: decoded(convert.CiliumNode)},
	v1.KindCiliumIdentity:   {versions: []string{v1.APIVersion}, row: decoded(unscoped(convert.CiliumIdentity))},
	state.KindNetworkPolicy: {versions: []string{networkingv1.SchemeGroupVersion.String()}, strict: true, row: decoded(unscoped(convert.NetworkPolicy))},
	state.KindCNP:           {versions: []string{v1.APIVersion}, strict: true, row: decoded(convert.CiliumNetworkPolicy)},
	state.KindCCNP:          {versions: []string{v1.APIVersion}, strict: true, row: decoded(convert.CiliumClusterwideNetworkPolicy)},
	state.KindCIDRGroup:     {versions: []string{v1.APIVersion, v1.Group + "/" + v1.VersionAlpha}, strict: true, row: decoded(unscoped(convert.CIDRGroup))},
}

// coreNode is the row of a Kubernetes Node. When the node has a CiliumNode, only
// its labels count, and whether it leaves.
type coreNode state.Node

func decoded[T, R any](row func(*T, convert.Scope) (R, error)) func(Object, convert.Scope) (any, error) {
	return func(o Object, s convert.Scope) (any, error) {
		var object T
		if err := o.Decode(&object); err != nil {
			return nil, err
		}
		return row(&object, s)
	}
}

func unscoped[T, R any](row func(*T) (R, error)) func(*T, convert.Scope) (R, error) {
	return func(o *T, _ convert.Scope) (R, error) { return row(o) }
}

// toRow makes the row of an object. The error is a *DecodeError.
func (k kind) toRow(o Object, s convert.Scope) (any, error) {
	if !slices.Contains(k.versions, o.APIVersion) {
		return nil, &DecodeError{Object: o.String(), Line: o.Line, Text: fmt.Sprintf("apiVersion: %q has no kind %s: write %s", o.APIVersion, o.Kind, k.versions[0])}
	}
	if k.strict {
		if err := o.refuseNull(); err != nil {
			return nil, err
		}
	}
	row, err := k.row(o, s)
	var bad *convert.Error
	if errors.As(err, &bad) {
		err = o.Refuse(bad.Field, bad.Text)
	}
	return row, err
}

// errorLine returns the line that an error of toRow speaks of.
func errorLine(err error, otherwise int) int {
	var d *DecodeError
	if errors.As(err, &d) {
		return d.Line
	}
	return otherwise
}

// Check reports what is wrong with an object of a kind that becomes a row, as a
// *DecodeError. Whoever hands objects on to agents learns so what they would
// refuse.
func Check(o Object) error {
	k, known := kinds[o.Kind]
	if !known {
		return nil
	}
	_, err := k.toRow(o, convert.Scope{})
	return err
}

// Row returns the row of an object of a kind that becomes one, state.Node,
// state.Policy and so on, or what is wrong with it, as a *DecodeError. That of a
// Node and a CiliumNode are told apart by the object's kind.
func Row(o Object, s convert.Scope) (any, error) {
	k, known := kinds[o.Kind]
	if !known {
		return nil, &DecodeError{Object: o.String(), Text: "kind: " + o.Kind + " becomes no row"}
	}
	row, err := k.toRow(o, s)
	if core, is := row.(coreNode); is {
		return state.Node(core), err
	}
	return row, err
}

// Policies returns the policies of a YAML text, and what is wrong with the
// others; name is for the problems. Objects of other kinds are passed over.
func Policies(name string, data []byte, s convert.Scope) ([]state.Policy, []state.Problem) {
	m := newMerge()
	m.add(name, load(name, data, s))
	m.decide(func(objectKey) (row, bool) { return row{}, false })
	var out []state.Policy
	for _, r := range m.good {
		if p, ok := r.value.(state.Policy); ok {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b state.Policy) int { return compare(a.Key, b.Key) })
	return out, m.problems
}

func compare(a, b state.PolicyKey) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

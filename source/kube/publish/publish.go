// Package publish tells the cluster of this node's endpoints: a CiliumEndpoint for
// each pod, for people, dashboards and the operator. It reads rows and waits for
// nobody: without an API server the node goes on, and what there is to tell is told
// later. It removes what it has written itself; the rest goes with its pod.
package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"weir/api/client"
	v1 "weir/api/v1"
	"weir/internal/reconcile"
	"weir/state"
)

const (
	patience = 10 * time.Second // for one write
	renew    = time.Hour        // what others changed is written anew after so long
)

// Endpoints writes the objects of this node's endpoints.
type Endpoints struct {
	log    *slog.Logger
	client *client.Client
	node   string
	tables *state.Tables

	written map[state.PodName]*v1.CiliumEndpoint // as the server has them
	since   time.Time                            // that this is known
}

// New returns the writer of a node, whose requests go through rt.
func New(log *slog.Logger, rt http.RoundTripper, node string, tables *state.Tables) (*Endpoints, error) {
	c, err := client.New(&rest.Config{Host: "http://cluster", Transport: rt, QPS: -1, UserAgent: "weir-agent"})
	if err != nil {
		return nil, err
	}
	return &Endpoints{log: log, client: c, node: node, tables: tables, written: map[state.PodName]*v1.CiliumEndpoint{}}, nil
}

// Run writes until ctx ends.
func (e *Endpoints) Run(ctx context.Context) error {
	t := e.tables
	return reconcile.Loop(ctx, e.log, e.step, t.Endpoints, t.EndpointPolicies, t.Pods, t.Nodes, reconcile.Every(ctx, renew))
}

func (e *Endpoints) step(ctx context.Context) error {
	if time.Since(e.since) > renew {
		clear(e.written) // each is read again before it is written
		e.since = time.Now()
	}
	want := Wanted(e.tables, e.node)
	var errs []error
	for _, name := range slices.SortedFunc(maps.Keys(want), compare) {
		if err := e.write(ctx, name, want[name]); err != nil {
			errs = append(errs, fmt.Errorf("write CiliumEndpoint %s: %w", name, err))
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	for name, o := range e.written {
		if _, wanted := want[name]; !wanted {
			if err := e.remove(ctx, name, o); err != nil {
				errs = append(errs, fmt.Errorf("remove CiliumEndpoint %s: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// write makes the server's object the wanted one. What another has changed since
// it was read is read again at the next try.
func (e *Endpoints) write(ctx context.Context, name state.PodName, want *v1.CiliumEndpoint) error {
	have := e.written[name]
	if have != nil && same(have, want) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := e.client.Endpoints(name.Namespace)
	if have == nil {
		var err error
		if have, err = c.Get(ctx, name.Name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return e.keep(name)(c.Create(ctx, want, metav1.CreateOptions{}))
		} else if err != nil {
			return err
		}
		if same(have, want) {
			e.written[name] = have
			return nil
		}
	}
	out := have.DeepCopy()
	out.OwnerReferences, out.Labels, out.Status = want.OwnerReferences, want.Labels, want.Status
	return e.keep(name)(c.Update(ctx, out, metav1.UpdateOptions{}))
}

// keep remembers what the server has now, or that it is not known.
func (e *Endpoints) keep(name state.PodName) func(*v1.CiliumEndpoint, error) error {
	return func(o *v1.CiliumEndpoint, err error) error {
		if err != nil {
			delete(e.written, name)
			return err
		}
		e.written[name] = o
		return nil
	}
}

// remove takes away an object that this agent wrote: that of this uid, so that the
// object of a pod of the same name elsewhere stays.
func (e *Endpoints) remove(ctx context.Context, name state.PodName, o *v1.CiliumEndpoint) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	uid, version := o.UID, o.ResourceVersion
	err := e.client.Endpoints(name.Namespace).Delete(ctx, name.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // conflict: it is another's by now
		delete(e.written, name)
		return nil
	}
	return err
}

func same(have, want *v1.CiliumEndpoint) bool {
	return equality.Semantic.DeepEqual(have.Status, want.Status) && equality.Semantic.DeepEqual(have.OwnerReferences, want.OwnerReferences)
}

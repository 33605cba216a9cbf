package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// follower lists and watches one kind for a reflector, in entries, and sees what
// goes wrong with it.
type follower struct {
	*store
	clients []*rest.RESTClient // of each version
	last    *spell             // of the reflector alone
}

func (f *follower) connect(rt http.RoundTripper) error {
	for _, v := range f.versions() {
		c, err := newClient(v, rt)
		if err != nil {
			return err
		}
		f.clients = append(f.clients, c)
	}
	return nil
}

// client is that of the version that is followed.
func (f *follower) client() *rest.RESTClient {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clients[f.served]
}

func (f *follower) get(o metav1.ListOptions) *rest.Request {
	o.FieldSelector = f.fields
	f.mu.Lock()
	switch {
	case f.restored: // what is known is of no time of this server
		if o.ResourceVersion = ""; !o.Watch {
			o.ResourceVersionMatch = ""
		}
	case o.ResourceVersion == "0" && f.highest > 0: // a cache that is behind what is known would take it back
		o.ResourceVersion, o.ResourceVersionMatch = fmt.Sprint(f.highest), metav1.ResourceVersionMatchNotOlderThan
	}
	f.mu.Unlock()
	return f.client().Get().NamespaceIfScoped(f.within, f.within != "").Resource(f.resource).VersionedParams(&o, parameters)
}

// ListWithContext lists for the reflector.
func (f *follower) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	all, err := f.entries(ctx, o)
	if f.judge(ctx, err); err != nil {
		return nil, err
	}
	f.last = nil
	return all, nil
}

func (f *follower) entries(ctx context.Context, o metav1.ListOptions) (*entries, error) {
	list := f.list()
	if err := f.get(o).Do(ctx).Into(list); err != nil {
		return nil, err
	}
	m, err := meta.ListAccessor(list)
	if err != nil {
		return nil, err
	}
	out := &entries{ListMeta: metav1.ListMeta{ResourceVersion: m.GetResourceVersion(), Continue: m.GetContinue(), RemainingItemCount: m.GetRemainingItemCount()}}
	err = meta.EachListItem(list, func(o runtime.Object) error {
		e, err := newEntry(f.kind, o)
		if err == nil {
			out.Items = append(out.Items, e)
		}
		return err
	})
	return out, err
}

// WatchWithContext watches for the reflector; a list may be streamed so, too.
func (f *follower) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	o.Watch = true
	streams := o.SendInitialEvents != nil && *o.SendInitialEvents
	if !streams {
		if err := f.inFuture(ctx, o.ResourceVersion); err != nil {
			return nil, err
		}
	}
	now := newSpell(o)
	f.last = now
	w, err := f.get(o).Watch(ctx)
	if err != nil && streams && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)) {
		return nil, err // the server does not know streamed lists: the reflector lists then
	}
	if f.judge(ctx, err); err != nil {
		return nil, err
	}
	return watch.Filter(w, func(in watch.Event) (watch.Event, bool) {
		if in.Type == watch.Error {
			return in, true
		}
		now.heard.Store(true)
		e, err := newEntry(f.kind, in.Object)
		in.Object = e
		return in, err == nil
	}), nil
}

// judge says what an error means for the kind.
func (f *follower) judge(ctx context.Context, err error) {
	f.mu.Lock()
	f.watched = err == nil
	f.mu.Unlock()
	switch {
	case err == nil:
		f.src.settle(f.kind, aboutKind)
	case apierrors.IsNotFound(err):
		f.missing(ctx)
	case apierrors.IsForbidden(err):
		f.src.complain(f.kind, aboutKind, fmt.Sprintf("%s%s: let the agent's ClusterRole get, list and watch %s", err, f.stays(), f.where()))
	case apierrors.IsUnauthorized(err):
		f.src.complain(f.kind, aboutKind, fmt.Sprintf("the API server refuses the agent's credentials (401)%s: is its service account's token of this cluster?", f.stays()))
	case !passing(ctx, err):
		f.src.complain(f.kind, aboutKind, fmt.Sprintf("%s%s: the API server's own log says more, and kubectl get %s -A should fail likewise", err, f.stays(), f.where()))
	}
}

// passing reports whether an error is one of the connection, of which the status tells,
// or one that reflectors get over by asking again.
func passing(ctx context.Context, err error) bool {
	var lost *url.Error
	return ctx.Err() != nil || errors.Is(err, context.Canceled) || errors.As(err, &lost) ||
		apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err)
}

// stays says what becomes of the kind meanwhile.
func (f *follower) stays() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.complete {
		return "; nothing is known of the kind, and what depends on it waits"
	}
	return fmt.Sprintf("; the last %d known objects stay in force", len(f.held))
}

// missing looks for a version that the server has, when it has not the one that is
// followed: another one is followed from the next list on.
func (f *follower) missing(ctx context.Context) {
	for i := range f.clients {
		switch f.defines(ctx, i) {
		case unsure:
			return
		case yes:
			f.mu.Lock()
			f.served = i
			f.mu.Unlock()
			return
		}
	}
	f.absent()
}

// certainty is an answer of a server that may not have answered.
type certainty int

const (
	unsure certainty = iota
	yes
	no
)

// defines asks the server itself whether it has a version of the kind: a 404 of the
// kind alone may come from one that is only starting.
func (f *follower) defines(ctx context.Context, version int) certainty {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var list metav1.APIResourceList
	err := f.clients[version].Get().AbsPath("/apis", f.group.Group, f.versions()[version].Version).Do(ctx).Into(&list)
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status) && status.Status().Code == http.StatusNotFound:
		return no
	case err != nil:
		return unsure
	case slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == f.resource }):
		return yes
	}
	return no
}

// absent takes note that the cluster does not define the kind. Where nothing is
// known of it, it has no objects; else what is known stays.
func (f *follower) absent() {
	f.mu.Lock()
	n := len(f.held)
	if n == 0 {
		f.told()
	} else {
		f.mark()
	}
	f.mu.Unlock()
	text := "the cluster does not define this kind: create its CustomResourceDefinition"
	if n > 0 {
		text += fmt.Sprintf("; the last %d known objects stay in force", n)
	}
	f.src.complain(f.kind, aboutKind, text)
}

package run

import (
	"context"
	"fmt"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"weir/api/client"
	v1 "weir/api/v1"
	"weir/internal/reconcile"
	"weir/operator"
	"weir/source/convert"
	"weir/state"
)

// group is a CiliumCIDRGroup, as far as conditions of policies speak of it.
type group struct{ operator.CIDRGroup }

func sameGroup(a, b group) bool {
	return a.Same(b.CIDRGroup.CIDRGroup) && fmt.Sprint(a.Refused) == fmt.Sprint(b.Refused)
}

// groupWatch follows the groups under the version that the cluster has.
func (o *Operator) groupWatch(t *tables, scope convert.Scope) watch {
	row := asAgents[state.CIDRGroup](v1.APIVersion, v1.KindCiliumCIDRGroup, scope)
	out := follow(o.ours.RawREST(), v1.ResourceCIDRGroups, &client.Raw{}, into(t.groups, plainName, func(r *client.Raw) group {
		g, err := row(r)
		if old, ok := t.groups.Get(r.Name); ok && err != nil && old.Refused == nil {
			return old // agents keep to it, too
		}
		g.Name, g.CIDRs = r.Name, nil // whether it is there is all that is asked
		return group{operator.CIDRGroup{CIDRGroup: g, Refused: err}}
	}, sameGroup))
	out.older = o.ours.RawAlphaREST()
	return out
}

// served lists and watches the kind, under its older version where the server has no
// other.
func (w watch) served(tune func(*metav1.ListOptions)) *cache.ListWatch {
	lw := cache.NewFilteredListWatchFromClient(w.rest, w.name, w.from, tune)
	if w.older == nil {
		return lw
	}
	list, begin := lw.ListWithContextFunc, lw.WatchFuncWithContext
	old := cache.NewFilteredListWatchFromClient(w.older, w.name, w.from, tune)
	var older atomic.Bool
	lw.ListWithContextFunc = func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		out, err := list(ctx, o)
		if older.Store(false); !apierrors.IsNotFound(err) {
			return out, err
		}
		was, errOld := old.ListWithContextFunc(ctx, o)
		if apierrors.IsNotFound(errOld) {
			return out, err // that it is not defined
		}
		older.Store(errOld == nil)
		return was, errOld
	}
	lw.WatchFuncWithContext = func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
		if older.Load() {
			return old.WatchFuncWithContext(ctx, o)
		}
		return begin(ctx, o)
	}
	return lw
}

// whenever is an input that wakes when the other changes, and that nobody waits for.
type whenever struct{ reconcile.Input }

// Synced is always true.
func (whenever) Synced() bool { return true }

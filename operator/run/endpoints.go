package run

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/operator"
)

// endpoints removes CiliumEndpoints whose pod is gone, as it is when its node was
// lost: otherwise the cluster's own garbage collector does.
type endpoints struct {
	o    *Operator
	t    *tables
	gone operator.Collector[string] // by "namespace/name"
}

func newEndpoints(o *Operator, t *tables) *endpoints {
	return &endpoints{o: o, t: t, gone: operator.Collector[string]{Grace: o.cfg.Unused.Endpoints, Most: 10, Part: 10}}
}

func (d *endpoints) sweep(ctx context.Context) error {
	if d.t.pods.Len() == 0 {
		return nil // which cannot be: this is a pod
	}
	all := map[string]bool{}
	for n := range d.t.endpoints.All() {
		all[n.String()] = true
	}
	due := d.gone.Collect(time.Now(), maps.Keys(all), func(key string) bool {
		_, there := d.t.pods.Get(cut(key))
		return there
	})
	for _, key := range due {
		if err := d.remove(ctx, cut(key)); err != nil {
			return fmt.Errorf("remove CiliumEndpoint %s: %w", key, err)
		}
	}
	return nil
}

func cut(key string) name {
	namespace, of, _ := strings.Cut(key, "/")
	return name{Namespace: namespace, Name: of}
}

func (d *endpoints) remove(ctx context.Context, n name) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := d.o.kube.CoreV1().Pods(n.Namespace).Get(ctx, n.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return err // nil: it is there after all
	}
	r, ok := d.t.endpoints.Get(n)
	if !ok {
		return nil
	}
	d.o.log.Info("CiliumEndpoint of a pod that is gone is removed", "pod", n)
	return overtaken(d.o.ours.Endpoints(n.Namespace).Delete(ctx, n.Name, thisOne(r.o)))
}

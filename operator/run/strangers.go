package run

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/operator"
)

// strangers reports pods that another plugin connects.
type strangers struct {
	o     *Operator
	t     *tables
	known map[name]bool // reported
	first map[name]time.Time
}

// settling is for how long a pod may be without an endpoint object: its agent may
// be about to write it.
const settling = time.Minute

func newStrangers(o *Operator, t *tables) *strangers {
	return &strangers{o: o, t: t, known: map[name]bool{}, first: map[name]time.Time{}}
}

func (d *strangers) step(ctx context.Context) error {
	agents := d.t.agentStates()
	now := time.Now()
	found := operator.Unmanaged(maps.Values(maps.Collect(d.t.pods.All())),
		func(node string) bool { return agents[node] == operator.AgentReady },
		func(p name) bool { _, ok := d.t.endpoints.Get(p); return ok })
	first := map[name]time.Time{}
	found = slices.DeleteFunc(found, func(p name) bool {
		if first[p] = d.first[p]; first[p].IsZero() {
			first[p] = now
		}
		return now.Sub(first[p]) < min(settling, d.o.cfg.Unused.Endpoints)
	})
	d.first = first
	d.o.report.setUnmanaged(found)
	known := map[name]bool{}
	for _, p := range found {
		known[p] = true
		if d.known[p] {
			continue
		}
		d.o.log.Warn("pod is connected by another plugin: no policy protects it until it is created anew", "pod", p)
		if err := d.event(ctx, p); err != nil {
			d.o.log.Warn("no event about an unmanaged pod", "pod", p, "err", err)
		}
	}
	d.known = known
	return nil
}

func (d *strangers) event(ctx context.Context, p name) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	now := metav1.Now()
	_, err := d.o.kube.CoreV1().Events(p.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: "weir-unmanaged-", Namespace: p.Namespace},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: p.Namespace, Name: p.Name},
		Reason:         "Unmanaged", Type: corev1.EventTypeWarning, Count: 1, FirstTimestamp: now, LastTimestamp: now,
		Message: "another network plugin connects this pod, and no policy protects it: delete the pod, so that it is created anew",
		Source:  corev1.EventSource{Component: "weir-operator"},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create event: %w", err)
	}
	return nil
}

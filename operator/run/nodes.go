package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"weir/api/client"
	v1 "weir/api/v1"
	"weir/operator"
)

// errNoNodes refuses a list: the operator itself runs on a node.
var errNoNodes = errors.New("the API server lists no nodes, which cannot be: CiliumNodes stay as they are")

// nodes keeps a CiliumNode for each Node.
type nodes struct {
	o   *Operator
	t   *tables
	log *slog.Logger

	mu    sync.Mutex
	given map[string][]netip.Prefix // what each node has, also before, and after, its object says so
	gone  operator.Collector[string]

	short map[string]string // who got nothing when it was last dealt out, and why
	again time.Time         // when it is tried again
}

// backoff is how long nodes wait that got nothing, unless another node comes.
const backoff = 10 * time.Second

func newNodes(o *Operator, t *tables) *nodes {
	return &nodes{o: o, t: t, log: o.log.With("duty", "nodes"), given: map[string][]netip.Prefix{},
		gone: operator.Collector[string]{Grace: o.cfg.Unused.Nodes, Most: 1, Part: 10}}
}

// step makes the objects what they should be.
func (d *nodes) step(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.t.nodes.Len() == 0 {
		return errNoNodes
	}
	ours := map[string]*v1.CiliumNode{}
	for name, r := range d.t.ours.All() {
		ours[name] = r.o
		d.learn(r.o)
	}
	all := map[string]*corev1.Node{}
	for name, r := range d.t.nodes.All() {
		all[name] = r.o
	}
	problems := map[string]string{}
	if d.o.cfg.IPAM.Mode == "kubernetes" {
		d.byKubernetes(all, problems)
	} else if err := d.byPools(ctx, all, problems); err != nil {
		return err
	}
	maps.Copy(problems, operator.Overlaps(d.given))
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if ctx.Err() != nil {
			break
		}
		if err := d.write(ctx, operator.CiliumNode(all[name], d.given[name], problems[name], ours[name]), ours[name]); err != nil {
			errs = append(errs, fmt.Errorf("write CiliumNode %s: %w", name, err))
		}
	}
	d.o.report.setNodes(len(all), problems)
	return errors.Join(errs...)
}

// learn takes what an object says. What a node had is never taken from it, not
// even when its object is an older one: its pods have the addresses. Nor is it given
// what others have because somebody writes it there.
func (d *nodes) learn(o *v1.CiliumNode) {
	said, err := operator.CIDRsOf(o.Spec.IPAM.PodCIDRs)
	if err != nil {
		d.log.Warn("CiliumNode is not understood", "node", o.Name, "err", err)
	}
	has, err := operator.Admit(d.given, o.Name, said)
	if err != nil {
		d.log.Warn("CiliumNode was changed by somebody else", "node", o.Name, "err", err)
	}
	if len(has) > 0 {
		d.given[o.Name] = has
	}
}

func (d *nodes) byKubernetes(all map[string]*corev1.Node, problems map[string]string) {
	for name, n := range all {
		cidrs, problem := operator.KubernetesCIDRs(n, d.given[name])
		if len(cidrs) > 0 {
			d.given[name] = cidrs
		}
		if problem != "" {
			problems[name] = problem
		}
	}
}

// byPools deals out what nodes lack. Before it does, it asks the server itself
// what is taken: a watch may be behind, and another replica may have been at work.
func (d *nodes) byPools(ctx context.Context, all map[string]*corev1.Node, problems map[string]string) error {
	pools, pods := d.o.cfg.Pools(), d.podsOf()
	var lack []string
	full := map[string][]bool{}
	for name := range all {
		if !hasEach(pools, d.given[name]) {
			lack = append(lack, name)
		} else if f := operator.FullFamilies(d.given[name], pods[name], d.o.cfg.IPAM.Operator.Spare); len(f) > 0 && d.o.cfg.IPAM.Operator.Spare > 0 {
			full[name] = f
		}
	}
	if len(lack)+len(full) == 0 {
		return nil
	}
	if len(d.short) >= len(lack)+len(full) && time.Now().Before(d.again) {
		maps.Copy(problems, d.short)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var list client.RawList
	if err := d.o.ours.RawREST().Get().Resource(v1.ResourceNodes).Do(ctx).Into(&list); err != nil {
		return fmt.Errorf("ask which pod CIDRs are taken: %w", err)
	}
	for i := range list.Items {
		d.learn(decoded[v1.CiliumNode](d.log, &list.Items[i]))
	}
	slices.SortFunc(lack, func(a, b string) int {
		return cmp.Or(all[a].CreationTimestamp.Compare(all[b].CreationTimestamp.Time), cmp.Compare(a, b))
	})
	got, err := operator.PodCIDRs(pools, lack, d.given)
	d.take(got, err, problems)
	more, err := operator.MorePodCIDRs(pools, full, d.given)
	d.take(more, err, problems)
	d.short, d.again = maps.Clone(problems), time.Now().Add(backoff)
	return nil
}

// take remembers what was dealt out before anybody is told, so that it is dealt
// out once, whatever becomes of the write.
func (d *nodes) take(got map[string][]netip.Prefix, err error, problems map[string]string) {
	for name, cidrs := range got {
		if len(cidrs) > len(d.given[name]) {
			d.log.Info("pod CIDRs given", "node", name, "cidrs", cidrs)
			d.given[name] = cidrs
		} else if err != nil {
			problems[name] = err.Error()
		}
	}
	if err != nil {
		d.log.Warn("pod CIDRs are used up", "err", err)
	}
}

// hasEach reports whether there is a CIDR of each family that the pools have.
func hasEach(pools []operator.Pool, cidrs []netip.Prefix) bool {
	for _, p := range pools {
		if !slices.ContainsFunc(cidrs, func(c netip.Prefix) bool { return c.Addr().Is4() == p.CIDR.Addr().Is4() }) {
			return false
		}
	}
	return true
}

// podsOf counts the pods that need an address of each node.
func (d *nodes) podsOf() map[string]int {
	out := map[string]int{}
	for _, p := range d.t.pods.All() {
		if !p.HostNetwork && p.Node != "" {
			out[p.Node]++
		}
	}
	return out
}

func (d *nodes) write(ctx context.Context, want, old *v1.CiliumNode) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var err error
	problem := want.Status.IPAM.Operator.Error
	switch {
	case old == nil:
		old, err = d.o.ours.Nodes().Create(ctx, want, metav1.CreateOptions{})
	case !equality.Semantic.DeepEqual(old.Spec, want.Spec):
		old, err = d.o.ours.Nodes().Update(ctx, want, metav1.UpdateOptions{})
	}
	if err == nil && old.Status.IPAM.Operator.Error != problem {
		_, err = d.o.ours.Nodes().Patch(ctx, old.Name, types.MergePatchType, nodeStatus(old, problem), metav1.PatchOptions{}, "status")
	}
	return overtaken(err)
}

func nodeStatus(o *v1.CiliumNode, problem string) []byte {
	operator := map[string]any{"error": problem}
	if problem == "" {
		operator["error"] = nil
	}
	return patch(o, "status", map[string]any{"ipam": map[string]any{"operator-status": operator}})
}

// patch is a merge patch of one field of an object, of the version that was read.
func patch(o metav1.Object, field string, content any) []byte {
	data, _ := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": o.GetUID(), "resourceVersion": o.GetResourceVersion()}, field: content,
	}) // maps of plain values cannot fail
	return data
}

// overtaken drops errors that say that an object is another by now: its watch
// tells of that, which is when it is looked at again.
func overtaken(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// sweep removes the objects of nodes that are gone: when neither the Node nor any
// pod on it has been there for a while, and the server, asked for it, says so.
func (d *nodes) sweep(ctx context.Context) error {
	if d.t.nodes.Len() == 0 {
		return errNoNodes
	}
	pods := d.podsOf()
	due := d.gone.Collect(time.Now(), maps.Keys(maps.Collect(d.t.ours.All())), func(name string) bool {
		_, there := d.t.nodes.Get(name)
		return there || pods[name] > 0
	})
	for _, name := range due {
		if err := d.remove(ctx, name); err != nil {
			return fmt.Errorf("remove CiliumNode %s: %w", name, err)
		}
	}
	return nil
}

func (d *nodes) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := d.o.kube.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return err // nil: it is there after all
	}
	r, ok := d.t.ours.Get(name)
	if !ok {
		return nil
	}
	d.log.Info("CiliumNode of a node that is gone is removed", "node", name)
	if err := overtaken(d.o.ours.Nodes().Delete(ctx, name, thisOne(r.o))); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, back := d.t.nodes.Get(name); !back {
		delete(d.given, name)
	}
	return nil
}

// thisOne limits a removal to the version of an object that was looked at.
func thisOne(o metav1.Object) metav1.DeleteOptions {
	uid, version := o.GetUID(), o.GetResourceVersion()
	return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}}
}

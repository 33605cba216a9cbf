package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"weir/api/v1"
	"weir/operator"
	"weir/source/convert"
	"weir/source/files"
	"weir/state"
)

// File names of objects. An underscore cannot be part of a Kubernetes name, so
// two objects never share a file.
func nodeFile(node string) string             { return "ciliumnode_" + node + ".yaml" }
func identityFile(id state.IdentityID) string { return "ciliumidentity_" + id.String() + ".yaml" }
func objectFile(kind, namespace, name string) string {
	return strings.ToLower(kind) + "_" + namespace + "_" + name + ".yaml"
}

// writeObject puts an object where every agent reads it, in one step.
func (r *record) writeObject(file string, object any) error {
	data, err := yaml.Marshal(object)
	if err != nil {
		return fmt.Errorf("encode %s: %w", file, err)
	}
	return writeFile(r.dir(), filepath.Join(r.objects(), file), data)
}

func (r *record) removeObject(file string) error {
	err := os.Remove(filepath.Join(r.objects(), file))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove object: %w", err)
	}
	return nil
}

// ciliumNode is what operator and agent together would write of a node.
func ciliumNode(n Node) v1.CiliumNode {
	o := v1.CiliumNode{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindCiliumNode},
		ObjectMeta: metav1.ObjectMeta{Name: n.Name},
	}
	for _, a := range n.Addresses {
		o.Spec.Addresses = append(o.Spec.Addresses, v1.NodeAddress{Type: v1.InternalIP, IP: a.String()})
	}
	for _, a := range operator.RouterIP(n.PodCIDRs) {
		o.Spec.Addresses = append(o.Spec.Addresses, v1.NodeAddress{Type: v1.CiliumInternalIP, IP: a.String()})
	}
	for _, a := range operator.HealthIP(n.PodCIDRs) {
		if a.Is4() {
			o.Spec.Health.IPv4 = a.String()
		} else {
			o.Spec.Health.IPv6 = a.String()
		}
	}
	for _, c := range n.PodCIDRs {
		o.Spec.IPAM.PodCIDRs = append(o.Spec.IPAM.PodCIDRs, c.String())
	}
	return o
}

// writePod writes the Pod object.
func (r *record) writePod(p Pod) error {
	return r.writeObject(objectFile("Pod", p.Namespace, p.Name), r.podObject(p))
}

// podObject returns a pod with what scheduler and kubelet would add.
func (r *record) podObject(p Pod) *corev1.Pod {
	o := p.Object.DeepCopy()
	o.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	o.Spec.NodeName = p.Node
	o.Status = corev1.PodStatus{Phase: corev1.PodPending}
	for _, ip := range p.IPs {
		o.Status.Phase = corev1.PodRunning
		o.Status.PodIPs = append(o.Status.PodIPs, corev1.PodIP{IP: ip.String()})
	}
	if len(p.IPs) > 0 {
		o.Status.PodIP = p.IPs[0].String()
	}
	if n := r.node(p.Node); n != nil {
		o.Status.HostIP = n.Addresses[0].String()
		for _, a := range n.Addresses {
			o.Status.HostIPs = append(o.Status.HostIPs, corev1.HostIP{IP: a.String()})
		}
	}
	return o
}

// writeIdentities gives every set of labels that the policies can tell from
// others its number, keeping those that have one, and removes the numbers that
// nobody needs.
func (r *record) writeIdentities() error {
	tables, err := r.readObjects()
	if err != nil {
		return err
	}
	var pods []state.Pod
	for _, p := range r.Pods {
		row, err := convert.Pod(p.Object)
		if err != nil {
			return err
		}
		pods = append(pods, row)
	}
	var namespaces []state.Namespace
	for _, n := range tables.Namespaces.All() {
		namespaces = append(namespaces, n)
	}
	visible := state.VisibleLabels(tables.Policies.All(), tables.Services.All())
	return r.replaceIdentities(operator.Identities(pods, namespaces, visible, r.Spec.ClusterName, r.taken()))
}

// readObjects reads the objects of the lab as its agents do.
func (r *record) readObjects() (*state.Tables, error) {
	tables := state.New()
	once, cancel := context.WithCancel(context.Background())
	cancel() // it returns when it has read everything once
	err := files.New(slog.New(slog.DiscardHandler), r.objects(), convert.Scope{Cluster: r.Spec.ClusterName}, tables).Run(once)
	return tables, err
}

// taken are the identities as they are, and the last number that was given,
// which is not given again at once when its labels have gone.
func (r *record) taken() []state.Identity {
	out := slices.Clone(r.Identities)
	if !slices.ContainsFunc(out, func(i state.Identity) bool { return i.ID == r.LastIdentity }) {
		out = append(out, state.Identity{ID: r.LastIdentity})
	}
	return out
}

func (r *record) replaceIdentities(ids []state.Identity) error {
	var errs []error
	keep := map[state.IdentityID]bool{}
	for _, id := range ids {
		keep[id.ID] = true
		r.LastIdentity = max(r.LastIdentity, id.ID)
		errs = append(errs, r.writeObject(identityFile(id.ID), ciliumIdentity(id)))
	}
	for _, id := range r.Identities {
		if !keep[id.ID] {
			errs = append(errs, r.removeObject(identityFile(id.ID)))
		}
	}
	r.Identities = ids
	return errors.Join(errs...)
}

func ciliumIdentity(id state.Identity) v1.CiliumIdentity {
	o := v1.CiliumIdentity{
		TypeMeta:       metav1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindCiliumIdentity},
		ObjectMeta:     metav1.ObjectMeta{Name: id.ID.String()},
		SecurityLabels: map[string]string{},
	}
	for _, l := range id.Labels {
		key, value, _ := strings.Cut(l, "=")
		o.SecurityLabels[key] = value
	}
	return o
}

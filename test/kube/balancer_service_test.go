package kube

import (
	"context"
	"encoding/json"
	"slices"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// cleanup holds a service until its load balancer is gone.
const cleanup = "service.kubernetes.io/load-balancer-cleanup"

// write gives a service its finalizer and addresses, or takes them from it.
func (b *balancer) write(ctx context.Context, s *core.Service) error {
	has := slices.Contains(s.Finalizers, cleanup)
	want := core.LoadBalancerStatus{}
	if balanced(s) {
		mode := core.LoadBalancerIPModeVIP
		for _, family := range s.Spec.IPFamilies {
			want.Ingress = append(want.Ingress, core.LoadBalancerIngress{IP: addressOf(family, b.given[s.UID]), IPMode: &mode})
		}
		if !has {
			if err := b.finalizers(ctx, s, append(slices.Clone(s.Finalizers), cleanup)); err != nil {
				return err
			}
		}
	} else if !has { // another's, or none
		return nil
	}
	if !equality.Semantic.DeepEqual(want.Ingress, s.Status.LoadBalancer.Ingress) {
		if err := b.patch(ctx, s, map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": want.Ingress}}}, "status"); err != nil {
			return err
		}
	}
	if has && !balanced(s) {
		return b.finalizers(ctx, s, slices.DeleteFunc(slices.Clone(s.Finalizers), func(f string) bool { return f == cleanup }))
	}
	return nil
}

func (b *balancer) finalizers(ctx context.Context, s *core.Service, to []string) error {
	return b.patch(ctx, s, map[string]any{"metadata": map[string]any{"finalizers": to}})
}

// patch changes a service that is still there; what changed meanwhile is seen
// by the next step.
func (b *balancer) patch(ctx context.Context, s *core.Service, change map[string]any, sub ...string) error {
	data, err := json.Marshal(change)
	if err != nil {
		return err
	}
	_, err = b.client.CoreV1().Services(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, data, meta.PatchOptions{}, sub...)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

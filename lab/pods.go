package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// podWidth is how many pods are attached or detached at once.
const podWidth = 8

// finish drops and adds the pods that were collected. Services learn who is
// going before it goes, and who came once it runs.
func (b *batch) finish(ctx context.Context) error {
	err := b.changePods(ctx)
	return errors.Join(err, b.record.writeSlices(nil), b.record.writeLeases())
}

func (b *batch) changePods(ctx context.Context) error {
	r := b.record
	slices.Sort(b.drop)
	b.drop = slices.Compact(b.drop)
	if len(b.drop) > 0 {
		b.report.fail(r.writeSlices(b.drop))
	}
	b.report.fail(r.dropPods(ctx, b.drop, b.progress))
	first := len(r.Pods)
	for _, p := range b.add {
		if p.Node == "" {
			p.Node = place(r.nodeNames(), r.Pods, p.Owner)
		}
		p.Netns = r.node(p.Node).Netns
		if !p.HostNetwork {
			p.Netns = podNetns(r.Name, p.Namespace, p.Name, func(name string) bool { _, taken := r.Netns[name]; return taken })
			if inode(netnsPath(p.Netns)) != 0 {
				b.report.fail(fmt.Errorf("pod %s: network namespace %s exists already: %w (remove it with: ip netns del %s)", p.Key(), p.Netns, errForeign, p.Netns))
				continue
			}
			r.Netns[p.Netns] = 0
		}
		p.ContainerID = containerID()
		r.Pods = append(r.Pods, p)
	}
	added := r.Pods[first:]
	if err := errors.Join(r.writePending(added), r.save()); err != nil {
		return err
	}
	var mu sync.Mutex // guards r.Netns; each pod is its goroutine's own
	var pods []*Pod
	for i := range added {
		pods = append(pods, &added[i])
	}
	b.report.fail(each(podWidth, pods, func(p *Pod) error { return r.addPod(ctx, p, &mu, b.progress) }))
	return nil
}

// writePending writes the pods and their identities before they have a
// network, as a cluster does: an agent knows whom it is asked to attach.
func (r *record) writePending(pods []Pod) error {
	errs := []error{r.writeIdentities()}
	for _, p := range pods {
		errs = append(errs, r.writePod(p))
	}
	return errors.Join(errs...)
}

// addPod gives the pod its namespace, control group, network and processes. What goes wrong
// is also written into the pod.
func (r *record) addPod(ctx context.Context, p *Pod, mu *sync.Mutex, progress *progress) error {
	if err := r.network(ctx, p, mu); err != nil {
		p.Error = err.Error()
		return fmt.Errorf("pod %s on %s: %w", p.Key(), p.Node, err)
	}
	err := r.writePod(*p)
	err = errors.Join(err, r.startContainers(p))
	if err != nil {
		return fmt.Errorf("pod %s on %s: %w", p.Key(), p.Node, err)
	}
	progress.say("pod %s: %s on %s", p.Key(), joined(p.IPs), p.Node)
	return nil
}

func (r *record) network(ctx context.Context, p *Pod, mu *sync.Mutex) error {
	if err := makeCgroup(r.node(p.Node).group(podGroup(*p))); err != nil {
		return err
	}
	if p.HostNetwork {
		p.IPs = r.node(p.Node).Addresses
		return nil
	}
	id, err := makeNetns(p.Netns)
	mu.Lock()
	if err != nil {
		delete(r.Netns, p.Netns)
	} else {
		r.Netns[p.Netns] = id
	}
	mu.Unlock()
	if err != nil {
		return err
	}
	// A container runtime sets lo up before it calls CNI plugins.
	if err := openLoopback(p.Netns, r.Name); err != nil {
		return err
	}
	return r.attach(ctx, p)
}

// dropPods ends the pods' processes, detaches them and forgets them.
func (r *record) dropPods(ctx context.Context, keys []string, progress *progress) error {
	if len(keys) == 0 {
		return nil
	}
	err := each(podWidth, keys, func(key string) error {
		p := *r.pod(key)
		var errs []error
		for _, c := range p.Containers {
			errs = append(errs, c.Process.stop(time.Second))
		}
		if !p.HostNetwork && r.Netns[p.Netns] != 0 {
			errs = append(errs, r.detach(ctx, p))
			errs = append(errs, killInside(map[uint64]bool{r.Netns[p.Netns]: true}))
			errs = append(errs, removeNetns(p.Netns, r.Netns[p.Netns]))
		}
		errs = append(errs, removeCgroup(r.node(p.Node).group(podGroup(p))))
		errs = append(errs, r.removeObject(objectFile("Pod", p.Namespace, p.Name)))
		progress.say("pod %s: removed from %s", key, p.Node)
		return errors.Join(errs...)
	})
	for _, key := range keys {
		if p := r.pod(key); !p.HostNetwork {
			delete(r.Netns, p.Netns)
		}
	}
	r.Pods = slices.DeleteFunc(r.Pods, func(p Pod) bool { return slices.Contains(keys, p.Key()) })
	r.Workloads = slices.DeleteFunc(r.Workloads, func(w string) bool { return slices.Contains(keys, podOf(w)) })
	return err
}

// podOf returns the key of the pod that a name of a workload means, or "".
func podOf(workload string) string {
	const kind = "Pod "
	if len(workload) > len(kind) && workload[:len(kind)] == kind {
		return workload[len(kind):]
	}
	return ""
}

// containerID is as random as those of container runtimes.
func containerID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, as its documentation says
	return hex.EncodeToString(b[:])
}

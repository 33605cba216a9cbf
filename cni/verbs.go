package cni

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"weir/api/agent"
)

// podArgs are the keys of CNI_ARGS that Kubernetes sets.
type podArgs struct {
	types.CommonArgs
	K8S_POD_NAMESPACE types.UnmarshallableString
	K8S_POD_NAME      types.UnmarshallableString
	K8S_POD_UID       types.UnmarshallableString
}

func (p *plugin) add(ctx context.Context, c *call) error {
	if c.given(keyPrevResult) {
		return invalid("weir-cni makes the interface, so it must be the first plugin of the list; " +
			"prevResult says that another came before: move weir-cni to the front")
	}
	if err := foreign(c.args); err != nil {
		return err
	}
	pod := podArgs{CommonArgs: types.CommonArgs{IgnoreUnknown: true}}
	if err := types.LoadArgs(c.args.Args, &pod); err != nil {
		return types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("CNI_ARGS %q cannot be read", c.args.Args), err.Error())
	}
	req := agent.AddRequest{Attachment: c.attachment(), PodNamespace: string(pod.K8S_POD_NAMESPACE), PodName: string(pod.K8S_POD_NAME), PodUID: string(pod.K8S_POD_UID)}
	var reply agent.AddReply
	if err := c.client.Post(ctx, agent.PathCNIAdd, req, &reply); err != nil {
		return refusal(err, agent.CodeTryAgainLater)
	}
	if err := agent.ForgetDelete(c.queue(), req.Attachment); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	result, err := newResult(reply, c.args.IfName, c.args.Netns)
	if err != nil {
		return err
	}
	out, err := result.GetAsVersion(c.CNIVersion)
	if err != nil {
		return types.NewError(types.ErrIncompatibleCNIVersion, fmt.Sprintf("no result in version %s", c.CNIVersion), err.Error())
	}
	return out.PrintTo(p.stdout)
}

// del asks with most of the time there is; the rest is for the queue.
func (p *plugin) del(ctx context.Context, c *call) error {
	ask := func(ctx context.Context) error {
		return c.client.Post(ctx, agent.PathCNIDel, c.attachment(), nil)
	}
	first, cancel := context.WithTimeout(ctx, p.limit*3/5)
	err := ask(first)
	cancel()
	if !agent.Answered(err) {
		again, cancel := context.WithTimeout(ctx, p.limit/5)
		defer cancel()
		err = agent.EnqueueDelete(again, c.queue(), c.attachment(), ask)
	}
	err = refusal(err, agent.CodeTryAgainLater)
	if e, ok := err.(*types.Error); ok && e.Code == types.ErrUnknownContainer {
		return nil // what was never added is deleted already
	}
	return err
}

func (p *plugin) check(ctx context.Context, c *call) error {
	if !c.given(keyPrevResult) {
		return invalid("CHECK needs prevResult, the result of ADD")
	}
	if err := version.ParsePrevResult(&c.PluginConf); err != nil {
		return invalid("prevResult cannot be read: %v", err)
	}
	result, err := current.GetResult(c.PrevResult)
	if err != nil {
		return invalid("prevResult cannot be read: %v", err)
	}
	req := agent.CheckRequest{Attachment: c.attachment()}
	req.IPs, req.MAC = podInterface(result, c.args.IfName)
	return refusal(c.client.Post(ctx, agent.PathCNICheck, req, nil), agent.CodeTryAgainLater)
}

// gc refuses a call that does not say what is valid, for it would delete all.
func (p *plugin) gc(ctx context.Context, c *call) error {
	if _, there := c.keys[keyValid]; !there { // null is an empty list
		return invalid("GC needs %s, the attachments to keep", keyValid)
	}
	req := agent.GCRequest{Valid: []agent.Attachment{}}
	for _, a := range c.ValidAttachments {
		req.Valid = append(req.Valid, agent.Attachment{ContainerID: a.ContainerID, Interface: a.IfName})
	}
	return refusal(c.client.Post(ctx, agent.PathCNIGC, req, &agent.GCReply{}), agent.CodeTryAgainLater)
}

func (p *plugin) status(ctx context.Context, c *call) error {
	return refusal(c.client.Get(ctx, agent.PathCNIStatus, nil), agent.CodeUnavailable)
}

// podInterface returns what prevResult says of our interface. Plugins behind
// us in the list may have added others.
func podInterface(r *current.Result, name string) (ips []netip.Addr, mac string) {
	ours := -1
	for i, iface := range r.Interfaces {
		if iface.Sandbox != "" && iface.Name == name {
			ours, mac = i, iface.Mac
		}
	}
	for _, ip := range r.IPs {
		if ip.Interface != nil && *ip.Interface != ours {
			continue
		}
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			ips = append(ips, a.Unmap())
		}
	}
	return ips, mac
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	api "weir/api/agent"
	"weir/control/endpoint"
	"weir/control/ipam"
	"weir/datapath/link"
	"weir/state"
)

// addLimit bounds one ADD, however much there is to do. It leaves time to undo it before
// the plugin gives up.
const addLimit = 25 * time.Second

// drainEvery is how often the queue of DELs is looked at: one is written there
// when the agent did not answer in time.
const drainEvery = 5 * time.Second

type empty struct{}

func (a *Agent) cniAdd(ctx context.Context, q api.AddRequest) (api.AddReply, error) {
	if err := a.readyForAdd(); err != nil {
		return api.AddReply{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, addLimit)
	defer cancel()
	r, err := a.endpoints.Add(ctx, endpoint.Request{
		Key: keyOf(q.Attachment), Netns: q.Netns, Pod: state.PodName{Namespace: q.PodNamespace, Name: q.PodName},
		PodUID: q.PodUID, Issued: q.Issued,
	})
	if err != nil {
		a.log.Warn("add refused", "container", q.ContainerID, "pod", q.PodNamespace+"/"+q.PodName, "err", err)
		return api.AddReply{}, err
	}
	return api.AddReply{EndpointID: uint32(r.ID), HostDevice: r.Device, HostMAC: r.NodeMAC.String(), MAC: r.MAC.String(),
		MTU: r.DeviceMTU, RouteMTU: r.MTU, IPs: r.Addrs(), Gateways: r.Gateways}, nil
}

func (a *Agent) cniDel(_ context.Context, q api.Attachment) (empty, error) {
	return empty{}, a.endpoints.Delete(keyOf(q), q.Issued)
}

func (a *Agent) cniCheck(_ context.Context, q api.CheckRequest) (empty, error) {
	e, err := a.endpoints.Check(keyOf(q.Attachment), q.Netns)
	if errors.Is(err, endpoint.ErrUnknown) {
		return empty{}, err
	}
	if err != nil {
		return empty{}, &api.Error{Code: api.CodeBroken, Message: "endpoint of container " + q.ContainerID + " is not as it was made; DEL and ADD it again", Details: err.Error()}
	}
	want := map[netip.Addr]bool{}
	for _, ip := range e.Addrs() {
		want[ip] = true
	}
	for _, ip := range q.IPs {
		if !want[ip] {
			return empty{}, &api.Error{Code: api.CodeBroken, Message: "address " + ip.String() + " of the previous result is not the endpoint's"}
		}
	}
	return empty{}, nil
}

func (a *Agent) cniGC(_ context.Context, q api.GCRequest) (api.GCReply, error) {
	valid := map[endpoint.Key]bool{}
	for _, v := range q.Valid {
		valid[keyOf(v)] = true
	}
	gone, err := a.endpoints.Retain(valid)
	reply := api.GCReply{Removed: []api.Attachment{}}
	for _, k := range gone {
		reply.Removed = append(reply.Removed, api.Attachment{ContainerID: k.ContainerID, Interface: k.Interface})
	}
	return reply, err
}

func (a *Agent) cniStatus(*http.Request) (empty, error) {
	err := a.readyForAdd()
	if err != nil {
		return empty{}, &api.Error{Code: api.CodeUnavailable, Message: err.Error()}
	}
	return empty{}, nil
}

// readyForAdd says why no ADD can be served; DELs that were queued while no
// agent ran come first.
func (a *Agent) readyForAdd() error {
	select {
	case <-a.drained:
		return a.explain(a.endpoints.Ready())
	default:
		return &api.Error{Code: api.CodeTryAgainLater, Message: "the agent is starting: queued deletes are not done yet"}
	}
}

// explain adds what the node's own part of the datapath is stuck at, which is
// why endpoints cannot be made.
func (a *Agent) explain(err error) error {
	if host, ok := a.tables.Controls.Get("host"); err != nil && ok && host.LastError != "" {
		return fmt.Errorf("%w: %s", err, host.LastError)
	}
	return err
}

// drainDeletes does the DELs that the plugin queued while no agent answered:
// at start, and then now and again for those queued while it hung.
func (a *Agent) drainDeletes(ctx context.Context) error {
	first := true
	for {
		n, err := api.DrainDeletes(a.queueDir(), func(q api.Attachment) error { return a.endpoints.Delete(keyOf(q), q.Issued) })
		if err != nil {
			a.log.Warn("queued deletes failed", "err", err)
		}
		if n > 0 {
			a.log.Info("queued deletes done", "deletes", n)
		}
		if first {
			close(a.drained)
			first = false
			if err := installCNI(a.cfg.Config); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(drainEvery):
		}
	}
}

func keyOf(q api.Attachment) endpoint.Key {
	return endpoint.Key{ContainerID: q.ContainerID, Interface: q.Interface}
}

// codes maps what went wrong to what the CNI protocol calls it.
var codes = []struct {
	err  error
	code api.ErrorCode
}{
	{endpoint.ErrNotReady, api.CodeTryAgainLater},
	{endpoint.ErrExists, api.CodeAlreadyAdded},
	{endpoint.ErrUnknown, api.CodeUnknownContainer},
	{endpoint.ErrExhausted, api.CodeExhausted},
	{ipam.ErrExhausted, api.CodeExhausted},
	{link.ErrNoNetns, api.CodeInvalidEnvironment},
	{link.ErrInterfaceTaken, api.CodeInvalidEnvironment},
}

func asError(err error) *api.Error {
	var already *api.Error
	if errors.As(err, &already) {
		return already
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return &api.Error{Code: c.code, Message: err.Error()}
		}
	}
	return &api.Error{Code: api.CodeInternal, Message: err.Error()}
}

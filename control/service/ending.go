package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weir/bpf"
	"weir/datapath/link"
	"weir/internal/reconcile"
)

const (
	// endDelay is how long after a backend's end its sockets are ended: backends that
	// go together cost one walk, and a connect that was under way has a socket by then.
	endDelay = 50 * time.Millisecond
	// tidyEvery is how often notes of namespaces that are gone are taken out.
	tidyEvery = time.Minute
)

// Sockets are connected to backends. See datapath.SocketEnder.
type Sockets interface {
	// Own is the cookie of this process's network namespace.
	Own() uint64
	// Users returns which namespaces have connected to which backends, and whether
	// these are all of them.
	Users() (users []bpf.SocketUser, complete bool, err error)
	// Forget takes users out.
	Forget([]bpf.SocketUser) error
	// End ends the sockets of a namespace whose backend's row is not what it was.
	End(netns uint64, path string) (ended int, err error)
}

// Ending ends the sockets of backends that are no more, so that their processes
// connect again instead of waiting. Which sockets is told by the maps alone, so it
// does not matter when and why a backend went, nor whether an agent ran.
type Ending struct {
	c       *Control
	sockets Sockets
	find    func() map[uint64]string // namespaces of processes
}

// Ending returns what ends the sockets of this Control's backends.
func (c *Control) Ending(s Sockets) *Ending { return &Ending{c, s, link.Namespaces} }

// Run ends sockets until ctx ends.
func (e *Ending) Run(ctx context.Context) error {
	return reconcile.Loop(ctx, e.c.log, e.Step, &e.c.removed, reconcile.Every(ctx, tidyEvery))
}

// Step looks at each namespace that has connected to a backend which is no more,
// and at no other, unless it is not known which those are.
func (e *Ending) Step(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(endDelay):
	}
	users, complete, err := e.sockets.Users()
	if err != nil {
		return err
	}
	stale, lost, at := e.sort(users, complete)
	errs := []error{e.sockets.Forget(lost)}
	ended, looked := 0, 0
	for netns, path := range at {
		if complete && len(stale[netns]) == 0 {
			continue
		}
		n, err := e.end(netns, path)
		if ended, looked = ended+n, looked+1; err == nil {
			err = e.sockets.Forget(stale[netns])
		}
		errs = append(errs, err)
	}
	if ended > 0 {
		e.c.log.Info("sockets ended, their backends are no more", "sockets", ended, "namespaces", looked)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("end sockets of backends that are no more: %w", err)
	}
	return nil
}

// end ends the sockets of a namespace. One that its path does not lead to any more
// may still have processes; if not, it is gone, and its sockets with it.
func (e *Ending) end(netns uint64, path string) (int, error) {
	n, err := e.sockets.End(netns, path)
	if !errors.Is(err, link.ErrNoNetns) {
		return n, err
	}
	if path = e.find()[netns]; path == "" {
		return 0, nil
	}
	return e.sockets.End(netns, path)
}

// sort says which users have a backend that is no more, which have a namespace that
// is no more, and where the others are.
func (e *Ending) sort(users []bpf.SocketUser, complete bool) (stale map[uint64][]bpf.SocketUser, lost []bpf.SocketUser, at map[uint64]string) {
	at = map[uint64]string{e.sockets.Own(): ""}
	for _, p := range e.c.tables.Endpoints.All() {
		if p.NetnsCookie != 0 && p.Netns != "" {
			at[p.NetnsCookie] = p.Netns
		}
	}
	found := false
	look := func() {
		for netns, path := range e.find() {
			if _, ok := at[netns]; !ok {
				at[netns] = path
			}
		}
		found = true
	}
	if !complete {
		look()
	}
	stale = map[uint64][]bpf.SocketUser{}
	for _, u := range users {
		if _, ok := at[u.Netns]; !ok && !found {
			look()
		}
		if _, ok := at[u.Netns]; !ok {
			lost = append(lost, u)
		} else if row, ok := e.c.maps.Backends.Get(u.BackendRow); !ok || row.Addr == (bpf.Addr{}) || row.Generation != u.Generation {
			stale[u.Netns] = append(stale[u.Netns], u)
		}
	}
	return stale, lost, at
}

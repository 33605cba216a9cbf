package endpoint

import (
	"context"
	"time"

	"weir/state"
)

// quiet is how long no ADD came before attachments are settled: the kernel
// holds the lock of its network configuration for some 14 ms for each, which
// must not stand in the way of pods that start.
const quiet = 500 * time.Millisecond

// attachQuick puts the programs of a pod that is being made in force at once,
// in a way that settle replaces by the lasting one.
func (c *Control) attachQuick(e state.Endpoint) error {
	for _, a := range c.attachments(e) {
		if err := c.dp.AttachQuick(a); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.quick[e.ID], c.lastAdd = e, time.Now()
	c.mu.Unlock()
	select {
	case c.added <- struct{}{}:
	default:
	}
	return nil
}

// settle gives pods their lasting attachments, one by one, whenever no ADD came
// for a while, until ctx ends. What it does not get to, the next agent does.
func (c *Control) settle(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.added:
		}
		for {
			e, wait, ok := c.nextQuick()
			if !ok {
				break
			}
			if wait > 0 {
				select {
				case <-ctx.Done():
					return
				case <-time.After(wait):
				}
				continue
			}
			if err := c.attach(e); err != nil && c.owns(e) {
				c.log.Warn("attachment stays a filter", "endpoint", e.ID, "device", e.Device, "err", err)
			}
			c.forgetQuick(e)
		}
	}
}

// nextQuick returns an endpoint to settle, or how long to wait before asking again.
func (c *Control) nextQuick() (e state.Endpoint, wait time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.quick {
		return e, quiet - time.Since(c.lastAdd), true
	}
	return e, 0, false
}

// forgetQuick ends the settling of an endpoint. If it was deleted meanwhile,
// what settling pinned goes, too.
func (c *Control) forgetQuick(e state.Endpoint) {
	c.mu.Lock()
	delete(c.quick, e.ID)
	taken := c.used[e.ID] // by this endpoint, or by another that has its number since
	c.mu.Unlock()
	if taken {
		return
	}
	for _, a := range c.attachments(e) {
		if err := c.dp.Detach(a); err != nil {
			c.log.Warn("stale attachment stays", "endpoint", e.ID, "err", err)
		}
	}
}

// owns reports whether the endpoint still is the one of its container.
func (c *Control) owns(e state.Endpoint) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.byKey[key(e)]
	return ok && id == e.ID
}

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
			c.settleOne(e)
		}
	}
}

// settleOne makes the lasting attachments of an endpoint that still is there.
// Who unmakes it takes settling before it detaches, so that nothing is pinned
// behind its back.
func (c *Control) settleOne(e state.Endpoint) {
	c.settling.Lock()
	defer c.settling.Unlock()
	c.mu.Lock()
	_, there := c.quick[e.ID]
	c.mu.Unlock()
	if !there {
		return
	}
	if err := c.attach(e); err != nil {
		c.log.Warn("attachment stays a filter", "endpoint", e.ID, "device", e.Device, "err", err)
	}
	c.mu.Lock()
	delete(c.quick, e.ID)
	c.mu.Unlock()
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

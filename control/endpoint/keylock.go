package endpoint

import "sync"

// keyLock lets the requests for one attachment take turns: a DEL that overtakes
// its ADD waits for it, so that neither works on what the other is changing.
// Requests for different attachments never wait for each other.
type keyLock struct {
	mu    sync.Mutex
	users int // who has it or waits for it; guarded by Control.mu
}

func (c *Control) lockKey(k Key) (unlock func()) {
	c.mu.Lock()
	l := c.busy[k]
	if l == nil {
		l = &keyLock{}
		c.busy[k] = l
	}
	l.users++
	c.mu.Unlock()
	l.mu.Lock()
	return func() {
		l.mu.Unlock()
		c.mu.Lock()
		defer c.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(c.busy, k)
		}
	}
}

package agent

import (
	"fmt"
	"sync"
	"sync/atomic"

	"weir/bpf"
)

const (
	followersMax = 16
	// followerQueue is how many events wait for one of them: 1 MiB.
	followerQueue = 8192
)

// followers are those who are sent events as they come. Whoever does not take them
// loses those that find no room in its queue, and nobody else does.
type followers struct {
	mu    sync.Mutex
	all   map[*follower]bool
	count atomic.Int32 // len(all): nobody is asked where nobody is
}

// follower is one of them.
type follower struct {
	wants func(*bpf.Event) bool
	wake  chan struct{}

	mu    sync.Mutex
	queue []bpf.Event
	lost  uint64
}

func (f *followers) add(wants func(*bpf.Event) bool) (*follower, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.all) >= followersMax {
		return nil, fmt.Errorf("%d clients follow events already: end one of them first", len(f.all))
	}
	if f.all == nil {
		f.all = map[*follower]bool{}
	}
	one := &follower{wants: wants, wake: make(chan struct{}, 1)}
	f.all[one] = true
	f.count.Store(int32(len(f.all)))
	return one, nil
}

func (f *followers) remove(one *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, one)
	f.count.Store(int32(len(f.all)))
}

// tell never waits for anybody.
func (f *followers) tell(e *bpf.Event) {
	if f.count.Load() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for one := range f.all {
		if one.wants(e) {
			one.put(e)
		}
	}
}

func (f *follower) put(e *bpf.Event) {
	f.mu.Lock()
	if len(f.queue) < followerQueue {
		f.queue = append(f.queue, *e)
	} else {
		f.lost++
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// take returns what waits, and how many were lost behind it. It takes the memory of
// what was taken before for what comes.
func (f *follower) take(done []bpf.Event) (events []bpf.Event, lost uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	events, lost = f.queue, f.lost
	f.queue, f.lost = done[:0], 0
	return events, lost
}

package run

import (
	"context"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// lookBack is how often the server is asked whether it has gone back in time.
const lookBack = 2 * time.Second

// history notices that the API server's etcd came back from an older backup. A watch from
// a version that such a server has not reached hears nothing and no error until it has,
// which can take days: all of them have to begin anew.
type history struct {
	o *Operator

	mu    sync.Mutex
	ended chan struct{} // closed when the history at hand is no more, and made anew
}

func newHistory(o *Operator) *history { return &history{o: o, ended: make(chan struct{})} }

// Run looks until ctx ends.
func (h *history) Run(ctx context.Context) error {
	tick := time.NewTicker(lookBack)
	defer tick.Stop()
	for highest := uint64(0); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		at, ok := h.version(ctx)
		if !ok {
			continue // leader election looks after that
		}
		if at < highest {
			h.o.log.Warn("the API server is older than what is known, as after a backup was restored: all is listed anew", "version", at, "known", highest)
			h.end()
		}
		highest = at
	}
}

// version is that of the newest state of the cluster.
func (h *history) version(ctx context.Context) (uint64, bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	list, err := h.o.kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, false
	}
	at, err := strconv.ParseUint(list.ResourceVersion, 10, 64)
	return at, err == nil
}

func (h *history) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.ended)
	h.ended = make(chan struct{})
}

// during runs something until ctx or the history at hand ends, and anew with the next.
func (h *history) during(ctx context.Context, run func(context.Context)) {
	for ctx.Err() == nil {
		h.mu.Lock()
		ended := h.ended
		h.mu.Unlock()
		one, cancel := context.WithCancel(ctx)
		go func() {
			select {
			case <-ended:
				cancel()
			case <-one.Done():
			}
		}()
		run(one)
		cancel()
	}
}

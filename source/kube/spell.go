package kube

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// spell is one watch of a kind, as far as it says whether the next may begin where it
// ended. nil is a list just now, which does.
type spell struct {
	began time.Time
	limit time.Duration // that it asked for
	heard atomic.Bool   // an object or a bookmark came
}

func newSpell(o metav1.ListOptions) *spell {
	s := &spell{began: time.Now()}
	if o.TimeoutSeconds != nil {
		s.limit = time.Duration(*o.TimeoutSeconds) * time.Second
	}
	return s
}

// whole reports whether it ended in its time, and not with its server, and was alive.
func (s *spell) whole() bool {
	return s == nil || s.limit > 0 && s.heard.Load() && time.Since(s.began) > s.limit-time.Second
}

// inFuture refuses to watch from a version that the server has not reached, as when its
// etcd came back from an older backup: it would say nothing, and no error either, before
// it is there. The kind is listed then. The server is asked when a watch ended early.
func (f *follower) inFuture(ctx context.Context, from string) error {
	if f.last.whole() {
		return nil
	}
	list := f.list()
	err := f.get(metav1.ListOptions{Limit: 1}).Do(ctx).Into(list)
	if f.judge(ctx, err); err != nil {
		return err
	}
	m, err := meta.ListAccessor(list)
	if err != nil {
		return err
	}
	if at := number(m.GetResourceVersion()); at == 0 || at >= number(from) {
		return nil
	}
	f.mu.Lock()
	f.restored = true
	f.mu.Unlock()
	return fmt.Errorf("the API server is at version %s of %s, and %s is known: it is listed", m.GetResourceVersion(), f.where(), from)
}

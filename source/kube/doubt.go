package kube

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// doubt is objects that a list lacks although they were known, and until when
// they stay: a list of which more than a quarter is missing, or one of a server that
// has gone back in time, is not believed at once.
type doubt struct {
	missing map[key]bool
	until   time.Time
	why     string
}

// seen takes an object out: it is there after all, or was deleted by name.
func (d *doubt) seen(k key) {
	if d != nil {
		delete(d.missing, k)
	}
}

// doubtful returns those of the missing that go at once. The lock is held.
func (s *store) doubtful(missing []key, back bool) []key {
	wait, why := s.src.opts.Confirm, "more than a quarter of what is known"
	switch {
	case len(missing) == 0:
		s.doubt = nil
		return nil
	case back:
		wait, why = s.src.opts.Grace, "and its server is older than what is known, as after a backup was restored"
	case 4*len(missing) <= len(s.held) && s.doubt == nil:
		return missing
	}
	d := &doubt{missing: map[key]bool{}, until: time.Now().Add(wait), why: why}
	if s.doubt != nil && s.doubt.until.After(d.until) { // the longer time counts
		d.until, d.why = s.doubt.until, s.doubt.why
	}
	for _, k := range missing {
		d.missing[k] = true
	}
	s.doubt = d
	s.src.log.Warn("a list lacks objects, they stay until it is confirmed", "kind", s.name, "missing", len(missing), "known", len(s.held), "until", d.until)
	select {
	case s.confirm <- struct{}{}:
	default:
	}
	return nil
}

// report keeps the problem about the doubt in step. The lock is held.
func (s *store) report() {
	if s.doubt != nil && len(s.doubt.missing) == 0 {
		s.doubt = nil
	}
	if s.doubt == nil {
		s.src.settle(s.kind, aboutList)
		return
	}
	s.src.complain(s.kind, aboutList, fmt.Sprintf("a list lacks %d of %d objects, %s: they stay in force, and go when a list lacks them still at %s",
		len(s.doubt.missing), len(s.held), s.doubt.why, s.doubt.until.UTC().Format(time.RFC3339)))
}

// runConfirm asks again for what is doubted until ctx ends.
func (s *store) runConfirm(ctx context.Context, list func(context.Context, metav1.ListOptions) (*entries, error)) {
	for {
		s.mu.Lock()
		d := s.doubt
		s.mu.Unlock()
		var due <-chan time.Time
		if d != nil {
			due = time.After(max(time.Until(d.until), time.Second/10))
		}
		select {
		case <-ctx.Done():
			return
		case <-s.confirm:
			continue
		case <-due:
		}
		// Without a version the list is the newest that the cluster agrees on.
		if all, err := list(ctx, metav1.ListOptions{}); err != nil {
			s.src.log.Warn("what a list lacks is not confirmed yet", "kind", s.name, "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(s.src.opts.Confirm):
			}
		} else {
			s.settleDoubt(all)
		}
	}
}

// settleDoubt removes what a second list lacks, too.
func (s *store) settleDoubt(all *entries) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doubt == nil || time.Now().Before(s.doubt.until) {
		return // another one began meanwhile
	}
	var back []*entry
	for _, o := range all.Items {
		if e := o.(*entry); s.doubt.missing[e.key] {
			back = append(back, e)
		}
	}
	s.apply(back)
	if s.doubt == nil {
		return
	}
	var gone []key
	for k := range s.doubt.missing {
		gone = append(gone, k)
	}
	s.src.log.Warn("what a list lacks is confirmed", "kind", s.name, "removed", len(gone), "back", len(back))
	s.doubt = nil
	s.remove(gone)
}

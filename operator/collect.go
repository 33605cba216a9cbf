package operator

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// Collector finds what nobody has needed for a while. It remembers when it last
// saw each in use, so a new one, as after a restart, waits anew.
type Collector[K cmp.Ordered] struct {
	Grace time.Duration // for how long nobody may have needed it
	Most  int           // how many at once, at least one; and Part of all, if that is more
	Part  int           // one in so many; 0: Most alone counts

	unused map[K]time.Time // since when
}

// Collect returns what may go at a time, in order, out of all. Whoever asks
// removes it only if it is still not needed then.
func (c *Collector[K]) Collect(now time.Time, all iter.Seq[K], used func(K) bool) []K {
	unused, count := map[K]time.Time{}, 0
	var due []K
	for k := range all {
		count++
		if used(k) {
			continue
		}
		since, known := c.unused[k]
		if !known || now.Before(since) { // the second: the clock was set back
			since = now
		}
		unused[k] = since
		if now.Sub(since) >= c.Grace {
			due = append(due, k)
		}
	}
	c.unused = unused
	slices.Sort(due)
	most := max(c.Most, 1)
	if c.Part > 0 {
		most = max(most, count/c.Part)
	}
	return due[:min(len(due), most)]
}

// Waiting is how many are not needed, and still there.
func (c *Collector[K]) Waiting() int { return len(c.unused) }

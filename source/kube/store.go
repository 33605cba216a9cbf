package kube

import (
	"sync"

	"k8s.io/client-go/tools/cache"

	"weir/internal/journal"
)

// held is what is known of an object besides its row.
type held struct {
	version uint64
	good    uint64 // sum of the version in force; 0: none was good yet
	seen    uint64 // sum of the newest version, good or not
}

// store takes what a reflector tells of one kind and makes it rows. It holds no
// objects: rows are in the tables, objects on disk.
type store struct {
	*kind
	src *Source
	out sink

	mu       sync.Mutex
	held     map[key]held
	highest  uint64 // version of the newest list, object or bookmark
	complete bool   // all objects have been told, by a server or an earlier agent's journal
	synced   bool   // and their table knows
	watched  bool   // a watch is open
	restored bool   // the server has gone back in time since the last list
	served   int    // the version that is followed, of kind.versions
	doubt    *doubt // nil: there is none
	confirm  chan struct{}
}

func newStore(src *Source, k *kind, out sink) *store {
	return &store{kind: k, src: src, out: out, held: map[key]held{}, confirm: make(chan struct{}, 1)}
}

var _ cache.ReflectorStore = (*store)(nil)

// Add takes an object that is new, as far as the server knows.
func (s *store) Add(o any) error { return s.Update(o) }

// Update takes a version of an object.
func (s *store) Update(o any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apply([]*entry{o.(*entry)})
	return nil
}

// Delete takes an object's end, unless it is that of an earlier one.
func (s *store) Delete(o any) error {
	e := o.(*entry)
	s.mu.Lock()
	defer s.mu.Unlock()
	version := number(e.version)
	if h, ok := s.held[e.key]; ok && version != 0 && version < h.version {
		return nil
	}
	s.highest = max(s.highest, version)
	s.remove([]key{e.key})
	return nil
}

// Resync has nothing to do: the store never loses anything.
func (s *store) Resync() error { return nil }

// Bookmark takes the version that a quiet watch has reached.
func (s *store) Bookmark(version string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.highest = max(s.highest, number(version))
	return nil
}

// Replace takes a whole list. What it lacks goes, unless that is hard to believe:
// then it stays until a second list lacks it, too.
func (s *store) Replace(list []any, version string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := make(map[key]bool, len(list))
	all := make([]*entry, len(list))
	for i, o := range list {
		all[i] = o.(*entry)
		there[all[i].key] = true
	}
	var missing []key
	for k := range s.held {
		if !there[k] {
			missing = append(missing, k)
		}
	}
	n := number(version)
	back := n != 0 && n < s.highest || s.restored
	s.restored = false
	if back { // versions mean something else from now on
		s.src.log.Warn("the API server is older than what is known, as after a backup was restored", "kind", s.name, "version", n, "known", s.highest)
		for k, h := range s.held {
			h.version = 0
			s.held[k] = h
		}
	}
	s.highest = n
	missing = s.doubtful(missing, back)
	s.apply(all)
	s.remove(missing)
	s.told()
	return nil
}

// told says that every object of the kind is known. The lock is held.
func (s *store) told() {
	if !s.complete {
		s.complete = true
		s.src.journal.Complete(s.name)
	}
	s.mark()
}

// mark says so to the table, once. The lock is held.
func (s *store) mark() {
	if !s.synced {
		s.synced = true
		s.out.told(s.name)
		if s.src.untold.Add(-1) == 0 {
			close(s.src.all)
		}
	}
}

// apply makes rows of what is new. An object that is refused leaves its last good
// version in force. The lock is held.
func (s *store) apply(all []*entry) {
	var rows []any
	for _, e := range all {
		h, known := s.held[e.key]
		version := number(e.version)
		if known && version != 0 && version < h.version {
			continue // an old version comes late
		}
		s.highest = max(s.highest, version)
		s.doubt.seen(e.key)
		h.version = version
		digest := sum(e.json)
		if known && digest == h.seen {
			s.held[e.key] = h
			s.say(known, true, nil)
			continue
		}
		bad := h.seen != h.good
		h.seen = digest
		row, err := s.make(e)
		s.say(known, false, err)
		if err != nil {
			s.held[e.key] = h
			s.src.refuse(s.kind, e.key, err)
			continue
		}
		if bad {
			s.src.accept(s.kind, e.key)
		}
		h.good = digest
		s.held[e.key] = h
		s.src.journal.Put(s.name, e.key.String(), version, e.json)
		rows = append(rows, row)
	}
	if len(rows) > 0 {
		s.out.put(rows)
	}
	s.report()
}

func (s *store) make(e *entry) (any, error) {
	if e.err != nil {
		return nil, e.err
	}
	row, err := s.row(e.key, e.json, s.src.opts.Scope)
	return s.src.shared.row(row), err
}

// remove forgets objects. The lock is held.
func (s *store) remove(gone []key) {
	var known []key
	for _, k := range gone {
		h, ok := s.held[k]
		if !ok {
			continue
		}
		delete(s.held, k)
		s.src.ears.heard(Heard{Kind: s.name, Action: "delete", Valid: true})
		s.doubt.seen(k)
		s.src.journal.Delete(s.name, k.String())
		if h.seen != h.good {
			s.src.accept(s.kind, k)
		}
		known = append(known, k)
	}
	if len(known) > 0 {
		s.out.drop(known)
	}
	s.report()
}

// restore takes an object of the journal, and returns its row.
func (s *store) restore(r journal.Record, k key) (any, error) {
	row, err := s.row(k, r.Object, s.src.opts.Scope)
	if err != nil {
		return nil, err
	}
	row = s.src.shared.row(row)
	digest := sum(r.Object)
	s.held[k] = held{version: r.Version, good: digest, seen: digest}
	s.highest = max(s.highest, r.Version)
	return row, nil
}

package files

import (
	"weir/state"
)

// row is the last good version of an object, and where it stood.
type row struct {
	file    string
	value   any    // what toRow makes
	version []byte // what the store keeps
	sum     checksum
}

// publish merges the files, keeps what is good and writes the tables. What is in
// force is on disk before.
func (s *Source) publish() {
	m := newMerge()
	for _, name := range s.names() {
		m.add(name, s.files[name])
	}
	m.decide(s.last)
	for _, key := range s.hidden(m) {
		if old, ok := s.last(key); ok {
			m.good[key] = old
		}
	}
	s.store.save(m.good)
	s.report(append(m.problems, s.own()...))
	s.good = m.good
	s.write()
	s.store.prune(func(key objectKey, h held) bool {
		_, good := m.good[key]
		return !good && m.stands[key] == nil && !s.unsure(h.file)
	})
}

// last returns the last good version of an object: that in force, or, before
// anything is, that of an earlier agent.
func (s *Source) last(key objectKey) (row, bool) {
	if r, ok := s.good[key]; ok {
		return r, true
	}
	return s.store.row(key, s.scope)
}

// hidden returns the objects that were not found, and may be there: in a file
// that cannot be told apart, or in a directory that cannot be read.
func (s *Source) hidden(m *merge) []objectKey {
	var out []objectKey
	for key, r := range s.good {
		if m.stands[key] == nil && s.unsure(r.file) {
			out = append(out, key)
		}
	}
	for key, h := range s.store.held {
		if _, known := s.good[key]; !known && m.stands[key] == nil && s.unsure(h.file) {
			out = append(out, key)
		}
	}
	return out
}

// unsure reports whether a file may hold objects that were not found in it.
func (s *Source) unsure(name string) bool {
	f := s.files[name]
	return s.failed != "" && f == nil || f != nil && f.unsure
}

// own are the problems of the source itself.
func (s *Source) own() []state.Problem {
	var out []state.Problem
	if s.failed != "" {
		out = append(out, state.Problem{Key: state.ProblemKey{File: s.dir, Object: "directory"}, Error: s.failed + ": its last content stays in force"})
	}
	if s.store.failed != "" {
		out = append(out, state.Problem{Key: state.ProblemKey{File: s.store.dir, Object: "directory"},
			Error: s.store.failed + ": an object that is refused after the next start may have no good version left"})
	}
	return out
}

// report writes the table of problems and logs those that were not in it.
func (s *Source) report(problems []state.Problem) {
	for _, p := range problems {
		if old, ok := s.tables.Problems.Get(p.Key); !ok || old != p {
			s.log.Warn("object refused", "object", p.Key.Object, "file", p.Key.File, "line", p.Line, "err", p.Error)
		}
	}
	s.tables.Problems.Replace(problems, func(a, b state.Problem) bool { return a == b })
}

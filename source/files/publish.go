package files

import (
	"fmt"

	"weir/state"
)

// row is the last good version of an object, and where it stood.
type row struct {
	file  string
	value any // what toRow makes
}

// publish merges the files and writes the tables. Where two files have one
// object, the first by file name and line counts.
func (s *Source) publish() {
	m := merge{good: map[objectKey]row{}, place: map[objectKey]string{}, old: s.good}
	for _, name := range s.names() {
		f := s.files[name]
		m.problems = append(m.problems, f.problems...)
		for _, e := range f.entries {
			m.add(name, e)
		}
	}
	for key, old := range s.good {
		_, found := m.place[key]
		if f := s.files[old.file]; !found && f != nil && f.unsure {
			m.good[key] = old
		}
	}
	if s.failed != "" {
		m.problems = append(m.problems, state.Problem{
			Key:   state.ProblemKey{File: s.dir, Object: "directory"},
			Error: s.failed + ": its last content stays in force",
		})
	}
	s.report(m.problems)
	s.good = m.good
	s.write()
}

type merge struct {
	good     map[objectKey]row
	old      map[objectKey]row
	place    map[objectKey]string // "a.yaml:3"
	problems []state.Problem
}

func (m *merge) add(name string, e entry) {
	here := fmt.Sprintf("%s:%d", name, e.line)
	if first, twice := m.place[e.key]; twice {
		m.refuse(name, e, fmt.Sprintf("stands in %s and in %s; the first counts: remove one", first, here))
		return
	}
	m.place[e.key] = here
	if e.err == "" {
		m.good[e.key] = row{name, e.value}
		return
	}
	m.refuse(name, e, e.err)
	if old, ok := m.old[e.key]; ok {
		m.good[e.key] = row{name, old.value}
	}
}

func (m *merge) refuse(name string, e entry, why string) {
	m.problems = append(m.problems, state.Problem{
		Key:   state.ProblemKey{File: name, Object: e.key.String()},
		Line:  e.at,
		Error: why,
	})
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

package files

import (
	"fmt"
	"maps"
	"slices"

	"weir/state"
)

// row is the last good version of an object, and where it stood.
type row struct {
	file  string
	value any // state.Pod, state.Identity, state.Node or coreNode
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

// write makes the tables what good says. A CiliumNode counts before the Node
// of its name.
func (s *Source) write() {
	var pods []state.Pod
	var ids []state.Identity
	nodes := map[string]state.Node{}
	for _, r := range s.good {
		switch v := r.value.(type) {
		case state.Pod:
			pods = append(pods, v)
		case state.Identity:
			ids = append(ids, v)
		case state.Node:
			nodes[v.Name] = v
		}
	}
	for _, r := range s.good {
		if v, ok := r.value.(coreNode); ok {
			if _, better := nodes[v.Name]; !better {
				nodes[v.Name] = state.Node(v)
			}
		}
	}
	s.tables.Nodes.Replace(slices.Collect(maps.Values(nodes)), state.Node.Same)
	s.tables.Identities.Replace(ids, state.Identity.Same)
	s.tables.Pods.Replace(pods, state.Pod.Same)
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

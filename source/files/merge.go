package files

import (
	"fmt"

	"weir/state"
)

// merge finds out which object of which file counts. Where several have one
// name, the first good one by file name and line does, whatever is wrong with
// the others; where none is good, the last good version. So what counts follows
// from the files as they are, and not from the order in which they came to be.
type merge struct {
	good     map[objectKey]row
	problems []state.Problem

	order  []objectKey
	stands map[objectKey][]stand
}

// stand is one object where it stands.
type stand struct {
	file string
	entry
}

func (s stand) place() string { return fmt.Sprintf("%s:%d", s.file, s.line) }

func (m *merge) add(name string, f *file) {
	m.problems = append(m.problems, f.problems...)
	for _, e := range f.entries {
		if m.stands[e.key] == nil {
			m.order = append(m.order, e.key)
		}
		m.stands[e.key] = append(m.stands[e.key], stand{name, e})
	}
}

func newMerge() *merge {
	return &merge{good: map[objectKey]row{}, stands: map[objectKey][]stand{}}
}

// decide fills good and problems; last returns the last good version.
func (m *merge) decide(last func(objectKey) (row, bool)) {
	for _, key := range m.order {
		stands := m.stands[key]
		counts := -1
		for i, s := range stands {
			if s.err == "" {
				counts = i
				break
			}
		}
		if counts >= 0 {
			s := stands[counts]
			m.good[key] = row{s.file, s.value, s.version, s.sum}
		} else if old, ok := last(key); ok {
			old.file = stands[0].file
			m.good[key] = old
		}
		for i, s := range stands {
			switch {
			case i == counts:
			case counts < 0:
				m.refuse(s, s.err, "")
			case s.err == "":
				m.refuse(s, fmt.Sprintf("stands in %s and in %s; the first counts: remove one", stands[counts].place(), s.place()), stands[counts].place())
			default:
				m.refuse(s, fmt.Sprintf("%s; %s counts: remove one", s.err, stands[counts].place()), stands[counts].place())
			}
		}
	}
}

func (m *merge) refuse(s stand, why, instead string) {
	m.problems = append(m.problems, state.Problem{
		Key:     state.ProblemKey{File: s.file, Object: s.key.String()},
		Line:    s.at,
		Error:   why,
		Instead: instead,
	})
}

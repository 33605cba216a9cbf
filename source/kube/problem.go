package kube

import (
	"weir/state"
)

// What a problem of a whole kind is about: each has a row of its own.
const (
	aboutKind = ""      // it cannot be watched
	aboutList = " list" // a list that is not believed
)

// refuse says what is wrong with an object.
func (s *Source) refuse(k *kind, name key, err error) {
	s.tables.Problems.Put(state.Problem{Key: problemKey(k, name), Error: err.Error()})
	s.log.Warn("object refused, its last good version stays", "kind", k.name, "object", name.String(), "err", err)
}

// accept takes it back.
func (s *Source) accept(k *kind, name key) { s.tables.Problems.Delete(problemKey(k, name)) }

func problemKey(k *kind, name key) state.ProblemKey {
	object := k.name + " " + name.name
	if name.namespace != "" {
		object = k.name + " " + name.String()
	}
	return state.ProblemKey{Object: object}
}

// complain says what is wrong with a whole kind, settle takes it back.
func (s *Source) complain(k *kind, about, text string) {
	row := state.Problem{Key: state.ProblemKey{Object: k.where() + about}, Error: text}
	if old, ok := s.tables.Problems.Get(row.Key); ok && old == row {
		return
	}
	s.tables.Problems.Put(row)
	s.log.Warn("kind has a problem", "kind", k.where(), "problem", text)
}

func (s *Source) settle(k *kind, about string) {
	s.tables.Problems.Delete(state.ProblemKey{Object: k.where() + about})
}

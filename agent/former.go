package agent

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strconv"

	"weir/internal/journal"
	"weir/internal/reconcile"
	"weir/state"
)

// The maps name pods by the numbers of their identities, and an agent that starts may
// give a pod another one: by then policies see other labels, or the cluster has taken a
// number back. So what each number means is kept in a folder of the state.

const identityKind = "identity"

// former is that folder, and what the agent before has left in it.
type former struct {
	journal *journal.Journal // nil: it cannot be kept
	kept    map[state.IdentityID]state.Labels
	seen    uint64
}

// openFormer reads what the agent before has left. Without it pods may lose packets
// while they get other numbers, and no more than that.
func (a *Agent) openFormer() *former {
	f := &former{kept: map[state.IdentityID]state.Labels{}}
	log := a.log.With("room", "identity")
	j, err := journal.Open(log, filepath.Join(a.cfg.StateDir, "identities"))
	if err == nil {
		err = j.Load(f.read)
	}
	if err != nil {
		log.Warn("what numbers of identities mean is not kept for the next agent", "err", err)
		return &former{}
	}
	f.journal = j
	return f
}

// identities are those that it has.
func (f *former) identities() (out []state.Identity) {
	for id, labels := range f.kept {
		out = append(out, state.Identity{ID: id, Labels: labels})
	}
	return out
}

func (f *former) read(r journal.Record) {
	id, err := strconv.ParseUint(r.Name, 10, 32)
	var labels state.Labels
	if err != nil || json.Unmarshal(r.Object, &labels) != nil || r.Kind != identityKind {
		return // of a later build
	}
	slices.Sort(labels)
	f.kept[state.IdentityID(id)] = labels
}

// keepIdentities writes down what the table says until ctx ends.
func (a *Agent) keepIdentities(ctx context.Context) error {
	f := a.former
	return reconcile.Loop(ctx, a.log.With("room", "identity"), func(context.Context) error {
		f.follow(a.tables)
		return nil
	}, a.tables.Identities)
}

func (f *former) follow(t *state.Tables) {
	changes, now, whole := t.Identities.Changes(f.seen)
	f.seen = now
	there := map[state.IdentityID]bool{}
	for _, c := range changes {
		there[c.Key] = !c.Deleted
		f.note(c.Key, c.Row.Labels, c.Deleted)
	}
	if !whole {
		return
	}
	for id := range f.kept {
		if !there[id] {
			f.note(id, nil, true)
		}
	}
}

// note writes one identity, unless it is written already.
func (f *former) note(id state.IdentityID, labels state.Labels, gone bool) {
	name := strconv.FormatUint(uint64(id), 10)
	old, kept := f.kept[id]
	switch {
	case id.Reserved() != "" || gone && !kept || !gone && kept && slices.Equal(old, labels):
	case gone:
		delete(f.kept, id)
		f.journal.Delete(identityKind, name)
	default:
		data, err := json.Marshal(labels)
		if err != nil {
			return // strings encode always
		}
		f.kept[id] = labels
		f.journal.Put(identityKind, name, 0, data)
	}
}

package identity

import (
	"slices"
	"time"

	"weir/internal/table"
	"weir/state"
)

// lateAfter is when a pod that goes without its number, because control/policy is
// late, is worth a warning.
const lateAfter = 5 * time.Second

// held is the pods that keep the number they had, or none, until the maps of
// policy know the one that they are to have: in between, no rule by labels would
// match them, and none would deny them.
type held struct {
	pods  map[state.PodName]time.Time // since when
	late  bool                        // the log says so
	grown state.Visible               // keys that not all pods' numbers tell apart yet
}

func newHeld() held {
	return held{pods: map[state.PodName]time.Time{}, grown: state.Visible{}}
}

// again makes this step look at those who wait, and at the keys that wait for
// them.
func (h *held) again(d *diff, grown, dropped state.Visible) {
	for name := range h.pods {
		d.pods[name] = true
	}
	for key := range dropped {
		delete(h.grown, key)
	}
	for key := range h.grown {
		grown[key] = true
	}
}

func (h *held) keep(name state.PodName, now time.Time) {
	if _, there := h.pods[name]; !there {
		h.pods[name] = now
	}
}

func (h *held) release(name state.PodName) { delete(h.pods, name) }

// numbers returns those that the pods keep meanwhile.
func (h *held) numbers(of func(state.PodName) (state.PodIdentity, bool)) map[state.IdentityID]bool {
	out := map[state.IdentityID]bool{}
	for name := range h.pods {
		if p, ok := of(name); ok {
			out[p.ID] = true
		}
	}
	return out
}

// told returns the keys that everybody's number tells apart now.
func (h *held) told(grown state.Visible) state.Visible {
	if len(h.pods) > 0 {
		h.grown = grown
		return nil
	}
	h.grown = state.Visible{}
	return grown
}

// mayUse reports whether a pod may have a number with these labels. It is asked
// until policy knows it, however long that takes: without a set the number would
// meet no rule that denies. A policy that never answers costs what is new, and
// opens nothing. Before there is any policy of this agent's, the maps are those
// of the agent before.
func (c *Control) mayUse(id state.IdentityID, labels state.Labels) bool {
	if !c.tables.JudgedIdentities.Synced() {
		return true
	}
	known, ok := c.tables.JudgedIdentities.Get(id)
	return ok && slices.Equal(known.Labels, labels)
}

// warn says once that pods wait for too long.
func (c *Control) warn(now time.Time) {
	var late []string
	for name, since := range c.held.pods {
		if now.Sub(since) >= lateAfter {
			late = append(late, name.String())
		}
	}
	if slices.Sort(late); len(late) > 0 && !c.held.late {
		c.log.Warn("pods keep the identity they had, or have none: policy is late to know the one they get", "pods", len(late), "first", late[0])
	}
	c.held.late = len(late) > 0
}

// judged is a table that steps need not wait for.
type judged struct {
	*table.Table[state.IdentityID, state.JudgedIdentity]
}

// Synced is always true.
func (judged) Synced() bool { return true }

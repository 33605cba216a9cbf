package identity

import (
	"time"

	"weir/internal/table"
	"weir/state"
)

// holdLimit is for how long a pod goes without its number at most because
// control/policy is late: it may have no room, or wait itself.
const holdLimit = 5 * time.Second

// held is the pods that keep the number they had, or none, until the maps of
// policy know the one that they are to have: in between, no rule by labels would
// match them, and none would deny them.
type held struct {
	pods  map[state.PodName]time.Time // since when
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

// told returns the keys that everybody's number tells apart now.
func (h *held) told(grown state.Visible) state.Visible {
	if len(h.pods) > 0 {
		h.grown = grown
		return nil
	}
	h.grown = state.Visible{}
	return grown
}

// mayUse reports whether a pod may have a number. Before there is any policy of
// this agent's, the maps are those of the agent before.
func (c *Control) mayUse(id state.IdentityID, name state.PodName, now time.Time) bool {
	if _, known := c.tables.JudgedIdentities.Get(id); known || !c.tables.JudgedIdentities.Synced() {
		return true
	}
	since, waits := c.held.pods[name]
	if !waits || now.Sub(since) < holdLimit {
		return false
	}
	c.log.Warn("policy does not know an identity: rules by labels do not match who has it", "identity", id, "pod", name)
	return true
}

// judged is a table that steps need not wait for.
type judged struct {
	*table.Table[state.IdentityID, state.JudgedIdentity]
}

// Synced is always true.
func (judged) Synced() bool { return true }

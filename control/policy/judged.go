package policy

import (
	"slices"

	"weir/state"
)

// The table judgedIdentities tells control/identity which numbers pods may get:
// those whose sets are written, by their labels. A row goes before its set does.

// unjudge takes back what is about to leave the maps.
func (c *Control) unjudge() {
	var gone []state.IdentityID
	for id, there := range c.unsaid {
		if !there {
			gone = append(gone, id)
			delete(c.unsaid, id)
		}
	}
	if len(gone) > 0 {
		c.tables.JudgedIdentities.Delete(gone...)
	}
}

// judge tells what the maps know by now.
func (c *Control) judge() {
	var rows []state.JudgedIdentity
	for id := range c.unsaid {
		var labels state.Labels
		if p := c.e.peers[id]; p != nil { // the unknown have none, and no set
			labels = p.labels
		}
		if said, there := c.tables.JudgedIdentities.Get(id); !there || !slices.Equal(said.Labels, labels) {
			rows = append(rows, state.JudgedIdentity{ID: id, Labels: labels})
		}
	}
	clear(c.unsaid)
	if len(rows) > 0 {
		c.tables.JudgedIdentities.Put(rows...)
	}
	if !c.tables.JudgedIdentities.Synced() {
		c.tables.JudgedIdentities.MarkSynced()
	}
}

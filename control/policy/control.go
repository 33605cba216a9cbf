package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/datapath"
	"weir/internal/reconcile"
	"weir/state"
)

// Control keeps the maps of policy and the table endpointPolicies in step with
// the other tables, and answers questions about what is in force.
type Control struct {
	log    *slog.Logger
	opts   Options
	tables *state.Tables
	maps   *datapath.PolicyMaps

	version atomic.Uint64 // of what is in e

	mu      sync.Mutex
	e       *engine // nil: everything is to be derived again
	failed  bool    // the last pass was not written to its end
	refused map[state.PolicyKey]refusal
	kept    map[state.PolicyKey]state.Policy // in force when the engine was given up
	seen    seen
	said    string
	gate    gate
	unsaid  map[state.IdentityID]bool // identities that judgedIdentities does not tell right: whether they are there
}

// errNoRoom is of a pass that was written; it is tried again, since a change takes
// more room than what comes of it.
var errNoRoom = errors.New("there is no room for their policy in the maps: make bpf.policyRules larger, or policies smaller")

// New returns a Control that writes to maps.
func New(log *slog.Logger, o Options, t *state.Tables, m *datapath.PolicyMaps) *Control {
	return &Control{log: log, opts: o.withDefaults(), tables: t, maps: m, refused: map[state.PolicyKey]refusal{}, unsaid: map[state.IdentityID]bool{},
		gate: gate{waiting: map[state.PolicyKey]state.Policy{}, clear: state.Visible{}, leaving: map[state.PolicyKey]time.Time{}}}
}

// Run reconciles until ctx ends.
func (c *Control) Run(ctx context.Context) error {
	t := c.tables
	return reconcile.Loop(ctx, c.log, c.Step, t.Endpoints, t.Identities, t.Policies, t.Namespaces, t.CIDRGroups, t.Services, t.Slices, t.Nodes,
		t.VisibleLabels, t.PodIdentities, t.IPs, reconcile.Every(ctx, leaveLimit))
}

// Step brings the maps and then the table to match: a row of the table is in the
// maps already.
func (c *Control) Step(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opts.Ready != nil {
		if err := c.opts.Ready(); err != nil {
			return err
		}
	}
	changes := c.changes()
	if c.e != nil && changes.lost {
		c.giveUp()
	}
	for _, p := range changes.policies {
		replace(c.gate.waiting, p.key, p.row)
	}
	through := c.open()
	changes.policies = c.gate.leave(changes.policies, len(through), time.Now())
	changes.any = changes.any || len(changes.policies) > 0
	switch {
	case c.e == nil && c.kept == nil && len(through) < len(c.gate.waiting):
		return nil // the maps stay as they are
	case c.e == nil:
		c.start(through)
	case !changes.any && len(through) == 0 && !c.failed && len(c.e.cut()) == 0 && !c.again():
		return nil
	default:
		c.follow(changes, through)
	}
	c.version.Add(1)
	for _, key := range through {
		delete(c.gate.waiting, key)
	}
	if c.failed {
		c.e.touchAll(heldImage(c.maps))
	}
	plan := newPlan(c.e, c.maps, c.failed)
	c.failed = true
	c.unjudge()
	if err := plan.write(); err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	c.failed = false
	c.e.settle()
	c.judge()
	c.publish()
	c.tell()
	if cut := c.e.cut(); len(cut) > 0 {
		return fmt.Errorf("endpoints %v are cut off: %w", cut, errNoRoom)
	}
	return nil
}

// giveUp forgets the engine, but not what is in force.
func (c *Control) giveUp() {
	c.kept = map[state.PolicyKey]state.Policy{}
	for key, p := range c.e.policies {
		c.kept[key] = p.row
	}
	c.e = nil
	for id := range c.tables.JudgedIdentities.All() {
		if _, there := c.tables.Identities.Get(id); !there {
			c.unsaid[id] = false // the table of identities has forgotten that it went
		}
	}
	clear(c.gate.waiting)
	clear(c.gate.leaving)
	for key, p := range c.tables.Policies.All() {
		c.gate.waiting[key] = p
	}
}

// start derives everything from the tables as they are. What the maps hold
// keeps its numbers where it means the same. Of policies that still wait the
// version before counts: identities wait for us to know them, and these for them.
func (c *Control) start(through []state.PolicyKey) {
	in := c.read()
	first := newEngine(c.opts, nil)
	in.feed(first)
	list := in.candidates(c.kept)
	for i, x := range list {
		if _, waits := c.gate.waiting[x.key]; waits && !slices.Contains(through, x.key) {
			list[i].row = x.last
		}
	}
	c.refused = first.admit(list)
	held := heldImage(c.maps)
	c.e = newEngine(c.opts, recognize(held, first))
	c.e.maps = c.maps
	in.feed(c.e)
	var effective []candidate
	for _, p := range slices.SortedFunc(maps.Values(first.policies), func(a, b *policy) int { return compareKeys(a.row.Key, b.row.Key) }) {
		effective = append(effective, candidate{key: p.row.Key, row: &p.row})
	}
	c.e.touchAll(held)
	maps.Copy(c.refused, c.e.admit(effective))
	if c.kept == nil {
		clear(c.e.dirtyEpochs) // the maps tell whether anything differs
	}
	c.failed, c.kept = true, nil
}

// follow takes changed rows into the engine.
func (c *Control) follow(in changes, through []state.PolicyKey) {
	e := c.e
	e.overBefore, e.poorBefore = e.over, len(e.poorPeers)+len(e.poorPrefixes)
	in.apply(e)
	if !in.any && len(through) == 0 && len(e.cut()) == 0 && !c.again() {
		return // a pass that broke off
	}
	e.setAny(c.tables.Policies.Len() > 0)
	list := c.candidates(in.policies, through)
	last := func(key state.PolicyKey) *state.Policy {
		if p := e.policies[key]; p != nil {
			return &p.row
		}
		return nil
	}
	for i := range list {
		list[i].last, list[i].stub = last(list[i].key), c.refused[list[i].key].stubbed
		delete(c.refused, list[i].key)
	}
	if in.less || slices.ContainsFunc(list, func(x candidate) bool { return x.last != nil }) {
		e.eased++
	}
	// What was refused may fit by now, after what is new.
	for _, key := range slices.SortedFunc(maps.Keys(c.refused), compareKeys) {
		row := c.refused[key].row
		if !e.worthTrying(c.refused[key].trial, e.spare()) {
			continue
		}
		list = append(list, candidate{key: key, row: &row, last: last(key), stub: c.refused[key].stubbed})
	}
	maps.Copy(c.refused, e.admitAgain(list, c.refused))
}

// candidates are the versions that may be put in force: the changes that are
// through, in their order, and those that had to wait.
func (c *Control) candidates(changed []candidate, through []state.PolicyKey) []candidate {
	var late, out []candidate
	for _, key := range through {
		if !slices.ContainsFunc(changed, func(x candidate) bool { return x.key == key }) {
			row := c.gate.waiting[key]
			late = append(late, candidate{key: key, row: &row})
		}
	}
	for _, x := range changed {
		if x.row == nil || slices.Contains(through, x.key) {
			out = append(out, x)
		}
	}
	return append(late, out...)
}

// admitAgain is admit; refusals of those that fit by now end.
func (e *engine) admitAgain(list []candidate, refused map[state.PolicyKey]refusal) map[state.PolicyKey]refusal {
	out := e.admit(list)
	for _, c := range list {
		if _, again := out[c.key]; !again {
			delete(refused, c.key)
		}
	}
	return out
}

// again reports whether a refused policy may fit by now.
func (c *Control) again() bool {
	for _, r := range c.refused {
		if c.e.worthTrying(r.trial, c.e.spare()) {
			return true
		}
	}
	return false
}

// publish writes the table: whoever waits for a row may go on.
func (c *Control) publish() {
	var rows []state.EndpointPolicy
	for id, p := range c.e.endpoints {
		if p.class != nil {
			in, out := isolates(p.flags)
			rows = append(rows, state.EndpointPolicy{Endpoint: id, Pod: p.row.Pod, Class: p.class.number, Epoch: p.epoch,
				Ingress: in, Egress: out, Identity: p.row.Identity})
		}
	}
	same := func(a, b state.EndpointPolicy) bool { return a == b }
	if c.differs(rows) {
		c.tables.EndpointPolicies.Replace(rows, same)
	}
	if !c.tables.EndpointPolicies.Synced() {
		c.tables.EndpointPolicies.MarkSynced()
	}
}

// differs keeps readers asleep when nothing has changed.
func (c *Control) differs(rows []state.EndpointPolicy) bool {
	if len(rows) != c.tables.EndpointPolicies.Len() {
		return true
	}
	return slices.ContainsFunc(rows, func(r state.EndpointPolicy) bool {
		old, ok := c.tables.EndpointPolicies.Get(r.Endpoint)
		return !ok || old != r
	})
}

// tell logs what is not in force, once.
func (c *Control) tell() {
	text := ""
	for _, key := range slices.SortedFunc(maps.Keys(c.refused), compareKeys) {
		text += fmt.Sprintf("%s: %s. ", key, c.refused[key].message)
	}
	if c.e.over > 0 {
		text += fmt.Sprintf("%d peers and prefixes meet more than %d selectors: of the others, rules that deny count first. ", c.e.over, most)
	}
	if n := len(c.e.poorPeers) + len(c.e.poorPrefixes); n > 0 {
		text += fmt.Sprintf("%d peers and prefixes have no room for their sets of selectors: rules that allow do not know them. ", n)
	}
	for s := range c.e.stuck {
		text += fmt.Sprintf("%s has more addresses than there is room for: those before stay. ", s.text)
	}
	if text != c.said && text != "" {
		c.log.Warn("policy does not fit", "what", text)
	}
	c.said = text
}

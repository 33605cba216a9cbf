package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"weir/bpf"
	"weir/datapath/link"
	"weir/internal/reconcile"
	"weir/state"
)

// Restore reads the endpoints that an earlier agent left, claims their
// addresses and numbers, and puts them into the table as restoring. It must be
// called once, before Run and before the first request; maps are not touched.
func (c *Control) Restore() error {
	found, err := loadAll(c.opts.StateDir)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range found {
		if !c.restorable(e) {
			continue
		}
		c.adopt(e)
	}
	c.recoverRows()
	c.restored = true
	c.tables.Endpoints.MarkSynced()
	if len(found) > 0 {
		c.log.Info("endpoints restored from disk", "endpoints", c.tables.Endpoints.Len())
	}
	return err
}

// adopt takes over an endpoint of an earlier agent. Callers hold mu.
func (c *Control) adopt(e state.Endpoint) {
	for _, a := range e.Addrs() {
		if err := c.alloc.Claim(a); err != nil && !e.Health {
			c.log.Warn("address of a restored endpoint is not free", "endpoint", e.ID, "address", a, "err", err)
		}
	}
	e.State = state.EndpointRestoring
	c.used[e.ID], c.byKey[key(e)] = true, e.ID
	c.tables.Endpoints.Put(e)
}

// restorable drops endpoints whose device is gone: the host was booted, or the
// pod's namespace ended while no agent ran.
func (c *Control) restorable(e state.Endpoint) bool {
	dev, err := link.Find(e.Device)
	if err != nil && !errors.Is(err, link.ErrNotFound) {
		c.log.Warn("device cannot be looked up, taking it for there", "device", e.Device, "err", err)
		return true
	}
	if err == nil && dev.Index == e.Ifindex && int(e.ID) < c.opts.Slots {
		return true
	}
	c.log.Info("endpoint is gone, dropping it", "endpoint", e.ID, "pod", e.Pod.String(), "device", e.Device)
	if err := remove(c.opts.StateDir, e.ID); err != nil {
		c.log.Warn("endpoint file stays", "endpoint", e.ID, "err", err)
	}
	return false
}

// introduce gives restored endpoints the identities that their pods have by now,
// until programs are loaded and step does. These wait for policy, and policy
// waits for the endpoints, so somebody has to begin. Maps are not touched.
func (c *Control) introduce(ctx context.Context) {
	step := func(context.Context) error {
		if c.dp.Ready().Synced() {
			return nil
		}
		for _, e := range c.tables.Endpoints.All() {
			c.introduceOne(e.ID)
		}
		return nil
	}
	// How the endpoints do is for the other loop to say.
	ctx = reconcile.WithObserver(ctx, func(time.Duration, error) {})
	// It ends with ctx, and its step never fails.
	_ = reconcile.Loop(ctx, c.log, step, c.tables.Nodes, c.tables.Pods, c.tables.PodIdentities, c.tables.Identities, c.tables.VisibleLabels)
}

func (c *Control) introduceOne(id state.EndpointID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, there := c.tables.Endpoints.Get(id)
	if !there || e.State != state.EndpointRestoring {
		return
	}
	next := e
	c.identify(&next)
	if next.Pod != e.Pod || next.Identity != e.Identity || next.Labels.Key() != e.Labels.Key() {
		c.tables.Endpoints.Put(next)
	}
}

// revive brings restored endpoints to life: rows and programs are compared
// with what is wanted and written where they differ. Rows and links that belong
// to no endpoint go.
func (c *Control) revive() error {
	var errs []error
	for _, e := range c.tables.Endpoints.All() {
		if e.State != state.EndpointRestoring && e.State != state.EndpointNotReady {
			continue
		}
		errs = append(errs, c.reviveOne(e))
	}
	c.mu.Lock()
	used := func(id uint32) bool { return c.used[state.EndpointID(id)] }
	for id := range c.dp.Endpoints.Desired() {
		if !used(id) {
			errs = append(errs, c.dp.Endpoints.Delete(id))
		}
	}
	errs = append(errs, c.dp.PruneEndpoints(used))
	c.mu.Unlock()
	return errors.Join(errs...)
}

func (c *Control) reviveOne(e state.Endpoint) error {
	next := e
	there, err := c.reattach(next)
	if !there {
		return nil
	}
	if err != nil {
		next.State = state.EndpointNotReady
	} else {
		next.State = state.EndpointReady
		c.identify(&next)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[key(e)] != e.ID {
		return nil // deleted meanwhile
	}
	return errors.Join(err, c.publish(next))
}

// reattach makes the attachments of an endpoint that still is there. Who
// unmakes it takes settling before it detaches, so that nothing is pinned
// behind its back.
func (c *Control) reattach(e state.Endpoint) (there bool, err error) {
	c.settling.Lock()
	defer c.settling.Unlock()
	c.mu.Lock()
	there = c.byKey[key(e)] == e.ID
	c.mu.Unlock()
	if !there {
		return false, nil
	}
	err = c.attach(e)
	if !c.opts.ToPod { // of an agent with another configuration
		err = errors.Join(err, c.dp.Detach(c.toPod(e)))
	}
	return true, err
}

func folder(stateDir string) string { return filepath.Join(stateDir, "endpoints") }

func file(stateDir string, id state.EndpointID) string {
	return filepath.Join(folder(stateDir), fmt.Sprintf("%d.json", id))
}

// save writes the endpoint's file in one step.
func save(stateDir string, e state.Endpoint) error {
	if err := os.MkdirAll(folder(stateDir), 0o700); err != nil {
		return fmt.Errorf("make state folder: %w", err)
	}
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("encode endpoint %d: %w", e.ID, err)
	}
	tmp := file(stateDir, e.ID) + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("write endpoint %d: %w", e.ID, err)
	}
	if err := os.Rename(tmp, file(stateDir, e.ID)); err != nil {
		return fmt.Errorf("put endpoint %d in place: %w", e.ID, err)
	}
	return nil
}

func remove(stateDir string, id state.EndpointID) error {
	if err := os.Remove(file(stateDir, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove endpoint file: %w", err)
	}
	return nil
}

// HighestID is the highest number among the endpoint files: the map must have
// room for it. 0 when there is none.
func HighestID(stateDir string) state.EndpointID {
	found, _ := loadAll(stateDir) // what cannot be read, Restore reports
	highest := state.EndpointID(0)
	for _, e := range found {
		highest = max(highest, e.ID)
	}
	return highest
}

// loadAll reads every endpoint file. One that cannot be read is reported and
// left where it is; the others are returned.
func loadAll(stateDir string) ([]state.Endpoint, error) {
	files, err := filepath.Glob(filepath.Join(folder(stateDir), "*.json"))
	if err != nil {
		return nil, err
	}
	var (
		out  []state.Endpoint
		errs []error
	)
	for _, f := range files {
		b, err := os.ReadFile(f)
		var e state.Endpoint
		if err == nil {
			err = json.Unmarshal(b, &e)
		}
		if err == nil && (e.ID == 0 || e.ID >= state.EndpointID(bpf.EndpointsMax) || e.Device == "") {
			err = errors.New("no id, an impossible one, or no device")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("endpoint file %s: %w", f, err))
			continue
		}
		out = append(out, e)
	}
	return out, errors.Join(errs...)
}

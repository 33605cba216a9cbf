package endpoint

import (
	"errors"
	"fmt"
	"maps"

	"weir/datapath/link"
	"weir/state"
)

// Delete unmakes an endpoint. One that was never made is not an error. issued
// is when it was asked for, in nanoseconds of CLOCK_MONOTONIC, or 0: an Add that
// was asked for earlier is refused from here on.
func (c *Control) Delete(k Key, issued int64) error {
	defer c.lockKey(k)()
	c.mu.Lock()
	c.noteDelete(k, issued)
	if !c.restored {
		c.mu.Unlock()
		return fmt.Errorf("%w: endpoints are being restored", ErrNotReady)
	}
	c.mu.Unlock()
	e, ok := c.find(k)
	if !ok {
		return link.DeletePod(deviceName(k)) // of an ADD that was killed midway
	}
	if err := c.unmake(e); err != nil {
		return err
	}
	c.log.Info("endpoint deleted", "endpoint", e.ID, "pod", e.Pod.String())
	return nil
}

// remembered is for how long, in nanoseconds, a Delete is held against an Add
// that was asked for before it: longer than any request is on its way.
const remembered = 60e9

// noteDelete remembers a Delete, and forgets those that are long past. Callers
// hold mu.
func (c *Control) noteDelete(k Key, issued int64) {
	if issued == 0 {
		return
	}
	maps.DeleteFunc(c.deletes, func(_ Key, at int64) bool { return at < issued-remembered })
	c.deletes[k] = issued
}

// unmake takes away whatever there is of an endpoint: first its rows, so that
// nothing is sent to it any more, then its devices and programs, last its
// addresses and number, which somebody else may get at once. Callers hold the
// lock of its key.
func (c *Control) unmake(e state.Endpoint) error {
	c.mu.Lock()
	id, ok := c.byKey[key(e)]
	delete(c.byKey, key(e))
	delete(c.quick, id)
	c.mu.Unlock()
	if !ok {
		return link.DeletePod(e.Device)
	}
	e.ID = id // another than at first, if its interface index was taken
	c.tables.Endpoints.Delete(e.ID)
	// The device goes before its pins: taking a link off a living device waits
	// for a grace period. Without a row, its program drops.
	errs := []error{c.dp.Endpoints.Delete(uint32(e.ID)), link.DeletePod(e.Device)}
	c.settling.Lock()
	for _, a := range c.attachments(e) {
		errs = append(errs, c.dp.Detach(a))
	}
	c.settling.Unlock()
	errs = append(errs, remove(c.opts.StateDir, e.ID))
	c.release(e)
	c.mu.Lock()
	delete(c.used, e.ID)
	c.mu.Unlock()
	return errors.Join(errs...)
}

// Check compares an endpoint with what was answered when it was added. Errors
// wrap ErrUnknown, or name everything that is amiss.
func (c *Control) Check(k Key, netns string) (state.Endpoint, error) {
	e, ok := c.find(k)
	if !ok {
		return e, fmt.Errorf("%w: container %s has no %s of ours", ErrUnknown, k.ContainerID, k.Interface)
	}
	if netns != "" {
		e.Netns = netns
	}
	errs := []error{link.CheckPod(podLink(e, c.gateways(), c.deviceMTU()))}
	if got, ok := c.dp.Endpoints.Get(uint32(e.ID)); !ok || got != entry(e) {
		errs = append(errs, fmt.Errorf("weir_endpoints has no current row for endpoint %d", e.ID))
	}
	want := map[string]bool{}
	for _, a := range c.attachments(e) {
		want[a.Program] = true
	}
	for _, a := range c.dp.Attachments() {
		if a.Ifindex == e.Ifindex && a.Err == nil {
			delete(want, a.Program)
		}
	}
	for program := range want {
		errs = append(errs, fmt.Errorf("%s is not attached to %s", program, e.Device))
	}
	return e, errors.Join(errs...)
}

// Retain deletes every endpoint of a pod whose key is not in valid, and returns
// what it deleted.
func (c *Control) Retain(valid map[Key]bool) (gone []Key, err error) {
	c.mu.Lock()
	all := maps.Clone(c.byKey)
	c.mu.Unlock()
	wanted := map[string]bool{} // by device, for recovered endpoints
	for k := range valid {
		wanted[deviceName(k)] = true
	}
	var errs []error
	for k, id := range all {
		e, ok := c.tables.Endpoints.Get(id)
		if valid[k] || !ok || e.Health || e.State == state.EndpointCreating || (e.Recovered && wanted[e.Device]) {
			continue
		}
		if err := c.Delete(k, 0); err != nil {
			errs = append(errs, err)
			continue
		}
		gone = append(gone, k)
	}
	return gone, errors.Join(errs...)
}

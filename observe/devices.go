package observe

import (
	"net"
	"sync"
	"time"
)

// namesHold is how long a device's name is believed.
const namesHold = time.Second

// DeviceNames remembers for a second which name a device's index has: to ask takes
// longer than all else that is said of an event, and is answered with all devices,
// whichever was asked for. The zero value is ready.
type DeviceNames struct {
	mu    sync.Mutex
	names map[int]string
	until time.Time
}

// Name is that of a device of this node; empty: there is none.
func (d *DeviceNames) Name(index int) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); now.After(d.until) {
		d.names, d.until = map[int]string{}, now.Add(namesHold)
		all, _ := net.Interfaces() // should it fail, each is asked for
		for _, dev := range all {
			d.names[dev.Index] = dev.Name
		}
	}
	name, ok := d.names[index]
	if !ok {
		if dev, err := net.InterfaceByIndex(index); err == nil {
			name = dev.Name
		}
		d.names[index] = name
	}
	return name
}

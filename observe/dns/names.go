package dns

import (
	"container/list"
	"net/netip"
	"slices"
	"time"
)

// Limits of what is remembered.
const (
	maxAddresses = 16384           // of all clients together: the one that nobody used for longest goes first
	maxOfClient  = 4096            // of one client: it cannot push all others out
	maxNames     = 4               // of an address, the latest
	atLeast      = 5 * time.Minute // whatever the answer says: a connection outlives it
	atMost       = 24 * time.Hour
)

// Said is what DNS has said. It never changes.
type Said struct {
	Names  []string // of an address, the latest first
	Answer *Answer  // or the answer itself
}

// Names are what clients have asked for. Each is told its own names: what a client is
// answered says nothing about where others go. It belongs to one goroutine.
type Names struct {
	clients map[uint32]*client
	used    *list.List // of *entry: the one in front goes first
}

type client struct {
	number    uint32
	addresses map[netip.Addr]*list.Element
	used      *list.List // the same, of this client
}

// entry is an address of a client.
type entry struct {
	of      *client
	address netip.Addr
	mine    *list.Element // in the client's list
	names   []name        // the latest first
	told    *Said         // the same
	until   time.Time     // the first of them ends
}

type name struct {
	text  string
	until time.Time
}

// NewNames returns an empty memory.
func NewNames() *Names { return &Names{clients: map[uint32]*client{}, used: list.New()} }

// Learn takes an answer that a client got.
func (n *Names) Learn(number uint32, a *Answer, now time.Time) {
	if a.name == "" || len(a.IPs) == 0 {
		return
	}
	c := n.clients[number]
	if c == nil {
		c = &client{number: number, addresses: map[netip.Addr]*list.Element{}, used: list.New()}
		n.clients[number] = c
	}
	until := now.Add(min(max(time.Duration(a.TTL)*time.Second, atLeast), atMost))
	for _, ip := range a.IPs {
		e := n.entry(c, ip)
		e.names = slices.DeleteFunc(e.names, func(x name) bool { return x.text == a.name })
		e.names = slices.Insert(e.names, 0, name{a.name, until})
		e.names = e.names[:min(len(e.names), maxNames)]
		e.tell()
	}
}

// entry finds the place of an address, or makes one; it is the last to go then.
func (n *Names) entry(c *client, ip netip.Addr) *entry {
	if at := c.addresses[ip]; at != nil {
		e := at.Value.(*entry)
		n.used.MoveToBack(at)
		c.used.MoveToBack(e.mine)
		return e
	}
	if c.used.Len() >= maxOfClient {
		n.drop(c.used.Front().Value.(*entry))
	}
	if n.used.Len() >= maxAddresses {
		n.drop(n.used.Front().Value.(*entry))
	}
	n.clients[c.number] = c // whose last address may just have gone
	e := &entry{of: c, address: ip}
	e.mine = c.used.PushBack(e)
	c.addresses[ip] = n.used.PushBack(e)
	return e
}

func (n *Names) drop(e *entry) {
	n.used.Remove(e.of.addresses[e.address])
	e.of.used.Remove(e.mine)
	delete(e.of.addresses, e.address)
	if len(e.of.addresses) == 0 {
		delete(n.clients, e.of.number)
	}
}

// tell makes the list that is given out.
func (e *entry) tell() {
	list := make([]string, len(e.names))
	for i, x := range e.names {
		list[i] = x.text
	}
	e.told = &Said{Names: list}
	e.ends()
}

// ends finds the first end.
func (e *entry) ends() {
	e.until = e.names[0].until
	for _, x := range e.names {
		if x.until.Before(e.until) {
			e.until = x.until
		}
	}
}

// Of gives the names by which a client has asked for an address; nil: it has not. A
// connection that goes on keeps its names: they are still what the client went to.
func (n *Names) Of(number uint32, ip netip.Addr, now time.Time) *Said {
	c := n.clients[number]
	if c == nil {
		return nil
	}
	at := c.addresses[ip]
	if at == nil {
		return nil
	}
	e := at.Value.(*entry)
	if now.After(e.until) {
		e.names = slices.DeleteFunc(e.names, func(x name) bool { return now.After(x.until) })
		if len(e.names) == 0 {
			n.drop(e)
			return nil
		}
		e.tell()
	}
	if kept := now.Add(atLeast); kept.Sub(e.names[0].until) > time.Minute {
		e.names[0].until = kept
		e.ends()
	}
	n.used.MoveToBack(at)
	c.used.MoveToBack(e.mine)
	return e.told
}

// Forget drops what a client has asked for: its number is another's from now on.
func (n *Names) Forget(number uint32) {
	c := n.clients[number]
	if c == nil {
		return
	}
	for c.used.Len() > 0 {
		n.drop(c.used.Front().Value.(*entry))
	}
}

// Len is how many addresses there are.
func (n *Names) Len() int { return n.used.Len() }

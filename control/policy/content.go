package policy

// content is what one map should hold, and which keys were touched since the
// map was last brought to hold it.
type content[K comparable, V comparable] struct {
	now     map[K]V
	touched map[K]bool // true: the map has an entry there
}

func newContent[K comparable, V comparable]() *content[K, V] {
	return &content[K, V]{now: map[K]V{}, touched: map[K]bool{}}
}

func (c *content[K, V]) set(k K, v V) {
	old, ok := c.now[k]
	if ok && old == v {
		return
	}
	c.touch(k, ok)
	c.now[k] = v
}

func (c *content[K, V]) del(k K) {
	if _, ok := c.now[k]; !ok {
		return
	}
	c.touch(k, true)
	delete(c.now, k)
}

func (c *content[K, V]) touch(k K, had bool) {
	if _, ok := c.touched[k]; !ok {
		c.touched[k] = had
	}
}

// peak is how many entries the map has in the worst moment of the pass: all that
// are wanted, and those that are still to go.
func (c *content[K, V]) peak() int {
	n := len(c.now)
	for k, had := range c.touched {
		if _, ok := c.now[k]; had && !ok {
			n++
		}
	}
	return n
}

// touchAll makes the next pass look at every key: those wanted and those that
// the map has.
func touchAll[K, R comparable, V, W comparable](c *content[K, V], held map[R]W, from func(R) K) {
	for k := range held {
		c.touched[from(k)] = true
	}
	for k := range c.now {
		c.touch(k, false)
	}
}

package policy

// content is what one map should hold, and which keys were touched since the
// map was last brought to hold it.
type content[K comparable, V comparable] struct {
	now     map[K]V
	touched map[K]bool // true: the map has an entry there
	leaving int        // touched, of which the map has an entry and none is wanted
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
	if !ok && c.touched[k] {
		c.leaving--
	}
	c.now[k] = v
}

func (c *content[K, V]) del(k K) {
	if _, ok := c.now[k]; !ok {
		return
	}
	c.touch(k, true)
	if c.touched[k] {
		c.leaving++
	}
	delete(c.now, k)
}

func (c *content[K, V]) touch(k K, had bool) {
	if _, ok := c.touched[k]; !ok {
		c.touched[k] = had
	}
}

// peak is how many entries the map has in the worst moment of the pass: all that
// are wanted, and those that are still to go.
func (c *content[K, V]) peak() int { return len(c.now) + c.leaving }

// settle ends a pass: the map holds what is wanted.
func (c *content[K, V]) settle() {
	clear(c.touched)
	c.leaving = 0
}

// touchAll makes the next pass look at every key: those wanted and those that
// the map has.
func touchAll[K, R comparable, V, W comparable](c *content[K, V], held map[R]W, from func(R) K) {
	for r := range held {
		k := from(r)
		if _, wanted := c.now[k]; !wanted && !c.touched[k] {
			c.leaving++
		}
		c.touched[k] = true
	}
	for k := range c.now {
		c.touch(k, false)
	}
}

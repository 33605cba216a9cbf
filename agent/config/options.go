package config

// Option is a key with the value in force, for `weir config`.
type Option struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Default bool   `json:"default"` // the value is what it would be had nobody set it
	From    string `json:"from"`    // where it was set, or ""
}

// Options lists every key with who set it: what somebody set is no default, also where
// it is the value that nobody would have had to set.
func (l Loaded) Options() []Option {
	out := l.Config.Options()
	for i := range out {
		out[i].From = l.Origin[out[i].Key]
		out[i].Default = out[i].From == ""
	}
	return out
}

// Options lists every key in the order of Config.
func (c Config) Options() []Option {
	unset := c.unset()
	var out []Option
	for i, l := range leaves(&c) {
		out = append(out, Option{Key: l.key, Value: l.text(), Default: l.text() == unset[i].text()})
	}
	return out
}

// unset are the values had nobody set any. What derives from the run folder is a
// default, wherever that is.
func (c Config) unset() []leaf {
	d := Defaults()
	d.RunDir = c.RunDir
	derive(&d)
	d.RunDir = Defaults().RunDir
	return leaves(&d)
}

package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"weir/internal/suggest"
)

// Key is all there is to say of a key.
type Key struct {
	Key, Value string
	Unset      string   // the value had nobody set it
	From       string   // where it was set, or ""
	Means      string   // one sentence
	Other      []string // other spellings that are taken, with a warning
}

// Explain tells of one key, of a group of them ("bpf"), of those that another
// spelling stands for, or of all when name is empty.
func (l Loaded) Explain(name string) ([]Key, error) {
	all := l.keys()
	if name == "" {
		return all, nil
	}
	var out []Key
	var known []string
	for _, k := range all {
		if k.Key == name || strings.HasPrefix(k.Key, name+".") || slices.Contains(k.Other, name) {
			out = append(out, k)
		}
		known = append(append(known, k.Key), k.Other...)
	}
	if len(out) > 0 {
		return out, nil
	}
	if s, ok := spelled(name, ""); ok {
		return nil, fmt.Errorf("%s %s", name, cmp.Or(prefixed("has no effect: ", s.Why), "is not in this version"))
	}
	if meant := suggest.Nearest(name, known); meant != "" {
		return nil, fmt.Errorf("unknown key %q: did you mean %q?", name, meant)
	}
	return nil, fmt.Errorf("unknown key %q: `weir config explain` lists all", name)
}

// ExplainFile does the same for a file that no agent needs to have. The error names what
// is wrong with the file, and is beside the keys unless that cannot be read as YAML.
func ExplainFile(file, name string) ([]Key, error) {
	l, problems := Load([]string{"--config", file}, io.Discard)
	if l.File == "" {
		return nil, problems
	}
	keys, err := l.Explain(name)
	return keys, errors.Join(problems, err)
}

func (l Loaded) keys() []Key {
	var out []Key
	unset := l.unset()
	for i, o := range l.Options() {
		k := Key{Key: o.Key, Value: o.Value, Unset: unset[i].text(), From: l.Origin[o.Key], Means: meanings[o.Key]}
		for _, s := range Spellings() {
			if s.Key == o.Key && s.Other != o.Key && !slices.Contains(k.Other, s.Other) {
				k.Other = append(k.Other, s.Other)
			}
		}
		out = append(out, k)
	}
	return out
}

// prefixed is the text behind a prefix, or nothing.
func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

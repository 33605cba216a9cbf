package main

import (
	"regexp"
	"strings"

	"weir/agent/config"
)

// A schema can only say that a name is unknown. To say which one was meant, each name
// that is near a known one is asked to be that one, with its path since messages about names
// have not the right one: "value must be 'image.tag'". Near
// is what typing does to a name: one or two letters next to each other are missing,
// wrong, exchanged or too many; other case, dashes or underscores; the right name at
// the wrong place.

// allNames are the paths of values.
func allNames(values []value) []string {
	var out []string
	for _, v := range values {
		out = append(out, v.path)
	}
	return out
}

// naming is what is known of names where a group is.
type naming struct {
	at     string            // in front of all that is meant: "extraConfig."
	prefix string            // "bpf."
	all    []string          // paths that may be meant at the top
	extra  []string          // keys of extraConfig, where they are meant at another place
	other  []config.Spelling // other spellings that are not taken here
}

func (n naming) below(name string) naming {
	n.prefix += name + "."
	return n
}

// hints is the schema of the names of a group.
func (n naming) hints(names []string) *object {
	var asked []any
	known := map[string]bool{}
	ask := func(pattern, meant string) {
		asked = append(asked, (&object{}).set("if", (&object{}).set("pattern", pattern)).set("then", (&object{}).set("const", meant)))
	}
	for _, name := range names {
		known[name] = true
		if !strings.Contains(name, ".") {
			ask(near(name), n.at+n.prefix+name)
		}
	}
	for _, path := range n.all {
		if n.prefix != "" {
			break // what is misplaced is mostly at the top
		}
		last := path[strings.LastIndexByte(path, '.')+1:]
		if !known[last] && len(last) > 4 && last != "enabled" {
			ask("(?i)^"+kebab(last)+"$", n.at+path)
			known[last] = true
		}
	}
	for _, key := range n.extra {
		name, _, _ := strings.Cut(strings.TrimPrefix(key, n.prefix), ".")
		if strings.HasPrefix(key, n.prefix) && !known[name] {
			ask(near(name), "extraConfig."+n.prefix+name)
			known[name] = true
		}
	}
	for _, s := range n.other {
		if s.Key != "" && strings.HasPrefix(s.Other, n.prefix) && !known[strings.TrimPrefix(s.Other, n.prefix)] {
			ask("^"+regexp.QuoteMeta(strings.TrimPrefix(s.Other, n.prefix))+"$", n.at+s.Key)
			known[strings.TrimPrefix(s.Other, n.prefix)] = true
		}
	}
	is := (&object{}).set("enum", names)
	return (&object{}).set("if", is).set("then", true).set("else", (&object{}).set("allOf", asked))
}

var humps = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// kebab takes a name with dashes or underscores, too.
func kebab(name string) string { return humps.ReplaceAllString(regexp.QuoteMeta(name), "${1}[-_]?$2") }

// near is a pattern of what a name becomes by one slip. Short names have too many
// neighbours of their own, so that of these only one letter may be wrong, or two exchanged.
func near(name string) string {
	pattern := []string{kebab(name)}
	for i := range len(name) {
		switch {
		case len(name) > 3 && i+2 <= len(name):
			pattern = append(pattern, regexp.QuoteMeta(name[:i])+".{0,3}"+regexp.QuoteMeta(name[i+2:]))
		case len(name) <= 3:
			pattern = append(pattern, regexp.QuoteMeta(name[:i])+".{0,2}"+regexp.QuoteMeta(name[i+1:]))
			if i+1 < len(name) {
				pattern = append(pattern, regexp.QuoteMeta(name[:i]+name[i+1:i+2]+name[i:i+1]+name[i+2:]))
			}
		}
	}
	return "(?i)^(" + strings.Join(pattern, "|") + ")$"
}

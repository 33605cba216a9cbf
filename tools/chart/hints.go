package main

import (
	"regexp"
	"strings"
)

// A schema can only say that a name is unknown. To say which one was meant, each name
// that is near a known one is asked to be that one: "value must be 'tunnelPort'". Near
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

// hints is the schema of the names of a group.
func hints(names []string, prefix string, all []string) *object {
	var asked []any
	known := map[string]bool{}
	ask := func(pattern, meant string) {
		asked = append(asked, (&object{}).set("if", (&object{}).set("pattern", pattern)).set("then", (&object{}).set("const", meant)))
	}
	for _, n := range names {
		known[n] = true
		ask(near(n), n)
	}
	for _, path := range all {
		if prefix != "" {
			break // what is misplaced is mostly at the top
		}
		last := path[strings.LastIndexByte(path, '.')+1:]
		if !known[last] && len(last) > 4 && last != "enabled" {
			ask("(?i)^"+kebab(last)+"$", path)
		}
	}
	is := (&object{}).set("enum", names)
	return (&object{}).set("if", is).set("then", true).set("else", (&object{}).set("allOf", asked))
}

var humps = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// kebab takes a name with dashes or underscores, too.
func kebab(name string) string { return humps.ReplaceAllString(regexp.QuoteMeta(name), "${1}[-_]?$2") }

// near is a pattern of what a name becomes by one slip. Short names have too many
// neighbours of their own.
func near(name string) string {
	pattern := []string{kebab(name)}
	if len(name) > 3 {
		for i := 0; i+2 <= len(name); i++ {
			pattern = append(pattern, regexp.QuoteMeta(name[:i])+".{0,3}"+regexp.QuoteMeta(name[i+2:]))
		}
	}
	return "(?i)^(" + strings.Join(pattern, "|") + ")$"
}

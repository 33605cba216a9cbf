package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"weir/agent/config"
)

// object is a JSON object whose members keep their order.
type object struct {
	names  []string
	values map[string]any
}

func (o *object) set(name string, v any) *object {
	if o.values == nil {
		o.values = map[string]any{}
	}
	if _, ok := o.values[name]; !ok {
		o.names = append(o.names, name)
	}
	o.values[name] = v
	return o
}

// MarshalJSON writes the members in their order.
func (o *object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, name := range o.names {
		b.WriteByte(",{"[min(1, max(0, 1-i))])
		k, err := plainJSON(name)
		if err != nil {
			return nil, err
		}
		v, err := plainJSON(o.values[name])
		if err != nil {
			return nil, err
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(v)
	}
	if len(o.names) == 0 {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// schemaFile is the schema of the values: those of values.yaml, and other spellings.
// Everything else is refused, with the name that was meant where that is clear.
func schemaFile(values []value) []byte {
	root := &group{}
	for _, v := range values {
		root.add(strings.Split(v.path, "."), schemaOf(v))
	}
	for _, key := range taken {
		root.add(strings.Split(key, "."), takenSchema(key))
	}
	for _, s := range config.Spellings() {
		if !root.has(strings.Split(s.Other, ".")) {
			root.add(strings.Split(s.Other, "."), spellingSchema(s.Other))
		}
	}
	root.add([]string{"global"}, (&object{}).set("description", "what Helm gives every chart"))
	out := root.schema(naming{all: allNames(values), extra: keyNames()})
	top := (&object{}).set("$schema", "http://json-schema.org/draft-07/schema#").set("title", "Values of the Weir chart")
	for _, n := range out.names {
		top.set(n, out.values[n])
	}
	text, err := plainJSON(top)
	if err != nil {
		panic(err) // nothing in it that JSON has not
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", " "); err != nil {
		panic(err)
	}
	return append(narrow(b.Bytes()), '\n')
}

var quoted = regexp.MustCompile(`"hints:([^"]*)"`)

// narrow puts the hints, which nobody wants to read, on lines of their own.
func narrow(text []byte) []byte {
	return quoted.ReplaceAllFunc(text, func(m []byte) []byte {
		out, err := base64.StdEncoding.DecodeString(string(quoted.FindSubmatch(m)[1]))
		if err != nil {
			panic(err) // it was made below
		}
		return out
	})
}

// line is a schema that shall stand on one line.
func line(o *object) any {
	text, err := plainJSON(o)
	if err != nil {
		panic(err)
	}
	return "hints:" + base64.StdEncoding.EncodeToString(text)
}

// about describes another spelling.
func about(other string) string {
	var keys []string
	for _, s := range config.Spellings() {
		if s.Other == other && s.Key != "" && !slices.Contains(keys, s.Key) {
			keys = append(keys, s.Key)
		}
		if s.Other == other && s.Why != "" {
			return "Taken, and has no effect: " + s.Why
		}
	}
	if len(keys) == 0 {
		return "Not in this version; taken while it is off."
	}
	return "Another spelling of " + strings.Join(keys, " or ") + "."
}

// schemaOf is what a value may be: as a key of weir.yaml, as one of the chart's own, or as
// values.yaml says.
func schemaOf(v value) *object {
	s, isKey := shapeOf(v.path)
	own, isOwn := ownSchemas()[v.path]
	switch {
	case v.path == "extraConfig":
		own = extraSchema()
	case v.path == "kubeProxyReplacement":
		own = keySchema(s, false, append(whens(v.path), "true", "false")...) // Cilium's chart has them as texts
	case isKey:
		own = keySchema(s, false, whens(v.path)...)
	case isOwn:
	case v.unset.Tag == "!!bool":
		own = typed("boolean")
	case len(v.oneOf) > 0:
		own = (&object{}).set("enum", v.oneOf)
	default:
		panic(v.path + " has no schema")
	}
	return own.set("description", v.means)
}

// group is an object of values.
type group struct {
	names   []string
	members map[string]any // *group, or the schema of a value
}

func (g *group) add(path []string, schema *object) {
	if g.members == nil {
		g.members = map[string]any{}
	}
	name := path[0]
	if _, ok := g.members[name]; !ok {
		g.names = append(g.names, name)
	}
	if len(path) == 1 {
		g.members[name] = schema
		return
	}
	below, ok := g.members[name].(*group)
	if !ok {
		below = &group{}
		g.members[name] = below
	}
	below.add(path[1:], schema)
}

func (g *group) has(path []string) bool {
	m, ok := g.members[path[0]]
	below, isGroup := m.(*group)
	return ok && (len(path) == 1 || isGroup && below.has(path[1:]))
}

func (g *group) schema(n naming) *object {
	properties := &object{}
	for _, name := range g.names {
		if below, ok := g.members[name].(*group); ok {
			properties.set(name, below.schema(n.below(name)))
			continue
		}
		properties.set(name, g.members[name])
	}
	out := (&object{}).set("type", "object").set("properties", properties)
	if len(g.names) > 0 {
		out.set("propertyNames", line(n.hints(g.names)))
	}
	return out.set("additionalProperties", false)
}

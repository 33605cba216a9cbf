package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"weir/internal/suggest"
)

// Parse is Read of a file's content. The error joins every problem found, each
// with its place.
func Parse(name string, data []byte) (Config, error) {
	c := Defaults()
	p := parser{name: name, lines: map[string]int{}}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return c, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	p.keys("", reflect.TypeFor[Config]())
	if len(doc.Content) > 0 {
		p.group("", doc.Content[0], reflect.ValueOf(&c).Elem())
	}
	bad := c.check()
	for _, key := range slices.Sorted(maps.Keys(bad)) {
		p.refuse(p.lines[key], "%s: %s", key, bad[key])
	}
	return c, errors.Join(p.errs...)
}

type parser struct {
	name  string
	known []string
	lines map[string]int // by key
	errs  []error
}

func (p *parser) refuse(line int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if line > 0 {
		text = fmt.Sprintf("%s:%d: %s", p.name, line, text)
	}
	p.errs = append(p.errs, errors.New(text))
}

// keys collects all keys, for suggestions.
func (p *parser) keys(prefix string, t reflect.Type) {
	for f := range t.Fields() {
		key := prefix + f.Tag.Get("json")
		p.known = append(p.known, key)
		if f.Type.Kind() == reflect.Struct {
			p.keys(key+".", f.Type)
		}
	}
}

func (p *parser) group(prefix string, n *yaml.Node, into reflect.Value) {
	if n.Kind != yaml.MappingNode {
		p.refuse(n.Line, "%s: want keys and values", strings.TrimSuffix(prefix, "."))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key := prefix + k.Value
		field, ok := fieldOf(into, k.Value)
		switch {
		case !ok:
			p.unknown(k.Line, key)
		case p.lines[key] > 0:
			p.refuse(k.Line, "key %q stands twice: remove one", key)
		case field.Kind() == reflect.Struct && v.Tag != "!!null":
			p.lines[key] = k.Line
			p.group(key+".", v, field)
		case v.Tag != "!!null":
			p.lines[key] = k.Line
			if err := assign(field, v); err != nil {
				p.refuse(k.Line, "%s: %v", key, err)
			}
		}
	}
}

func (p *parser) unknown(line int, key string) {
	if meant := suggest.Nearest(key, p.known); meant != "" {
		p.refuse(line, "unknown key %q: did you mean %q?", key, meant)
		return
	}
	p.refuse(line, "unknown key %q: the keys are %s", key, strings.Join(p.known, ", "))
}

func fieldOf(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("json") == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// assign fills a field; one that it cannot fill stays as it is.
func assign(v reflect.Value, n *yaml.Node) error {
	switch into := v.Addr().Interface().(type) {
	case *time.Duration:
		d, err := time.ParseDuration(n.Value)
		if err != nil {
			return fmt.Errorf("%q is no duration such as 15s or 10m", n.Value)
		}
		*into = d
	case *[]netip.Prefix:
		return prefixes(into, n)
	case *bool:
		if n.Value != "true" && n.Value != "false" {
			return fmt.Errorf("%q is neither true nor false", n.Value)
		}
		*into = n.Value == "true"
	default:
		if err := n.Decode(v.Addr().Interface()); err != nil {
			return fmt.Errorf("%q is no %s", n.Value, v.Type())
		}
	}
	return nil
}

func prefixes(into *[]netip.Prefix, n *yaml.Node) error {
	texts := []string{}
	if n.Kind == yaml.ScalarNode { // Helm users write one so
		texts = strings.Split(n.Value, ",")
	} else if err := n.Decode(&texts); err != nil {
		return errors.New("want a list of CIDRs")
	}
	var out []netip.Prefix
	for i, t := range texts {
		c, err := netip.ParsePrefix(strings.TrimSpace(t))
		if err != nil {
			return fmt.Errorf("[%d]: %q is not a CIDR such as 10.0.0.0/8 or fd00::/104", i, t)
		}
		out = append(out, c)
	}
	*into = out
	return nil
}

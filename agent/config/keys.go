package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// leaf is a key that takes a value, and the field it fills.
type leaf struct {
	key   string
	value reflect.Value
}

var prefixType = reflect.TypeFor[netip.Prefix]()

// leaves lists every key of c in the order of the struct. The names are the
// JSON tags, joined by dots: "bpf.hostRouting".
func leaves(c *Config) []leaf { return leavesOf(reflect.ValueOf(c).Elem(), "") }

func leavesOf(v reflect.Value, prefix string) []leaf {
	var out []leaf
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("json")
		if name == "-" {
			continue
		}
		key, field := prefix+name, v.Field(i)
		if field.Kind() == reflect.Struct && field.Type() != prefixType {
			out = append(out, leavesOf(field, key+".")...)
			continue
		}
		out = append(out, leaf{key, field})
	}
	return out
}

// assign fills the field from YAML; a field it cannot fill stays as it is.
func (l leaf) assign(n *yaml.Node) error {
	if l.value.Kind() == reflect.Slice {
		return l.assignList(n)
	}
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("%s: want one value, got a %s", l.key, kindOf(n))
	}
	return l.assignText(l.value, n.Value, n.Tag == "!!null")
}

// assignList takes a YAML list, and "a,b" too, because that is what people
// type after --set.
func (l leaf) assignList(n *yaml.Node) error {
	var texts []string
	switch {
	case n.Kind == yaml.SequenceNode:
		for _, e := range n.Content {
			if e.Kind != yaml.ScalarNode {
				return fmt.Errorf("%s: want a list of single values, got a %s in it", l.key, kindOf(e))
			}
			texts = append(texts, e.Value)
		}
	case n.Kind == yaml.ScalarNode && n.Tag != "!!null" && n.Value != "":
		for text := range strings.SplitSeq(n.Value, ",") {
			texts = append(texts, strings.TrimSpace(text))
		}
	case n.Kind != yaml.ScalarNode:
		return fmt.Errorf("%s: want a list, got a %s", l.key, kindOf(n))
	}
	list := reflect.MakeSlice(l.value.Type(), len(texts), len(texts))
	for i, text := range texts {
		if err := l.assignText(list.Index(i), text, false); err != nil {
			return err
		}
	}
	l.value.Set(list)
	return nil
}

func (l leaf) assignText(v reflect.Value, text string, null bool) error {
	if null || (text == "" && v.Kind() != reflect.Bool && v.Kind() != reflect.Int) {
		v.SetZero()
		return nil
	}
	switch {
	case v.Type() == prefixType:
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("%s: %q is not a CIDR such as 10.0.0.0/8 or fd00::/104", l.key, text)
		}
		v.Set(reflect.ValueOf(p))
	case v.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%s: %q is neither true nor false", l.key, text)
		}
		v.SetBool(text == "true")
	case v.Kind() == reflect.Int:
		i, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%s: %q is not a whole number", l.key, text)
		}
		v.SetInt(int64(i))
	default:
		v.SetString(text)
	}
	return nil
}

// text is the value as assign would take it back.
func (l leaf) text() string {
	switch v := l.value.Interface().(type) {
	case netip.Prefix:
		if !v.IsValid() {
			return ""
		}
		return v.String()
	case []string:
		return strings.Join(v, ",")
	case []netip.Prefix:
		out := make([]string, len(v))
		for i, p := range v {
			out[i] = p.String()
		}
		return strings.Join(out, ",")
	case []int:
		out := make([]string, len(v))
		for i, n := range v {
			out[i] = strconv.Itoa(n)
		}
		return strings.Join(out, ",")
	default:
		return fmt.Sprint(v)
	}
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "mapping"
	case yaml.SequenceNode:
		return "list"
	case yaml.AliasNode:
		return "YAML alias"
	default:
		return "single value"
	}
}

package files

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/json"
)

// DecodeError says which field of an object does not fit its kind.
type DecodeError struct {
	Object string
	Line   int // of the field in the file
	Text   string
}

func (e *DecodeError) Error() string { return e.Object + ": " + e.Text }

// Decode fills into, a pointer to the Go type of the object's kind. A field
// that the type does not have is an error, because it is a misspelt one more
// often than not. The error is a *DecodeError.
func (o Object) Decode(into any) error {
	strict, err := json.UnmarshalStrict(o.JSON, into)
	if err != nil {
		path, err := culprit(o.JSON, reflect.TypeOf(into).Elem(), "", err)
		return &DecodeError{Object: o.String(), Line: o.lineOf(path), Text: explain(path, err)}
	}
	if len(strict) == 0 {
		return nil
	}
	e := &DecodeError{Object: o.String()}
	var texts []string
	for _, s := range strict {
		texts = append(texts, s.Error())
		var at json.FieldError
		if errors.As(s, &at) && e.Line == 0 {
			e.Line = o.lineOf(at.FieldPath())
		}
	}
	e.Text = strings.Join(texts, ", ")
	return e
}

// Refuse returns a *DecodeError: what is wrong with a field that decodes.
func (o Object) Refuse(field, text string) error {
	return &DecodeError{Object: o.String(), Line: o.lineOf(field), Text: field + ": " + text}
}

var wrongType = regexp.MustCompile(`^json: cannot unmarshal (.+) into Go (?:struct field \S+|value) of type (\S+)$`)

// explain puts a decoder's message into the words of YAML.
func explain(path string, err error) string {
	m := wrongType.FindStringSubmatch(err.Error())
	switch {
	case m == nil && path == "":
		return err.Error()
	case m == nil:
		return path + ": " + err.Error()
	}
	return strings.TrimPrefix(fmt.Sprintf("%s: got a %s, want %s", path, valueName(m[1]), typeName(m[2])), ": ")
}

// valueName is what YAML calls a kind of value.
func valueName(v string) string {
	switch v {
	case "array":
		return "list"
	case "object":
		return "mapping"
	}
	return v
}

func typeName(t string) string {
	switch {
	case strings.HasPrefix(t, "[]"):
		return "a list"
	case strings.HasPrefix(t, "map["):
		return "a mapping"
	case strings.HasPrefix(t, "int") || strings.HasPrefix(t, "uint"):
		return "a whole number"
	case t == "bool":
		return "true or false"
	case strings.HasSuffix(t, "string"):
		return "a string (put it in quotes)"
	case strings.Contains(t, "."):
		return "a mapping of " + t[strings.LastIndexByte(t, '.')+1:]
	default:
		return t
	}
}

// lineOf returns the line of a field of the object, or the object's own.
func (o Object) lineOf(path string) int {
	if path == "" {
		return o.Line
	}
	if o.path != "" {
		path = o.path + "." + path
	}
	if n := o.doc.line(path); n > 0 {
		return n
	}
	return o.Line
}

// line returns the line in the file of "spec.containers[0].image", or of the
// last part of the path that can be found. It parses the document again, this
// time for the lines: only errors and lists need them.
func (d document) line(path string) int {
	var doc yaml.Node
	if err := yaml.Unmarshal(d.text, &doc); err != nil || len(doc.Content) == 0 {
		return 0
	}
	n, line := doc.Content[0], doc.Content[0].Line
	for step := range strings.FieldsFuncSeq(path, func(r rune) bool { return strings.ContainsRune(".[]", r) }) {
		key, value := child(n, step)
		if value == nil {
			break
		}
		n, line = value, key.Line
	}
	return d.above + line
}

// child returns the node under a key or an index, and the one to point at.
func child(n *yaml.Node, step string) (at, value *yaml.Node) {
	if n.Kind == yaml.SequenceNode {
		if i, err := strconv.Atoi(step); err == nil && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
		return nil, nil
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == step {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

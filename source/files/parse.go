package files

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"weir/state"
)

// Object is one Kubernetes object of a file, not yet looked into.
type Object struct {
	APIVersion string
	Kind       string
	Namespace  string // "default" when a namespaced kind leaves it out
	Name       string
	Line       int    // in the file, of the document or the list's item
	JSON       []byte // the whole object

	doc  document // for line numbers
	path string   // of the object in doc: "items[3]" in a list
}

func (o Object) String() string { return objectName(o.Kind, o.Namespace, o.Name) }

// cluster are the kinds without a namespace that such files hold.
var cluster = map[string]bool{
	"Node": true, "Namespace": true, "CiliumNode": true, "CiliumIdentity": true,
	"CiliumClusterwideNetworkPolicy": true, "CiliumCIDRGroup": true, "CiliumL2AnnouncementPolicy": true, "CustomResourceDefinition": true,
	"ClusterRole": true, "ClusterRoleBinding": true,
}

func objectName(kind, namespace, name string) string {
	if namespace == "" {
		return kind + " " + name
	}
	return kind + " " + namespace + "/" + name
}

// Parse splits a file of YAML documents, or one of JSON, into its objects;
// name is for the problems. A document that does not parse is a problem, and
// the others are returned. A List is returned as its items.
func Parse(name string, data []byte) ([]Object, []state.Problem) {
	var objects []Object
	var problems []state.Problem
	for _, doc := range split(data) {
		found, err := doc.objects()
		objects = append(objects, found...)
		if err == nil {
			continue
		}
		text, line := doc.place(err)
		object := doc.guess()
		if object == "" {
			object = fmt.Sprintf("document at line %d", doc.start())
		}
		problems = append(problems, state.Problem{Key: state.ProblemKey{File: name, Object: object}, Line: line, Error: text})
	}
	return objects, problems
}

// document is the text between two lines of dashes.
type document struct {
	text  []byte
	above int // lines of the file before it
}

// split cuts where a line is "---", or begins with it and a space; YAML allows
// such a line nowhere else (section 9.1.4 of YAML 1.2). The parser is given
// each part on its own, so that one broken document costs only itself.
func split(data []byte) []document {
	var docs []document
	start, above, line := 0, 0, 0
	cut := func(end int) {
		if len(bytes.TrimSpace(data[start:end])) > 0 {
			docs = append(docs, document{data[start:end], above})
		}
		start, above = end, line
	}
	for at := 0; at < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if l := data[at:end]; bytes.HasPrefix(l, []byte("---")) && (len(l) == 3 || bytes.IndexByte([]byte(" \t\r\n"), l[3]) >= 0) {
			cut(at)
		}
		at = end
	}
	cut(len(data))
	return docs
}

// head is what every object begins with.
type head struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"metadata"`
	Items []json.RawMessage `json:"items"`
}

func (d document) objects() ([]Object, error) {
	data, err := yaml.YAMLToJSONStrict(d.text)
	if err != nil {
		return nil, err
	}
	if string(data) == "null" {
		return nil, nil // comments only
	}
	var h head
	if err := json.Unmarshal(data, &h); err != nil {
		return nil, notObject(err)
	}
	if list, ok := strings.CutSuffix(h.Kind, "List"); ok && h.Items != nil {
		return d.items(h, list)
	}
	o, err := d.object(h, data, "")
	if err != nil {
		return nil, err
	}
	return []Object{o}, nil
}

// notObject words a failure to read the head of an object.
func notObject(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return fmt.Errorf("%s: got a %s, want %s", strings.TrimPrefix(wrong.Field, "."), valueName(wrong.Value), typeName(wrong.Type.String()))
	}
	return fmt.Errorf("not a Kubernetes object: want apiVersion, kind and metadata: %w", err)
}

func (d document) items(list head, kind string) ([]Object, error) {
	var out []Object
	for i, raw := range list.Items {
		path := fmt.Sprintf("items[%d]", i)
		var h head
		if err := json.Unmarshal(raw, &h); err != nil {
			return out, fmt.Errorf("%s: %w", path, notObject(err))
		}
		if h.Kind == "" && kind != "" { // "items" of a typed list need not repeat it
			h.Kind, h.APIVersion = kind, list.APIVersion
		}
		o, err := d.object(h, raw, path)
		if err != nil {
			return out, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, o)
	}
	return out, nil
}

// who names an object that lacks part of its head, as far as it can be told.
func (h head) who() string {
	name := h.Metadata.Name
	if name != "" && h.Metadata.Namespace != "" {
		name = h.Metadata.Namespace + "/" + name
	}
	switch {
	case h.Kind != "" && name != "":
		return h.Kind + " " + name
	case h.Kind != "":
		return "the " + h.Kind
	case name != "":
		return fmt.Sprintf("the object %q", name)
	}
	return "the object"
}

func (d document) object(h head, data []byte, path string) (Object, error) {
	who := h.who()
	switch {
	case h.Kind == "":
		return Object{}, fmt.Errorf("%s has no kind: write one, such as kind: Pod", who)
	case h.APIVersion == "":
		return Object{}, fmt.Errorf("%s has no apiVersion: write one, such as apiVersion: v1", who)
	case h.Metadata.Name == "":
		return Object{}, fmt.Errorf("%s has no metadata.name: write one", who)
	}
	if h.Metadata.Namespace == "" && !cluster[h.Kind] {
		h.Metadata.Namespace = "default"
	}
	if cluster[h.Kind] {
		h.Metadata.Namespace = ""
	}
	o := Object{
		APIVersion: h.APIVersion, Kind: h.Kind, Namespace: h.Metadata.Namespace, Name: h.Metadata.Name,
		Line: d.start(), JSON: data, doc: d, path: path,
	}
	if path != "" {
		o.Line = d.line(path)
	}
	return o, nil
}

var (
	kindLine = regexp.MustCompile(`(?m)^kind:[ \t]*["']?(\w+)`)
	metadata = regexp.MustCompile(`(?m)^metadata:.*\n((?:[ \t]+.*\n?|[ \t]*\n)+)`)
	lineOf   = regexp.MustCompile(`(?:yaml: )?line (\d+): `)
)

// guess tells the object of a document that does not parse, or "".
func (d document) guess() string {
	kind, block := kindLine.FindSubmatch(d.text), metadata.FindSubmatch(d.text)
	if kind == nil || block == nil {
		return ""
	}
	name, namespace := field(block[1], "name"), field(block[1], "namespace")
	if name == "" {
		return ""
	}
	if namespace == "" && !cluster[string(kind[1])] {
		namespace = "default"
	}
	return objectName(string(kind[1]), namespace, name)
}

// field returns the value of a key that stands at the block's own indentation.
func field(block []byte, key string) string {
	indent := len(block) - len(bytes.TrimLeft(block, " \t\n"))
	for line := range strings.Lines(string(block)) {
		text, ok := strings.CutPrefix(strings.TrimLeft(line, " \t"), key+":")
		if ok && len(line)-len(strings.TrimLeft(line, " \t")) == indent {
			text, _, _ = strings.Cut(text, " #")
			return strings.Trim(text, " \t\r\n\"'")
		}
	}
	return ""
}

// guessKey is the reverse of objectName.
func guessKey(object string) (objectKey, bool) {
	kind, rest, ok := strings.Cut(object, " ")
	if _, known := kinds[kind]; !ok || !known {
		return objectKey{}, false
	}
	namespace, name, ok := strings.Cut(rest, "/")
	if !ok {
		namespace, name = "", rest
	}
	return objectKey{kind, namespace, name}, true
}

// place takes the line out of the parser's message, which counts from the
// beginning of the document, and returns the file's.
func (d document) place(err error) (text string, line int) {
	text = strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	text = strings.ReplaceAll(strings.TrimPrefix(text, "yaml: unmarshal errors:\n"), "\n", ";")
	line = d.start()
	if m := lineOf.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1]) // digits, by the expression
		line = d.above + n
	}
	text = strings.TrimSpace(lineOf.ReplaceAllString(text, ""))
	return strings.TrimPrefix(text, "yaml: "), line
}

// start is the line of the first key.
func (d document) start() int {
	line := d.above
	for l := range strings.Lines(string(d.text)) {
		line++
		l = strings.TrimSpace(l)
		if l != "" && !strings.HasPrefix(l, "#") && !strings.HasPrefix(l, "---") {
			return line
		}
	}
	return d.above + 1
}

package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"weir/agent/config"
)

// value is one that a user may set, as values.yaml has it.
type value struct {
	path  string // "bpf.root"
	means string
	oneOf []string // none: anything of its kind
	unset *yaml.Node
	free  bool // its content is somebody else's: resources, tolerations
}

var oneOf = regexp.MustCompile(`One of: ([^.]+)$`)

// free are values whose content is Kubernetes' own, or is looked at elsewhere.
var free = map[string]bool{"imagePullSecrets": true, "resources": true, "operator.resources": true, "tolerations": true,
	"nodeSelector": true, "extraConfig": true, "ipMasqAgent.config": true}

// readValues lists the values in the order of the file. Each has to say what it is.
func readValues(file string) ([]value, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var out []value
	var walk func(prefix string, n *yaml.Node) error
	walk = func(prefix string, n *yaml.Node) error {
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			path := prefix + k.Value
			if v.Kind == yaml.MappingNode && !free[path] {
				if err := walk(path+".", v); err != nil {
					return err
				}
				continue
			}
			means := comment(k.HeadComment)
			if means == "" {
				return fmt.Errorf("%s:%d: %s has no comment that says what it is", file, k.Line, path)
			}
			l := value{path: path, means: means, unset: v, free: free[path]}
			if m := oneOf.FindStringSubmatch(means); m != nil {
				l.oneOf = strings.Split(m[1], ", ")
			}
			out = append(out, l)
		}
		return nil
	}
	return out, walk("", doc.Content[0])
}

// comment is the paragraph next to a key as one line.
func comment(text string) string {
	paragraphs := strings.Split(text, "\n\n")
	var words []string
	for line := range strings.Lines(paragraphs[len(paragraphs)-1]) {
		words = append(words, strings.Fields(strings.TrimLeft(line, "#"))...)
	}
	return strings.Join(words, " ")
}

// keysFile lists the keys of weir.yaml that are taken at their own place: values with what
// they are if nobody sets them, and others.
func keysFile(values []value) []byte {
	var b bytes.Buffer
	b.WriteString("# Made by tools/chart: the keys of weir.yaml that are values, with what they are unset, and\n# those that are taken beside.\n")
	for _, v := range values {
		if _, ok := shapeOf(v.path); ok {
			fmt.Fprintf(&b, "%s: {unset: %s}\n", v.path, inline(v.unset))
		}
	}
	for _, key := range taken {
		if s, _ := shapeOf(key); len(s.OneOf) > 0 {
			fmt.Fprintf(&b, "%s: {oneOf: [%s]}\n", key, strings.Join(s.OneOf, ", "))
			continue
		}
		fmt.Fprintf(&b, "%s: {}\n", key)
	}
	return b.Bytes()
}

// inline is a node on one line.
func inline(n *yaml.Node) string {
	c := *n
	c.HeadComment, c.LineComment, c.FootComment = "", "", ""
	c.Style |= yaml.FlowStyle
	out, err := yaml.Marshal(&c)
	if err != nil {
		panic(err) // it was YAML when it was read
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

// spellingsFile is the table of agent/config for the templates, without what is a value of
// the chart itself.
func spellingsFile(values []value) []byte {
	var b bytes.Buffer
	b.WriteString("# Made by tools/chart out of agent/config: what people write that is no key of weir.yaml.\n")
	last := ""
	for _, s := range config.Spellings() {
		if s.Key == "" && slices.ContainsFunc(values, func(v value) bool { return v.path == s.Other }) {
			continue
		}
		if s.Other != last {
			fmt.Fprintf(&b, "%s:\n", s.Other)
			last = s.Other
		}
		sep := "- "
		for _, f := range [][2]string{{"when", s.When}, {"key", s.Key}, {"value", s.Value}, {"why", s.Why}} {
			if f[1] == config.Nothing {
				fmt.Fprintf(&b, "%s%s: \"\"\n", sep, f[0])
			} else if f[1] != "" {
				fmt.Fprintf(&b, "%s%s: %q\n", sep, f[0], f[1])
				sep = "  "
			}
		}
		if sep == "- " {
			b.WriteString("- missing: true\n")
		}
	}
	return b.Bytes()
}

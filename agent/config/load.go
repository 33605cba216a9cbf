package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"weir/internal/suggest"
)

// Loaded is a configuration and how it came about.
type Loaded struct {
	Config
	File     string            // empty when there was none
	Warnings []string          // what was accepted though it should be written otherwise
	Origin   map[string]string // of the keys that somebody set: "weir.yaml:3", "--set mtu"
}

// Load reads the configuration of an agent started with these arguments (the
// program's name left out): a flag wins over the file, the file over the
// default. The error joins every problem found, each with its place. With -h
// the usage goes to usage and the error is flag.ErrHelp.
func Load(args []string, usage io.Writer) (Loaded, error) {
	file, settings, err := parseFlags(args, usage)
	if err != nil {
		return Loaded{}, err
	}
	var data []byte
	if file != "" {
		data, err = os.ReadFile(file)
		if err != nil {
			return Loaded{}, fmt.Errorf("read configuration: %w", err)
		}
	}
	return parse(file, data, settings...)
}

// Parse is Load without reading: data is the content of the file called name,
// settings are KEY=VALUE as after --set. It returns the warnings, too.
func Parse(name string, data []byte, settings ...string) (Config, []string, error) {
	l, err := parse(name, data, settings...)
	return l.Config, l.Warnings, err
}

func parse(name string, data []byte, settings ...string) (Loaded, error) {
	c := Defaults()
	b := builder{origin: map[string]string{}, names: map[string]string{}, leaves: map[string]leaf{}}
	for _, l := range leaves(&c) {
		b.leaves[l.key] = l
	}
	if !b.file(name, data) {
		return Loaded{}, errors.Join(b.errs...)
	}
	for _, s := range settings {
		b.setting(s)
	}
	derive(&c)
	b.errs = append(b.errs, b.place(check(c))...)
	return Loaded{Config: c, File: name, Warnings: append(b.warnings, warnings(c)...), Origin: b.origin}, errors.Join(b.errs...)
}

// derive fills what is empty and follows from other keys or from the host.
func derive(c *Config) {
	if c.NodeName == "" {
		name, _ := os.Hostname() // without one, check says that nodeName is missing
		c.NodeName = strings.ToLower(name)
	}
	if c.StateDir == "" {
		c.StateDir = filepath.Join(c.RunDir, "state")
	}
	if c.Socket == "" {
		c.Socket = filepath.Join(c.RunDir, "weir.sock")
	}
}

// builder collects values, and everything that is wrong with them.
type builder struct {
	leaves   map[string]leaf
	origin   map[string]string // key -> where it was set: "weir.yaml:3", "--set"
	names    map[string]string // key -> by which name the file has it
	warnings []string
	errs     []error
}

// file reads a document. It says whether it is one.
func (b *builder) file(name string, data []byte) bool {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		b.errs = append(b.errs, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "yaml: ")))
		return false
	}
	if len(doc.Content) == 0 {
		return true // empty, or nothing but comments
	}
	where := func(n *yaml.Node) string { return fmt.Sprintf("%s:%d", name, n.Line) }
	b.mapping("", doc.Content[0], where)
	return true
}

func (b *builder) setting(s string) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		b.errs = append(b.errs, fmt.Errorf("--set %s: want KEY=VALUE, such as --set bpf.root=/sys/fs/bpf", s))
		return
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: value, Tag: "!!str"}
	if strings.HasPrefix(value, "[") {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(value), &doc); err != nil {
			b.errs = append(b.errs, fmt.Errorf("--set %s: the list does not parse: %w", s, err))
			return
		}
		n = doc.Content[0]
	}
	b.value(key, n, "--set "+key)
}

// mapping takes the keys under prefix, which ends in a dot or is empty.
func (b *builder) mapping(prefix string, n *yaml.Node, where func(*yaml.Node) string) {
	if n.Kind != yaml.MappingNode {
		b.errs = append(b.errs, fmt.Errorf("%s: %s: want keys and values, got a %s", where(n), strings.TrimSuffix(prefix, "."), kindOf(n)))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if v.Kind == yaml.AliasNode {
			v = v.Alias
		}
		key := prefix + k.Value
		if seen[key] {
			b.errs = append(b.errs, fmt.Errorf("%s: key %q stands twice: remove one", where(k), key))
			continue
		}
		seen[key] = true
		if b.group(key) && v.Tag == "!!null" {
			continue // "bpf:" with every line under it commented out
		}
		if b.group(key) {
			b.mapping(key+".", v, where)
			continue
		}
		b.value(key, v, where(k))
	}
}

// group reports whether keys stand under key.
func (b *builder) group(key string) bool {
	for k := range b.leaves {
		if strings.HasPrefix(k, key+".") {
			return true
		}
	}
	return slices.ContainsFunc(Spellings(), func(s Spelling) bool { return strings.HasPrefix(s.Other, key+".") })
}

func (b *builder) warn(format string, args ...any) {
	b.warnings = append(b.warnings, fmt.Sprintf(format, args...))
}

func (b *builder) fail(format string, args ...any) {
	b.errs = append(b.errs, fmt.Errorf(format, args...))
}

func (b *builder) value(name string, n *yaml.Node, where string) {
	key, n, ok := b.respell(name, n, where)
	if !ok {
		return
	}
	if key == "nodePort.range" && strings.Contains(n.Value, ",") {
		n = &yaml.Node{Kind: yaml.ScalarNode, Value: strings.Replace(n.Value, ",", "-", 1), Tag: "!!str"}
		b.warn("%s: old spelling, write %s: %s", where, key, n.Value)
	}
	l, ok := b.leaves[key]
	if !ok {
		b.errs = append(b.errs, b.unknown(key, where))
		return
	}
	inFile := !strings.HasPrefix(where, "--set ")
	if inFile && emptied(b.names[key], key) {
		return
	}
	before := l.text()
	if err := l.assign(n); err != nil {
		b.errs = append(b.errs, fmt.Errorf("%s: %w", where, err))
	} else if other, twice := b.names[key]; inFile && twice && before != l.text() && !emptied(name, key) {
		b.fail("%s: %s and %s: keep %s alone", where, says(name, key, l.text()), says(other, key, before), key)
	}
	b.origin[key] = where
	if inFile {
		b.names[key] = name
	}
}

// says is what a name in the file says of a key.
func says(name, key, value string) string {
	if name == key {
		return key + " is " + value
	}
	return name + " makes " + key + " " + value
}

func (b *builder) unknown(key, where string) error {
	known := slices.Sorted(maps.Keys(b.leaves))
	candidates := slices.Clone(known)
	for _, k := range known {
		if group, _, ok := strings.Cut(k, "."); ok {
			candidates = append(candidates, group)
		}
	}
	if meant := suggest.Nearest(key, candidates); meant != "" {
		return fmt.Errorf("%s: unknown key %q: did you mean %q?", where, key, meant)
	}
	if prefix, _, ok := strings.Cut(key, "."); ok && b.group(prefix) {
		known = slices.DeleteFunc(known, func(k string) bool { return !strings.HasPrefix(k, prefix+".") })
	}
	return fmt.Errorf("%s: unknown key %q: the keys are %s", where, key, strings.Join(known, ", "))
}

// place puts the origin of the key in front of what is wrong with its value.
func (b *builder) place(problems []problem) []error {
	var errs []error
	for _, p := range problems {
		if where, ok := b.origin[p.key]; ok {
			errs = append(errs, fmt.Errorf("%s: %w", where, p))
			continue
		}
		errs = append(errs, p)
	}
	return errs
}

// parseFlags returns the file and the settings; a direct flag is short for a
// setting, and the last one wins.
func parseFlags(args []string, usage io.Writer) (file string, settings []string, err error) {
	fs := flag.NewFlagSet("weir-agent", flag.ContinueOnError)
	fs.SetOutput(usage)
	fs.StringVar(&file, "config", "", "the configuration `FILE` (YAML)")
	set := func(s string) error { settings = append(settings, s); return nil }
	fs.Func("set", "`KEY=VALUE` in place of the file's, such as bpf.attachMode=tc; may be repeated", set)
	short := func(name, key, help string) {
		fs.Func(name, help, func(v string) error { return set(key + "=" + v) })
	}
	shortBool := func(name, key, help string) {
		fs.BoolFunc(name, help, func(v string) error { return set(key + "=" + v) })
	}
	short("node-name", "nodeName", "`NAME` of this node; default: the host name")
	short("run-dir", "runDir", "`DIR` of the socket, pid file and delete queue")
	short("bpf-root", "bpf.root", "`DIR` where bpffs is, or gets, mounted")
	short("files", "source.files", "`DIR` of YAML files with the cluster's objects")
	shortBool("clean-state", "cleanState", "wipe pins and endpoint state at start")
	shortBool("clean-bpf-state", "cleanBPFState", "wipe pins at start")
	shortBool("debug", "debug.enabled", "log details")
	if err := fs.Parse(args); err != nil {
		return "", nil, err
	}
	if fs.NArg() > 0 {
		return "", nil, fmt.Errorf("unexpected argument %q: flags only, such as --config FILE", fs.Arg(0))
	}
	return file, settings, nil
}

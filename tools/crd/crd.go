// Command crd writes what follows from the types of api/v1: their deep copies,
// and the definitions of the custom resources in deploy/crds.
//
//	go run -C tools/crd . ../..
//	go run -C tools/crd . -check ../..
//
// It adds what markers cannot say: selectors' operators, that of several fields
// one is written, and versions that differ in name only. With -check it writes
// nothing, and fails when a file is not what it would write.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-tools/pkg/crd"
	"sigs.k8s.io/controller-tools/pkg/deepcopy"
	"sigs.k8s.io/controller-tools/pkg/genall"
	"sigs.k8s.io/controller-tools/pkg/loader"
	"sigs.k8s.io/controller-tools/pkg/markers"
	"sigs.k8s.io/yaml"
)

const header = "# Generated from api/v1 by `make generate`. Do not edit.\n"

func main() {
	check := flag.Bool("check", false, "compare only")
	flag.Parse()
	if err := run(flag.Arg(0), *check); err != nil {
		fmt.Fprintln(os.Stderr, "crd:", err)
		os.Exit(1)
	}
}

func run(root string, check bool) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	out := files{}
	if err := generate(out); err != nil {
		return err
	}
	if len(out) < 2 {
		return fmt.Errorf("%d files came out of api/v1: something is wrong with its markers", len(out))
	}
	for name, text := range out {
		if !check {
			if err := os.WriteFile(name, text.Bytes(), 0o644); err != nil {
				return err
			}
			continue
		}
		if have, err := os.ReadFile(name); err != nil || !bytes.Equal(have, text.Bytes()) {
			return fmt.Errorf("%s is not what follows from api/v1: run make generate", name)
		}
	}
	return nil
}

func generate(out files) error {
	collector := &markers.Collector{Registry: &markers.Registry{}}
	var copies deepcopy.Generator
	var crds crd.Generator
	for _, g := range []genall.Generator{copies, crds} {
		if err := g.RegisterMarkers(collector.Registry); err != nil {
			return err
		}
	}
	roots, err := loader.LoadRoots("./api/v1")
	if err != nil {
		return err
	}
	for _, r := range roots {
		for _, e := range r.Errors {
			return e
		}
	}
	ctx := &genall.GenerationContext{
		Collector: collector, Roots: roots, InputRule: genall.InputFromFileSystem, OutputRule: out,
		Checker: &loader.TypeChecker{NodeFilters: []loader.NodeFilter{crds.CheckFilter(), copies.CheckFilter()}},
	}
	if err := copies.Generate(ctx); err != nil {
		return err
	}
	return definitions(ctx, out)
}

// definitions writes one file for each kind.
func definitions(ctx *genall.GenerationContext, out files) error {
	parser := &crd.Parser{Collector: ctx.Collector, Checker: ctx.Checker}
	crd.AddKnownTypes(parser)
	for _, r := range ctx.Roots {
		parser.NeedPackage(r)
	}
	for _, gk := range crd.FindKubeKinds(parser, crd.FindMetav1(ctx.Roots)) {
		parser.NeedCRDFor(gk, nil)
		d := parser.CustomResourceDefinitions[gk]
		crd.FixTopLevelMetadata(d)
		finish(&d)
		text, err := yaml.Marshal(struct {
			apiext.CustomResourceDefinition `json:",inline"`
			Status                          *struct{} `json:"status,omitempty"` // the API server's
		}{CustomResourceDefinition: d})
		if err != nil {
			return err
		}
		b := out.file(filepath.Join("deploy", "crds", d.Spec.Names.Plural+".yaml"))
		b.WriteString(header)
		b.Write(text)
	}
	// Types are checked as far as they are followed, so the rest is not known.
	if loader.PrintErrors(ctx.Roots, packages.TypeError) {
		return errors.New("api/v1 has errors")
	}
	return nil
}

// finish adds what markers cannot say.
func finish(d *apiext.CustomResourceDefinition) {
	for i := range d.Spec.Versions {
		walk("", d.Spec.Versions[i].Schema.OpenAPIV3Schema, more)
		keysOfSubject(d.Spec.Versions[i].Schema.OpenAPIV3Schema.Properties["spec"])
	}
	const alpha = "v2alpha1"
	switch d.Spec.Names.Kind {
	case "CiliumCIDRGroup": // once more under its old version
		old := *d.Spec.Versions[0].DeepCopy()
		old.Name, old.Storage = alpha, false
		d.Spec.Versions = append(d.Spec.Versions, old)
	case "CiliumL2AnnouncementPolicy": // has no other
		d.Spec.Versions[0].Name = alpha
	}
}

// oneOf are the fields of which exactly one is written, by the field that holds
// them. Rules in CEL would say it better, but their cost is bounded, and a list
// in a list of rules is beyond it.
var oneOf = map[string][]string{
	"fromCIDRSet": {"cidr", "cidrGroupRef", "cidrGroupSelector"},
	"toCIDRSet":   {"cidr", "cidrGroupRef", "cidrGroupSelector"},
	"toServices":  {"k8sService", "k8sServiceSelector"},
	"toFQDNs":     {"matchName", "matchPattern"},
	"dns":         {"matchName", "matchPattern"},
}

// The keys that selectors have, with the source of the label before them or without, and
// the values of labels.
const (
	labelKey   = `^([a-z0-9-]+:)?([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
	labelValue = `^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$`
)

// addresses are the fields that have an address or a CIDR, or a list of them. The server
// parses them as it parses its own.
var addresses = []string{"cidr", "except", "fromCIDR", "toCIDR", "externalCIDRs"}

// more adds to the schema of a field.
func more(field string, s *apiext.JSONSchemaProps) {
	if slices.Contains(addresses, field) {
		at := s
		if s.Items != nil {
			at = s.Items.Schema
		}
		at.AnyOf = []apiext.JSONSchemaProps{{Format: "cidr"}, {Format: "ipv4"}, {Format: "ipv6"}}
	}
	if e, ok := s.Properties["matchExpressions"]; ok {
		key := e.Items.Schema.Properties["key"]
		key.Pattern = labelKey
		e.Items.Schema.Properties["key"] = key
		e.Items.Schema.Properties["values"].Items.Schema.Pattern = labelValue
		s.Properties["matchLabels"].AdditionalProperties.Schema.Pattern = labelValue
		op := e.Items.Schema.Properties["operator"]
		for _, o := range []string{"In", "NotIn", "Exists", "DoesNotExist"} {
			op.Enum = append(op.Enum, apiext.JSON{Raw: []byte(`"` + o + `"`)})
		}
		e.Items.Schema.Properties["operator"] = op
		for name, p := range s.Properties { // what every selector says of itself, dozens of times
			walk("", &p, func(_ string, s *apiext.JSONSchemaProps) { s.Description = "" })
			s.Properties[name] = p
		}
	}
	if s.Items == nil {
		return
	}
	for _, name := range oneOf[field] {
		s.Items.Schema.OneOf = append(s.Items.Schema.OneOf, apiext.JSONSchemaProps{Required: []string{name}})
	}
}

// keysOfSubject adds that keys of whom a policy selects have no spaces. Only rules in CEL
// see the keys of a map, and this is all that an API server's estimate of their cost
// leaves room for; selectors in lists of rules are beyond it.
func keysOfSubject(spec apiext.JSONSchemaProps) {
	for _, field := range []string{"endpointSelector", "nodeSelector"} {
		s, ok := spec.Properties[field]
		if !ok || spec.Properties["ingress"].Items == nil {
			continue
		}
		most := int64(100)
		labels := s.Properties["matchLabels"]
		labels.MaxProperties = &most
		labels.XValidations = apiext.ValidationRules{{Rule: "self.all(k, !k.contains(' '))", Message: "the key of a label has no spaces"}}
		s.Properties["matchLabels"] = labels
	}
}

func walk(field string, s *apiext.JSONSchemaProps, do func(string, *apiext.JSONSchemaProps)) {
	do(field, s)
	for name, p := range s.Properties {
		walk(name, &p, do)
		s.Properties[name] = p
	}
	if s.Items != nil {
		walk("", s.Items.Schema, do)
	}
}

// files is what is to be written, by path. It takes the output of generators,
// whose names of files end in what marks generated ones here.
type files map[string]*bytes.Buffer

func (f files) file(name string) *bytes.Buffer {
	f[name] = &bytes.Buffer{}
	return f[name]
}

// Open implements genall.OutputRule.
func (f files) Open(_ *loader.Package, path string) (io.WriteCloser, error) {
	parts := strings.Split(path, ".")
	if !slices.Contains(parts, "deepcopy") {
		return nil, fmt.Errorf("nothing is known of %s", path)
	}
	return closer{f.file(filepath.Join("api", "v1", "deepcopy_gen.go"))}, nil
}

type closer struct{ io.Writer }

func (closer) Close() error { return nil }

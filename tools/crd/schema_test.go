package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	servervalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// kind judges objects as an API server that has its definition does.
type kind struct {
	structural *schema.Structural
	validator  servervalidation.SchemaValidator
	rules      *cel.Validator
}

// server has the definitions of deploy/crds, by "apiVersion Kind".
func server(t *testing.T) map[string]kind {
	t.Helper()
	out := map[string]kind{}
	names, err := filepath.Glob("../../deploy/crds/*.yaml")
	if err != nil || len(names) != 7 {
		t.Fatalf("definitions %v: %v", names, err)
	}
	for _, name := range names {
		d := definition(t, name)
		for _, v := range d.Spec.Versions {
			out["cilium.io/"+v.Name+" "+d.Spec.Names.Kind] = judge(t, d, v)
		}
	}
	return out
}

func definition(t *testing.T, name string) *apiextensions.CustomResourceDefinition {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var external apiext.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &external); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	apiext.SetDefaults_CustomResourceDefinition(&external)
	apiext.SetDefaults_CustomResourceDefinitionSpec(&external.Spec)
	var d apiextensions.CustomResourceDefinition
	if err := apiext.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&external, &d, nil); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for _, v := range d.Spec.Versions {
		if v.Storage {
			d.Status.StoredVersions = []string{v.Name}
		}
	}
	if errs := validation.ValidateCustomResourceDefinition(context.Background(), &d); len(errs) > 0 {
		t.Fatalf("%s: no API server takes it: %v", name, errs.ToAggregate())
	}
	return &d
}

func judge(t *testing.T, d *apiextensions.CustomResourceDefinition, v apiextensions.CustomResourceDefinitionVersion) kind {
	t.Helper()
	s := v.Schema
	if s == nil {
		s = d.Spec.Validation // where all versions have the same
	}
	structural, err := schema.NewStructural(s.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	validator, _, err := servervalidation.NewSchemaValidator(s.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	return kind{structural, validator, cel.NewValidator(structural, true, celconfig.PerCallLimit)}
}

// refuse returns what an API server has against a document, or "".
func refuse(kinds map[string]kind, text []byte) string {
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return err.Error()
	}
	var o map[string]any
	if err := utiljson.Unmarshal(data, &o); err != nil { // whole numbers are such, as on the server
		return err.Error()
	}
	k, ok := kinds[fmt.Sprint(o["apiVersion"], " ", o["kind"])]
	if !ok {
		return "no such kind"
	}
	var errs []string
	for _, e := range servervalidation.ValidateCustomResource(nil, o, k.validator) {
		errs = append(errs, e.Error())
	}
	fromRules, _ := k.rules.Validate(context.Background(), nil, k.structural, o, nil, celconfig.RuntimeCELCostBudget)
	for _, e := range fromRules {
		errs = append(errs, e.Error())
	}
	for _, path := range pruning.PruneWithOptions(o, k.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		errs = append(errs, fmt.Sprintf("unknown field %q", path))
	}
	slices.Sort(errs)
	return strings.Join(errs, "\n")
}

// refusedByAgents is in the one document of their tests that no API server takes
// either: a list is null.
const refusedByAgents = "name: no-rules}"

func documents(data []byte) []string {
	var out []string
	for _, d := range strings.Split("\n"+string(data), "\n---") {
		if strings.Contains(d, "apiVersion: cilium.io/") && !strings.Contains(d, refusedByAgents) {
			out = append(out, d)
		}
	}
	return out
}

// What the agent's own tests take, and what people write for each field, is taken
// by an API server as well.
func TestManifestsApplyUnchanged(t *testing.T) {
	kinds := server(t)
	good, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(good) == 0 {
		t.Fatalf("manifests %v: %v", good, err)
	}
	texts := map[string][]byte{}
	for _, name := range good {
		if texts[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, pattern := range []string{"../../source/files/testdata/policy/*.txt", "../../test/script/testdata/*.txtar"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range a.Files {
				if strings.HasSuffix(f.Name, ".yaml") && !strings.Contains(name, "malformed") {
					texts[name+" "+f.Name] = f.Data
				}
			}
		}
	}
	count := 0
	for name, text := range texts {
		for i, d := range documents(text) {
			count++
			if says := refuse(kinds, []byte(d)); says != "" {
				t.Errorf("%s, document %d: %s\n%s", name, i, says, d)
			}
		}
	}
	if count < 60 {
		t.Errorf("%d documents: where are the others?", count)
	}
}

// Each file of the archive is an object whose first line says what is wrong.
func TestWhatIsWrongIsRefusedByTheAPIServer(t *testing.T) {
	kinds := server(t)
	a, err := txtar.ParseFile("testdata/bad.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range a.Files {
		want, _, _ := strings.Cut(strings.TrimPrefix(string(f.Data), "# "), "\n")
		if got := refuse(kinds, f.Data); got == "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", f.Name, got, want)
		}
	}
}

// The words that kubectl knows, and the columns it shows.
func TestKubectlKnowsTheWordsOfTheField(t *testing.T) {
	for name, want := range map[string]string{
		"ciliumnetworkpolicies":            "Namespaced cnp,ciliumnp: v2* status [Age Valid]",
		"ciliumclusterwidenetworkpolicies": "Cluster ccnp: v2* status [Valid]",
		"ciliumendpoints":                  "Namespaced cep,ciliumep: v2* [Security Identity, Ingress Enforcement, Egress Enforcement, Endpoint State, IPv4, IPv6]",
		"ciliumidentities":                 "Cluster ciliumid: v2* status [Namespace Age]",
		"ciliumnodes":                      "Cluster cn,ciliumn: v2* status [CiliumInternalIP InternalIP Age]",
		"ciliumcidrgroups":                 "Cluster ccg: v2* [] v2alpha1 []",
		"ciliuml2announcementpolicies":     "Cluster l2announcement: v2alpha1* status [Age]",
	} {
		d := definition(t, "../../deploy/crds/"+name+".yaml")
		got := fmt.Sprintf("%s %s:", d.Spec.Scope, strings.Join(d.Spec.Names.ShortNames, ","))
		for _, v := range d.Spec.Versions {
			got += " " + v.Name
			if v.Storage {
				got += "*"
			}
			sub := v.Subresources
			if sub == nil {
				sub = d.Spec.Subresources
			}
			if sub != nil && sub.Status != nil {
				got += " status"
			}
			columns := v.AdditionalPrinterColumns
			if columns == nil {
				columns = d.Spec.AdditionalPrinterColumns
			}
			var names []string
			for _, c := range columns {
				names = append(names, c.Name)
			}
			if name == "ciliumendpoints" {
				got += fmt.Sprintf(" [%s]", strings.Join(names, ", "))
			} else {
				got += fmt.Sprint(" ", names)
			}
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

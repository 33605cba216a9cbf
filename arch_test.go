// Package weir_test holds the rules of ARCHITECTURE.md that a machine can
// check: who may import whom, and that packages and tables say what they are.
// It is no place for tests of behaviour.
package weir_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "weir/"

// room is a folder and what its code, tests apart, may import besides the
// standard library. "x/..." is x and everything under it.
type room struct {
	weir    []string
	outside []string // modules of others, by prefix
	why     string
}

var all = []string{"..."}

// rooms is the table of ARCHITECTURE.md. The longest pattern that matches a
// package is its room.
var rooms = map[string]room{
	"internal/...": {
		weir: []string{"internal/..."}, outside: []string{"golang.org/x/sys"},
		why: "internal knows nothing about Weir, so that every room can lean on it",
	},
	"internal/goldentest": {
		outside: []string{"github.com/google/go-cmp"},
		why:     "it is for tests, which compare with go-cmp",
	},
	"bpf/...": {
		weir: []string{"bpf/..."}, outside: []string{"github.com/cilium/ebpf"},
		why: "bpf is the layout that C and Go share; whoever imports it must not get more than types",
	},
	"state": {
		weir: []string{"internal/table"},
		why:  "state is the vocabulary of all features: it depends on neither Kubernetes nor the kernel",
	},
	"api/...": {
		weir: []string{"api/..."}, outside: []string{"google.golang.org/protobuf", "google.golang.org/grpc"},
		why: "api is what others depend on: a client must not link the agent",
	},
	"api/v1": {
		outside: []string{"k8s.io/apimachinery"},
		why:     "api/v1 is types only",
	},
	"api/client": {
		weir: []string{"api/v1"}, outside: []string{"k8s.io/apimachinery", "k8s.io/client-go"},
		why: "api/client carries types to an API server and back",
	},
	"source/...": {
		weir: []string{"state", "api/...", "source/...", "internal/..."}, outside: []string{"k8s.io/", "sigs.k8s.io/", "go.yaml.in/yaml", "golang.org/x/sys"},
		why: "sources fill tables and know nothing of who reads them",
	},
	"operator/...": {
		weir: []string{"state", "api/...", "operator/...", "internal/..."}, outside: []string{"k8s.io/", "sigs.k8s.io/"},
		why: "the operator decides for the cluster and runs on no node in particular",
	},
	"operator/config": {
		weir: []string{"operator", "internal/suggest"}, outside: []string{"go.yaml.in/yaml"},
		why: "the configuration is a value: reading it must not need what it configures",
	},
	"operator/run": {
		weir: []string{"state", "api/...", "operator/...", "internal/...", "source/convert", "source/files", "source/kube/connect", "observe/metrics"}, outside: []string{"k8s.io/", "sigs.k8s.io/", "github.com/prometheus/client_golang"},
		why: "the operator's edges turn objects into the rows that its decisions are made of, as sources do, judge policies and find API servers as agents do",
	},
	"control/...": {
		weir: []string{"state", "datapath/...", "bpf", "internal/..."}, outside: []string{"golang.org/x/sys"},
		why: "features talk through tables, never to each other and never to Kubernetes",
	},
	"control/device": {
		weir: []string{"state", "datapath/...", "internal/..."}, outside: []string{"golang.org/x/sys", "github.com/vishvananda/netlink"},
		why: "control/device turns the kernel's links and addresses into rows, so it listens to netlink itself",
	},
	"datapath/...": {
		weir: []string{"bpf", "datapath/...", "internal/..."}, outside: []string{"github.com/cilium/ebpf", "github.com/vishvananda/", "golang.org/x/sys"},
		why: "datapath applies entries and does not know which rows they came from",
	},
	"observe/...": {
		weir: []string{"bpf", "state", "api/...", "internal/...", "observe/..."}, outside: []string{"github.com/cilium/ebpf", "golang.org/x/net/dns/dnsmessage", "golang.org/x/sys", "google.golang.org/grpc", "google.golang.org/protobuf", "github.com/prometheus/"},
		why: "observing changes nothing, so it needs neither control nor datapath",
	},
	"relay/...": {
		weir: []string{"api/...", "internal/...", "relay/...", "ui"}, outside: []string{"google.golang.org/grpc", "google.golang.org/protobuf"},
		why: "the relay asks agents over the wire, as any client does",
	},
	"relay/run": {
		weir: []string{"api/...", "internal/...", "relay/...", "observe/metrics"}, outside: []string{"google.golang.org/grpc", "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"},
		why: "the relay as a process is measured as the agent and the operator are",
	},
	"ui": {
		why: "the page is files: who serves it gives it what it asks for",
	},
	"cli/...": {
		weir: []string{"api/...", "internal/version", "cli/..."}, outside: []string{"github.com/spf13/", "google.golang.org/grpc", "google.golang.org/protobuf"},
		why: "the CLI speaks to the agent over its socket alone",
	},
	"cni/...": {
		weir: []string{"api/agent", "internal/suggest", "internal/version", "cni/..."}, outside: []string{"github.com/containernetworking/cni", "golang.org/x/sys"},
		why: "the plugin is started for every pod: it stays thin and leaves the work to the agent",
	},
	"agent/config": {
		weir: []string{"internal/suggest"}, outside: []string{"go.yaml.in/yaml"},
		why: "the configuration is a value: reading it must not need what it configures",
	},
	"agent/...": {weir: all, outside: all, why: "agent is the wiring"},
	"lab/...": {
		weir: []string{"agent/...", "api/...", "cli/...", "cni/...", "internal/...", "lab/...", "operator/...", "source/...", "state", "datapath/..."}, outside: all,
		why: "the lab starts real agents; it does not reach into their features",
	},
	"lab/kube": {
		why: "it makes a Kubernetes and does not look into what is installed there",
	},
	"cmd/...":   {weir: []string{"agent/...", "api/agent", "cli/...", "cni/...", "lab/...", "operator/...", "relay/...", "internal/..."}, outside: all, why: "a command picks a room and starts it"},
	"bench/...": {weir: all, outside: all, why: "benchmarks measure every room"},
	"test/...":  {weir: all, outside: all, why: "tests look at every room"},
	"tools/...": {weir: all, outside: all, why: "tools are not shipped"},
}

// mayImportAgent are the rooms that start agents; nobody else needs one.
var mayImportAgent = []string{"agent/...", "cmd/...", "lab/...", "bench/...", "tools/..."}

// mayImportKubernetes are the only rooms that know its types.
var mayImportKubernetes = []string{"source/...", "operator/...", "api/v1", "api/client", "lab/...", "bench/...", "test/...", "tools/..."}

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath string
	Doc        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

func (p pkg) path() string { return strings.TrimPrefix(p.ImportPath, module) }

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Doc,GoFiles,Imports,Deps", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		if len(p.GoFiles) > 0 {
			list = append(list, p)
		}
	}
}

func TestImportsFollowTheRules(t *testing.T) {
	for _, p := range packages(t) {
		for _, v := range violations(p) {
			t.Error(v)
		}
	}
}

func TestTheRulesCatchWhatTheyForbid(t *testing.T) {
	for _, tt := range []struct{ path, imp, says string }{
		{"control/ipcache", "weir/control/endpoint", "features talk through tables"},
		{"control/ipcache", "k8s.io/api/core/v1", "objects become rows"},
		{"control/ipcache", "github.com/vishvananda/netlink", "features talk"},
		{"cli", "weir/state", "over its socket alone"},
		{"state", "weir/bpf", "vocabulary"},
		{"datapath/link", "weir/state", "datapath applies entries"},
		{"source/files", "weir/agent/config", "gets its part of the configuration"},
		{"api/v1", "weir/state", "types only"},
		{"api/agent", "k8s.io/apimachinery/pkg/types", "objects become rows"},
		{"internal/table", "weir/state", "knows nothing about Weir"},
		{"agent/config", "weir/state", "the configuration is a value"},
		{"util", "fmt", "in no room"},
	} {
		got := violations(pkg{ImportPath: module + tt.path, Imports: []string{tt.imp}})
		if !strings.Contains(strings.Join(got, "\n"), tt.says) {
			t.Errorf("%s imports %s: got %q, want %q", tt.path, tt.imp, got, tt.says)
		}
	}
}

// violations returns what is wrong with the imports of a package.
func violations(p pkg) []string {
	r, ok := roomOf(p.path())
	if !ok {
		return []string{p.ImportPath + " is in no room: put it into one, or add the room to ARCHITECTURE.md and to this table"}
	}
	var out []string
	mine, isFeature := feature(p.path())
	for _, imp := range p.Imports {
		refuse := func(why string) { out = append(out, p.ImportPath+" imports "+imp+": "+why) }
		inner, ours := strings.CutPrefix(imp, module)
		if ours && !matches(r.weir, inner) || !ours && strings.Contains(imp, ".") && !hasPrefix(r.outside, imp) {
			refuse(r.why)
		}
		if other, is := feature(inner); isFeature && is && other != mine {
			refuse("features talk through tables")
		}
		if ours && matches([]string{"agent/..."}, inner) && !matches(mayImportAgent, p.path()) {
			refuse("a room gets its part of the configuration handed in")
		}
		if strings.HasPrefix(imp, "k8s.io/") && !matches(mayImportKubernetes, p.path()) {
			refuse("objects become rows in source/convert, and everything else sees rows")
		}
	}
	return out
}

// The plugin runs once for each pod, so that what it links is paid for by each.
func TestThePluginLinksNeitherKubernetesNorEBPFNorGRPC(t *testing.T) {
	for _, p := range packages(t) {
		if p.path() != "cmd/weir-cni" {
			continue
		}
		for _, dep := range p.Deps {
			if hasPrefix([]string{"k8s.io/", "github.com/cilium/ebpf", "github.com/spf13/", "google.golang.org/grpc"}, dep) {
				t.Errorf("%s links %s", p.ImportPath, dep)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment: say what it is for, and what it does not do", p.ImportPath)
		}
	}
}

var writer = regexp.MustCompile(`^writer: (the source|agent|control/[a-z]+)(,|$)`)

func TestEveryTableNamesItsOneWriter(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "state/state.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	tables, ok := file.Scope.Lookup("Tables").Decl.(*ast.TypeSpec).Type.(*ast.StructType)
	if !ok || len(tables.Fields.List) == 0 {
		t.Fatal("state.Tables is not a struct with fields")
	}
	for _, f := range tables.Fields.List {
		text := strings.TrimSpace(f.Comment.Text())
		// What stands in brackets only says which ones.
		text = regexp.MustCompile(` \([^)]*\)`).ReplaceAllString(text, "")
		if !writer.MatchString(text) || strings.Count(text, "writer") != 1 {
			t.Errorf("state.Tables.%s: comment %q, want \"writer: ROOM\" with the one room that writes it", f.Names[0], text)
		}
	}
}

func roomOf(path string) (room, bool) {
	best := ""
	for pattern := range rooms {
		if matches([]string{pattern}, path) && len(strings.TrimSuffix(pattern, "/...")) >= len(best) {
			best = strings.TrimSuffix(pattern, "/...")
			if pattern == path {
				return rooms[pattern], true
			}
		}
	}
	r, ok := rooms[best+"/..."]
	return r, ok
}

// feature returns X of control/X/...
func feature(path string) (string, bool) {
	parts := strings.Split(path, "/")
	if parts[0] != "control" || len(parts) < 2 {
		return "", false
	}
	return parts[1], true
}

func matches(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		base, tree := strings.CutSuffix(p, "...")
		return p == path || tree && (base == "" || path == strings.TrimSuffix(base, "/") || strings.HasPrefix(path, base))
	})
}

func hasPrefix(prefixes []string, path string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return p == "..." || strings.HasPrefix(path, p) })
}

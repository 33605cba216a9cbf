package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"weir/api/agent"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// now is when the tests take place.
var now = time.Date(2026, 6, 27, 9, 7, 0, 0, time.UTC)

// fake answers each path with a value as JSON, or with a refusal.
type fake map[string]any

func (f fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply, ok := f[r.URL.RequestURI()]
	if !ok {
		reply = &agent.Error{Code: agent.CodeInternal, Message: "no path " + r.URL.RequestURI()}
	}
	if _, refused := reply.(*agent.Error); refused {
		w.WriteHeader(http.StatusNotFound)
	}
	json.NewEncoder(w).Encode(reply)
}

// serve starts the agent and returns its socket, whose path has to be short.
func (f fake) serve(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}

// weir runs a command line and returns what it printed and its exit code.
func weir(t *testing.T, socket string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	env := &Env{Stdout: &out, Stderr: &errs, Socket: socket, Now: func() time.Time { return now }, Build: Build{"v0.1.0", "c0ffee"}}
	code = Execute(t.Context(), Command(env), args)
	return out.String(), errs.String(), code
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (run with -update to accept):\n%s", path, diff)
	}
}

func TestOutputIsGolden(t *testing.T) {
	healthy, sick := cluster3().serve(t), sick().serve(t)
	cases := []struct {
		name   string
		socket string
		args   string
		code   int
	}{
		{"status", healthy, "status", 0},
		{"status-verbose", healthy, "status --verbose", 0},
		{"status-json", healthy, "status -o json", 0},
		{"status-sick", sick, "status", 1},
		{"endpoint-list", healthy, "endpoint list", 0},
		{"endpoint-list-json", healthy, "endpoint list -o json", 0},
		{"endpoint-get", healthy, "endpoint get default/web", 0},
		{"endpoint-get-json", healthy, "endpoint get 2 --output=json", 0},
		{"node-list", healthy, "node list", 0},
		{"ip-list", healthy, "ip list", 0},
		{"ip-list-numeric", healthy, "ip list -n", 0},
		{"ip-get", healthy, "ip get 10.0.2.77", 0},
		{"ip-get-json", healthy, "ip get fd00:1::7 -o json", 0},
		{"map-list", healthy, "map list", 0},
		{"map-list-verbose", healthy, "map list --verbose", 0},
		{"map-get", healthy, "map get weir_ipcache", 0},
		{"map-get-json", healthy, "map get ipcache -o json", 0},
		{"config", healthy, "config", 0},
		{"metrics-list", healthy, "metrics list", 0},
		{"metrics-drops", healthy, "metrics list --drops", 0},
		{"health-status", healthy, "health status", 0},
		{"health-sick", sick, "health status --probe", 1},
		{"table", healthy, "table", 0},
		{"table-nodes", healthy, "table nodes", 0},
		{"version", healthy, "version", 0},
		{"version-json", healthy, "version -o json", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stdout, stderr, code := weir(t, c.socket, strings.Fields(c.args)...)
			if code != c.code || stderr != "" {
				t.Errorf("weir %s: exit code %d and stderr %q, want %d and none", c.args, code, stderr, c.code)
			}
			golden(t, c.name, stdout)
		})
	}
}

func TestColumnsAreThreeSpacesApartAndLinesEndInNone(t *testing.T) {
	socket := cluster3().serve(t)
	for _, args := range []string{"endpoint list", "node list", "ip list", "map list --verbose", "map get ipcache", "status --verbose", "table nodes"} {
		stdout, _, _ := weir(t, socket, strings.Fields(args)...)
		for line := range strings.Lines(stdout) {
			if strings.HasSuffix(line, " \n") || strings.ContainsAny(line, "\t\x1b") {
				t.Errorf("weir %s: bad line %q", args, line)
			}
		}
	}
}

func TestErrorsNameTheThingAndTheWayOut(t *testing.T) {
	socket := cluster3().serve(t)
	cases := map[string]struct {
		args string
		code int
		text string
	}{
		"unknown map":        {"map get weir_ipcach", 1, `no map "weir_ipcach"; there are weir_ipcache, weir_endpoints`},
		"unknown table":      {"table nods", 1, `no table "nods"; there are nodes, ips`},
		"unknown endpoint":   {"endpoint get 99", 1, `no endpoint "99" on this node`},
		"uncovered address":  {"ip get 192.0.2.1", 1, "no row of the ipcache covers 192.0.2.1"},
		"refusal":            {"map get endpoints", 1, "weir_endpoints cannot be read: permission denied"},
		"bad address":        {"ip get 10.0.2", 2, `"10.0.2" is neither an address`},
		"unknown noun":       {"endpint list", 2, `unknown command "endpint"`},
		"unknown verb":       {"endpoint lst", 2, `weir endpoint has no command "lst"; it has get, list`},
		"noun alone":         {"map", 2, "weir map needs one of its commands: get, list"},
		"unknown flag":       {"status --verbos", 2, "unknown flag: --verbos"},
		"missing argument":   {"map get", 2, "accepts 1 arg(s), received 0"},
		"superfluous":        {"status now", 2, "now"},
		"unknown output":     {"node list -o yaml", 2, `output "yaml": known are table and json`},
		"flag before a noun": {"--socket /none/s status", 1, "no agent answers at /none/s"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := weir(t, socket, strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(stderr, c.text) || stdout != "" {
				t.Errorf("weir %s: exit code %d, stdout %q, stderr %q; want %d and %q", c.args, code, stdout, stderr, c.code, c.text)
			}
		})
	}
}

func TestEveryCommandSaysThatTheAgentIsDown(t *testing.T) {
	for _, args := range []string{"status", "endpoint list", "endpoint get 1", "node list", "ip list", "ip get 10.0.0.1", "map list",
		"map get x", "config", "metrics list", "health status", "table", "table x", "version"} {
		_, stderr, code := weir(t, "/none/weir.sock", strings.Fields(args)...)
		if code != 1 || !strings.Contains(stderr, "no agent answers at /none/weir.sock") || !strings.Contains(stderr, "is weir-agent running?") {
			t.Errorf("weir %s: exit code %d, stderr %q", args, code, stderr)
		}
	}
	if stdout, _, code := weir(t, "/none/weir.sock", "version", "--client"); code != 0 || !strings.Contains(stdout, "v0.1.0 (c0ffee)") {
		t.Errorf("version --client: exit code %d, %q", code, stdout)
	}
}

func TestNothingIsAnEmptyListInJSON(t *testing.T) {
	socket := fake{agent.PathEndpoints: nil, agent.PathNodes: nil, agent.PathIPs: nil, agent.PathMaps: nil,
		agent.PathMetrics: nil, agent.PathHealth: nil, agent.PathTables: nil}.serve(t)
	for _, args := range []string{"endpoint list", "node list", "ip list", "map list", "metrics list", "metrics list --drops", "health status", "table"} {
		stdout, stderr, code := weir(t, socket, append(strings.Fields(args), "-o", "json")...)
		if stdout != "[]\n" || code != 0 {
			t.Errorf("weir %s: got %q, exit code %d, %s", args, stdout, code, stderr)
		}
	}
}

// Commands from elsewhere (the lab's) may end with the exit code of what they ran.
func TestExitCodesOfOtherCommandsAreKept(t *testing.T) {
	for want, err := range map[int]error{0: nil, 1: errors.New("plain"), 7: exit(7)} {
		root := Command(&Env{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}})
		root.AddCommand(&cobra.Command{Use: "lab", RunE: func(*cobra.Command, []string) error { return err }})
		if got := Execute(t.Context(), root, []string{"lab"}); got != want {
			t.Errorf("error %v: exit code %d, want %d", err, got, want)
		}
	}
}

type exit int

func (exit) Error() string   { return "exited" }
func (e exit) ExitCode() int { return int(e) }

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"weir/api/agent"
	"weir/internal/goldentest"
)

// now is when the tests take place.
var now = time.Date(2026, 6, 27, 9, 7, 0, 0, time.UTC)

// fake answers each path with a value as JSON, with what a function makes of the
// request, or with a refusal.
type fake map[string]any

func (f fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply, ok := f[r.URL.RequestURI()]
	if !ok {
		reply = &agent.Error{Code: agent.CodeInternal, Message: "no path " + r.URL.RequestURI()}
	}
	if f, ok := reply.(func(*http.Request) any); ok {
		reply = f(r)
	}
	if l, ok := reply.(lines); ok {
		for _, value := range l {
			json.NewEncoder(w).Encode(value)
		}
		return
	}
	if _, refused := reply.(*agent.Error); refused {
		w.WriteHeader(http.StatusNotFound)
	}
	json.NewEncoder(w).Encode(reply)
}

// lines are values that are streamed.
type lines []any

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
	env := &Env{Stdin: strings.NewReader(someYAML), Stdout: &out, Stderr: &errs, Socket: socket, Now: func() time.Time { return now }, Build: Build{"v0.1.0", "c0ffee"}, ExplainFile: explainFile3}
	code = Execute(t.Context(), Command(env), args)
	return out.String(), errs.String(), code
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	goldentest.Compare(t, name+".golden", got)
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
		{"config-explain", healthy, "config explain bpf", 0},
		{"config-explain-json", healthy, "config explain bpf -o json", 0},
		{"config-explain-file", "/nowhere", "config explain --config weir.yaml mtu", 0},
		{"metrics-list", healthy, "metrics list", 0},
		{"metrics-export", healthy, "metrics export", 0},
		{"health-verbose", healthy, "health status --verbose", 0},
		{"metrics-drops", healthy, "metrics list --drops", 0},
		{"health-status", healthy, "health status", 0},
		{"health-sick", sick, "health status --probe", 1},
		{"table", healthy, "table", 0},
		{"table-nodes", healthy, "table nodes", 0},
		{"identity-list", healthy, "identity list", 0},
		{"identity-list-label", healthy, "identity list app=web k8s:io.kubernetes.pod.namespace=default", 0},
		{"identity-get", healthy, "identity get 15773", 0},
		{"identity-get-reserved", healthy, "identity get world", 0},
		{"identity-get-json", healthy, "identity get reserved:world -o json", 0},
		{"policy-list", healthy, "policy list", 0},
		{"policy-list-problems", healthy, "policy list --problems", 0},
		{"policy-list-json", healthy, "policy list -o json", 0},
		{"policy-get", healthy, "policy get default/web", 0},
		{"policy-get-json", healthy, "policy get host -o json", 0},
		{"policy-get-host", healthy, "policy get host", 0},
		{"policy-get-health", healthy, "policy get 10.0.1.4", 0},
		{"policy-explain-allowed", healthy, "policy explain default/client default/web:80", 0},
		{"policy-explain-json", healthy, "policy explain default/client default/web:80/tcp -o json", 0},
		{"policy-explain-default-deny", healthy, "policy explain default/client default/web:81", 1},
		{"policy-explain-deny-rule", healthy, "policy explain default/client host", 1},
		{"policy-explain-ping", healthy, "policy explain default/client [fd00:1::7]:icmp", 0},
		{"policy-trace", healthy, "policy trace testdata/trace.yaml", 1},
		{"policy-trace-stdin", healthy, "policy trace -", 0},
		{"policy-trace-json", healthy, "policy trace - -o json", 0},
		{"policy-replay", healthy, "policy replay testdata/trace.yaml --since 1h", 1},
		{"policy-replay-stdin", healthy, "policy replay - --since 5m", 0},
		{"policy-replay-json", healthy, "policy replay testdata/trace.yaml -o json", 1},
		{"service-list", healthy, "service list", 0},
		{"service-list-name", healthy, "service list --namespace kube-system --name kube-dns", 0},
		{"service-list-json", healthy, "service list --name kube-dns -o json", 0},
		{"service-list-problems", healthy, "service list --problems --namespace prod", 0},
		{"service-list-off", sick, "service list", 0},
		{"service-get", healthy, "service get web", 0},
		{"service-get-headless", healthy, "service get default/peers", 0},
		{"service-get-json", healthy, "service get default/peers -o json", 0},
		{"backend-list", healthy, "backend list", 0},
		{"backend-list-json", healthy, "backend list -o json", 0},
		{"ct-list", healthy, "ct list", 0},
		{"ct-list-json", healthy, "ct list --proto sctp -o json", 0},
		{"ct-list-pod", healthy, "ct list --pod default/db", 0},
		{"ct-list-ip", healthy, "ct list --ip fd00::/16 --port 8080", 0},
		{"ct-list-every-filter", healthy, "ct list --proto UDP --ip 10.0.1.7 --port 53 --pod default/db", 0},
		{"nat-list", healthy, "nat list", 0},
		{"trace", healthy, "trace pod/client service/web", 0},
		{"trace-json", healthy, "trace pod/client service/web -o json", 0},
		{"why", healthy, "why default/client default/web:81", 1},
		{"why-json", healthy, "why default/client default/web:81 -o json", 1},
		{"nat-list-json", healthy, "nat list -o json", 0},
		{"nat-retries", healthy, "nat retries", 0},
		{"affinity-list", healthy, "affinity list", 0},
		{"l2-list", healthy, "l2 list", 0},
		{"l2-list-json", healthy, "l2 list -o json", 0},
		{"drops", healthy, "drops", 0},
		{"drops-last", healthy, "drops --last 1", 0},
		{"drops-pod-json", healthy, "drops --pod default/db -o json", 0},
		{"drops-none", healthy, "drops --pod default/idle", 0},
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
	for _, args := range []string{"endpoint list", "node list", "ip list", "map list --verbose", "map get ipcache", "status --verbose", "table nodes",
		"identity list", "policy list", "policy get 1", "policy explain default/client default/web:81", "ct list", "drops", "service list", "service get web", "backend list"} {
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
		"no such identity":   {"identity get 300", 1, `no identity "300" on this node: weir identity list shows all`},
		"bad identity":       {"identity get 1e9", 2, `"1e9" is not an identity: give its number (257)`},
		"huge identity":      {"identity get 4294967296", 2, `"4294967296" is not an identity`},
		"unknown reserved":   {"identity get mars", 1, `no identity "mars"`},
		"policy of nobody":   {"policy get default/nobody", 1, `no endpoint "default/nobody" on this node`},
		"policy noun alone":  {"policy", 2, "weir policy needs one of its commands: explain, get, list, replay, trace"},
		"explain no file":    {"config explain --config none.yaml", 1, "open none.yaml: no such file"},
		"explain one end":    {"policy explain default/web", 2, "accepts 2 arg(s), received 1"},
		"explain bare name":  {"policy explain web default/web", 2, `no pod "default/web" is known`},
		"explain bad port":   {"policy explain default/web host:70000", 2, `"70000" is not a port: use 1 to 65535`},
		"explain bad proto":  {"policy explain default/web host:80/tpc", 2, `"TPC" is not a protocol: known are TCP, UDP, SCTP`},
		"explain refusal":    {"policy explain default/gone host:80", 2, `no pod "default/gone"`},
		"trace no file":      {"policy trace /none/x.yaml", 2, "open /none/x.yaml: no such file"},
		"trace empty file":   {"policy trace /dev/null", 2, "/dev/null is empty: give a file"},
		"replay no file":     {"policy replay /none/x.yaml", 2, "open /none/x.yaml: no such file"},
		"replay empty file":  {"policy replay /dev/null", 2, "/dev/null is empty: give a file"},
		"replay since 0":     {"policy replay - --since 0s", 2, "--since 0s: give how far to look back"},
		"replay since when":  {"policy replay - --since yesterday", 2, `invalid argument "yesterday" for "--since" flag`},
		"replay refusal":     {"policy replay - --since 6m", 2, "not the file and time: stdin 6m0s"},
		"unknown service":    {"service get none", 1, "no service default/none is known"},
		"bad service":        {"service get a/b/c", 2, `"a/b/c" is not a service: write NAMESPACE/NAME`},
		"service noun alone": {"service", 2, "weir service needs one of its commands: get, list"},
		"backend noun":       {"backend get 1", 2, `weir backend has no command "get"; it has list`},
		"ct bad address":     {"ct list --ip 10.0.1", 2, `--ip: "10.0.1" is neither an address`},
		"ct bad pod":         {"ct list --pod web", 2, `--pod: "web" is not a pod: write NAMESPACE/POD`},
		"ct unknown pod":     {"ct list --pod default/nobody", 1, `no pod "default/nobody" has an address in the ipcache`},
		"ct bad port":        {"ct list --port 70000", 2, `--port: "70000" is not a port: use 1 to 65535`},
		"ct port 0":          {"ct list --port 0", 2, `--port: "0" is not a port: use 1 to 65535`},
		"ct port by name":    {"ct list --port http", 2, `--port: "http" is not a port`},
		"ct bad proto":       {"ct list --proto tpc", 2, `"tpc" is not a protocol`},
		"trace live for 0":   {"trace pod/a pod/b --live --for 0s", 2, "--for 0s: give how long to follow packets"},
		"trace bad port":     {"trace pod/a pod/b --port 70000", 2, "70000"},
		"drops bad last":     {"drops --last 0", 2, "--last 0: give how many drops to show, 1 or more"},
		"drops bad pod":      {"drops --pod web", 2, `--pod: "web" is not a pod`},
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
		"map get x", "config", "metrics list", "health status", "table", "table x", "version",
		"identity list", "identity get 1", "policy list", "policy get 1", "policy get host", "policy trace -", "policy replay -", "ct list", "drops", "drops --follow", "monitor", "policy explain host world:80",
		"service list", "service get x", "backend list"} {
		want := 1
		if strings.HasPrefix(args, "policy explain") || strings.HasPrefix(args, "policy trace") || strings.HasPrefix(args, "policy replay") {
			want = 2 // 1 would say "denied", or "refused"
		}
		_, stderr, code := weir(t, "/none/weir.sock", strings.Fields(args)...)
		if code != want || !strings.Contains(stderr, "no agent answers at /none/weir.sock") || !strings.Contains(stderr, "is weir-agent running?") {
			t.Errorf("weir %s: exit code %d, stderr %q", args, code, stderr)
		}
	}
	if stdout, _, code := weir(t, "/none/weir.sock", "version", "--client"); code != 0 || !strings.Contains(stdout, "v0.1.0 (c0ffee)") {
		t.Errorf("version --client: exit code %d, %q", code, stdout)
	}
}

func TestNothingIsAnEmptyListInJSON(t *testing.T) {
	socket := fake{agent.PathEndpoints: nil, agent.PathNodes: nil, agent.PathIPs: nil, agent.PathMaps: nil,
		agent.PathMetrics: nil, agent.PathHealth: nil, agent.PathTables: nil,
		agent.PathIdentities: nil, agent.PathPolicies: nil, agent.PathDrops: nil, agent.PathServices: nil, agent.PathBackends: nil}.serve(t)
	for _, args := range []string{"endpoint list", "node list", "ip list", "map list", "metrics list", "metrics list --drops", "health status", "table",
		"identity list", "identity list a=b", "policy list", "policy list --problems", "drops",
		"service list", "service list --problems", "backend list"} {
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

func TestExamplesOfTheHelpAreCommands(t *testing.T) {
	seen := 0
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			_, line, _ = strings.Cut(line, "weir ")
			args := strings.Fields(strings.ReplaceAll(line, "'", ""))
			found, rest, err := c.Root().Find(args)
			if err != nil || found != c {
				t.Errorf("example %q of weir %s is another command: %v", line, c.Name(), err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil || found.ValidateArgs(found.Flags().Args()) != nil {
				t.Errorf("example %q has wrong arguments: %v", line, err)
			}
			seen++
		}
		for _, sub := range c.Commands() {
			check(sub)
		}
	}
	check(Command(&Env{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}}))
	if seen < 15 {
		t.Errorf("%d examples were checked, want 15 or more", seen)
	}
}

// Whoever asks whether a node does its part is not told of an API server that is away.
func TestStatusOfTheNodeAlone(t *testing.T) {
	alone := status3()
	alone.OK, alone.Source = false, agent.Condition{Message: "Kubernetes: no answer"}
	ill := alone
	ill.Datapath = agent.Condition{Message: "11 of 12 programs attached"}
	failing := alone
	failing.Controllers.Healthy--
	for _, x := range []struct {
		what string
		s    agent.Status
		args []string
		code int
	}{
		{"no API server", alone, []string{"status"}, 1},
		{"no API server, the node alone", alone, []string{"status", "--local"}, 0},
		{"a program is missing", ill, []string{"status", "--local"}, 1},
		{"a controller fails", failing, []string{"status", "--local"}, 1},
	} {
		if _, stderr, code := weir(t, fake{agent.PathStatus: x.s}.serve(t), x.args...); code != x.code {
			t.Errorf("%s: exit code %d, %s, want %d", x.what, code, stderr, x.code)
		}
	}
}

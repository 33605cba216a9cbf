package sysdump

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	api "weir/api/agent"
	"weir/state"
)

// planted stands wherever something could be that must not leave.
const planted = "PLANTED-7f3a91"

// plant adds to every object, at every depth, what a later version or another
// program might put there.
func plant(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plant(v[k])
		}
		for _, k := range []string{"annotations", "env", "token", "secret", "comment"} {
			v[k] = map[string]any{"inner": planted}
		}
	case []any:
		for i := range v {
			v[i] = plant(v[i])
		}
	}
	return v
}

// agentOf answers with what an agent says, planted.
func agentOf(t *testing.T, replies map[string]any) string {
	t.Helper()
	return listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply, ok := replies[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			reply = api.Error{Message: "no such path; token=" + planted}
		}
		text, err := json.Marshal(reply)
		var v any
		if err == nil {
			err = json.Unmarshal(text, &v)
		}
		if err != nil {
			t.Error(err)
		}
		if _, log := replies[r.URL.Path].([]api.LogLine); !log { // whose attributes are planted already, by name
			v = plant(v)
		}
		json.NewEncoder(w).Encode(v)
	}))
}

func listen(t *testing.T, h http.Handler) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sysdump")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go s.Serve(l)
	t.Cleanup(func() { s.Close(); os.RemoveAll(dir) })
	return l.Addr().String()
}

// replies are of an agent with one of everything, and free texts that have secrets in
// them.
func replies() map[string]any {
	token := "eyJhbGciOiJSUzI1NiIs" + planted
	out := map[string]any{
		api.PathStatus: api.Status{Node: "n1", Version: "1.2.3", Warnings: []string{"server said Bearer " + planted + "xxxxxxxx"},
			Problems: []api.Problem{{Object: "Pod default/web", Error: "password: " + planted}}},
		api.PathConfig: api.Config{File: "/etc/weir/weir.yaml", Agent: []api.Option{{Key: "routingMode", Value: "tunnel"},
			{Key: "k8sServiceHost", Value: "https://user:" + planted + "@api:6443"}, {Key: "apiKey", Value: planted}}},
		api.PathLog: []api.LogLine{{Level: "WARN", Message: "reconcile failing", Attributes: map[string]string{"room": "host", "err": "401 token=" + planted, "body": planted}},
			{Level: "INFO", Message: token, Attributes: map[string]string{"authorization": planted}}},
		api.PathEndpoints:              []api.Endpoint{{ID: 7, Pod: "default/web", Labels: []string{"k8s:app=web"}}},
		api.PathNodes:                  []api.Node{{Name: "n1"}},
		api.PathIPs:                    []api.IP{{Prefix: "10.0.0.7/32"}},
		api.PathIdentities:             []api.Identity{{ID: 300}},
		api.PathPolicies:               []api.Policy{{Kind: "NetworkPolicy", Name: "allow"}},
		api.PathPolicyOf + "/7":        api.EndpointPolicy{Endpoint: 7},
		api.PathPolicyOf + "/host":     api.EndpointPolicy{},
		api.PathServices:               api.Services{Frontends: []api.Frontend{{Frontend: "10.96.0.1:80/TCP"}}},
		api.PathBackends:               []api.Backend{{ID: 1}},
		api.PathAffinities:             []api.Affinity{},
		api.PathL2:                     []api.L2Announcement{},
		api.PathNATRetries:             []api.NATRetries{},
		api.PathHealth:                 []api.Peer{{Node: "n2"}},
		api.PathDrops:                  []api.Drop{{Reason: "Policy denied"}},
		api.PathMetrics:                []api.Metric{{Reason: "Policy denied", Packets: 3}},
		api.PathConnections:            api.Connections{Entries: []api.Connection{{Source: "10.0.0.7:1"}}},
		api.PathExport:                 api.Export{Text: "cilium_endpoint 1\n# HELP x secret=" + planted + "\n"},
		api.PathMaps:                   []api.Map{{Name: "weir_ipcache", Type: "LPMTrie"}, {Name: "weir_events", Type: "RingBuf"}, {Name: "../../etc/passwd"}},
		api.PathMaps + "/weir_ipcache": api.MapDump{Rows: []api.MapRow{{Key: "10.0.0.7/32", Value: "identity=300"}}},
		api.PathTables:                 []string{"nodes", "secrets"},
		api.PathTables + "/nodes":      api.Table{Name: "nodes", Heading: []string{"Name", "Annotations", "Local"}, Rows: [][]string{{"n1", planted, "true"}}},
		api.PathTables + "/secrets":    api.Table{Name: "secrets", Heading: []string{"Name"}, Rows: [][]string{{planted}}},
	}
	return out
}

// tools puts programs of these names into the path, which print these texts, and no
// others.
func tools(t *testing.T, texts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name+".txt"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		// $PLANTED would be there had the program our environment.
		script := fmt.Sprintf("#!/bin/sh\nwhile IFS= read -r line; do printf '%%s\\n' \"$line$PLANTED\"; done < %s\n", filepath.Join(dir, name+".txt"))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	t.Setenv("PLANTED", planted)
}

var printed = map[string]string{
	"bpftool":       `[{"id":5,"type":"sched_cls","name":"from_pod","pids":[{"pid":1,"comm":"` + planted + `"}]}]` + "\n",
	"nft":           `{"nftables":[{"metainfo":{"version":"1"}},{"table":{"family":"ip","name":"nat"}},{"chain":{"family":"ip","table":"nat","name":"pre"}},{"rule":{"family":"ip","table":"nat","comment":"` + planted + `"}}]}` + "\n",
	"iptables-save": "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m comment --comment " + planted + " -j KUBE-SERVICES\n-A PREROUTING -j X\nCOMMIT\n",
}

// dump runs the command and returns the archive's files by name, what was said, and
// the archive's path.
func dump(t *testing.T, args ...string) (files map[string]string, stdout, stderr, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "dump.tar.gz")
	var out, errs bytes.Buffer
	root := &cobra.Command{Use: "weir", SilenceErrors: true, SilenceUsage: true}
	root.PersistentFlags().String("socket", "", "")
	root.AddCommand(Command())
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs(append([]string{"sysdump", "--file", file}, args...))
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	err = unpack(bytes.NewReader(data), func(name string, data []byte) error {
		files[name] = string(data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, out.String(), errs.String(), file
}

func wantNoSecret(t *testing.T, files map[string]string, said ...string) {
	t.Helper()
	for name, text := range files {
		if i := strings.Index(text, planted); i >= 0 {
			t.Errorf("%s has what was planted: ...%s", name, text[max(i-120, 0):min(i+40, len(text))])
		}
		if strings.Contains(name, planted) || strings.Contains(name, "..") {
			t.Errorf("name %q", name)
		}
	}
	for _, s := range said {
		if strings.Contains(s, planted) {
			t.Errorf("it is said: %s", s)
		}
	}
}

// TestOnlyWhatIsNamedLeaves: a secret is planted in every object of every answer,
// in columns, attributes, free texts, what the tools print, the environment, names of
// files' contents and the log.
func TestOnlyWhatIsNamedLeaves(t *testing.T) {
	tools(t, printed)
	confs := t.TempDir()
	log := filepath.Join(t.TempDir(), "agent.log")
	text := `time=2026-11-29T23:00:00.000Z level=WARN msg="add refused" container=c1 token=` + planted + ` err="dial: Bearer ` + planted + `xxxx"` + "\n" + "panic: " + planted + "\ngoroutine 1\n"
	for file, data := range map[string]string{filepath.Join(confs, "05-weir.conflist"): planted, log: text} {
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, stdout, stderr, path := dump(t, "--socket", agentOf(t, replies()), "--cni-conf-dir", confs, "--log", log)
	wantNoSecret(t, files, stdout, stderr)
	if s, err := os.Stat(path); err != nil || s.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: want 0600", s.Mode(), err)
	}
	for name, want := range map[string]string{
		"agent/status.json": `"version": "1.2.3"`, "agent/config.json": `"routingMode"`, "agent/log.json": "reconcile failing", "agent/log-file.json": "add refused",
		"agent/endpoints.json": "default/web", "agent/endpoint-policies.json": `"endpoint": 7`, "agent/drops.json": "Policy denied", "agent/connections.json": "10.0.0.7:1",
		"agent/metrics.txt": "cilium_endpoint 1", "maps/weir_ipcache.json": "identity=300", "maps/list.json": "weir_events", "tables/nodes.json": `"true"`,
		"host/links.json": `"name": "lo"`, "host/routes.json": `"table": 255`, "host/addresses.json": "127.0.0.1/8", "host/rules.json": `"priority": 32766`, "host/bpf-programs.json": "from_pod", "host/nft-counts.json": `"rule": 1`, "host/iptables-counts.json": `"nat PREROUTING": 2`,
		"host/kernel.json": "sysctls", "host/cni-files.json": "05-weir.conflist", "SUMMARY.txt": "ip6tables-save is not installed here", "manifest.json": "agent/status.json",
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s lacks %q:\n%s", name, want, files[name])
		}
	}
	for name := range files {
		if name == "tables/secrets.json" || strings.Contains(name, "passwd") || name == "maps/weir_events.json" {
			t.Errorf("%s is there", name)
		}
	}
	if !strings.Contains(files["agent/log-file.json"], `"linesLeftOut": 2`) {
		t.Errorf("lines of another form: %s", files["agent/log-file.json"])
	}
	if !strings.Contains(stderr, "agent/status.json") || !strings.Contains(stdout, path) {
		t.Errorf("progress %q, result %q", stderr, stdout)
	}
}

// TestWithoutAnAgentTheHostIsThereAllTheSame, and the archive says so.
func TestWithoutAnAgentTheHostIsThereAllTheSame(t *testing.T) {
	tools(t, printed)
	files, _, _, _ := dump(t, "--socket", filepath.Join(t.TempDir(), "none"))
	if !strings.Contains(files["host/links.json"], `"lo"`) || !strings.Contains(files["SUMMARY.txt"], "agent/status.json: no agent answers at") {
		t.Errorf("links %s\n%s", files["host/links.json"], files["SUMMARY.txt"])
	}
}

// TestAnAgentThatHangsCostsItsTimeOnly and the rest is said to be left out.
func TestAnAgentThatHangsCostsItsTimeOnly(t *testing.T) {
	tools(t, printed)
	hang := make(chan struct{})
	socket := listen(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer close(hang)
	began := time.Now()
	files, _, _, _ := dump(t, "--socket", socket, "--limit-time", "500ms")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	if !strings.Contains(files["SUMMARY.txt"], "left out: the time is over") {
		t.Errorf("%s", files["SUMMARY.txt"])
	}
}

// TestTheArchiveIsBounded: a file too large is cut, and what comes when it is full is
// left out, by name.
func TestTheArchiveIsBounded(t *testing.T) {
	tools(t, printed)
	all := replies()
	var many []api.Endpoint
	for i := range 8000 {
		many = append(many, api.Endpoint{ID: uint32(i), Pod: "default/pod-with-a-long-name", Labels: []string{"k8s:app=web", "k8s:io.kubernetes.pod.namespace=default"}})
	}
	all[api.PathEndpoints] = many
	files, stdout, _, _ := dump(t, "--socket", agentOf(t, all), "--limit-size", "1")
	total := 0
	for name, text := range files {
		if name != "manifest.json" && name != "SUMMARY.txt" {
			total += len(text)
		}
	}
	if total > 1<<20 {
		t.Errorf("%d bytes", total)
	}
	for _, want := range []string{"agent/endpoints.json: only the first ", "agent/drops.json: left out: the archive has its 1 MiB"} {
		if !strings.Contains(files["SUMMARY.txt"], want) {
			t.Errorf("lacks %q:\n%s\n%s", want, files["SUMMARY.txt"], stdout)
		}
	}
}

// TestTablesAreNamedAsTheyAre: a column that got another name would be missing
// without a word.
func TestTablesAreNamedAsTheyAre(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range state.New().Views() {
		seen[v.Name] = true
		known := tableColumns[v.Name]
		for _, h := range v.Heading {
			if known != nil && !known[strings.ReplaceAll(h, " ", "_")] {
				t.Logf("column %s of %s does not leave", h, v.Name)
			}
		}
		for k := range known {
			if !strings.Contains("|"+strings.ReplaceAll(strings.Join(v.Heading, "|"), " ", "_")+"|", "|"+k+"|") {
				t.Errorf("table %s has no column %s", v.Name, k)
			}
		}
	}
	for name := range tableColumns {
		if !seen[name] {
			t.Errorf("there is no table %s", name)
		}
	}
}

func TestScrubTakesWhatLooksLikeASecretAndNothingElse(t *testing.T) {
	for text, want := range map[string]string{
		"Authorization: Bearer abcdefgh12345678":                                    "Authorization: [removed]",
		"https://bob:hunter22@api:6443/x":                                           "https[removed]api:6443/x",
		`{"client_secret":"x y"}`:                                                   `{"[removed]}`,
		`body "{\"password\":\"x y\",\"a\":1}"`:                                     `body "{\"[removed],\"a\":1}"`,
		`token='x y' --password 'q'`:                                                `[removed] [removed]`,
		"-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nrest": "[removed]\nrest",
		"policy denied 10.0.0.1:80 -> 10.0.0.2:80":                                  "policy denied 10.0.0.1:80 -> 10.0.0.2:80",
		"k8s:app=web":            "k8s:app=web",
		"identity=300 flags=0x1": "identity=300 flags=0x1",
	} {
		if got := scrub(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// TestAllNodesAreAskedByKubectl whose stand-in runs the command itself.
func TestAllNodesAreAskedByKubectl(t *testing.T) {
	tools(t, printed)
	var one bytes.Buffer
	o := options{socket: agentOf(t, replies()), file: "-", size: 64, limit: time.Minute, now: time.Now, said: io.Discard}
	if err := local(context.Background(), o, &one); err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("PATH")
	list := `{"items":[{"metadata":{"name":"weir-1","annotations":{"a":"` + planted + `"},"labels":{"app.kubernetes.io/name":"weir-agent"}},"spec":{"nodeName":"n1"}},` +
		`{"metadata":{"name":"weir-2","labels":{"app.kubernetes.io/name":"weir-agent"}},"spec":{"nodeName":"n2"}},` +
		`{"metadata":{"name":"op-1","labels":{"app.kubernetes.io/name":"weir-operator"}},"spec":{"nodeName":"n1"}}]}`
	log := "time=2026-11-29T23:00:00Z level=INFO msg=leader name=op-1 password=" + planted + "\n"
	script := `#!/bin/sh
case "$*" in
*"get pods"*) /bin/cat ` + dir + `/list;;
*"exec weir-1 "*) /bin/cat ` + dir + `/one;;
*"exec weir-2 "*) echo "error: container not found token=` + planted + `" >&2; exit 1;;
*"logs op-1"*) /bin/cat ` + dir + `/log;;
*) exit 1;;
esac
`
	for name, data := range map[string]string{"list": list, "one": one.String(), "log": log, "kubectl": script} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files, stdout, stderr, _ := dump(t, "--kubernetes")
	wantNoSecret(t, files, stdout, stderr)
	for name, want := range map[string]string{"nodes/n1/agent/status.json": `"version": "1.2.3"`, "nodes/n1/SUMMARY.txt": "weir sysdump of n1",
		"operators/op-1-log.json": "leader", "SUMMARY.txt": "weir-agent/n2: kubectl: exit status 1: error: container not found"} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s lacks %q:\n%s", name, want, files[name])
		}
	}
}

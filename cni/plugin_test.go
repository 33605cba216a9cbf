package cni

import (
	"bytes"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"weir/api/agent"
)

// The tests run the plugin as a runtime does, as a process: this binary, which
// is the plugin when the variable says so. Its value is the limit; the most is four of it.
const envRun = "WEIR_CNI_TEST_LIMIT"

func TestMain(m *testing.M) {
	if v := os.Getenv(envRun); v != "" {
		limit, err := time.ParseDuration(v)
		if err != nil {
			panic(err)
		}
		os.Exit((&plugin{limit: limit, most: 4 * limit, stdout: os.Stdout}).main())
	}
	os.Exit(m.Run())
}

// fake is an agent: it answers each path with the error set for it, or well,
// and keeps what it was asked.
type fake struct {
	dir      string
	worksFor time.Duration // before each answer, and says so

	mu       sync.Mutex
	answers  map[string]*agent.Error
	requests map[string][]json.RawMessage
}

func addReply() agent.AddReply {
	return agent.AddReply{
		EndpointID: 7, HostDevice: "weir0123456789a", HostMAC: "d2:ad:65:4d:d0:7b", MAC: "96:86:44:a6:37:ec",
		MTU: 1500, RouteMTU: 1450,
		IPs:      []netip.Addr{netip.MustParseAddr("10.0.1.7"), netip.MustParseAddr("fd00:1::7")},
		Gateways: []netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd00:1::1")},
	}
}

// newFake returns an agent that is down. The folder's path is short since a
// socket's has to be.
func newFake(t *testing.T) *fake {
	t.Helper()
	dir, err := os.MkdirTemp("", "cni")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &fake{dir: dir, answers: map[string]*agent.Error{}, requests: map[string][]json.RawMessage{}}
}

func (f *fake) socket() string { return filepath.Join(f.dir, "s") }
func (f *fake) queue() string  { return filepath.Join(f.dir, "deleteQueue") }

func (f *fake) listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", f.socket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (f *fake) start(t *testing.T) *fake {
	t.Helper()
	server := &http.Server{Handler: f}
	l := f.listen(t)
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body json.RawMessage
	json.NewDecoder(r.Body).Decode(&body)
	f.mu.Lock()
	f.requests[r.URL.Path] = append(f.requests[r.URL.Path], body)
	refusal := f.answers[r.URL.Path]
	f.mu.Unlock()
	for began := time.Now(); time.Since(began) < f.worksFor; time.Sleep(100 * time.Millisecond) {
		w.WriteHeader(http.StatusProcessing)
	}
	if refusal != nil {
		w.WriteHeader(http.StatusConflict)
		json.NewEncoder(w).Encode(refusal)
		return
	}
	if r.URL.Path == agent.PathCNIAdd {
		json.NewEncoder(w).Encode(addReply())
		return
	}
	w.Write([]byte("{}"))
}

// issued is when the plugin was started, which no test can know.
var issued = regexp.MustCompile(`,?"issued":[1-9]\d*`)

// asked returns what path was asked for, one JSON document a line.
func (f *fake) asked(path string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(issued.ReplaceAll(bytes.Join(toBytes(f.requests[path]), []byte("\n")), nil))
}

func toBytes(in []json.RawMessage) [][]byte {
	var out [][]byte
	for _, b := range in {
		out = append(out, b)
	}
	return out
}

// run is one call of the plugin.
type run struct {
	verb    string
	env     map[string]string // besides those every verb gets; "" removes one
	conf    map[string]any    // besides name, type, version, socket and runDir; nil removes one
	stdin   string            // instead of conf
	version string            // default 1.1.0
	limit   string            // default 5s
}

type outcome struct {
	stdout string
	err    *types.Error
	took   time.Duration
}

func (f *fake) run(t *testing.T, r run) outcome {
	t.Helper()
	if r.version == "" {
		r.version = "1.1.0"
	}
	conf := map[string]any{"cniVersion": r.version, "name": "pods", "type": "weir-cni", "socket": f.socket(), "runDir": f.dir}
	maps.Copy(conf, r.conf)
	stdin, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	if r.stdin != "" {
		stdin = []byte(r.stdin)
	}
	env := map[string]string{
		"CNI_COMMAND": r.verb, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/run/netns/none", "CNI_PATH": "/opt/cni/bin",
		"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=1", envRun: "5s",
		"GORACE": "atexit_sleep_ms=0", // a second for each call otherwise
	}
	maps.Copy(env, r.env)
	if r.limit != "" {
		env[envRun] = r.limit
	}
	cmd := exec.Command(os.Args[0])
	for k, v := range env {
		if v != "" {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err = cmd.Run()
	out := outcome{stdout: stdout.String(), took: time.Since(start)}
	if err != nil {
		if cmd.ProcessState.ExitCode() != 1 {
			t.Fatalf("%s: %v\n%s", r.verb, err, stderr.String())
		}
		out.err = &types.Error{}
		if err := json.Unmarshal(stdout.Bytes(), out.err); err != nil {
			t.Fatalf("%s: stdout %q is no CNI error: %v", r.verb, stdout.String(), err)
		}
	}
	return out
}

// want fails unless the call ended with the code (0: success) and a message
// that contains text.
func (o outcome) want(t *testing.T, code uint, text string) {
	t.Helper()
	if o.err == nil && code == 0 {
		return
	}
	if o.err == nil || o.err.Code != code || !strings.Contains(o.err.Error(), text) {
		t.Errorf("got error %+v, want code %d and %q", o.err, code, text)
	}
}

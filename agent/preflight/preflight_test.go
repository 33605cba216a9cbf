package preflight

import (
	"bytes"
	"errors"
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"

	"weir/agent/config"
)

var update = flag.Bool("update", false, "rewrite what the scripts expect")

// Each script has facts of a host and weir.yaml, and what is said of them.
func TestHostsAreJudged(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string][]byte{}
			for _, f := range archive.Files {
				parts[f.Name] = f.Data
			}
			var facts Facts
			if err := yaml.UnmarshalStrict(parts["facts.yaml"], &facts); err != nil {
				t.Fatal(err)
			}
			cfg, _, err := config.Parse("weir.yaml", parts["weir.yaml"])
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			code := 0
			if err := show(&out, judge(facts, cfg), false); errors.As(err, new(failed)) {
				code = 1
			}
			out.WriteString("exit code " + string(rune('0'+code)) + "\n")
			if *update {
				for i, f := range archive.Files {
					if f.Name == "out" {
						archive.Files[i].Data = out.Bytes()
					}
				}
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(parts["out"]), out.String()); diff != "" {
				t.Errorf("(-want +got, -update accepts):\n%s", diff)
			}
		})
	}
}

func TestChainsAreCountedByTheirOwners(t *testing.T) {
	out := map[string]int{}
	countChains(out, "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SVC-A - [0:0]\n:KUBE-SEP-B - [0:0]\n:KUBE-SEP-C - [0:0]\n:cali-PREROUTING - [0:0]\n-A PREROUTING -j cali-PREROUTING\nCOMMIT\n")
	if diff := cmp.Diff(map[string]int{"KUBE-SVC-": 1, "KUBE-SEP-": 2, "cali-": 1}, out); diff != "" {
		t.Error(diff)
	}
}

func TestListenersAreFound(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for _, want := range []Port{{"TCP", l.Addr().(*net.TCPAddr).Port}, {"UDP", u.LocalAddr().(*net.UDPAddr).Port}} {
		if !slices.Contains(ports(), want) {
			t.Errorf("%v is not among the listeners", want)
		}
	}
}

func TestAnyAnswerOfAServerWillDo(t *testing.T) {
	refused := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	if s := askServer(t.Context(), Server{URL: refused.URL}); s.Error != "" {
		t.Errorf("a server that asks who we are: %s", s.Error)
	}
	refused.Close()
	if s := askServer(t.Context(), Server{URL: refused.URL}); !strings.Contains(s.Error, "connection refused") {
		t.Errorf("a server that is gone: %+v", s)
	}
}

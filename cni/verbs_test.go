package cni

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/api/agent"
)

const addResult = `{
  "cniVersion": "1.1.0",
  "interfaces": [
    {"name": "weir0123456789a", "mac": "d2:ad:65:4d:d0:7b", "mtu": 1500},
    {"name": "eth0", "mac": "96:86:44:a6:37:ec", "mtu": 1500, "sandbox": "/run/netns/none"}
  ],
  "ips": [
    {"interface": 1, "address": "10.0.1.7/32", "gateway": "10.0.1.1"},
    {"interface": 1, "address": "fd00:1::7/128", "gateway": "fd00:1::1"}
  ],
  "routes": [
    {"dst": "10.0.1.1/32", "scope": 253},
    {"dst": "0.0.0.0/0", "gw": "10.0.1.1", "mtu": 1450},
    {"dst": "fd00:1::1/128", "scope": 253},
    {"dst": "::/0", "gw": "fd00:1::1", "mtu": 1450}
  ]
}`

func sameJSON(t *testing.T, want, got string) {
	t.Helper()
	var w, g any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Error(diff)
	}
}

func TestAddAnswersWhatTheAgentMade(t *testing.T) {
	f := newFake(t).start(t)
	got := f.run(t, run{verb: "ADD"})
	got.want(t, 0, "")
	sameJSON(t, addResult, got.stdout)
	sameJSON(t, `{"containerID": "c1", "interface": "eth0", "netns": "/run/netns/none", "podNamespace": "default", "podName": "web", "podUID": "1"}`,
		f.asked(agent.PathCNIAdd))
}

func TestEveryProtocolVersionGetsItsResult(t *testing.T) {
	f := newFake(t).start(t)
	for _, version := range []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		got := f.run(t, run{verb: "ADD", version: version})
		got.want(t, 0, "")
		var result struct{ CNIVersion string }
		if err := json.Unmarshal([]byte(got.stdout), &result); err != nil || result.CNIVersion != version {
			t.Errorf("version %s: got %q (%v)", version, result.CNIVersion, err)
		}
		if !strings.Contains(got.stdout, "10.0.1.7/32") || !strings.Contains(got.stdout, "fd00:1::7/128") {
			t.Errorf("version %s: addresses missing in %s", version, got.stdout)
		}
	}
	f.run(t, run{verb: "ADD", conf: map[string]any{"cniVersion": ""}}).want(t, 0, "")
	f.run(t, run{verb: "ADD", version: "9.9.9"}).want(t, 1, "incompatible")
}

func TestVersionListsThem(t *testing.T) {
	got := newFake(t).run(t, run{verb: "VERSION"})
	got.want(t, 0, "")
	sameJSON(t, `{"cniVersion": "1.1.0", "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]}`, got.stdout)
}

func TestDelAsksTheAgent(t *testing.T) {
	f := newFake(t).start(t)
	got := f.run(t, run{verb: "DEL", env: map[string]string{"CNI_NETNS": ""}}) // the netns is gone
	got.want(t, 0, "")
	if got.stdout != "" {
		t.Errorf("got output %q", got.stdout)
	}
	sameJSON(t, `{"containerID": "c1", "interface": "eth0"}`, f.asked(agent.PathCNIDel))
}

func TestDelOfWhatWasNeverAddedSucceeds(t *testing.T) {
	f := newFake(t).start(t)
	f.answers[agent.PathCNIDel] = &agent.Error{Code: agent.CodeUnknownContainer, Message: "unknown"}
	f.run(t, run{verb: "DEL"}).want(t, 0, "")
}

func TestDelGoesOnWithAMisspeltKey(t *testing.T) {
	f := newFake(t).start(t)
	f.run(t, run{verb: "DEL", conf: map[string]any{"sokcet": "/x"}}).want(t, 0, "")
	if f.asked(agent.PathCNIDel) == "" {
		t.Error("the agent was not asked")
	}
}

func TestCheckSendsWhatAddAnswered(t *testing.T) {
	for _, version := range []string{"0.4.0", "1.0.0", "1.1.0"} {
		f := newFake(t).start(t)
		var prev map[string]any
		if err := json.Unmarshal([]byte(f.run(t, run{verb: "ADD", version: version}).stdout), &prev); err != nil {
			t.Fatal(err)
		}
		f.run(t, run{verb: "CHECK", version: version, conf: map[string]any{"prevResult": prev}}).want(t, 0, "")
		sameJSON(t, `{"containerID": "c1", "interface": "eth0", "netns": "/run/netns/none",
			"ips": ["10.0.1.7", "fd00:1::7"], "mac": "96:86:44:a6:37:ec"}`, f.asked(agent.PathCNICheck))
	}
	f := newFake(t).start(t)
	f.run(t, run{verb: "CHECK"}).want(t, 7, "needs prevResult")
	f.run(t, run{verb: "CHECK", version: "0.3.1"}).want(t, 1, "does not allow CHECK")
}

func TestCheckLeavesOutWhatOthersAdded(t *testing.T) {
	f := newFake(t).start(t)
	prev := `{"cniVersion": "1.1.0", "interfaces": [{"name": "h"}, {"name": "eth0", "mac": "aa:bb:cc:dd:ee:ff", "sandbox": "/x"}, {"name": "net1", "sandbox": "/x"}],
		"ips": [{"interface": 1, "address": "10.0.0.1/32"}, {"interface": 2, "address": "10.9.9.9/24"}]}`
	f.run(t, run{verb: "CHECK", conf: map[string]any{"prevResult": json.RawMessage(prev)}}).want(t, 0, "")
	sameJSON(t, `{"containerID": "c1", "interface": "eth0", "netns": "/run/netns/none", "ips": ["10.0.0.1"], "mac": "aa:bb:cc:dd:ee:ff"}`,
		f.asked(agent.PathCNICheck))
}

func TestGCPassesTheValidAttachments(t *testing.T) {
	f := newFake(t).start(t)
	valid := []map[string]string{{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "net1"}}
	f.run(t, run{verb: "GC", conf: map[string]any{keyValid: valid}}).want(t, 0, "")
	sameJSON(t, `{"valid": [{"containerID": "c1", "interface": "eth0"}, {"containerID": "c2", "interface": "net1"}]}`, f.asked(agent.PathCNIGC))

	f = newFake(t).start(t)
	f.run(t, run{verb: "GC"}).want(t, 7, keyValid)
	if got := f.asked(agent.PathCNIGC); got != "" {
		t.Errorf("a GC that names nothing reached the agent: %s", got)
	}
	f.run(t, run{verb: "GC", conf: map[string]any{keyValid: nil}}).want(t, 0, "")
	sameJSON(t, `{"valid": []}`, f.asked(agent.PathCNIGC))
}

func TestStatusIsTheAgents(t *testing.T) {
	f := newFake(t).start(t)
	f.run(t, run{verb: "STATUS"}).want(t, 0, "")
	f.answers[agent.PathCNIStatus] = &agent.Error{Code: agent.CodeUnavailable, Message: "node n1 has no pod CIDR"}
	f.run(t, run{verb: "STATUS"}).want(t, 50, "no pod CIDR")
}

func TestRefusalsAreTheAgentsWords(t *testing.T) {
	f := newFake(t).start(t)
	for path, verb := range map[string]string{agent.PathCNIAdd: "ADD", agent.PathCNIDel: "DEL", agent.PathCNIGC: "GC"} {
		f.answers[path] = &agent.Error{Code: agent.CodeExhausted, Message: "10.0.1.0/24 is full", Details: "254 of 254"}
		got := f.run(t, run{verb: verb, conf: map[string]any{keyValid: nil}})
		got.want(t, 100, "10.0.1.0/24 is full")
		if got.err != nil && got.err.Details != "254 of 254" {
			t.Errorf("%s: got details %q", verb, got.err.Details)
		}
	}
	f.answers[agent.PathCNIAdd] = &agent.Error{Message: "no code"}
	f.run(t, run{verb: "ADD"}).want(t, 999, "no code")
}

func TestBadCallsAreRefusedBeforeTheAgentIsAsked(t *testing.T) {
	cases := map[string]struct {
		run  run
		code uint
		text string
	}{
		"chained":        {run{conf: map[string]any{"prevResult": map[string]any{"cniVersion": "1.1.0"}}}, 7, "first plugin"},
		"misspelt key":   {run{conf: map[string]any{"sokcet": "/x"}}, 7, `did you mean "socket"`},
		"case of a key":  {run{conf: map[string]any{"rundir": "/x"}}, 7, `did you mean "runDir"`},
		"unknown key":    {run{conf: map[string]any{"bridge": "cni0"}}, 7, "known are socket, runDir, log-file"},
		"ipam":           {run{conf: map[string]any{"ipam": map[string]any{"type": "host-local"}}}, 7, "host-local"},
		"wrong type":     {run{conf: map[string]any{"socket": 5}}, 6, "wrong type"},
		"no JSON":        {run{stdin: "{"}, 6, "network config"},
		"no name":        {run{stdin: `{"cniVersion": "1.1.0"}`}, 7, "name"},
		"no container":   {run{env: map[string]string{"CNI_CONTAINERID": ""}}, 4, "CNI_CONTAINERID"},
		"no netns":       {run{env: map[string]string{"CNI_NETNS": ""}}, 4, "CNI_NETNS"},
		"bad container":  {run{env: map[string]string{"CNI_CONTAINERID": "../x"}}, 4, "invalid"},
		"long interface": {run{env: map[string]string{"CNI_IFNAME": "eth0123456789abcdef"}}, 4, "interface"},
		"bad args":       {run{env: map[string]string{"CNI_ARGS": "K8S_POD_NAME"}}, 4, "CNI_ARGS"},
		"own netns":      {run{env: map[string]string{"CNI_NETNS": "/proc/self/ns/net"}}, 8, "node itself"},
		"unknown verb":   {run{verb: "ADDD"}, 4, "ADDD"},
	}
	f := newFake(t).start(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.run.verb == "" {
				c.run.verb = "ADD"
			}
			f.run(t, c.run).want(t, c.code, c.text)
		})
	}
	if len(f.requests) != 0 {
		t.Errorf("the agent was asked: %v", f.requests)
	}
}

func TestLogHasALineForEachCall(t *testing.T) {
	f := newFake(t).start(t)
	log := filepath.Join(f.dir, "log")
	f.run(t, run{verb: "ADD", conf: map[string]any{"log-file": log}}).want(t, 0, "")
	f.answers[agent.PathCNIDel] = &agent.Error{Code: agent.CodeInternal, Message: "stuck"}
	f.run(t, run{verb: "DEL", conf: map[string]any{"log-file": log}}).want(t, 999, "stuck")
	b, err := os.ReadFile(log)
	if err != nil || strings.Count(string(b), "\n") != 2 || !strings.Contains(string(b), "verb=DEL container=c1") || !strings.Contains(string(b), "stuck") {
		t.Errorf("got log %q (%v)", b, err)
	}
	f.run(t, run{verb: "ADD", conf: map[string]any{"log-file": "/none/log"}}).want(t, 0, "")
}

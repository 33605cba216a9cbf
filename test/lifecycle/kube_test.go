package lifecycle

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"weir/api/agent"
	"weir/lab"
	"weir/source/files"
	"weir/test/fakeapi"
)

// serveObjects starts an API server in a node's network namespace that has the
// objects of its lab.
func serveObjects(t *testing.T, n lab.Node) *fakeapi.Server {
	t.Helper()
	api := fakeapi.New()
	api.Listen = func(addr string) (l net.Listener, err error) {
		err = inNetns("/run/netns/"+n.Netns, func() (err error) { l, err = net.Listen("tcp", addr); return err })
		return l, err
	}
	dir := filepath.Join(filepath.Dir(n.Dir), "objects")
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if !strings.HasSuffix(e.Name(), ".yaml") {
			continue
		}
		objects, problems := files.Parse(e.Name(), []byte(read(t, filepath.Join(dir, e.Name()))))
		if len(problems) > 0 {
			t.Fatalf("objects of the lab: %v", problems)
		}
		for _, o := range objects {
			if err := api.PutJSON(o.APIVersion, o.Kind, o.JSON); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := api.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	return api
}

// fromAPI makes a node's agent read its objects from a server.
func fromAPI(t *testing.T, n lab.Node, url string) {
	t.Helper()
	file := filepath.Join(n.Dir, "weir.yaml")
	var c map[string]any
	if err := yaml.Unmarshal([]byte(read(t, file)), &c); err != nil {
		t.Fatal(err)
	}
	c["source"] = map[string]any{"kubernetes": map[string]any{"enabled": true}}
	c["k8sServiceHost"] = url
	data, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(data))
}

func TestAnAgentRestartsAndServesWhileItsAPIServerIsAway(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-kube", Nodes: lab.Nodes(2)}, pods)
	n := node(t, l, "n1")
	api := serveObjects(t, n)
	for i := range 250 {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("other-%d", i), Labels: map[string]string{"app": "other"}}}
		p.Spec.NodeName, p.Status.PodIP = "n2", fmt.Sprintf("198.18.0.%d", i+1)
		if err := api.Put(p); err != nil {
			t.Fatal(err)
		}
	}
	const full = 248 // endpoints of the node beside its two pods, without a process for each
	client := agent.NewClient(n.Socket())
	for i := range full {
		if err := client.Post(t.Context(), agent.PathCNIAdd, agent.AddRequest{Attachment: attach(t, l, "n1", fmt.Sprintf("e%d", i)).key()}, nil); err != nil {
			t.Fatalf("ADD %d: %v", i, err)
		}
	}
	startEcho(t, l, "b")
	startEcho(t, l, "c")
	streams := append(startTraffic(t, l, "a", "b"), startTraffic(t, l, "a", "c")...)
	flow(t, streams, 200*time.Millisecond)
	fromAPI(t, n, api.URL())
	agentDo(t, l, "n1", lab.AgentRestart)
	status := func() agent.Status { return get[agent.Status](t, l, "n1", agent.PathStatus) }
	until(t, 10*time.Second, func() string {
		if s := status(); !s.Source.OK || len(s.KubernetesAPIs) != 13 {
			return fmt.Sprintf("source %+v, watches %v", s.Source, s.KubernetesAPIs)
		}
		return ""
	})
	wantPing(t, l, "a", "c")
	time.Sleep(200 * time.Millisecond) // the journal is written every 50 ms

	api.Down()
	until(t, 10*time.Second, func() string {
		if s := status(); s.Source.OK || !strings.Contains(s.Source.Message, "no answer") {
			return fmt.Sprintf("source %+v without a server", s.Source)
		}
		return ""
	})
	if s := status(); !s.Datapath.OK || s.Controllers.Healthy != s.Controllers.Total {
		t.Errorf("the network is said to be ill without a server: %+v, %+v", s.Datapath, s.Controllers)
	}
	agentDo(t, l, "n1", lab.AgentStop)
	began := time.Now()
	agentDo(t, l, "n1", lab.AgentStart)
	until(t, 10*time.Second, func() string { return unready(t, l, "n1", "a", "b") })
	until(t, 10*time.Second, func() string {
		if s := status(); s.Endpoints < full || !s.Datapath.OK {
			return fmt.Sprintf("%d endpoints, want %d; %+v", s.Endpoints, full, s.Datapath)
		}
		return ""
	})
	t.Logf("agent and %d endpoints ready %s after its start without a server", full, time.Since(began).Round(time.Millisecond))
	if got := len(get[agent.Table](t, l, "n1", agent.PathTables+"/pods").Rows); got < 253 {
		t.Errorf("%d pods are known, want 253", got)
	}
	if err := l.ApplyYAML(t.Context(), "late.yaml", []byte(bare("late", "n1"))).Err(); err != nil {
		t.Fatalf("a pod started without a server: %v", err)
	}
	wantPing(t, l, "late", "a")
	wantPing(t, l, "c", "late")
	flow(t, streams, 500*time.Millisecond)
	wantNoLoss(t, streams)
	if err := api.Up(); err != nil {
		t.Fatal(err)
	}
	until(t, 10*time.Second, func() string {
		if s := status(); !s.Source.OK || len(s.KubernetesAPIs) != 13 {
			return fmt.Sprintf("source %+v once the server is back, watches %v", s.Source, s.KubernetesAPIs)
		}
		return ""
	})
}

package packets

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/api/agent"
	"weir/datapath/link/linktest"
)

// hosting is a server that its node n1 is asked for, and a service that only nodes
// with a backend want traffic for.
const hosting = `
apiVersion: v1
kind: Pod
metadata: {name: hosted, labels: {app: hosted}}
spec:
  nodeName: n1
  containers:
  - {name: c, image: nginx, ports: [{containerPort: 80, hostPort: 8080}, {containerPort: 80, hostPort: 8081, hostIP: 127.0.0.1}, {containerPort: 9000, hostPort: 9001, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: hosted}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  ipFamilyPolicy: PreferDualStack
  selector: {app: hosted}
  ports: [{port: 8000, targetPort: 80}]
`

// host adds them to a lab that others use, too, for one test.
func (c *cluster) host(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hosting.yaml")
	if err := os.WriteFile(file, []byte(hosting), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context(), file).Err(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Delete(context.Background(), file).Err(); err != nil {
			t.Error(err)
		}
		eventually(t, "no frontend is left", func() bool { return len(c.hostPorts(t, "n1"))+len(c.hostPorts(t, "n2")) == 0 })
	})
	eventually(t, "both nodes know the HostPorts", func() bool { return len(c.hostPorts(t, "n1")) == 9 && len(c.hostPorts(t, "n2")) == 4 })
}

// eventually waits for what agents do by themselves.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s: not within ten seconds", what)
		}
	}
}

// hostPorts are the frontends of pods that a node's agent has.
func (c *cluster) hostPorts(t *testing.T, node string) (out []string) {
	t.Helper()
	var all agent.Services
	if err := agent.NewClient(c.node(t, node).Socket()).Get(context.Background(), agent.PathServices, &all); err != nil {
		t.Fatal(err)
	}
	for _, f := range all.Frontends {
		if f.Type == "HostPort" {
			out = append(out, f.Frontend)
		}
	}
	return out
}

// asks returns what a program in a pod, a node or the world gets from an address.
func (c *cluster) asks(t *testing.T, from string, to netip.AddrPort, path string) string {
	t.Helper()
	r := c.Exec(t.Context(), from, "curl", "-gsS", "-m", "3", "-w", "\n%{http_code}", fmt.Sprintf("http://%s/%s", to, path))
	return r.Stdout + r.Stderr
}

// A pod's HostPort is its node's: whoever names an address of this node gets the pod,
// from wherever, and no other node's address leads there.
func TestHostPortIsReachedFromEverywhereByItsNodesAddress(t *testing.T) {
	eachMode(t, bpfRouted, func(t *testing.T, c *cluster) {
		c.host(t)
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			n1, n2 := c.addr(t, "n1", is4), c.addr(t, "n2", is4)
			loopback := netip.IPv6Loopback()
			if is4 {
				loopback = netip.MustParseAddr("127.0.0.1")
			}
			for _, from := range []string{"world", "n1", "n2", "a", "c", "hosted"} {
				if got := c.asks(t, from, netip.AddrPortFrom(n1, 8080), ""); !strings.HasPrefix(got, "PodName: hosted ") {
					t.Errorf("%s asks n1: %s", from, got)
				}
				if got := c.asks(t, from, netip.AddrPortFrom(n2, 8080), ""); strings.Contains(got, "PodName") {
					t.Errorf("%s asks n2, which has no such pod: %s", from, got)
				}
			}
			for from, want := range map[string]bool{"n1": true, "n2": false, "a": false} {
				if got := c.asks(t, from, netip.AddrPortFrom(loopback, 8080), ""); strings.Contains(got, "PodName: hosted ") != want {
					t.Errorf("%s asks itself, hosted answers: want %v, got %s", from, want, got)
				}
				if got := c.asks(t, from, netip.AddrPortFrom(loopback, 8081), ""); strings.Contains(got, "PodName: hosted ") != (want && is4) {
					t.Errorf("%s asks itself at the port of hostIP 127.0.0.1: %s", from, got)
				}
			}
			c.hearsHostPort(t, is4)
		})
	})
}

// hearsHostPort sends datagrams from sockets that the node's programs do not see, so
// that it is their packets that are translated.
func (c *cluster) hearsHostPort(t *testing.T, is4 bool) {
	t.Helper()
	var server net.PacketConn
	err := linktest.Inside(c.netns(t, "hosted"), func() (err error) {
		server, err = net.ListenPacket("udp", netip.AddrPortFrom(c.addr(t, "hosted", is4), 9000).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	heard := make(chan string, 1) // of the one question that is under way
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			heard <- netip.MustParseAddrPort(from.String()).Addr().String()
			server.WriteTo(b[:n], from)
		}
	}()
	for _, from := range []string{"world", "a", "c"} {
		client, err := dial(c.netns(t, from), "udp", netip.AddrPortFrom(c.addr(t, "n1", is4), 9001).String())
		if err != nil {
			t.Fatal(err)
		}
		client.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(client, from)
		b := make([]byte, 100)
		n, err := client.Read(b)
		if string(b[:n]) != from {
			t.Errorf("%s is answered %q, %v", from, b[:n], err)
		} else if source := <-heard; source != netip.MustParseAddrPort(client.LocalAddr().String()).Addr().String() {
			t.Errorf("the pod sees %s as the source of %s at %s", source, from, client.LocalAddr())
		}
		client.Close()
	}
}

// Load balancers learn from each node whether it serves a service, and whether it is
// one to send to at all.
func TestNodesTellLoadBalancersHowTheyAre(t *testing.T) {
	c := on(t, vxlan)
	c.host(t)
	service, err := c.Service("default/hosted")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(service.Spec.HealthCheckNodePort)
	says := func(node string, is4 bool, port uint16, path string) (status string, body map[string]any) {
		text := c.asks(t, "world", netip.AddrPortFrom(c.addr(t, node, is4), port), path)
		i := strings.LastIndex(text, "\n")
		if json.Unmarshal([]byte(text[:i]), &body) != nil {
			return text, nil
		}
		return text[i+1:], body
	}
	c.eachFamily(t, func(t *testing.T, is4 bool) {
		for node, want := range map[string]struct {
			status string
			local  float64
		}{"n1": {"200", 1}, "n2": {"503", 0}} {
			eventually(t, node+" says "+want.status, func() bool {
				status, body := says(node, is4, port, "")
				return status == want.status && body["localEndpoints"] == want.local && body["serviceProxyHealthy"] == true
			})
			for _, path := range []string{"healthz", "livez"} {
				if status, body := says(node, is4, 10256, path); status != "200" || path == "healthz" && body["nodeEligible"] != true {
					t.Errorf("%s: /%s is %s, %v", node, path, status, body)
				}
			}
		}
	})
	leaving := filepath.Join(c.dir, "objects", "leaving.yaml")
	object := "apiVersion: v1\nkind: Node\nmetadata: {name: n2}\nspec: {taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}\n"
	if err := os.WriteFile(leaving, []byte(object), 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(leaving)
	eventually(t, "n2, which is about to leave, says 503", func() bool {
		status, body := says("n2", true, 10256, "healthz")
		return status == "503" && body["nodeEligible"] == false
	})
	if status, _ := says("n2", true, 10256, "livez"); status != "200" {
		t.Errorf("n2 leaves, and is alive: /livez is %s", status)
	}
	if err := os.Remove(leaving); err != nil {
		t.Fatal(err)
	}
	eventually(t, "n2 stays after all", func() bool { status, _ := says("n2", true, 10256, "healthz"); return status == "200" })
}

// An address that a node's device gets while the agent runs is one that NodePorts and
// HostPorts are at, and no longer when it goes.
func TestFrontendsFollowTheAddressesOfDevices(t *testing.T) {
	c := on(t, native)
	c.host(t)
	service, err := c.Service("default/hosted")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddr("172.18.77.1")
	for _, to := range []netip.AddrPort{netip.AddrPortFrom(at, 8080), netip.AddrPortFrom(at, uint16(service.Spec.Ports[0].NodePort))} {
		c.run(t, "n1", "ip", "address", "add", at.String()+"/16", "dev", "eth0")
		eventually(t, to.String()+" is answered", func() bool { return strings.HasPrefix(c.asks(t, "world", to, ""), "PodName: hosted ") })
		c.run(t, "n1", "ip", "address", "del", at.String()+"/16", "dev", "eth0")
		eventually(t, to.String()+" is gone", func() bool {
			var all agent.Services
			c.get(t, "n1", agent.PathServices, &all)
			for _, f := range all.Frontends {
				if strings.HasPrefix(f.Frontend, at.String()+":") {
					return false
				}
			}
			return true
		})
	}
}

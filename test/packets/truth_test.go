package packets

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/lab"
)

// truths are clients and servers on two nodes. What each may do says the oracle, which
// reads the same objects.
const truths = `
apiVersion: v1
kind: Namespace
metadata: {name: other, labels: {team: red}}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: default, labels: {app: a}}
spec: {nodeName: n1, containers: [{name: c, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: x, namespace: default, labels: {app: x}}
spec: {nodeName: n1, containers: [{name: c, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: o, namespace: other, labels: {app: o}}
spec: {nodeName: n2, containers: [{name: c, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: default, labels: {app: b, role: server}}
spec: {nodeName: n1, containers: [{name: c, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: c, namespace: default, labels: {app: c, role: server}}
spec: {nodeName: n2, containers: [{name: c, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: d, namespace: default, labels: {app: d}}
spec: {nodeName: n2, containers: [{name: c, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Service
metadata: {name: to-b, namespace: default}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: b}
  ports: [{name: t1, port: 8001, targetPort: 7001}, {name: t2, port: 8002, targetPort: 7002}, {name: t3, port: 8003, targetPort: 7003}, {name: u1, port: 8001, targetPort: 7001, protocol: UDP}, {name: u3, port: 8003, targetPort: 7003, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: to-c, namespace: default}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: c}
  ports: [{name: t1, port: 8001, targetPort: 7001}, {name: t2, port: 8002, targetPort: 7002}, {name: t3, port: 8003, targetPort: 7003}, {name: u1, port: 8001, targetPort: 7001, protocol: UDP}, {name: u3, port: 8003, targetPort: 7003, protocol: UDP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: servers, namespace: default}
spec:
  podSelector: {matchLabels: {role: server}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: a}}}]
    ports: [{port: 7001}, {port: 7001, protocol: UDP}, {port: 7003}, {port: 7003, protocol: UDP}, {port: 7004}]
  - from: [{namespaceSelector: {matchLabels: {team: red}}}]
    ports: [{port: 7001}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: pings, namespace: default}
spec:
  endpointSelector: {matchLabels: {role: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: a}}]
    icmps: [{fields: [{type: 8, family: IPv4}, {type: 128, family: IPv6}]}]
  ingressDeny:
  - fromEndpoints: [{matchLabels: {app: x}}]
    toPorts: [{ports: [{port: "7001", protocol: TCP}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: a-out, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: a}}
  egress:
  - toEndpoints: [{matchLabels: {role: server}}]
  - toEntities: [world]
    toPorts: [{ports: [{port: "7001", protocol: ANY}, {port: "7003", protocol: ANY}]}]
  egressDeny:
  - toEndpoints: [{matchLabels: {role: server}}]
    toPorts: [{ports: [{port: "7004", protocol: TCP}]}]
`

// Ports of the servers, and what is there.
const (
	portOpen   = 7001
	portOther  = 7002 // open, and for few
	portClosed = 7003
	portDenied = 7004
)

// truth is a lab with those, and the readers of its objects.
type truth struct {
	*cluster
	model
	servers map[string]*truthServer // by name and family
	floods  [][]*datagrams          // of each family, in turn; see flood

	sending sync.Mutex
	opened  []*opened // guarded by sending: what was sent so far
	sport   uint16    // guarded by sending: the last that was given
}

func raiseTruth(t *testing.T, routing string) *truth {
	t.Helper()
	needRoot(t)
	s := lab.Spec{Name: prefix + "truth-" + routing, Mode: routing, Nodes: lab.Nodes(2), Agent: map[string]any{
		"health": map[string]any{"enabled": false}, "hubble": map[string]any{"bufferBytes": 256 << 20},
		// Marks of time are flows that only the clock decides of: see marked.
		"bpf": map[string]any{"monitorInterval": "1h", "ctSize": 524288, "ctLimit": 524288}}}
	c := temporary(t, s, nil)
	if err := c.ApplyYAML(t.Context(), "truth.yaml", []byte(truths)).Err(); err != nil {
		t.Fatal(err)
	}
	tr := &truth{cluster: c, servers: map[string]*truthServer{}, sport: 20000}
	tr.model = c.readModel(t)
	tr.awaitRows(t)
	for _, name := range []string{"b", "c", "d", "world"} {
		for _, is4 := range []bool{true, false} {
			tr.servers[serverKey(name, is4)] = tr.serveTruth(t, name, is4)
		}
	}
	return tr
}

// What flows say is what was sent, and nothing else: of a seeded set of connections, of
// both families and several protocols, to pods of this node, of another and to the world,
// by address and by service, allowed, denied at either end, refused and reset. What the
// policies say of each is the oracle's word.
func TestFlowsAreTheTruth(t *testing.T) {
	connections, seed := truthSize(t, 400)
	for _, routing := range []string{"vxlan", "native"} {
		t.Run(routing, func(t *testing.T) {
			tr := raiseTruth(t, routing)
			since := time.Now()
			tr.send(t, plan(seed, connections))
			want := tr.wanted(t)
			tr.compare(t, since, want)
			t.Logf("seed %d: %d connections, %d flows of n1, %d of n2", seed, len(tr.opened), size(want["n1"]), size(want["n2"]))
		})
	}
}

// truthSize is how many connections there are to be, and of which seed.
func truthSize(t *testing.T, few int) (connections int, seed uint64) {
	t.Helper()
	connections, seed = few, 1
	for name, set := range map[string]func(uint64){"WEIR_TRUTH": func(n uint64) { connections = int(n) }, "WEIR_TRUTH_SEED": func(n uint64) { seed = n }} {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.ParseUint(text, 10, 32)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			set(n)
		}
	}
	return connections, seed
}

// intent is a connection that is to be.
type intent struct {
	from, to string // pods, or the world
	service  string // by which it is asked; empty: by its own address
	proto    string // tcp, udp or icmp
	port     uint16 // of the backend
	is4      bool
	end      string // how it is to end, if it may be: see exchange
	times    int    // how often the packet is sent, if it may not be
}

// plan is as many of them, by chance.
func plan(seed uint64, n int) []intent {
	r := rand.New(rand.NewPCG(seed, 1))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	var out []intent
	for range n {
		i := intent{from: pick("a", "a", "x", "other/o"), to: pick("b", "c", "d", "world"), proto: pick("tcp", "tcp", "tcp", "udp", "icmp"),
			port: uint16(portOpen + r.IntN(4)), is4: r.IntN(2) == 0, end: pick(endClosed, endClosedByServer, endReset, endResetByServer, endSilent), times: 1 + r.IntN(3)}
		if (i.to == "b" || i.to == "c") && r.IntN(3) == 0 && (i.proto == "tcp" && i.port <= portClosed || i.proto == "udp" && (i.port == portOpen || i.port == portClosed)) {
			i.service = "to-" + i.to
		}
		out = append(out, i)
	}
	return out
}

// send makes the connections, several at a time.
func (tr *truth) send(t *testing.T, plan []intent) {
	t.Helper()
	todo := make(chan intent)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range todo {
				if err := tr.open(t, i); err != nil {
					t.Errorf("%+v: %v", i, err)
				}
			}
		})
	}
	for _, i := range plan {
		todo <- i
	}
	close(todo)
	wg.Wait()
	if t.Failed() {
		t.FailNow() // what was sent is not known
	}
}

func (tr *truth) nextPort() uint16 {
	tr.sending.Lock()
	defer tr.sending.Unlock()
	tr.sport++
	return tr.sport
}

func (tr *truth) note(o *opened) {
	tr.sending.Lock()
	defer tr.sending.Unlock()
	tr.opened = append(tr.opened, o)
}

// bag is how often each flow is there.
type bag map[string]int

func size(b bag) (n int) {
	for _, times := range b {
		n += times
	}
	return n
}

// compare waits until each node has the flows that are wanted, and looks whether it has
// others.
func (tr *truth) compare(t *testing.T, since time.Time, want map[string]bag) {
	t.Helper()
	for _, node := range slices.Sorted(maps.Keys(want)) {
		var wrong []string
		var marks int
		same := func() bool {
			got, marked := tr.told(t, node, since)
			wrong, marks = differences(want[node], got), marked
			return len(wrong) == 0
		}
		await(patience, same)
		await(200*time.Millisecond, func() bool { return !same() }) // one too many may come later
		if len(wrong) > 0 {
			t.Errorf("%s: %d of %d flows differ:\n%s", node, len(wrong), size(want[node]), strings.Join(wrong[:min(len(wrong), 40)], "\n"))
		}
		if most := 2 + len(tr.opened)/100; marks > most {
			t.Errorf("%s: %d flows of marks of time, an hour apart; want %d at most", node, marks, most)
		}
	}
}

// differences says what is missing and what is too many.
func differences(want, got bag) (out []string) {
	for text, n := range want {
		if got[text] < n {
			out = append(out, fmt.Sprintf("missing %d of %d: %s", n-got[text], n, text))
		}
	}
	for text, n := range got {
		if want[text] < n {
			out = append(out, fmt.Sprintf("%d of %d too many: %s", n-want[text], n, text))
		}
	}
	slices.SortFunc(out, func(a, b string) int { // those of a connection stand together
		_, x, _ := strings.Cut(a, ": ")
		_, y, _ := strings.Cut(b, ": ")
		return strings.Compare(x, y)
	})
	return out
}

// awaitRows waits until the agents have what the objects say.
func (tr *truth) awaitRows(t *testing.T) {
	t.Helper()
	for _, node := range []string{"n1", "n2"} {
		said := ""
		if !await(2*patience, func() bool { said = tr.lacks(t, node); return said == "" }) {
			t.Fatalf("%s: %s", node, said)
		}
	}
}

func hostPort(a netip.Addr, port uint16) string { return netip.AddrPortFrom(a, port).String() }

package single

import (
	_ "embed"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/lab/kube"
	"weir/test/kubetest"
)

// Where k3s has what other clusters have at the usual places.
const (
	confDir    = "/var/lib/rancher/k3s/agent/etc/cni/net.d"
	binDir     = "/var/lib/rancher/k3s/data/cni"
	kubeconfig = "/var/lib/rancher/k3s/agent/kubelet.kubeconfig"
	// Where its agents find the API server, on whichever node they are.
	server = "https://127.0.0.1:6444"
)

func nodes() []string { return []string{"n1", "n2"} }

var (
	//go:embed testdata/pods.yaml
	pods string
	//go:embed testdata/sender.yaml
	sender string
)

// The parts need each other, in this order: the first that fails is the last.
func TestRowG16WeirCarriesAClusterOfOneProgram(t *testing.T) {
	if os.Getenv("WEIR_SINGLE") == "" {
		t.Skip("a cluster of one program has a program of its own to build first: run make test-single")
	}
	if os.Geteuid() != 0 {
		t.Skip("a lab with Kubernetes needs root")
	}
	l := up(t)
	install := fromChart(t, "cni.confDir="+confDir, "cni.binDir="+binDir, "ipv6.enabled=true")
	for _, part := range []struct {
		name string
		test func(*testing.T, lab)
	}{
		{"ItIsOneProgram", isOneProgram},
		{"WeirIsInstalledByItsChart", func(t *testing.T, l lab) {
			if err := l.Install(t.Context(), install); err != nil {
				t.Fatal(err)
			}
		}},
		{"NodesAreReady", nodesAreReady},
		{"FilesAreWhereTheRuntimeLooks", filesAreWhereTheRuntimeLooks},
		{"TheAPIServerIsFoundInTheKubeletsKubeconfig", serverIsFound},
		{"DNSAnswers", dnsAnswers},
		{"PodsServicesAndNodePortsAnswer", everythingAnswers},
		{"NothingIsLostWhileTheProgramIsDead", nothingIsLost},
		{"ANewPodGetsItsNetworkAfterwards", aNewPod},
		{"EverythingAnswersAfterwards", everythingAnswers},
		{"UninstallLeavesNothing", func(t *testing.T, l lab) { uninstallLeavesNothing(t, l, install) }},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.test(t, l) }) {
			return
		}
	}
}

func isOneProgram(t *testing.T, l lab) {
	for _, n := range nodes() {
		for _, program := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"} {
			if r := l.Exec(t.Context(), n, "pgrep", "-f", "^"+program); r.OK() {
				t.Errorf("%s runs a program %s", n, program)
			}
		}
		if got := l.on(t, n, "ps", "-o", "comm=", "--ppid", pidOf(t, l, n)); got != "containerd" {
			t.Errorf("%s: children of the program are %q, want containerd", n, got)
		}
	}
	nothingIsAtTheUsualPlaces(t, l)
}

func nothingIsAtTheUsualPlaces(t *testing.T, l lab) {
	t.Helper()
	for _, n := range nodes() {
		for _, path := range []string{"/etc/kubernetes", "/etc/cni", "/opt/cni", "/run/containerd/containerd.sock", "/var/lib/kubelet/kubeconfig"} {
			if r := l.Exec(t.Context(), n, "test", "-e", path); r.OK() {
				t.Errorf("%s has %s", n, path)
			}
		}
	}
}

func pidOf(t *testing.T, l lab, node string) string {
	t.Helper()
	return l.on(t, node, "pgrep", "-x", "single")
}

func nodesAreReady(t *testing.T, l lab) {
	if ready := ready(t, l); !slices.Equal(ready, []string{"True", "True"}) {
		t.Errorf("nodes Ready: %q", ready)
	}
	for _, n := range nodes() {
		if rules := l.on(t, n, "iptables-save"); strings.Contains(rules, "KUBE-S") {
			t.Errorf("%s has rules of kube-proxy:\n%s", n, rules)
		}
	}
	statusIsWell(t, l)
}

func ready(t *testing.T, l lab) []string {
	t.Helper()
	return strings.Fields(l.kubectl(t, "get", "nodes", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`))
}

func statusIsWell(t *testing.T, l lab) {
	t.Helper()
	for node, pod := range l.agents(t) {
		kubetest.Eventually(t, time.Minute, "weir status on "+node, func() string {
			r := l.Kubectl(t.Context(), "exec", "-n", "kube-system", pod, "--", "weir", "status")
			if !r.OK() || !strings.Contains(r.Stdout, "2/2 reachable") {
				return r.Stdout + r.Stderr
			}
			return ""
		})
	}
}

func filesAreWhereTheRuntimeLooks(t *testing.T, l lab) {
	for _, n := range nodes() {
		l.on(t, n, "test", "-x", binDir+"/weir-cni")
		if files := strings.Fields(l.on(t, n, "ls", confDir)); !slices.Equal(files, []string{"05-weir.conflist"}) {
			t.Errorf("%s: %s has %q", n, confDir, files)
		}
	}
	nothingIsAtTheUsualPlaces(t, l)
}

// serverIsFound reads what is logged: by whom the node was asked first, and by the agent.
func serverIsFound(t *testing.T, l lab) {
	for node, pod := range l.agents(t) {
		first := l.kubectl(t, "logs", "-n", "kube-system", pod, "-c", "prepare")
		if want := "url=" + server + " from=" + kubeconfig; !strings.Contains(first, want) {
			t.Errorf("%s: not said %q:\n%s", node, want, first)
		}
		log := l.kubectl(t, "logs", "-n", "kube-system", pod, "-c", "agent")
		if want := `msg="API server answers" room=source server=` + server; !strings.Contains(log, want) {
			t.Errorf("%s: not said %q:\n%s", node, want, log)
		}
	}
}

func dnsAnswers(t *testing.T, l lab) {
	if err := l.Apply(t.Context(), pods); err != nil {
		t.Fatal(err)
	}
	l.kubectl(t, "wait", "--for=condition=Ready", "pod/web", "pod/client", "--timeout=60s")
	servers := strings.Fields(l.kubectl(t, "get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns", "-o", "jsonpath={.items[*].status.podIP}"))
	if len(servers) != 2 {
		t.Fatalf("pods of CoreDNS: %q, want two", servers)
	}
	cidrs := strings.Fields(l.kubectl(t, "get", "ciliumnodes", "-o", "jsonpath={.items[*].spec.ipam.podCIDRs[*]}"))
	for _, s := range servers {
		if !slices.ContainsFunc(cidrs, func(cidr string) bool { return netip.MustParsePrefix(cidr).Contains(netip.MustParseAddr(s)) }) {
			t.Errorf("CoreDNS has %s, which is not of the pod network %q", s, cidrs)
		}
		if got := l.in(t, "client", "dig", "+short", "+time=3", "@"+s, "kubernetes.default.svc.cluster.local"); got != "10.96.0.1" {
			t.Errorf("CoreDNS at %s says %q", s, got)
		}
	}
	for kind, want := range map[string]string{"A": "ipv4", "AAAA": "ipv6"} {
		got := l.in(t, "client", "dig", "+short", "+search", "+time=3", "web", kind)
		if addr, err := netip.ParseAddr(got); err != nil || addr.Is4() != (want == "ipv4") {
			t.Errorf("%s of the service web: %q", kind, got)
		}
	}
}

// everythingAnswers asks pod web on n1 from pod client on n2, and from the world.
func everythingAnswers(t *testing.T, l lab) {
	jsonpath := func(kind, path string) []string {
		return strings.Fields(l.kubectl(t, "get", kind, "web", "-o", "jsonpath={"+path+"}"))
	}
	port := jsonpath("service", ".spec.ports[0].nodePort")[0]
	var at, outside []string
	for _, n := range []string{"172.18.0.2", "172.18.0.3", "[fc00:f853:ccd:e793::2]", "[fc00:f853:ccd:e793::3]"} {
		outside = append(outside, n+":"+port)
	}
	for _, ip := range append(jsonpath("pod", ".status.podIPs[*].ip"), jsonpath("service", ".spec.clusterIPs[*]")...) {
		if strings.Contains(ip, ":") {
			ip = "[" + ip + "]"
		}
		at = append(at, ip+":80")
	}
	if len(at) != 4 {
		t.Fatalf("addresses of pod and service web: %q, want two of each", at)
	}
	for _, a := range append(append(at, "web:80"), outside...) {
		if got := l.in(t, "client", "curl", "-gsS", "--max-time", "5", "http://"+a+"/"); !strings.Contains(got, "PodName: web |") {
			t.Errorf("pod client asks %s, which answers %q", a, got)
		}
	}
	worldReaches(t, l, outside...)
}

func worldReaches(t *testing.T, l lab, at ...string) {
	t.Helper()
	for _, a := range at {
		if got := l.on(t, kube.World, "curl", "-gsS", "--max-time", "5", "http://"+a+"/"); !strings.Contains(got, "PodName: web |") {
			t.Errorf("the world asks %s, which answers %q", a, got)
		}
	}
}

// nothingIsLost kills the program on both nodes. Pod sender on n2 goes on writing numbers
// into two connections to pod receiver on n1, and what was open to the world stays so.
func nothingIsLost(t *testing.T, l lab) {
	port := l.kubectl(t, "get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}")
	addresses := strings.Fields(l.kubectl(t, "get", "pod", "receiver", "-o", "jsonpath={.status.podIPs[*].ip}"))
	if len(addresses) != 2 {
		t.Fatalf("addresses of receiver: %q", addresses)
	}
	if err := l.Apply(t.Context(), strings.NewReplacer("@IPV4@", addresses[0], "@IPV6@", addresses[1]).Replace(sender)); err != nil {
		t.Fatal(err)
	}
	l.kubectl(t, "wait", "--for=condition=Ready", "pod/sender", "--timeout=60s")
	kubetest.Eventually(t, 30*time.Second, "numbers arrive", func() string { return received(t, l, 10) })
	before := restarts(t, l)

	for _, n := range nodes() {
		l.on(t, n, "kill", "-9", pidOf(t, l, n))
		kubetest.Eventually(t, 10*time.Second, "program and containerd on "+n+" are gone", func() string {
			return l.Exec(t.Context(), n, "pgrep", "-lx", "single|containerd").Stdout
		})
	}
	if l.Running(t.Context()) {
		t.Fatal("the API server answers while nothing runs it")
	}
	worldReaches(t, l, "172.18.0.2:"+port, "172.18.0.3:"+port, "[fc00:f853:ccd:e793::2]:"+port, "[fc00:f853:ccd:e793::3]:"+port)
	first := arrived(t, l)
	kubetest.Eventually(t, 30*time.Second, "numbers arrive meanwhile, a hundred over each connection", func() string {
		worldReaches(t, l, "172.18.0.3:"+port)
		for i, n := range arrived(t, l) {
			if n < first[i]+100 {
				return strconv.Itoa(n-first[i]) + " came over one"
			}
		}
		return ""
	})
	for _, n := range nodes() {
		if err := l.Program(t.Context(), "start", n, "single"); err != nil {
			t.Fatal(err)
		}
	}
	kubetest.Eventually(t, time.Minute, "the API server is back", func() string {
		if !l.Running(t.Context()) {
			return "it is not"
		}
		return ""
	})
	l.kubectl(t, "wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")
	statusIsWell(t, l)
	sent := 0
	kubetest.Eventually(t, time.Minute, "pods run commands again", func() string {
		r := l.Kubectl(t.Context(), "exec", "sender", "--", "cat", "/tmp/sent")
		sent, _ = strconv.Atoi(strings.TrimSpace(r.Stdout))
		if !r.OK() || sent == 0 {
			return r.Stdout + r.Stderr
		}
		return ""
	})
	kubetest.Eventually(t, 30*time.Second, "all that was sent has arrived", func() string { return received(t, l, sent) })
	if after := restarts(t, l); after != before {
		t.Errorf("restarts of pods that were there: %s, before: %s", after, before)
	}
	t.Logf("%d numbers came over each of two connections, of which none is missing", sent)
}

// arrived counts the numbers that the receiver has had over each connection, without asking
// the API server.
func arrived(t *testing.T, l lab) []int {
	t.Helper()
	var out []int
	for _, n := range strings.Fields(l.on(t, "n1", "sh", "-c", `pid=$(pgrep -x nc | head -n 1); for f in 4 6; do nsenter --mount -t "$pid" cat "/tmp/got$f" | wc -l; done`)) {
		count, err := strconv.Atoi(n)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, count)
	}
	return out
}

// received looks whether both connections have given each number up to that one, in order.
func received(t *testing.T, l lab, upTo int) string {
	t.Helper()
	for _, family := range []string{"4", "6"} {
		r := l.Kubectl(t.Context(), "exec", "receiver", "--", "cat", "/tmp/got"+family)
		numbers := strings.Split(r.Stdout, "\n")
		numbers = numbers[:len(numbers)-1] // the last one may be on its way
		for i, n := range numbers {
			if n != strconv.Itoa(i+1) {
				t.Fatalf("IPv%s: number %d is %q", family, i+1, n)
			}
		}
		if len(numbers) < upTo {
			return "IPv" + family + ": " + strconv.Itoa(len(numbers)) + " of " + strconv.Itoa(upTo) + " " + r.Stderr
		}
	}
	return ""
}

// aNewPod replaces client, who then asks again.
func aNewPod(t *testing.T, l lab) {
	l.kubectl(t, "delete", "pod", "client", "--wait", "--timeout=60s")
	if err := l.Apply(t.Context(), pods); err != nil {
		t.Fatal(err)
	}
	l.kubectl(t, "wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
}

// restarts of agents and of pods that talk. An operator ends by itself when it cannot renew
// its lease, so that another one may lead.
func restarts(t *testing.T, l lab) string {
	t.Helper()
	const path = `jsonpath={range .items[*]}{.metadata.name}={.status.containerStatuses[*].restartCount} {end}`
	return l.kubectl(t, "get", "pods", "-n", "kube-system", "-l", "k8s-app=cilium", "-o", path) + " " + l.kubectl(t, "get", "pods", "-o", path)
}

// uninstallLeavesNothing does not tell weir uninstall where this runtime looks: the values
// that did are gone with the objects.
func uninstallLeavesNothing(t *testing.T, l lab, install kube.Install) {
	l.kubectl(t, "delete", "pods", "--all", "--wait", "--timeout=60s")
	l.kubectl(t, "delete", "-f", install.Manifest, "--ignore-not-found", "--timeout=120s")
	kubetest.Uninstall(t, l.Lab, nodes(), confDir+"/*weir*", binDir+"/*weir*", "/var/run/weir")
	nothingIsAtTheUsualPlaces(t, l)
}

package coexist

import (
	"context"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/lab"
	"weir/test/kubeproxy"
)

// The real kube-proxy on each node, in each of its modes that the kernel has, does
// what services need, and Weir leaves its rules alone.
func TestRowD7KubeProxyDoesServicesBesideWeir(t *testing.T) {
	binary, err := kubeproxy.Built()
	if err != nil {
		t.Skip(err)
	}
	for _, mode := range []string{"iptables", "nftables"} {
		for _, routing := range []string{"vxlan", "native"} {
			t.Run(mode+", "+routing, func(t *testing.T) {
				if _, err := exec.LookPath("nft"); err != nil && mode == "nftables" {
					t.Skip("kube-proxy needs nft: ", err)
				}
				besideKubeProxy(t, binary, mode, routing)
			})
		}
	}
}

func besideKubeProxy(t *testing.T, binary, mode, routing string) {
	c := raise(t, mode, routing)
	api := kubeproxy.New()
	if err := api.Load(filepath.Join(c.folder(), "objects")); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.nodes(t) {
		if err := api.Put(nodeObject(n)); err != nil {
			t.Fatal(err)
		}
	}
	at := netip.AddrPortFrom(c.clusterIP(t, true), port)
	for _, n := range c.nodes(t) {
		p, err := kubeproxy.Start(api, kubeproxy.Options{Binary: binary, Dir: filepath.Join(t.TempDir(), n.Name), Node: n.Name, Mode: mode,
			Clusters: []string{"10.0.0.0/8", "fd00::/104"}, Inside: c.netns(t, n.Name).Inside})
		t.Cleanup(func() {
			if err := p.Stop(); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = p.Await(ctx, "both families have rules", func() bool {
			return !hasFailed(c.ask(t, n.Name, at, 1)) && !hasFailed(c.ask(t, n.Name, netip.AddrPortFrom(c.clusterIP(t, false), port), 1))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	c.leavesServices(t)
	c.serves(t)
	before := c.ruleset(t, "n1")
	if !strings.Contains(before, "kube-proxy") && !strings.Contains(before, "KUBE-SERVICES") {
		t.Fatalf("n1 has no rules of kube-proxy:\n%s", before)
	}
	if err := c.Agent(t.Context(), "n1", lab.AgentRestart); err != nil {
		t.Fatal(err)
	}
	c.serves(t)
	if after := c.ruleset(t, "n1"); after != before {
		t.Errorf("rules of n1 were\n%s\nand are\n%s", before, after)
	}
}

func nodeObject(n lab.Node) *corev1.Node {
	o := &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: n.Name}}
	for _, a := range n.Addresses {
		o.Status.Addresses = append(o.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	return o
}

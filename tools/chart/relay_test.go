package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"weir/agent/config"
	relay "weir/relay/run"
)

// certificate writes a secret's files, and returns the folder.
func certificate(t *testing.T, s *corev1.Secret) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range s.Data {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTheRelayFindsAgentsThatItBelieves(t *testing.T) {
	r, err := render(folder, "hubble.relay.enabled=true", "cluster.name=east")
	if err != nil {
		t.Fatal(err)
	}
	all := objects(t, r.objects)
	for name, want := range map[string][2]int32{"hubble-peer": {443, 4244}, "hubble-relay": {80, 4245}} {
		s := find[*corev1.Service](t, all, name)
		port := s.Spec.Ports[0]
		target := port.TargetPort.IntVal
		if port.TargetPort.StrVal == "grpc" {
			target = find[*appsv1.Deployment](t, all, "weir-relay").Spec.Template.Spec.Containers[0].Ports[0].ContainerPort
		}
		if port.Port != want[0] || target != want[1] {
			t.Errorf("service %s: %d to %d, want %d to %d", name, port.Port, target, want[0], want[1])
		}
	}
	peers := find[*corev1.Service](t, all, "hubble-peer")
	for key, value := range peers.Spec.Selector {
		if find[*appsv1.DaemonSet](t, all, "weir").Spec.Template.Labels[key] != value {
			t.Errorf("no agent has %s=%s", key, value)
		}
	}
	server, client := find[*corev1.Secret](t, all, "hubble-server-certs"), find[*corev1.Secret](t, all, "hubble-relay-client-certs")
	dir := certificate(t, client)
	var args []string
	for _, a := range find[*appsv1.Deployment](t, all, "weir-relay").Spec.Template.Spec.Containers[0].Args {
		args = append(args, strings.ReplaceAll(a, "/var/lib/weir/tls", dir))
	}
	cfg, err := relay.Parse(args, io.Discard)
	if err != nil || cfg.Relay.Plain || cfg.Relay.PeerService != "hubble-peer.kube-system.svc:443" {
		t.Fatalf("the relay's arguments %q: %+v, %v", args, cfg, err)
	}
	if cfg.Page != "127.0.0.1:4246" {
		t.Errorf("the page, which asks nobody who they are, is at %q", cfg.Page)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(client.Data["ca.crt"])
	pair, err := tls.X509KeyPair(server.Data["tls.crt"], server.Data["tls.key"])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{cfg.Relay.PeerServerName, "node-1.east.hubble-grpc.cilium.io"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: pool}); err != nil {
			t.Errorf("agents' certificate: %v", err)
		}
	}
	own, err := tls.X509KeyPair(client.Data["tls.crt"], client.Data["tls.key"])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := own.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("the relay's certificate: %v", err)
	}
	agent := weirYAML(t, all)
	if h := agent.Hubble; !h.Enabled || !h.TLS.Enabled || h.TLS.CertFile != "/var/lib/weir/tls/tls.crt" || h.TLS.ClientCAFile != "/var/lib/weir/tls/ca.crt" {
		t.Errorf("the agent's %+v", h)
	}
	if !slices.ContainsFunc(find[*appsv1.DaemonSet](t, all, "weir").Spec.Template.Spec.Volumes, func(v corev1.Volume) bool {
		return v.Secret != nil && v.Secret.SecretName == "hubble-server-certs" && *v.Secret.Optional
	}) {
		t.Error("the agent does not get its certificate")
	}
}

// TestTheRelayIsScrapedWhereAgentsAre: by annotations or by a ServiceMonitor, at the port
// that it is told to open.
func TestTheRelayIsScrapedWhereAgentsAre(t *testing.T) {
	for _, x := range []struct {
		sets                []string
		address, annotation string
		monitor             bool
	}{
		{nil, "", "", false},
		{[]string{"prometheus.enabled=true", "prometheus.port=1"}, ":9966", "9966", false},
		{[]string{"prometheus.enabled=true", "prometheus.serviceMonitor.enabled=true"}, ":9966", "", true},
	} {
		r, err := render(folder, append(x.sets, "hubble.relay.enabled=true", "extraConfig.hubble.tls.enabled=false")...)
		if err != nil {
			t.Fatal(err)
		}
		all := objects(t, r.objects)
		pod := find[*appsv1.Deployment](t, all, "weir-relay").Spec.Template
		cfg, err := relay.Parse(pod.Spec.Containers[0].Args, io.Discard)
		if err != nil || cfg.Metrics != x.address || pod.Annotations["prometheus.io/port"] != x.annotation {
			t.Errorf("%q: the relay is told %q, annotations %v, %v", x.sets, cfg.Metrics, pod.Annotations, err)
		}
		open := slices.ContainsFunc(pod.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool {
			return p.Name == "metrics" && fmt.Sprint(":", p.ContainerPort) == x.address
		})
		if open != (x.address != "") {
			t.Errorf("%q: ports %v", x.sets, pod.Spec.Containers[0].Ports)
		}
		if x.monitor {
			s := find[*corev1.Service](t, all, "weir-relay-metrics")
			if s.Spec.Ports[0].Port != 9966 || s.Spec.Selector["app.kubernetes.io/name"] != pod.Labels["app.kubernetes.io/name"] {
				t.Errorf("service %+v", s.Spec)
			}
		} else if strings.Contains(r.objects, "kind: ServiceMonitor") {
			t.Errorf("%q: there is a ServiceMonitor", x.sets)
		}
	}
}

func TestMetricsOfFlowsAreChosenInExtraConfig(t *testing.T) {
	for set, want := range map[string][]string{"": config.FlowMetrics(), "extraConfig.hubble.metrics.enabled={drop,tcp}": {"drop", "tcp"}} {
		r, err := render(folder, set)
		if err != nil {
			t.Fatal(err)
		}
		if got := weirYAML(t, objects(t, r.objects)).Hubble.Metrics.Enabled; !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", set, got, want)
		}
	}
}

// weirYAML is the agent's configuration.
func weirYAML(t *testing.T, all []runtime.Object) config.Config {
	t.Helper()
	c, _, err := config.Parse("weir.yaml", []byte(find[*corev1.ConfigMap](t, all, "weir-config").Data["weir.yaml"]))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheRelayWithoutTLS(t *testing.T) {
	r, err := render(folder, "hubble.relay.enabled=true", "extraConfig.hubble.tls.enabled=false")
	if err != nil {
		t.Fatal(err)
	}
	all := objects(t, r.objects)
	cfg, err := relay.Parse(find[*appsv1.Deployment](t, all, "weir-relay").Spec.Template.Spec.Containers[0].Args, io.Discard)
	if err != nil || !cfg.Relay.Plain || cfg.Relay.PeerService != "hubble-peer.kube-system.svc:80" {
		t.Errorf("%+v, %v", cfg, err)
	}
	if strings.Contains(r.objects, "kind: Secret") {
		t.Error("there are certificates that nobody uses")
	}
	if h := weirYAML(t, all).Hubble; h.TLS.Enabled || h.TLS.CertFile != "" {
		t.Errorf("the agent's %+v", h)
	}
}

// The relay is not there unless somebody wants it: no secret is in the plain manifest.
func TestNoRelayAndNoSecretUnlessWanted(t *testing.T) {
	for _, sets := range [][]string{nil, {"hubble.enabled=false", "hubble.relay.enabled=true"}} {
		r, err := render(folder, sets...)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"kind: Secret", "weir-relay", "hubble-peer"} {
			if strings.Contains(r.objects, word) {
				t.Errorf("%q: there is %s", sets, word)
			}
		}
	}
}

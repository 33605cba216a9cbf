package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// An agent that starts before its certificates are there waits for the kubelet to bring them.
func TestObjectsArePrintedInTheOrderInWhichHelmMakesThem(t *testing.T) {
	var out bytes.Buffer
	if err := printObjects(&out, folder, []string{"hubble.relay.enabled=true", "cluster.name=east"}); err != nil {
		t.Fatal(err)
	}
	all := objects(t, out.String())
	agents := slices.Index(all, runtime.Object(find[*appsv1.DaemonSet](t, all, "weir")))
	for _, name := range []string{"hubble-server-certs", "hubble-relay-client-certs"} {
		if at := slices.Index(all, runtime.Object(find[*corev1.Secret](t, all, name))); at > agents {
			t.Errorf("secret %s comes after the agents", name)
		}
	}
	r, err := render(folder, "hubble.relay.enabled=true", "cluster.name=east")
	if err != nil {
		t.Fatal(err)
	}
	if want := objects(t, r.objects); len(all) != len(want) {
		t.Errorf("%d objects are printed, want %d", len(all), len(want))
	}
	if err := printObjects(io.Discard, folder, []string{"hubble.relais.enabled=true"}); err == nil || !strings.Contains(err.Error(), "relais") {
		t.Errorf("a value that there is not: %v", err)
	}
}

package config

import (
	"slices"
	"strings"
	"testing"
)

func TestAPIServersAreTakenAsPeopleWriteThem(t *testing.T) {
	c, _, err := Parse("weir.yaml", []byte("source: {kubernetes: {enabled: true}}\n"+
		"k8sServiceHost: 192.0.2.10, api.example.org:8443, 2001:db8::10, [2001:db8::11]:443, https://192.0.2.12/\n"), "k8sServicePort=7443")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"https://192.0.2.10:7443", "https://api.example.org:8443", "https://[2001:db8::10]:7443", "https://[2001:db8::11]:443", "https://192.0.2.12"}
	if got := c.Servers(); !slices.Equal(got, want) {
		t.Errorf("servers %q, want %q", got, want)
	}
}

func TestTheSourceIsOneOfTwo(t *testing.T) {
	_, _, err := Parse("weir.yaml", []byte("source: {files: /srv/objects, kubernetes: {enabled: true}}"))
	if err == nil || !strings.Contains(err.Error(), "source.files") || !strings.Contains(err.Error(), "source.kubernetes.enabled") {
		t.Errorf("both: got %v, want an error that names both", err)
	}
	c, _, err := Parse("weir.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Runnable(); err == nil || !strings.Contains(err.Error(), "source.files") || !strings.Contains(err.Error(), "source.kubernetes.enabled") {
		t.Errorf("neither: got %v, want an error that names both", err)
	}
	for _, bad := range []string{"https://", "a b", "192.0.2.1:0", "ftp://192.0.2.1", "-x"} {
		if _, _, err := Parse("weir.yaml", nil, "k8sServiceHost="+bad); err == nil || !strings.Contains(err.Error(), "k8sServiceHost") {
			t.Errorf("k8sServiceHost %q: got %v, want an error that names the key", bad, err)
		}
	}
	_, _, err = Parse("weir.yaml", nil, "k8sServiceHost=https://root:secret@192.0.2.1")
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "source.kubernetes.kubeconfig") {
		t.Errorf("credentials in the URL: got %v, want an error that says where they belong, and not what they are", err)
	}
	_, warnings, err := Parse("weir.yaml", nil, "source.files=/srv/objects", "k8sServiceHost=192.0.2.1")
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "k8sServiceHost") {
		t.Errorf("a host without the source: %v, %q; want a warning", err, warnings)
	}
}

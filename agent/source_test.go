package agent

import (
	"errors"
	"testing"
	"time"

	"weir/source/kube"
	"weir/source/kube/connect"
)

func TestTheKubernetesLineSaysVersionOrWhyNot(t *testing.T) {
	now := time.Now()
	v := connect.Version{Major: "1", Minor: "34+", GitVersion: "v1.34.4", Platform: "linux/amd64"}
	for want, state := range map[string]connect.State{
		"Kubernetes 1.34 (v1.34.4) [linux/amd64]":                                  {OK: true, Version: v},
		"Kubernetes 1.34 (v1.34.4) [linux/amd64]: no answer for 20s: refused":      {Version: v, Since: now.Add(-20 * time.Second), Err: errors.New("refused")},
		"Kubernetes: no answer for 3s: no API server is known; set k8sServiceHost": {Since: now.Add(-3 * time.Second), Err: errors.New("no API server is known; set k8sServiceHost")},
	} {
		if got := kubeMessage(kube.Status{State: state}, now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

package kube

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRowK2TrafficAndPodsGoOnWithoutTheOperator(t *testing.T) {
	need(t)
	apply(t, podManifest("k2-a", "n1", "app: k2")+"---"+podManifest("k2-b", "n2", "app: k2"))
	kubectl(t, "wait", "--for=condition=Ready", "pod/k2-a", "pod/k2-b", "--timeout=60s")
	ip := kubectl(t, "get", "pod", "k2-b", "-o", "jsonpath={.status.podIP}")

	operators := func(replicas string) {
		kubectl(t, "scale", "-n", "kube-system", "deployment", "-l", operatorLabel, "--replicas="+replicas)
	}
	operators("0")
	defer func() {
		operators("2")
		kubectl(t, "rollout", "status", "-n", "kube-system", "deployment", "-l", operatorLabel, "--timeout=60s")
	}()
	eventually(t, 60*time.Second, "operators end", func() string {
		return kubectl(t, "get", "pods", "-n", "kube-system", "-o", "name", "-l", operatorLabel)
	})
	curl(t, "k2-a", ip)
	apply(t, podManifest("k2-c", "n3", "app: k2")) // labels that have an identity
	kubectl(t, "wait", "--for=condition=Ready", "pod/k2-c", "--timeout=60s")
	curl(t, "k2-c", ip)
}

// A service is in the maps of every node within a second, and works.
func TestRowK7AgentsFollowTheAPIServer(t *testing.T) {
	need(t)
	apply(t, podManifest("k7", "n2", "app: k7"))
	kubectl(t, "wait", "--for=condition=Ready", "pod/k7", "--timeout=60s")
	agents := map[string]string{}
	for _, n := range nodes() {
		agents[n] = agent(t, n)
	}
	apply(t, `
apiVersion: v1
kind: Service
metadata: {name: k7}
spec: {selector: {app: k7}, clusterIP: 10.96.77.77, ports: [{port: 80}]}
`)
	start := time.Now()
	for n, pod := range agents {
		eventually(t, 5*time.Second, n+" has the service", func() string {
			r := k.Kubectl(t.Context(), "exec", "-n", "kube-system", pod, "--", "weir", "service", "list")
			for line := range strings.Lines(r.Stdout) {
				if strings.Contains(line, "10.96.77.77:80") && strings.Contains(line, "(active)") {
					return ""
				}
			}
			return r.Stdout + r.Stderr
		})
	}
	t.Logf("all nodes had the service after %v, with the time that kubectl took", time.Since(start).Round(time.Millisecond))
}

// curl asks from a pod.
func curl(t *testing.T, pod, url string) string {
	t.Helper()
	return kubectl(t, "exec", pod, "--", "curl", "-gsS", "--max-time", "3", fmt.Sprintf("http://%s/", url))
}

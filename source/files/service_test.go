package files

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/state"
)

const serviceYAML = `apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.96.0.10
  ports:
  - name: http
    port: 80
  - name: https
    port: 443
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports:
- {name: http, port: 8080}
endpoints:
- addresses: [10.0.0.9]
- addresses: [10.0.0.8]
`

func TestARefusedServiceOrSliceKeepsItsLastGoodVersion(t *testing.T) {
	dir, tables := start(t, map[string]string{"a.yaml": serviceYAML})
	web := state.ServiceName{Namespace: "default", Name: "web"}
	slice := state.SliceName{Namespace: "default", Name: "web-1"}
	ports := func() int { s, _ := tables.Services.Get(web); return len(s.Ports) }
	backends := func() int { s, _ := tables.Slices.Get(slice); return len(s.Endpoints) }
	if ports() != 2 || backends() != 2 {
		t.Fatalf("%d ports, %d backends, problems %+v", ports(), backends(), problems(tables))
	}
	bad := strings.NewReplacer("443", "80", "10.0.0.8", "127.0.0.1").Replace(serviceYAML)
	write(t, dir, "a.yaml", bad)
	eventually(t, "both refusals are problems", func() bool { return tables.Problems.Len() == 2 })
	if ports() != 2 || backends() != 2 {
		t.Errorf("%d ports, %d backends: want the last good versions", ports(), backends())
	}
	want := []state.Problem{
		{Key: state.ProblemKey{File: "a.yaml", Object: "EndpointSlice default/web-1"}, Line: 20,
			Error: `EndpointSlice default/web-1: endpoints[1].addresses[0]: "127.0.0.1" is a loopback address, which means another thing on each node: use one that is routed`},
		{Key: state.ProblemKey{File: "a.yaml", Object: "Service default/web"}, Line: 10,
			Error: `Service default/web: spec.ports[1].port: 80/TCP is that of ports[0]: keep one`},
	}
	if diff := cmp.Diff(want, problems(tables)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	write(t, dir, "a.yaml", strings.Replace(serviceYAML, "- addresses: [10.0.0.8]\n", "", 1))
	eventually(t, "the mended ones apply", func() bool { return backends() == 1 && tables.Problems.Len() == 0 })
	write(t, dir, "a.yaml", "# nothing\n")
	eventually(t, "removed ones go", func() bool { return tables.Services.Len() == 0 && tables.Slices.Len() == 0 })
}

func TestOfTwoServicesOfOneNameTheFirstFileCounts(t *testing.T) {
	other := strings.Replace(serviceYAML, "10.96.0.10", "10.96.0.11", 1)
	_, tables := start(t, map[string]string{"b.yaml": other, "a.yaml": serviceYAML})
	s, _ := tables.Services.Get(state.ServiceName{Namespace: "default", Name: "web"})
	if len(s.ClusterIPs) != 1 || s.ClusterIPs[0].String() != "10.96.0.10" {
		t.Errorf("addresses %v", s.ClusterIPs)
	}
	if got := problems(tables); len(got) != 2 || !strings.Contains(got[1].Error, "stands in a.yaml:1 and in b.yaml:1; the first counts: remove one") {
		t.Errorf("problems %+v", got)
	}
}

func TestAMisspeltFieldOfAServiceIsNamedWithItsLine(t *testing.T) {
	_, tables := start(t, map[string]string{"a.yaml": strings.Replace(serviceYAML, "    port: 443", "    prot: 443", 1)})
	got := problems(tables)
	if len(got) != 1 || got[0].Line != 10 || !strings.Contains(got[0].Error, `unknown field "spec.ports[1].prot"`) || tables.Slices.Len() != 1 {
		t.Errorf("problems %+v", got)
	}
}

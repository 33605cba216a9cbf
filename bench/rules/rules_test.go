package rules

import "testing"

func TestThereAreAsManyRulesAsAskedForAndEachDirectionEndsWithTheOneThatAllows(t *testing.T) {
	for _, n := range []int{0, 2, 100, 10000} {
		rows, err := Rows(Objects(n))
		if err != nil {
			t.Fatal(err)
		}
		have := 0
		for _, r := range rows {
			for _, s := range r.Specs {
				have += len(s.Ingress) + len(s.Egress)
			}
		}
		if have != n {
			t.Errorf("%d rules, want %d", have, n)
		}
		if n == 0 {
			continue
		}
		spec := rows[len(rows)-1].Specs[0]
		last := spec.Ingress[len(spec.Ingress)-1]
		if got := last.Peers[0].Endpoints.String(); len(last.Ports) != len(open)+1 || got != byBench(t) {
			t.Errorf("with %d rules the last one allows %s on %d ports", n, got, len(last.Ports))
		}
	}
}

// byBench is the selector of the smallest set of rules.
func byBench(t *testing.T) string {
	t.Helper()
	rows, err := Rows(Objects(2))
	if err != nil {
		t.Fatal(err)
	}
	return rows[0].Specs[0].Ingress[0].Peers[0].Endpoints.String()
}

func TestTheLabelOfThePodsIsVisible(t *testing.T) {
	v, err := Visible(Objects(100))
	if err != nil {
		t.Fatal(err)
	}
	if !v["k8s:app"] {
		t.Errorf("visible labels are %v, want k8s:app among them", v)
	}
}

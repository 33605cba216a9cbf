package agent

import (
	"testing"

	api "weir/api/agent"
)

func TestTheOtherNodesVerdictCountsWhereThisOneHasNone(t *testing.T) {
	allowed, denied := api.Judgement{Known: true, Verdict: "allowed"}, api.Judgement{Known: true, Verdict: "denied", Rule: "there"}
	for _, x := range []struct {
		what          string
		here, there   api.Judgement
		verdict, rule string
		note          string
	}{
		{"judged there alone", api.Judgement{}, denied, "denied", "there", ""},
		{"judged by both", allowed, denied, "allowed", "", ""},
		{"nobody judges", api.Judgement{}, api.Judgement{}, "allowed", "", "more"},
	} {
		w := api.Why{Policy: api.Explanation{Verdict: "allowed", Egress: allowed, Ingress: x.here, Note: "more"}}
		joinWhy(&w, api.Why{Policy: api.Explanation{Ingress: x.there}, Drops: []api.WhyDrop{{Means: "m"}}}, "n2")
		if w.Policy.Verdict != x.verdict || w.Policy.Ingress.Rule != x.rule || w.Policy.Note != x.note {
			t.Errorf("%s: %+v", x.what, w.Policy)
		}
		if len(w.Drops) != 1 || w.Drops[0].Node != "n2" {
			t.Errorf("%s: drops %+v", x.what, w.Drops)
		}
	}
}

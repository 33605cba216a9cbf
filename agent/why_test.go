package agent

import (
	"strings"
	"testing"
	"time"

	api "weir/api/agent"
	"weir/control/policy"
)

func TestAdviceIsOfThePortThatWasAskedAndOfThePoliciesOfNow(t *testing.T) {
	denied := api.Drop{Time: time.Unix(1, 0).UTC(), Reason: "Policy denied", Place: "from_pod", Direction: "ingress", Proto: "TCP", Source: "10.0.0.3:4000", Dest: "10.0.0.4:81",
		Policies: []string{"NetworkPolicy default/web"}, Nearest: "allow on 80/TCP", Missed: "port 81 is not 80"}
	about := func(proto string, port uint16, verdict string) api.Why {
		e := api.Explanation{From: api.ExplainedEnd{IP: "10.0.0.3"}, To: api.ExplainedEnd{IP: "10.0.0.4"}, Proto: proto, Port: port,
			Verdict: verdict, Ingress: api.Judgement{Known: true, Verdict: verdict}}
		w := api.Why{From: e.From, To: e.To, Policy: e, Drops: dropsBetween([]api.Drop{denied}, e)}
		w.Advice = advice(w)
		return w
	}
	for name, c := range map[string]struct {
		w     api.Why
		drops int
		first string
	}{
		"its port":         {about("TCP", 81, policy.Denied), 1, "no rule of NetworkPolicy default/web allows it"},
		"every port":       {about("TCP", 0, policy.Denied), 1, "no rule of NetworkPolicy default/web allows it"},
		"another port":     {about("TCP", 80, policy.Allowed), 0, "nothing here stands between"},
		"another protocol": {about("UDP", 81, policy.Allowed), 0, "nothing here stands between"},
		"a policy of then": {about("TCP", 81, policy.NotEnforced), 1, "try again: NetworkPolicy default/web denied it at 1970-01-01T00:00:01Z"},
	} {
		if len(c.w.Drops) != c.drops || !strings.HasPrefix(c.w.Advice[0], c.first) {
			t.Errorf("%s: %d drops, %q, want %d and %q", name, len(c.w.Drops), c.w.Advice, c.drops, c.first)
		}
	}
}

package agent

import (
	"strings"
	"testing"

	api "weir/api/agent"
	"weir/state"
)

// One name is one line, whatever is wrong with how many objects of that name.
func TestAPolicyIsListedOnceAndSaysWhatCounts(t *testing.T) {
	problem := func(file, name, err, instead string) state.Problem {
		object := "NetworkPolicy default/" + name
		return state.Problem{Key: state.ProblemKey{File: file, Object: object}, Error: object + ": " + err, Instead: instead}
	}
	var have []api.Policy
	for _, name := range []string{"good", "kept", "beside", "both"} {
		have = append(have, api.Policy{Kind: "NetworkPolicy", Namespace: "default", Name: name, State: "in force"})
	}
	got := withRefused(have, []state.Problem{
		problem("a.yaml", "kept", "is wrong", ""),
		problem("a.yaml", "beside", "is wrong; b.yaml:1 counts", "b.yaml:1"),
		problem("a.yaml", "both", "is wrong", ""),
		problem("b.yaml", "both", "is wrong, too", ""),
		problem("a.yaml", "none", "is wrong", ""),
		problem("b.yaml", "none", "is wrong, too", ""),
		{Key: state.ProblemKey{File: "a.yaml", Object: "Pod default/p"}, Error: "is no policy"},
	})
	want := map[string]string{
		"good":   "in force: ",
		"kept":   "refused: is wrong (its last good version stays in force)",
		"beside": "in force: is wrong; b.yaml:1 counts",
		"both":   "refused: is wrong (its last good version stays in force); is wrong, too",
		"none":   "refused: is wrong; is wrong, too",
	}
	for _, p := range got {
		if text := p.State + ": " + p.Message; text != want[p.Name] {
			t.Errorf("%s: got %q, want %q", p.Name, text, want[p.Name])
		}
		delete(want, p.Name)
	}
	if len(want) != 0 {
		t.Errorf("not listed once: %v in %s", want, strings.Join(names(got), " "))
	}
}

func names(list []api.Policy) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.Name)
	}
	return out
}

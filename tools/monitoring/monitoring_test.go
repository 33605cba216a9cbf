package monitoring

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const root = "../.."

// told are the series that endpoints have, by name, as the golden files of their
// own tests say; each with the values of its labels there.
func told(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{"up": true} // Prometheus' own
	for _, file := range []string{"observe/metrics/testdata/node.txt", "operator/run/testdata/metrics.txt", "relay/run/testdata/metrics.txt"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^([a-z]\w+)`).FindAllStringSubmatch(string(text), -1) {
			out[m[1]] = true
		}
	}
	if len(out) < 60 {
		t.Fatalf("only %d series are told: the golden files are not what they were", len(out))
	}
	return out
}

// variables of Grafana, with what stands for them here.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")

// names are those of the series that an expression asks for.
func names(t *testing.T, expr string) []string {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(variables.Replace(expr))
	if err != nil {
		t.Errorf("%s: %v", expr, err)
		return nil
	}
	var out []string
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			out = append(out, v.Name)
			for _, m := range v.LabelMatchers {
				if v.Name == "" && m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
					out = append(out, m.Value)
				}
			}
		}
		return nil
	})
	if len(out) == 0 {
		t.Errorf("%s asks for nothing", expr)
	}
	return out
}

func TestRulesAreValidAndAskForWhatIsTold(t *testing.T) {
	path := filepath.Join(root, "deploy/monitoring/alerts.yaml")
	groups, errs := rulefmt.ParseFile(path, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil || len(groups.Groups) != 3 {
		t.Fatalf("%s: %+v, want three groups", path, groups)
	}
	known, seen := told(t), map[string]bool{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if seen[r.Alert] {
				t.Errorf("alert %s stands twice", r.Alert)
			}
			seen[r.Alert] = true
			if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("alert %s lacks its severity, summary or description", r.Alert)
			}
			for _, n := range names(t, r.Expr) {
				if !known[n] {
					t.Errorf("alert %s asks for %s, which nobody tells", r.Alert, n)
				}
			}
		}
	}
}

// dashboard is what of Grafana's format counts here.
type dashboard struct {
	UID        string
	Title      string
	Templating struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []struct {
		ID      int
		Title   string
		Type    string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr string }
	}
}

func TestDashboardsAskForWhatIsTold(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "deploy/monitoring/*.json"))
	if err != nil || len(files) < 2 {
		t.Fatalf("dashboards %v, err %v: want two at least", files, err)
	}
	known := told(t)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		ids, asked := map[int]bool{}, 0
		for _, p := range d.Panels {
			if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s: panel %d %q has another's number, or is too wide", file, p.ID, p.Title)
			}
			ids[p.ID] = true
			for _, target := range p.Targets {
				asked++
				for _, n := range names(t, target.Expr) {
					if !known[n] {
						t.Errorf("%s: %q asks for %s, which nobody tells", file, p.Title, n)
					}
				}
			}
			if p.Type != "row" && len(p.Targets) == 0 {
				t.Errorf("%s: %q asks for nothing", file, p.Title)
			}
		}
		for _, v := range d.Templating.List {
			if m := regexp.MustCompile(`^label_values\((\w+), \w+\)$`).FindStringSubmatch(v.Query); v.Type == "query" && (m == nil || !known[m[1]]) {
				t.Errorf("%s: variable %s asks for %q", file, v.Name, v.Query)
			}
		}
		if asked == 0 || d.UID == "" || d.Title == "" {
			t.Errorf("%s: %d expressions, uid %q, title %q", file, asked, d.UID, d.Title)
		}
	}
}

// TestABrokenRuleIsFound: the checks above can fail.
func TestABrokenRuleIsFound(t *testing.T) {
	for text, want := range map[string]string{
		"groups: [{name: g, rules: [{alert: A, expr: 'sum(('}]}]":                                   "parse",
		"groups: [{name: g, rules: [{alert: A, expr: up, annotations: {summary: '{{ $nope }}'}}]}]": "nope",
		"groups: [{name: g, rules: [{alert: A, expr: up, nonsense: 1}]}]":                           "nonsense",
	} {
		_, errs := rulefmt.Parse([]byte(text), false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
		if len(errs) == 0 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%s: %v, want an error about %q", text, errs, want)
		}
	}
}

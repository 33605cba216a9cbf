package files

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"weir/source/convert"
	"weir/state"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestPoliciesBecomeRows reads archives of two files: "in.yaml", and "rows",
// what it becomes. Their comment may begin with "cidrMatchMode: pods".
func TestPoliciesBecomeRows(t *testing.T) {
	names, err := filepath.Glob("testdata/policy/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d archives: %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil || len(a.Files) < 1 || a.Files[0].Name != "in.yaml" {
				t.Fatalf("%v: %v", a, err)
			}
			scope := convert.Scope{}
			if mode, ok := strings.CutPrefix(string(a.Comment), "cidrMatchMode: "); ok {
				scope.CIDRMatchMode = strings.Fields(mode)[:1]
			}
			got := render(Policies("in.yaml", a.Files[0].Data, scope))
			if *update {
				a.Files = append(a.Files[:1], txtar.File{Name: "rows", Data: []byte(got)})
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(a.Files[1].Data), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// render prints everything that policies say, so that a golden file shows it.
func render(policies []state.Policy, problems []state.Problem) string {
	var b strings.Builder
	for _, p := range policies {
		fmt.Fprintf(&b, "%s%s\n", p.Key, word(" respond ", string(p.Respond)))
		for _, s := range p.Specs {
			who := "endpoints"
			if s.Nodes {
				who = "nodes"
			}
			fmt.Fprintf(&b, "  %s: %s %s%s\n", s.Path, who, s.Subject, word(": ", s.Description))
			direction(&b, "ingress", s.IsolateIngress, s.Ingress)
			direction(&b, "egress", s.IsolateEgress, s.Egress)
		}
	}
	for _, p := range problems {
		fmt.Fprintf(&b, "problem at line %d: %s\n", p.Line, p.Error)
	}
	return b.String()
}

func word(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

func direction(b *strings.Builder, name string, isolates bool, rules []state.PolicyRule) {
	if isolates {
		fmt.Fprintf(b, "    isolates %s\n", name)
	}
	for _, r := range rules {
		verb := "allow"
		if r.Deny {
			verb = "deny"
		}
		if r.NotEnforced != "" {
			verb = "nothing: " + r.NotEnforced + ":"
		}
		fmt.Fprintf(b, "    %s %s %s\n", name, r.Path, verb)
		switch {
		case r.AnyPeer:
			fmt.Fprintln(b, "      everybody")
		case len(r.Peers) == 0:
			fmt.Fprintln(b, "      nobody")
		}
		for _, p := range r.Peers {
			fmt.Fprintf(b, "      %s: %s\n", p.Path, peer(p))
		}
		switch {
		case r.AnyPort:
			fmt.Fprintln(b, "      every port")
		case len(r.Ports) == 0:
			fmt.Fprintln(b, "      no port")
		}
		for _, p := range r.Ports {
			fmt.Fprintf(b, "      %s: %s\n", p.Path, port(p))
		}
	}
}

func peer(p state.PolicyPeer) string {
	tail := ""
	if len(p.Except) > 0 {
		tail += fmt.Sprintf(" except %v", p.Except)
	}
	if p.Cluster {
		tail += ", whoever has it"
	}
	what := map[state.PeerKind]any{
		state.PeerEndpoints: p.Endpoints, state.PeerEntity: p.Entity, state.PeerCIDR: p.CIDR,
		state.PeerCIDRGroups: p.CIDRGroups, state.PeerNodes: p.Nodes, state.PeerServices: p.Services,
	}[p.Kind]
	return fmt.Sprintf("%s %v%s", p.Kind, what, tail)
}

func port(p state.PolicyPort) string {
	switch {
	case p.All:
		return fmt.Sprintf("protocol %d", p.Proto)
	case p.Name != "":
		return fmt.Sprintf("protocol %d %q", p.Proto, p.Name)
	case p.First == p.Last:
		return fmt.Sprintf("protocol %d %d", p.Proto, p.First)
	}
	return fmt.Sprintf("protocol %d %d-%d", p.Proto, p.First, p.Last)
}

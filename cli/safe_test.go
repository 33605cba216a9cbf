package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/timestamppb"

	"weir/api/agent"
	"weir/api/flow"
	"weir/api/observer"
)

// hostile is a name that would clear the screen, forge a line and turn text round.
const hostile = "\x1b[2J\x9b\u009bmad\u202e\r\nforged\tline"

func wantPlain(t *testing.T, what, out string, lines int) {
	t.Helper()
	if strings.ContainsFunc(out, func(r rune) bool {
		return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
	}) {
		t.Errorf("%s: a terminal obeys %q", what, out)
	}
	if got := strings.Count(out, "\n"); lines > 0 && got != lines {
		t.Errorf("%s: %d lines, want %d:\n%s", what, got, lines, out)
	}
}

func TestNamesOfOthersDoNotSteerTheTerminal(t *testing.T) {
	walked := agent.Walk{From: "pod/a", To: "pod/b", Probe: "TCP", Answer: hostile, Note: hostile, Missing: []string{hostile},
		Steps: []agent.Step{{Node: hostile, Program: hostile, Hook: hostile, Packet: hostile, To: hostile, Rewrites: []string{hostile}, Lookups: []agent.Lookup{{Map: hostile, Key: hostile, Found: hostile}}}}}
	drop := agent.Drop{Reason: hostile, Cause: hostile, Device: hostile, SourceName: hostile, DestName: hostile, Place: hostile, Policies: []string{hostile}, Nearest: hostile, Missed: hostile}
	why := agent.Why{Advice: []string{hostile}, Drops: []agent.WhyDrop{{Drop: drop, Means: hostile}}, Way: []agent.WayFact{{What: hostile, Is: hostile, OK: true}}, To: agent.ExplainedEnd{Name: hostile}}
	f := fake{agent.PathWalk: walked, agent.PathWhy: why, agent.PathDrops: []agent.Drop{drop},
		agent.PathEndpoints: []agent.Endpoint{{ID: 5, Pod: hostile, Device: hostile, State: hostile}},
		agent.PathStatus:    &agent.Error{Message: hostile}}
	socket := f.serve(t)
	for command, lines := range map[string]int{"trace a b": 9, "why a b": 0, "drops": 4, "endpoint list": 3, "status": 0} {
		out, errs, _ := weir(t, socket, strings.Fields(command)...)
		wantPlain(t, command, out+errs, lines)
	}
	out, errs, _ := weir(t, socket, strings.Fields("trace a b -o json")...)
	var again agent.Walk
	if err := json.Unmarshal([]byte(out), &again); err != nil || again.Steps[0].Program != strings.ToValidUTF8(hostile, "\ufffd") {
		t.Errorf("json: %v, %+v %s", err, again, errs)
	}
	wantPlain(t, "json", out, 0)
}

func TestNamesInFlowsDoNotSteerTheTerminal(t *testing.T) {
	name := strings.ToValidUTF8(hostile, "") // as protobuf wants it
	end := &flow.Endpoint{Namespace: name, PodName: name, Labels: []string{"reserved:" + name}, Identity: 1}
	reply := &observer.GetFlowsResponse{ResponseTypes: &observer.GetFlowsResponse_Flow{Flow: &flow.Flow{Time: timestamppb.New(time.Unix(1, 0)), NodeName: name, Source: end, Destination: end, Summary: name}}}
	for form, lines := range map[string]int{formCompact: 1, formTab: 2, formDict: 7, outputJSON: 1} {
		var out bytes.Buffer
		p := flowPrinter{form: form, out: &safe{w: &out}, errs: &out, nodes: true, location: time.UTC}
		if err := p.reply(reply); err != nil {
			t.Fatal(err)
		}
		if err := p.finish(); err != nil {
			t.Fatal(err)
		}
		wantPlain(t, form, out.String(), lines)
	}
}

func TestCharactersInPartsStayWhole(t *testing.T) {
	var out bytes.Buffer
	p := &safe{w: &out}
	for _, b := range []byte("héllo → 世界 🙂\n") {
		if n, err := p.Write([]byte{b}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := out.String(); got != "héllo → 世界 🙂\n" {
		t.Errorf("got %q", got)
	}
}

package cli

import (
	"fmt"
	"html"
	"strings"

	"weir/api/agent"
)

// Measures of the drawing, in pixels.
const (
	walkWidth = 900 // at least
	walkChar  = 7   // of text, a wide one
	walkLine  = 18
	walkTop   = 70
	walkGap   = 26
	walkPad   = 14
)

// drawWalk draws a walk from top to bottom: a box for each step, green or red, with
// what it asked and did, and an arrow to the next one.
func drawWalk(r agent.Walk) string {
	var b strings.Builder
	y, width := walkTop, walkWidth
	for _, s := range r.Steps {
		for _, line := range walkLines(s) {
			width = max(width, 68+walkChar*len(line))
		}
	}
	for i, s := range r.Steps {
		if i > 0 {
			since := s.Time.Sub(r.Steps[i-1].Time)
			fmt.Fprintf(&b, `<path class="arrow" d="M60 %d v%d"/><text class="since" x="74" y="%d">%s</text>`+"\n", y-walkGap, walkGap-6, y-8, since)
		}
		lines := walkLines(s)
		height := len(lines)*walkLine + 2*walkPad - 4
		class := "forwarded"
		if s.Verdict == "dropped" {
			class = "dropped"
		}
		fmt.Fprintf(&b, `<rect class="%s" x="20" y="%d" width="%d" height="%d" rx="6"/>`+"\n", class, y, width-40, height)
		for j, line := range lines {
			style := "text"
			if j == 0 {
				style = "title"
			}
			fmt.Fprintf(&b, `<text class="%s" x="34" y="%d">%s</text>`+"\n", style, y+walkPad+10+j*walkLine, html.EscapeString(visible(oneLine(line))))
		}
		y += height + walkGap
	}
	return fmt.Sprintf(walkFrame, width, y, width, y, html.EscapeString(visible(oneLine(r.From+" -> "+r.To))), html.EscapeString(visible(oneLine(strings.Trim(r.Probe+": "+r.Answer, ": ")))), b.String())
}

// walkFrame is the drawing around the steps: width, height, both again, title, second
// line, steps.
const walkFrame = `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">
<style>
svg { background: #fff; font-family: sans-serif; }
.forwarded { fill: #eef7ee; stroke: #2e7d32; } .dropped { fill: #fdecea; stroke: #c62828; }
.title { font-size: 14px; font-weight: bold; } .text { font-size: 12px; } .since { font-size: 11px; fill: #555; }
.arrow { stroke: #555; fill: none; stroke-width: 2; }
</style>
<text class="title" x="20" y="30">%s</text>
<text class="text" x="20" y="50">%s</text>
%s</svg>
`

func walkLines(s agent.Step) []string {
	arrow := "->"
	if s.Reply {
		arrow = "<-"
	}
	out := []string{fmt.Sprintf("%s %s  %s  (%s)", arrow, s.Node, s.Program, s.Hook), s.Packet}
	for _, l := range s.Lookups {
		out = append(out, l.Map+": "+l.Key+" = "+l.Found)
	}
	out = append(out, s.Rewrites...)
	if s.Verdict == "dropped" {
		return append(out, "dropped: "+because(s.Reason, s.Cause))
	}
	return append(out, "to "+s.To)
}

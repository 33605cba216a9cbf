package main

import (
	"fmt"
	"html"
	"strings"
)

// Sizes of a plot in pixels.
const (
	plotLeft  = 260
	plotWide  = 520
	plotRight = 120
	plotRow   = 24
	plotTop   = 44
)

// plot draws one bar with its interval for each row that has one; empty when
// none has.
func plot(t table) string {
	most, bars := 0.0, 0
	for _, r := range t.Rows {
		if r.Bar != nil {
			most, bars = max(most, r.Bar.High, r.Bar.Median), bars+1
		}
	}
	if bars == 0 || most == 0 {
		return ""
	}
	scale := plotWide / most
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		plotLeft+plotWide+plotRight, plotTop+bars*plotRow+20)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	what := "ratio"
	if t.Unit != "" {
		what = t.Unit
	}
	fmt.Fprintf(&b, `<text x="10" y="20" font-size="14" font-weight="bold">%s (%s, median and 95 %% interval)</text>`+"\n", html.EscapeString(t.Title), what)
	if t.Unit == "" {
		x := plotLeft + scale
		fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#888" stroke-dasharray="4 3"/>`+"\n", x, x, plotTop-8, plotTop+bars*plotRow)
	}
	y := plotTop
	for _, r := range t.Rows {
		if r.Bar == nil {
			continue
		}
		drawBar(&b, r, y, scale)
		y += plotRow
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func drawBar(b *strings.Builder, r row, y int, scale float64) {
	fill := "#9aa7b5"
	if strings.Contains(r.Cells[0], "Weir") || strings.Contains(r.Cells[0], "weir") {
		fill = "#2f7fbf"
	}
	mid := float64(y) + plotRow/2 - 3
	low, high := plotLeft+r.Bar.Low*scale, plotLeft+r.Bar.High*scale
	fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", plotLeft-8, mid+4, html.EscapeString(r.Cells[0]))
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", plotLeft, y, r.Bar.Median*scale, plotRow-6, fill)
	if r.Bar.High > r.Bar.Low {
		fmt.Fprintf(b, `<path d="M%.1f %.1fH%.1fM%.1f %.1fv8M%.1f %.1fv8" stroke="black" fill="none"/>`+"\n",
			low, mid, high, low, mid-4, high, mid-4)
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f">%s</text>`+"\n", max(high, plotLeft+r.Bar.Median*scale)+6, mid+4, number(r.Bar.Median))
}

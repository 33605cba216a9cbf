package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"weir/bench/stat"
)

func TestPlotIsWellFormedAndDrawsEveryBar(t *testing.T) {
	svg := plot(table{Title: "RR <of> pods & nodes", Rows: []row{
		{Cells: []string{"direct"}, Bar: &stat.Ratio{Median: 1, Low: 1, High: 1}},
		{Cells: []string{"Weir & co"}, Bar: &stat.Ratio{Median: 0.97, Low: 0.9, High: 1.1}},
		{Cells: []string{"no bar"}},
	}})
	d := xml.NewDecoder(strings.NewReader(svg))
	rects := 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("plot is no XML: %v\n%s", err, svg)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "rect" {
			rects++
		}
	}
	if rects != 3 { // the background and two bars
		t.Errorf("plot has %d rectangles, want 3:\n%s", rects, svg)
	}
}

func TestATableWithoutBarsHasNoPlot(t *testing.T) {
	if svg := plot(table{Title: "Goals", Rows: []row{{Cells: []string{"x"}}}}); svg != "" {
		t.Errorf("plot = %q, want nothing", svg)
	}
}

func TestFileNamesSayWhatTheTableIs(t *testing.T) {
	for title, want := range map[string]string{
		"TCP_RR, client and server on one CPU": "tcp-rr-client-and-server-on-one-cpu",
		"CNI: time of one call":                "cni",
	} {
		if got := fileName(title); got != want {
			t.Errorf("fileName(%q) = %q, want %q", title, got, want)
		}
	}
}

func TestNumbersKeepThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{63223.4: "63223", 15.149: "15.1", 0.98765: "0.988"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"weir/bench/stat"
)

// report is what is printed and written.
type report struct {
	Time    time.Time                       `json:"time"`
	Kernel  string                          `json:"kernel"`
	CPU     string                          `json:"cpu"`
	CPUs    int                             `json:"cpus"`
	Load    string                          `json:"load"` // before the run
	Quick   bool                            `json:"quick,omitempty"`
	Tables  []table                         `json:"tables"`
	Goals   []goal                          `json:"goals"`
	Samples map[string]map[string][]float64 `json:"samples,omitempty"` // kind -> path -> rate of each round
}

// table is one table and one plot.
type table struct {
	Title   string   `json:"title"`
	Columns []string `json:"columns"`
	Rows    []row    `json:"rows"`
	Notes   []string `json:"notes,omitempty"`
	Unit    string   `json:"unit,omitempty"` // of the bars; empty: ratios
}

// row is one line. Its bar is what the plot shows of it.
type row struct {
	Cells []string    `json:"cells"`
	Bar   *stat.Ratio `json:"bar,omitempty"`
}

// goal is a promise with what became of it.
type goal struct {
	Name     string `json:"name"`
	Want     string `json:"want"`
	Measured string `json:"measured"`
	Met      bool   `json:"met"`
}

func newReport(o options) report {
	r := report{Time: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(), Quick: o.quick, CPU: cpuModel(), Tables: []table{}, Goals: []goal{}}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		r.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.Load = strings.Join(strings.Fields(string(data))[:3], " ")
	}
	return r
}

func cpuModel() string {
	data, _ := os.ReadFile("/proc/cpuinfo") // without it the model stays unknown
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func (r *report) printHead(w io.Writer) {
	fmt.Fprintf(w, "%s, kernel %s, %d CPUs (%s), load %s\n", r.Time.Format(time.RFC3339), r.Kernel, r.CPUs, r.CPU, r.Load)
	if r.Quick {
		fmt.Fprintln(w, "Quick run: it shows that everything works, its figures mean little.")
	}
}

// add prints a table and keeps it.
func (r *report) add(w io.Writer, t table) {
	r.Tables = append(r.Tables, t)
	fmt.Fprintf(w, "\n%s\n", t.Title)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(t.Columns, "\t"))
	for _, row := range t.Rows {
		fmt.Fprintln(tw, strings.Join(row.Cells, "\t"))
	}
	tw.Flush()
	for _, n := range t.Notes {
		fmt.Fprintln(w, n)
	}
}

func (r *report) goal(name, want, measured string, met bool) {
	r.Goals = append(r.Goals, goal{name, want, measured, met})
}

func (r *report) printGoals(w io.Writer) {
	t := table{Title: "Goals", Columns: []string{"goal", "want", "measured", ""}}
	for _, g := range r.Goals {
		verdict := "missed"
		if g.Met {
			verdict = "met"
		}
		t.Rows = append(t.Rows, row{Cells: []string{g.Name, g.Want, g.Measured, verdict}})
	}
	r.add(w, t)
}

// write puts bench.json and the plots into the folder.
func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder for results: %w", err)
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bench.json"), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	for _, t := range r.Tables {
		svg := plot(t)
		if svg == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, fileName(t.Title)+".svg"), []byte(svg), 0o644); err != nil {
			return fmt.Errorf("write plot: %w", err)
		}
	}
	return nil
}

// fileName makes a name of the title: letters and digits, the rest dashes.
func fileName(title string) string {
	title, _, _ = strings.Cut(title, ":")
	words := strings.FieldsFunc(strings.ToLower(title), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	return strings.Join(words, "-")
}

func interval(r stat.Ratio) string { return fmt.Sprintf("%.3f-%.3f", r.Low, r.High) }

// number prints three significant digits or all before the point.
func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func blankZero(v float64) string {
	if v == 0 {
		return ""
	}
	return number(v)
}

package cli

import (
	"io"
	"strings"
	"unicode/utf8"
)

// gap stands between columns; three spaces let single ones be part of a cell.
const gap = "   "

// grid is rows of cells whose columns are printed aligned.
type grid [][]string

func (g *grid) add(cells ...string) { *g = append(*g, cells) }

// print writes the rows, each after indent, with no space at the end of a line.
func (g grid) print(w io.Writer, indent string) {
	var widths []int
	for _, row := range g {
		for i := range row {
			row[i] = visible(oneLine(row[i]))
		}
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range g {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString(gap)
			}
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		}
		io.WriteString(w, strings.TrimRight(indent+line.String(), " ")+"\n")
	}
}

// at returns the i-th cell, or none: lists of different length side by side.
func at(cells []string, i int) string {
	if i < len(cells) {
		return cells[i]
	}
	return ""
}

// addList adds a label and its values, each on a line of its own.
func (g *grid) addList(label string, values []string) {
	g.add(label, at(values, 0))
	for i := 1; i < len(values); i++ {
		g.add("", values[i])
	}
}

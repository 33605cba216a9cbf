// Command bench measures Weir beside what a node could do without it, prints
// tables, and writes them with one plot each to the folder results.
//
// Absolute figures of one machine say little; ratios between configurations
// that took turns in one run say more. Every ratio here is the median of
// paired ratios with a bootstrap 95 % interval, and none is called a
// difference unless the same path measured against itself shows none: see
// docs/performance.md. It needs root, and leaves nothing behind.
//
// It judges nothing: a goal that is missed is printed and does not fail the
// run.
package main

package observe

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"weir/state"
)

var (
	labelKey   = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9._/:]*[A-Za-z0-9])?$`)
	labelValue = regexp.MustCompile(`^[-A-Za-z0-9._/:;]*$`)
	setBased   = regexp.MustCompile(`^(\S+)\s+(in|notin)\s*\(([^()]*)\)$`)
)

// parseSelector reads a selector of labels as kubectl writes them: requirements with
// commas between. A key without a source is that of any, with a source ("k8s:app",
// "reserved:host") it is that one.
func parseSelector(text string) (state.Selector, error) {
	var out state.Selector
	for _, part := range splitOutside(text) {
		r, err := parseRequirement(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("%q: %w: write k8s:app=web, app!=web, app, !app, \"app in (web, db)\" or several with commas between", text, err)
		}
		out = append(out, r)
	}
	return out.Sorted(), nil
}

// splitOutside splits at the commas that are not in brackets.
func splitOutside(text string) []string {
	var out []string
	depth, from := 0, 0
	for i, c := range text {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			out = append(out, text[from:i])
			from = i + 1
		}
	}
	return append(out, text[from:])
}

func parseRequirement(text string) (state.Requirement, error) {
	if m := setBased.FindStringSubmatch(text); m != nil {
		op := state.In
		if m[2] == "notin" {
			op = state.NotIn
		}
		var values []string
		for v := range strings.SplitSeq(m[3], ",") {
			values = append(values, strings.TrimSpace(v))
		}
		return requirement(m[1], op, values...)
	}
	if key, ok := strings.CutPrefix(text, "!"); ok && !strings.Contains(key, "=") {
		return requirement(strings.TrimSpace(key), state.DoesNotExist)
	}
	for _, sign := range []struct {
		text string
		op   state.Operator
	}{{"!=", state.NotIn}, {"==", state.In}, {"=", state.In}} {
		if key, value, ok := strings.Cut(text, sign.text); ok {
			return requirement(strings.TrimSpace(key), sign.op, strings.TrimSpace(value))
		}
	}
	return requirement(text, state.Exists)
}

func requirement(key string, op state.Operator, values ...string) (state.Requirement, error) {
	if !labelKey.MatchString(key) {
		return state.Requirement{}, fmt.Errorf("%q is not a label's key", key)
	}
	if i := slices.IndexFunc(values, func(v string) bool { return !labelValue.MatchString(v) }); i >= 0 {
		return state.Requirement{}, fmt.Errorf("%q is not a label's value", values[i])
	}
	if !strings.Contains(key, ":") {
		key = "any:" + key
	}
	return state.Requirement{Key: key, Op: op, Values: values}, nil
}

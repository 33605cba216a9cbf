package lab

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"weir/internal/suggest"
)

// checkKeys compares the keys of a decoded document with the JSON names of the
// type it is meant for, and names each that is not among them with its line in
// data and the key that was probably meant.
func checkKeys(data []byte, raw, like any) error {
	var bad []error
	walkKeys(raw, reflect.TypeOf(like), "", func(path, key string, known []string) {
		text := fmt.Sprintf("line %d: unknown key %q", lineOf(data, key), path)
		if near := suggest.Nearest(key, known); near != "" {
			text += fmt.Sprintf("; did you mean %q?", near)
		} else {
			text += "; known are " + strings.Join(known, ", ")
		}
		bad = append(bad, errors.New(text))
	})
	return errors.Join(bad...)
}

func walkKeys(raw any, t reflect.Type, path string, unknown func(path, key string, known []string)) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := raw.(type) {
	case []any:
		if t.Kind() == reflect.Slice {
			for i, item := range v {
				walkKeys(item, t.Elem(), fmt.Sprintf("%s[%d]", path, i), unknown)
			}
		}
	case map[string]any:
		if t.Kind() != reflect.Struct {
			return
		}
		fields := jsonFields(t)
		for _, key := range slices.Sorted(maps.Keys(v)) {
			full := strings.TrimPrefix(path+"."+key, ".")
			if ft, ok := fields[key]; ok {
				walkKeys(v[key], ft, full, unknown)
			} else {
				unknown(full, key, slices.Sorted(maps.Keys(fields)))
			}
		}
	}
}

func jsonFields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			out[name] = t.Field(i).Type
		}
	}
	return out
}

// lineOf finds the first line that sets key; 0 when none does.
func lineOf(data []byte, key string) int {
	sets := regexp.MustCompile(`^[\s{,-]*["']?` + regexp.QuoteMeta(key) + `["']?\s*:`)
	for i, line := range bytes.Split(data, []byte("\n")) {
		if sets.Match(line) {
			return i + 1
		}
	}
	return 0
}

package files

import (
	stdjson "encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/json"
)

// culprit returns the path of the innermost field that does not decode into its
// type, and what its decoder says. The decoder of the whole names fields
// without their indices, or, when the field's type decodes itself, not at all;
// so each part is tried alone. err is what decoding data into t said.
func culprit(data []byte, t reflect.Type, path string, err error) (string, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	try := func(part []byte, t reflect.Type, at string) (string, error) {
		if err := json.UnmarshalCaseSensitivePreserveInts(part, reflect.New(t).Interface()); err != nil {
			return culprit(part, t, at, err)
		}
		return "", nil
	}
	switch t.Kind() {
	case reflect.Struct:
		var parts map[string]stdjson.RawMessage
		if stdjson.Unmarshal(data, &parts) != nil {
			return path, err
		}
		types := fieldTypes(t)
		for _, name := range slices.Sorted(maps.Keys(parts)) {
			if of, ok := types[name]; ok {
				if at, err := try(parts[name], of, strings.TrimPrefix(path+"."+name, ".")); err != nil {
					return at, err
				}
			}
		}
	case reflect.Slice:
		var parts []stdjson.RawMessage
		if stdjson.Unmarshal(data, &parts) != nil {
			return path, err
		}
		for i, part := range parts {
			if at, err := try(part, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return at, err
			}
		}
	case reflect.Map:
		var parts map[string]stdjson.RawMessage
		if stdjson.Unmarshal(data, &parts) != nil {
			return path, err
		}
		for _, key := range slices.Sorted(maps.Keys(parts)) {
			if at, err := try(parts[key], t.Elem(), path+"."+key); err != nil {
				return at, err
			}
		}
	}
	return path, err
}

// fieldTypes returns the types of a struct's fields by their names in JSON,
// those of embedded structs among them.
func fieldTypes(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name != "":
			out[name] = f.Type
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			maps.Copy(out, fieldTypes(f.Type))
		}
	}
	return out
}

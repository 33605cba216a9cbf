package files

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// harmless are the fields right under the spec of a policy in which null is as
// good as leaving them out.
var harmless = []string{"ingress", "egress", "ingressDeny", "egressDeny", "description", "labels", "log", "enableDefaultDeny"}

// refuseNull refuses null, which is what YAML makes of a field without a value,
// in the spec of a policy. "fromEndpoints:" with nothing behind it reads as if
// nobody was meant, and would be an absent condition: everybody; an element
// "- null" would be an empty selector: everybody, too.
func (o Object) refuseNull() error {
	var object struct {
		Spec  any   `json:"spec"`
		Specs []any `json:"specs"`
	}
	if json.Unmarshal(o.JSON, &object) != nil {
		return nil // the decoder says what is wrong
	}
	path := nullIn("spec", object.Spec, 0)
	for i, s := range object.Specs {
		if path != "" {
			break
		}
		if path = nullIn(fmt.Sprintf("specs[%d]", i), s, 0); s == nil {
			path = fmt.Sprintf("specs[%d]", i)
		}
	}
	if path == "" {
		return nil
	}
	return &DecodeError{Object: o.String(), Line: o.lineOf(path), Text: path + ": has no value: leave it out, or write an empty list or mapping; they mean different things"}
}

// nullIn returns the path of the first null below a value, or "".
func nullIn(path string, v any, depth int) string {
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			at := fmt.Sprintf("%s[%d]", path, i)
			if item == nil {
				return at
			}
			if found := nullIn(at, item, depth+1); found != "" {
				return found
			}
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			at := path + "." + k
			if v[k] == nil {
				if depth == 0 && slices.Contains(harmless, k) {
					continue
				}
				return at
			}
			if found := nullIn(at, v[k], depth+1); found != "" {
				return found
			}
		}
	}
	return ""
}

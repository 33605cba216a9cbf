package run

import (
	"log/slog"

	"sigs.k8s.io/json"

	"weir/api/client"
	v1 "weir/api/v1"
	"weir/source/convert"
	"weir/source/files"
)

// fitting makes rows of custom resources as they come: of an object with a field that
// does not fit its kind the others count, and it stops nobody else's.
func fitting[T, R any](log *slog.Logger, row func(*T) R) func(*client.Raw) R {
	return func(r *client.Raw) R { return row(decoded[T](log, r)) }
}

func decoded[T any](log *slog.Logger, r *client.Raw) *T {
	out := new(T)
	if err := json.UnmarshalCaseSensitivePreserveInts(r.JSON, out); err != nil {
		log.Warn("a field does not fit the object's kind, and counts as if it was left out: correct it", "kind", r.Kind, "object", nameOf(r), "err", err)
	}
	return out
}

// asAgents makes the row of a policy as agents do, who refuse one with a field that
// nobody knows, too.
func asAgents[R any](apiVersion, kind string, scope convert.Scope) func(*client.Raw) (R, error) {
	return func(r *client.Raw) (out R, err error) {
		data, err := r.Trimmed(apiVersion, kind)
		if err != nil {
			return out, err
		}
		row, err := files.Row(files.Object{APIVersion: apiVersion, Kind: kind, Namespace: r.Namespace, Name: r.Name, JSON: data}, scope)
		if err == nil {
			out = row.(R)
		}
		return out, err
	}
}

func conditions(log *slog.Logger) func(*client.Raw) []v1.PolicyCondition {
	type told struct {
		Status v1.PolicyStatus `json:"status"`
	}
	return fitting(log, func(t *told) []v1.PolicyCondition { return t.Status.Conditions })
}

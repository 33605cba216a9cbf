package agent

import (
	"net/http"

	api "weir/api/agent"
)

// explainKeys answers `weir config explain`.
func (a *Agent) explainKeys(r *http.Request) ([]api.ConfigKey, error) {
	keys, err := a.cfg.Explain(r.URL.Query().Get("key"))
	out := []api.ConfigKey{}
	for _, k := range keys {
		out = append(out, api.ConfigKey{Key: k.Key, Value: k.Value, Unset: k.Unset, From: k.From, Means: k.Means, Other: k.Other})
	}
	return out, err
}

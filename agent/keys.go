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
		out = append(out, api.ConfigKey(k))
	}
	return out, err
}

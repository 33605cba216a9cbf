package kubeproxy

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ServeHTTP answers lists and watches, and takes events without looking at them.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := a.kinds[r.URL.Path]
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/events"):
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.Copy(w, r.Body) // whoever is gone needs no answer
	case c == nil || r.Method != http.MethodGet:
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, r.Method+" "+r.URL.Path+" is not served")
	case query.Get("sendInitialEvents") == "true": // whoever asks so lists then
		refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is not served")
	case query.Get("watch") == "true" || query.Get("watch") == "1":
		a.watch(w, r, c, selected(query.Get("fieldSelector")))
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a.list(c, selected(query.Get("fieldSelector")))) // likewise
	}
}

// selected is the key of the one object that a field selector leaves, or "".
func selected(selector string) string {
	name, ok := strings.CutPrefix(selector, "metadata.name=")
	if !ok {
		return ""
	}
	return "/" + name
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status: metav1.StatusFailure, Reason: reason, Message: text, Code: int32(code)})
}

// watch tells changes until the client goes.
func (a *API) watch(w http.ResponseWriter, r *http.Request, c *collection, only string) {
	version, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "a watch needs the resourceVersion of a list")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	for {
		events, more := a.since(c, version)
		for _, e := range events {
			version = e.version
			if only != "" && e.name != only {
				continue
			}
			if out.Encode(e) != nil {
				return
			}
		}
		if flush.Flush() != nil {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

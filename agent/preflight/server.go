package preflight

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"weir/source/kube/connect"
)

const serverLimit = 5 * time.Second

// findServer returns the API server that the user names, or the kubelet's, and the
// kubelet's kubeconfig.
func findServer(url string) (s Server, kubelet string) {
	found, _, kubelet, err := connect.KubeletServer("/")
	switch {
	case url != "":
		return Server{URL: url, From: "--api-server"}, kubelet
	case err != nil:
		return Server{URL: "the kubelet's", From: "its kubeconfig", Error: err.Error()}, kubelet
	}
	return Server{URL: found, From: kubelet}, kubelet
}

// askServer asks an API server, if one was found. Any answer will do: who may ask what
// is not the question.
func askServer(ctx context.Context, s Server) Server {
	if s.URL == "" || s.Error != "" {
		return s
	}
	ctx, cancel := context.WithTimeout(ctx, serverLimit)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/livez", nil)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	// Nothing is told to the server, and nothing it says is believed.
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	answer, err := client.Do(q)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	answer.Body.Close()
	if answer.StatusCode >= http.StatusInternalServerError {
		s.Error = fmt.Sprintf("it says %s", answer.Status)
	}
	return s
}

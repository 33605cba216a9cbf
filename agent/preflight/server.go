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

// askServer asks the API server that the user names, or the kubelet's. Any answer will
// do: who may ask what is not the question.
func askServer(ctx context.Context, url string) Server {
	s := Server{URL: url, From: "--api-server"}
	if url == "" {
		found, _, file, err := connect.KubeletServer("/")
		switch {
		case err != nil:
			return Server{URL: "the kubelet's", From: "its kubeconfig", Error: err.Error()}
		case found == "":
			return Server{}
		}
		s = Server{URL: found, From: file}
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

package kubeproxy

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"weir/lab/kube"
)

const program = "kube-proxy"

// Build builds kube-proxy into the cache that labs with Kubernetes use, and
// returns its name. What is there already costs nothing; the first time takes
// minutes.
func Build(ctx context.Context) (string, error) {
	var text bytes.Buffer
	if err := kube.Build(ctx, &text, program); err != nil {
		return "", fmt.Errorf("%w: %s", err, text.String())
	}
	return kube.Program(program), nil
}

// Built is the name of a kube-proxy that was built before.
func Built() (string, error) {
	out := kube.Program(program)
	if _, err := os.Stat(out); err != nil {
		return "", fmt.Errorf("no kube-proxy: %w (run make test-kube-proxy)", err)
	}
	return out, nil
}

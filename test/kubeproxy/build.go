package kubeproxy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// module is where kube-proxy's version is chosen, from the root of the tree.
const module = "tools/kubeproxy"

// Build builds kube-proxy into the folder bin of the tree, and returns its name.
// What is there already costs a second; the first time takes minutes.
func Build(ctx context.Context) (string, error) {
	root, err := root()
	if err != nil {
		return "", err
	}
	out := filepath.Join(root, "bin", "kube-proxy")
	cmd := exec.CommandContext(ctx, "make", "-C", root, "kube-proxy")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build kube-proxy in %s: %w: %s", module, err, strings.TrimSpace(string(text)))
	}
	return out, nil
}

// Built is the name of a kube-proxy that was built before.
func Built() (string, error) {
	root, err := root()
	if err != nil {
		return "", err
	}
	out := filepath.Join(root, "bin", "kube-proxy")
	if _, err := os.Stat(out); err != nil {
		return "", fmt.Errorf("no kube-proxy: %w (run make test-kube-proxy)", err)
	}
	return out, nil
}

// root finds the tree, from a folder in it.
func root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, module, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("find %s: not in the tree", module)
}

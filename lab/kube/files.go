package kube

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

//go:embed files
var files embed.FS

// CacheDir is where programs and images are kept from lab to lab.
func CacheDir() string { return base("XDG_CACHE_HOME", ".cache") }

// StateDir is where each lab has its folder.
func StateDir() string { return base("XDG_STATE_HOME", ".local/state") }

// Version is the version of Kubernetes, as go.mod has it: v1.34.4.
func Version() string {
	data, err := files.ReadFile("files/programs/kubernetes.mod")
	if m := version.FindSubmatch(data); err == nil && m != nil {
		return string(m[1])
	}
	return "unknown"
}

var version = regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v\S+)$`)

// Program is where Build puts a program.
func Program(name string) string { return filepath.Join(CacheDir(), Version(), "bin", name) }

// base is a folder of the XDG base directory specification; the scripts find
// the same one.
func base(variable, fallback string) string {
	dir := os.Getenv(variable)
	if dir == "" {
		home := os.Getenv("HOME")
		if home == "" {
			home = "/root"
		}
		dir = filepath.Join(home, fallback)
	}
	return filepath.Join(dir, "weir", "kube")
}

// unpack writes the scripts into the cache, under a name that changes with
// their content, and returns the one to call.
func unpack() (string, error) {
	sum := sha256.New()
	contents := map[string][]byte{}
	err := fs.WalkDir(files, "files", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := files.ReadFile(path)
		contents[path] = data
		fmt.Fprintf(sum, "%s %d\n%s", path, len(data), data)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read own scripts: %w", err)
	}
	dir := filepath.Join(CacheDir(), "scripts", hex.EncodeToString(sum.Sum(nil))[:16])
	script := filepath.Join(dir, "files", "cluster")
	if _, err := os.Stat(script); err == nil {
		return script, nil
	}
	if err := writeAll(dir, contents); err != nil {
		return "", fmt.Errorf("unpack scripts: %w", err)
	}
	return script, nil
}

// writeAll makes the folder in one step, so that nobody sees half of it.
func writeAll(dir string, contents map[string][]byte) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for path, data := range contents {
		file := filepath.Join(tmp, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

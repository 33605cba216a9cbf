package main

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/strvals"
)

// namespace is where users of Cilium look for the agents.
const namespace = "kube-system"

// rendered is what the chart gives for some values.
type rendered struct {
	objects string // all of them, as kubectl takes them
	notes   string
}

// render does what `helm template` does with --set.
func render(folder string, sets ...string) (rendered, error) {
	values, err := parseSets(sets)
	if err != nil {
		return rendered{}, err
	}
	return renderValues(folder, values)
}

func parseSets(sets []string) (map[string]any, error) {
	values := map[string]any{}
	for _, s := range sets {
		if err := strvals.ParseInto(s, values); err != nil {
			return nil, fmt.Errorf("--set %s: %w", s, err)
		}
	}
	return values, nil
}

// renderValues is render with the values of a file.
func renderValues(folder string, values map[string]any) (rendered, error) {
	c, err := loader.Load(folder)
	if err != nil {
		return rendered{}, fmt.Errorf("load the chart: %w", err)
	}
	return renderWith(c, values)
}

// renderFiles is what each template gives.
func renderFiles(c *chart.Chart, values map[string]any) (map[string]string, error) {
	release := chartutil.ReleaseOptions{Name: "weir", Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

func renderWith(c *chart.Chart, values map[string]any) (rendered, error) {
	files, err := renderFiles(c, values)
	if err != nil {
		return rendered{}, err
	}
	var out rendered
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text := strings.TrimSpace(files[name])
		switch {
		case filepath.Base(name) == "NOTES.txt":
			out.notes = text
		case text != "":
			fmt.Fprintf(&b, "---\n%s\n", strings.TrimPrefix(text, "---\n"))
		}
	}
	out.objects = b.String()
	return out, nil
}

// manifest is the chart with nothing set, CRDs first, for those who have no Helm.
func manifest(folder string) ([]byte, error) {
	c, err := loader.Load(folder)
	if err != nil {
		return nil, fmt.Errorf("load the chart: %w", err)
	}
	r, err := renderWith(c, map[string]any{})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("# Made by tools/chart: what `helm template weir deploy/chart/weir -n kube-system` gives.\n")
	for _, crd := range c.CRDObjects() {
		fmt.Fprintf(&b, "---\n%s\n", strings.TrimSpace(strings.TrimPrefix(string(crd.File.Data), "---\n")))
	}
	b.WriteString(r.objects)
	return b.Bytes(), nil
}

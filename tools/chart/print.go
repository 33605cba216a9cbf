package main

import (
	"fmt"
	"io"
	"maps"
	"path/filepath"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/releaseutil"
)

// printObjects prints the objects in the order in which Helm makes them: who mounts a
// Secret comes after it.
func printObjects(w io.Writer, folder string, sets []string) error {
	values, err := parseSets(sets)
	if err != nil {
		return err
	}
	c, err := loader.Load(folder)
	if err != nil {
		return fmt.Errorf("load the chart: %w", err)
	}
	files, err := renderFiles(c, values)
	if err != nil {
		return err
	}
	maps.DeleteFunc(files, func(name, _ string) bool { return filepath.Base(name) == "NOTES.txt" })
	_, sorted, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		return err
	}
	for _, m := range sorted {
		if _, err := fmt.Fprintf(w, "---\n%s\n", m.Content); err != nil {
			return err
		}
	}
	return nil
}

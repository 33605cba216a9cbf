// Command chart makes the parts of deploy/ that follow from others: the schema of the
// chart's values out of values.yaml, what its templates know of weir.yaml out of
// agent/config, its CRDs out of deploy/crds, and the plain manifest out of all of it.
// With -check it only says what differs.
//
// With -set KEY=VALUE, which may be given again, it writes no file but prints the objects
// that an installation with these values has, for tests of clusters without Helm.
//
// It is a module of its own, so that Weir does not depend on Helm.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	check := flag.Bool("check", false, "write nothing, and fail if anything differs")
	root := flag.String("root", "../..", "the repository")
	var sets []string
	flag.Func("set", "`KEY=VALUE`: print the objects with this value of the chart's, and write nothing", func(s string) error {
		sets = append(sets, s)
		return nil
	})
	flag.Parse()
	do := func() error { return run(*root, *check) }
	if len(sets) > 0 {
		do = func() error { return printObjects(os.Stdout, filepath.Join(*root, "deploy/chart/weir"), sets) }
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

// run makes the files in the order in which they need each other.
func run(root string, check bool) error {
	chart := filepath.Join(root, "deploy/chart/weir")
	values, err := readValues(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	put := write
	if check {
		put = compare
	}
	errs := []error{
		put(filepath.Join(chart, "files/keys.yaml"), keysFile(values)),
		put(filepath.Join(chart, "files/spellings.yaml"), spellingsFile(values)),
		put(filepath.Join(chart, "values.schema.json"), schemaFile(values)),
		copyCRDs(filepath.Join(root, "deploy/crds"), filepath.Join(chart, "crds"), put),
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	manifest, err := manifest(chart)
	if err != nil {
		return err
	}
	return put(filepath.Join(root, "deploy/weir.yaml"), manifest)
}

func write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

func compare(path string, data []byte) error {
	have, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !bytes.Equal(have, data) {
		return fmt.Errorf("%s is not what it is made of: run make generate", path)
	}
	return nil
}

// copyCRDs makes the chart's folder of CRDs that of the repository.
func copyCRDs(from, to string, put func(string, []byte) error) error {
	files, err := filepath.Glob(filepath.Join(from, "*.yaml"))
	if err != nil {
		return err
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := put(filepath.Join(to, filepath.Base(f)), data); err != nil {
			return err
		}
	}
	old, err := filepath.Glob(filepath.Join(to, "*.yaml"))
	for _, f := range old {
		if _, gone := os.Stat(filepath.Join(from, filepath.Base(f))); gone != nil {
			err = errors.Join(err, fmt.Errorf("%s is not in %s: remove it", f, from))
		}
	}
	return err
}

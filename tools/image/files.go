package main

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// programFiles are the binaries of a folder. Those the image cannot do without have to
// be there.
func programFiles(dir string) ([]file, error) {
	var out []file
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if needed, err := libraries(filepath.Join(dir, e.Name())); err != nil || len(needed) > 0 {
			return nil, fmt.Errorf("%s is not a static program: it needs %v (%v)", e.Name(), needed, err)
		}
		out = append(out, file{path: "usr/bin/" + e.Name(), mode: 0o755, data: data})
	}
	for _, name := range []string{"weir", "weir-agent", "weir-cni", "weir-operator", "weir-relay"} {
		if !slices.ContainsFunc(out, func(f file) bool { return f.path == "usr/bin/"+name }) {
			return nil, fmt.Errorf("%s has no %s", dir, name)
		}
	}
	return out, nil
}

// debian is a package that the image has files of.
type debian struct{ name, version, arch string }

// debianFiles unpacks the packages of a folder and returns bpftool, what it links, and
// what their licences ask for.
func debianFiles(debs, root string) ([]file, []debian, error) {
	if err := os.RemoveAll(root); err != nil {
		return nil, nil, err
	}
	archives, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil || len(archives) == 0 {
		return nil, nil, fmt.Errorf("no packages in %s: tools/image/debs.sh gets them", debs)
	}
	slices.Sort(archives)
	var packages []debian
	for _, a := range archives {
		if out, err := exec.Command("dpkg-deb", "-x", a, root).CombinedOutput(); err != nil {
			return nil, nil, fmt.Errorf("unpack %s: %w: %s", a, err, out)
		}
		out, err := exec.Command("dpkg-deb", "-W", "--showformat", "${Package} ${Version} ${Architecture}", a).Output()
		f := strings.Fields(string(out))
		if err != nil || len(f) != 3 {
			return nil, nil, fmt.Errorf("read %s: %q, %v", a, out, err)
		}
		packages = append(packages, debian{f[0], f[1], f[2]})
	}
	found := map[string]string{} // name of a library -> its path below root
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(d.Name(), ".so") && !strings.Contains(path, "/gconv/") {
			found[d.Name()], _ = filepath.Rel(root, path)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	c := closure{root: root, found: found, taken: map[string]bool{}}
	if err := c.take("usr/sbin/bpftool"); err != nil {
		return nil, nil, err
	}
	for _, p := range packages {
		if err := c.take("usr/share/doc/" + p.name + "/copyright"); err != nil {
			return nil, nil, err
		}
	}
	return c.files, packages, nil
}

// closure collects a program with all that it links.
type closure struct {
	root  string
	found map[string]string
	taken map[string]bool
	files []file
}

func (c *closure) take(path string) error {
	if c.taken[path] {
		return nil
	}
	c.taken[path] = true
	full := filepath.Join(c.root, path)
	st, err := os.Lstat(full)
	if err != nil {
		return err
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		to, err := os.Readlink(full)
		if err != nil {
			return err
		}
		c.files = append(c.files, file{path: path, link: to})
		if filepath.IsAbs(to) {
			return c.take(strings.TrimPrefix(to, "/"))
		}
		return c.take(filepath.Join(filepath.Dir(path), to))
	}
	data, err := os.ReadFile(full)
	if err != nil {
		return err
	}
	c.files = append(c.files, file{path: path, mode: int64(st.Mode().Perm()), data: data})
	if !strings.HasPrefix(string(data), elf.ELFMAG) {
		return nil
	}
	needed, err := libraries(full)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, n := range needed {
		at, ok := c.found[n]
		if !ok {
			return fmt.Errorf("%s needs %s, which no package has", path, n)
		}
		if err := c.take(at); err != nil {
			return err
		}
	}
	return nil
}

// libraries are what an ELF file asks the loader for, and the loader.
func libraries(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	needed, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			data := make([]byte, p.Filesz)
			if _, err := p.ReadAt(data, 0); err != nil {
				return nil, err
			}
			needed = append(needed, filepath.Base(strings.TrimRight(string(data), "\x00")))
		}
	}
	return needed, nil
}

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"archive/tar"
)

// parts is a folder as `make image` fills it, with small programs in place of Weir's and
// this machine's own packages. Without Debian's tools the test cannot run.
func parts(t *testing.T) (in, arch string) {
	t.Helper()
	for _, tool := range []string{"dpkg-deb", "apt-get"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs Debian's %s: unpacks packages", tool)
		}
	}
	in, arch = t.TempDir(), "amd64"
	dir := filepath.Join(in, arch)
	source := filepath.Join(in, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"weir", "weir-agent", "weir-cni", "weir-operator", "weir-relay"} {
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "bin", name), source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	// What `make image` has fetched already is not fetched again.
	fetched, err := filepath.Abs("../../bin/image/in/" + arch + "/debs")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("./debs.sh", arch, fetched).CombinedOutput(); err != nil {
		t.Skipf("Debian's packages cannot be had: %v: %s", err, out)
	}
	if err := os.Symlink(fetched, filepath.Join(dir, "debs")); err != nil {
		t.Fatal(err)
	}
	return in, arch
}

func made(t *testing.T, in, arch string) (out string) {
	t.Helper()
	out = t.TempDir()
	if err := run(options{in: in, out: out, archs: []string{arch}, tag: "weir/weir", version: "1.2.3"}); err != nil {
		t.Fatal(err)
	}
	return out
}

// tree is every file of a folder.
func tree(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		out[rel], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheSamePartsGiveTheSameImage(t *testing.T) {
	in, arch := parts(t)
	first, second := tree(t, made(t, in, arch)), tree(t, made(t, in, arch))
	if len(first) != len(second) || len(first) < 5 {
		t.Errorf("%d and %d files", len(first), len(second))
	}
	for name, data := range first {
		if !bytes.Equal(data, second[name]) {
			t.Errorf("%s differs", name)
		}
	}
}

func TestTheImageHasItsProgramsAndWhatTheyNeed(t *testing.T) {
	in, arch := parts(t)
	out := made(t, in, arch)
	img, err := tarball.ImageFromPath(filepath.Join(out, "weir-"+arch+".tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	files := contents(t, img)
	for _, name := range []string{"usr/bin/weir", "usr/bin/weir-agent", "usr/bin/weir-cni", "usr/bin/weir-operator", "usr/bin/weir-relay", "usr/sbin/bpftool", "usr/share/doc/bpftool/copyright", "usr/share/sbom/weir.cdx.json"} {
		if _, ok := files[name]; !ok {
			t.Errorf("the image has no %s", name)
		}
	}
	config, err := img.ConfigFile()
	if err != nil || config.Architecture != arch || config.OS != "linux" {
		t.Errorf("image for %s/%s, %v", config.OS, config.Architecture, err)
	}
	beside, err := os.ReadFile(filepath.Join(out, "weir-"+arch+".cdx.json"))
	if err != nil || !bytes.Equal(beside, files["usr/share/sbom/weir.cdx.json"]) {
		t.Errorf("the bill of materials beside the image is not the one in it: %v", err)
	}
	var bill cdx.BOM
	if err := json.Unmarshal(beside, &bill); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"pkg:golang/stdlib@", "pkg:deb/debian/bpftool@", "pkg:deb/debian/libc6@"} {
		if !strings.Contains(string(beside), want) {
			t.Errorf("the bill does not have %s", want)
		}
	}
	index, err := layout.ImageIndexFromPath(filepath.Join(out, "oci"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 1 || m.Manifests[0].Platform.Architecture != arch {
		t.Errorf("index %+v, %v", m, err)
	}
	runs(t, files)
}

// runs starts bpftool with nothing else in its file system.
func runs(t *testing.T, files map[string][]byte) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Log("bpftool was not started: chroot needs root")
		return
	}
	root := t.TempDir()
	for name, data := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if to, ok := strings.CutPrefix(string(data), "-> "); ok {
			if err := os.Symlink(to, path); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("chroot", root, "/usr/sbin/bpftool", "version").CombinedOutput(); err != nil || !strings.Contains(string(out), "bpftool v") {
		t.Errorf("bpftool in the image: %v: %s", err, out)
	}
}

// contents are the files of an image; links are "-> TARGET".
func contents(t *testing.T, img v1.Image) map[string][]byte {
	t.Helper()
	r := mutate.Extract(img)
	defer r.Close()
	out := map[string][]byte{}
	for all := tar.NewReader(r); ; {
		h, err := all.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		switch h.Typeflag {
		case tar.TypeReg:
			if out[h.Name], err = io.ReadAll(all); err != nil {
				t.Fatal(err)
			}
		case tar.TypeSymlink:
			out[h.Name] = []byte("-> " + h.Linkname)
		}
		if !h.ModTime.IsZero() && h.ModTime.Unix() != 0 || h.Uid != 0 {
			t.Errorf("%s: time %v, owner %d", h.Name, h.ModTime, h.Uid)
		}
	}
}

func TestPartsThatDoNotFitAreRefused(t *testing.T) {
	in, arch := parts(t)
	if err := os.Remove(filepath.Join(in, arch, "bin", "weir-cni")); err != nil {
		t.Fatal(err)
	}
	err := run(options{in: in, out: t.TempDir(), archs: []string{arch}, tag: "weir/weir", version: "1"})
	if err == nil || !strings.Contains(err.Error(), "has no weir-cni") {
		t.Errorf("without the plugin: %v", err)
	}
	dynamic, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(in, arch, "bin", "weir-cni"), dynamic, 0o755); err != nil {
		t.Fatal(err)
	}
	err = run(options{in: in, out: t.TempDir(), archs: []string{arch}, tag: "weir/weir", version: "1"})
	if err == nil || !strings.Contains(err.Error(), "is not a static program") {
		t.Errorf("with a program that needs libraries: %v", err)
	}
}

// Command image makes Weir's container image without a container engine: static
// binaries that are built already, bpftool with the libraries it needs out of Debian's
// packages, and a bill of materials. What goes in alone decides what comes out, to the
// byte.
//
// It writes an archive for each architecture, as `ctr images import` and `docker load`
// take it, an OCI layout of both, and the bills of materials beside them. It builds no
// binaries, and pushes nothing.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// maxSize is what an image may have, compressed.
const maxSize = 60 << 20

// options say what to make out of what.
type options struct {
	in, out string   // folders; in has ARCH/bin and ARCH/debs
	archs   []string // as Go names them
	tag     string
	version string
}

func main() {
	var o options
	archs := ""
	flag.StringVar(&o.in, "in", "bin/image/in", "`FOLDER` with ARCH/bin and ARCH/debs")
	flag.StringVar(&o.out, "out", "bin/image", "`FOLDER` for what is made")
	flag.StringVar(&archs, "arch", "amd64 arm64", "architectures")
	flag.StringVar(&o.tag, "name", "weir/weir", "`NAME` of the image")
	flag.StringVar(&o.version, "version", "", "its version, and tag")
	flag.Parse()
	o.archs = strings.Fields(archs)
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	ref, err := name.NewTag(o.tag + ":" + o.version)
	if err != nil {
		return err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range o.archs {
		img, bill, err := build(o, arch)
		if err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
		if err := report(arch, img); err != nil {
			return err
		}
		archive := filepath.Join(o.out, "weir-"+arch+".tar")
		if err := errors.Join(os.MkdirAll(o.out, 0o755), tarball.WriteToFile(archive, ref, img),
			os.WriteFile(filepath.Join(o.out, "weir-"+arch+".cdx.json"), bill, 0o644)); err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
			Platform:    &v1.Platform{OS: "linux", Architecture: arch},
			Annotations: map[string]string{"org.opencontainers.image.ref.name": o.version},
		}})
	}
	oci := filepath.Join(o.out, "oci")
	if err := os.RemoveAll(oci); err != nil {
		return err
	}
	_, err = layout.Write(oci, index)
	return err
}

// build makes the image of one architecture, and its bill of materials.
func build(o options, arch string) (v1.Image, []byte, error) {
	in := filepath.Join(o.in, arch)
	system, packages, err := debianFiles(filepath.Join(in, "debs"), filepath.Join(in, "root"))
	if err != nil {
		return nil, nil, err
	}
	programs, err := programFiles(filepath.Join(in, "bin"))
	if err != nil {
		return nil, nil, err
	}
	bill, err := billOf(o, arch, programs, packages)
	if err != nil {
		return nil, nil, err
	}
	ours := append(programs, file{path: "usr/share/sbom/weir.cdx.json", mode: 0o644, data: bill})
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	for _, files := range [][]file{system, ours} { // what changes least comes first
		layer, err := layerOf(files)
		if err != nil {
			return nil, nil, err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config.Env = []string{"PATH=/usr/bin:/usr/sbin"}
	config.Config.Cmd = []string{"weir-agent"}
	config.Config.Labels = map[string]string{"org.opencontainers.image.title": "weir", "org.opencontainers.image.version": o.version,
		"org.opencontainers.image.licenses": "Apache-2.0"}
	img, err = mutate.ConfigFile(img, config)
	return img, bill, err
}

// report prints the size, and refuses one that is too large.
func report(arch string, img v1.Image) error {
	size, err := compressed(img)
	if err != nil {
		return err
	}
	fmt.Printf("weir-%s: %.1f MB compressed\n", arch, float64(size)/1e6)
	if size > maxSize {
		return fmt.Errorf("%s: %d bytes, at most %d: find out what has grown", arch, size, maxSize)
	}
	return nil
}

func compressed(img v1.Image) (int64, error) {
	layers, err := img.Layers()
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, l := range layers {
		n, err := l.Size()
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

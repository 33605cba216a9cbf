package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"path"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// billOf is the bill of materials, by CycloneDX: each program with the modules that its
// build says it has, and the Debian packages. It has no time and no number of its own, so
// that the same parts give the same bill.
func billOf(o options, arch string, programs []file, packages []debian) ([]byte, error) {
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &cdx.Component{BOMRef: "weir", Type: cdx.ComponentTypeContainer, Name: "weir", Version: o.version}}
	modules := map[string]cdx.Component{}
	var depends []cdx.Dependency
	var all []string
	for _, p := range programs {
		info, err := buildinfo.Read(bytes.NewReader(p.data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.path, err)
		}
		ref := path.Base(p.path)
		modules[ref] = cdx.Component{BOMRef: ref, Type: cdx.ComponentTypeApplication, Name: ref, Version: o.version}
		needs := []string{add(modules, "stdlib", strings.TrimPrefix(info.GoVersion, "go"))}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			needs = append(needs, add(modules, m.Path, m.Version))
		}
		slices.Sort(needs)
		depends = append(depends, cdx.Dependency{Ref: ref, Dependencies: &needs})
		all = append(all, ref)
	}
	for _, p := range packages {
		ref := fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s", p.name, p.version, p.arch)
		modules[ref] = cdx.Component{BOMRef: ref, Type: cdx.ComponentTypeLibrary, Name: p.name, Version: p.version, PackageURL: ref}
		all = append(all, ref)
	}
	var components []cdx.Component
	for _, c := range modules {
		components = append(components, c)
	}
	slices.SortFunc(components, func(a, b cdx.Component) int { return strings.Compare(a.BOMRef, b.BOMRef) })
	depends = append([]cdx.Dependency{{Ref: "weir", Dependencies: &all}}, depends...)
	bom.Components, bom.Dependencies = &components, &depends
	var b bytes.Buffer
	err := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
	return b.Bytes(), err
}

// add notes a Go module and returns its name in the bill.
func add(modules map[string]cdx.Component, module, version string) string {
	ref := "pkg:golang/" + module + "@" + version
	modules[ref] = cdx.Component{BOMRef: ref, Type: cdx.ComponentTypeLibrary, Name: module, Version: version, PackageURL: ref}
	return ref
}

// Command proto writes the Go of api/*/*.proto.
//
//	go run -C tools/proto . ../..
//	go run -C tools/proto . -check ../..
//
// It compiles the files itself, so that no protoc has to be installed, and has the two
// generators of Google's, which are tools of this module, write the code. With -check it
// writes nothing, and fails when a file is not what it would write.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugins write each file.
var plugins = []string{"protoc-gen-go", "protoc-gen-go-grpc"}

func main() {
	check := flag.Bool("check", false, "compare only")
	goCommand := flag.String("go", "go", "the Go command")
	flag.Parse()
	if err := run(filepath.Join(flag.Arg(0), "api"), *goCommand, *check); err != nil {
		fmt.Fprintln(os.Stderr, "proto:", err)
		os.Exit(1)
	}
}

func run(root, goCommand string, check bool) error {
	request, err := compile(root)
	if err != nil {
		return err
	}
	for _, plugin := range plugins {
		reply, err := ask(goCommand, plugin, request)
		if err != nil {
			return err
		}
		for _, f := range reply.File {
			name := filepath.Join(root, f.GetName())
			if !check {
				err = os.WriteFile(name, []byte(f.GetContent()), 0o644)
			} else if have, _ := os.ReadFile(name); !bytes.Equal(have, []byte(f.GetContent())) {
				err = fmt.Errorf("%s is not what follows from its .proto: run make generate", name)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// compile makes of all files under root what a plugin wants to know.
func compile(root string) (*pluginpb.CodeGeneratorRequest, error) {
	paths, err := filepath.Glob(filepath.Join(root, "*", "*.proto"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no .proto under %s: %v", root, err)
	}
	request := &pluginpb.CodeGeneratorRequest{Parameter: proto.String("paths=source_relative"), CompilerVersion: &pluginpb.Version{}}
	for _, p := range paths {
		name, err := filepath.Rel(root, p)
		if err != nil {
			return nil, err
		}
		request.FileToGenerate = append(request.FileToGenerate, name)
	}
	c := protocompile.Compiler{SourceInfoMode: protocompile.SourceInfoStandard,
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{root}})}
	files, err := c.Compile(context.Background(), request.FileToGenerate...)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, f := range files {
		request.ProtoFile = add(request.ProtoFile, seen, f)
	}
	return request, nil
}

// add appends a file after everything that it imports.
func add(out []*descriptorpb.FileDescriptorProto, seen map[string]bool, f protoreflect.FileDescriptor) []*descriptorpb.FileDescriptorProto {
	if seen[f.Path()] {
		return out
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		out = add(out, seen, f.Imports().Get(i).FileDescriptor)
	}
	return append(out, protodesc.ToFileDescriptorProto(f))
}

// ask runs a plugin.
func ask(goCommand, plugin string, request *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	in, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	c := exec.Command(goCommand, "tool", plugin)
	c.Stdin, c.Stderr = bytes.NewReader(in), os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", plugin, err)
	}
	reply := &pluginpb.CodeGeneratorResponse{}
	if err := proto.Unmarshal(out, reply); err != nil {
		return nil, fmt.Errorf("%s: %w", plugin, err)
	}
	if reply.Error != nil {
		return nil, fmt.Errorf("%s: %s", plugin, reply.GetError())
	}
	return reply, nil
}

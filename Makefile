# Weir. `make demo` shows it, `make test` proves it; both install what they need.

GO       ?= go
CLANG    ?= clang
ARCH     := $(shell dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -dumpmachine)
VERSION  ?= 0.1.0-dev
COMMIT   := $(shell git rev-parse --short=8 HEAD 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X weir/internal/version.Version=$(VERSION) -X weir/internal/version.Commit=$(COMMIT)
BPF_CFLAGS := -g -O2 -Wall -Werror -target bpf -mcpu=v3 -I bpf/include -I bpf -isystem /usr/include/$(ARCH)
BPF_HEADERS := $(wildcard bpf/*.h bpf/include/bpf/*.h)
BPF_OBJECTS := bpf/obj/pod.o bpf/obj/overlay.o bpf/obj/host.o
BINARIES := weir-agent weir-cni weir

.PHONY: all build generate
all: build

build: $(BPF_OBJECTS)
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ $(addprefix ./cmd/,$(BINARIES))

bpf/obj/%.o: bpf/%.c $(BPF_HEADERS)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@

bpf/obj/layout.tmp: bpf/gen/layout.c bpf/layout.h
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@

generate: bpf/obj/layout.tmp
	$(GO) run ./bpf/gen $< > bpf/layout_gen.go.tmp && mv bpf/layout_gen.go.tmp bpf/layout_gen.go

# Weir. `make demo` shows it, `make test` proves it; both install what they need.

SHELL      := /bin/bash
# Asked for when used: deps may have to install it first.
GO          = $(shell tools/go.sh || echo go)
CLANG      ?= clang
MULTIARCH   = $(shell gcc -print-multiarch 2>/dev/null || $(CLANG) -print-multiarch 2>/dev/null)
VERSION    ?= 0.1.0-dev
COMMIT     := $(shell git rev-parse --short=8 HEAD 2>/dev/null || echo unknown)
LDFLAGS    := -s -w -X weir/internal/version.Version=$(VERSION) -X weir/internal/version.Commit=$(COMMIT)
BPF_CFLAGS  = -g -O2 -Wall -Werror -target bpf -mcpu=v3 -ffile-prefix-map=$(CURDIR)=. -I bpf/include -I bpf $(if $(MULTIARCH),-isystem /usr/include/$(MULTIARCH))
BPF_HEADERS := $(wildcard bpf/*.h bpf/include/bpf/*.h)
BPF_OBJECTS := bpf/obj/pod.o bpf/obj/overlay.o bpf/obj/host.o bpf/obj/sock.o bpf/obj/xdp.o bpf/obj/expire.o bpf/obj/end.o
BINARIES   := weir-agent weir-cni weir-operator weir-relay weir
MODE       ?= vxlan

.NOTPARALLEL:
.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.DEFAULT_GOAL := build

# --- what a user types -------------------------------------------------------

.PHONY: demo demo-down test
demo: deps build ## three nodes, pods that talk, captures that show how (MODE=vxlan|native)
	MODE=$(MODE) demo/run.sh

demo-down: build ## remove what `make demo` left running
	bin/weir lab down --name demo

test: deps browser build verify image kube-programs ## every test there is; needs root for packets and labs
	tools/test.sh

# --- parts of it -------------------------------------------------------------

.PHONY: deps browser build generate test-unit test-page screenshots test-bpf test-lab test-truth bench bench-quick fuzz fuzz-policy lint verify clean
deps: ## install what is missing, from Debian packages
	@tools/deps.sh

browser: deps ## Chromium, for the tests of the page
	@tools/deps.sh browser

# Upstream's programs are built into the cache of `weir lab build`. The first time takes minutes.
.PHONY: kube-proxy test-kube-proxy kube-programs test-kube test-single conformance
kube-proxy: build ## the real one, for benchmarks and tests
	bin/weir lab build kube-proxy

kube-programs: build ## what a lab with Kubernetes needs, with upstream's tests
	bin/weir lab build
	bin/weir lab build e2e.test ginkgo

test-kube test-single conformance: IMAGE_ARCH = $(shell $(GO) env GOARCH)
test-kube: deps kube-programs image ## Weir on a real Kubernetes of three nodes (root)
	$(GO) test -count=1 -v -timeout 30m ./test/kube/

# Not part of `make test`: a program and a lab of its own, for one row of the coverage.
test-single: deps build image ## Weir on a cluster of one program for each node, as k3s is (root)
	bin/weir lab build
	bin/weir lab build single
	WEIR_SINGLE=1 $(GO) test -count=1 -v -timeout 15m ./test/single/

conformance: deps kube-programs image ## all of upstream's network tests; writes docs/conformance.md (root; an hour or two)
	WEIR_CONFORMANCE=all $(GO) test -count=1 -v -timeout 4h -run TestUpstream ./test/kube/; s=$$?; \
	$(GO) run ./tools/conformance results/kube/conformance{,-balancers,-zones,-restart} docs/conformance.md && exit $$s

test-kube-proxy: kube-proxy build ## the real kube-proxy beside Weir (root)
	$(GO) test -count=1 -timeout 30m ./test/coexist/ ./test/kubeproxy/

build: $(BPF_OBJECTS) ## binaries in bin/
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ $(addprefix ./cmd/,$(BINARIES))

# Static programs and Debian's bpftool in, archives for `ctr images import` and an OCI
# layout out. The same in gives the same out.
.PHONY: image
IMAGE_ARCH ?= amd64 arm64
image: $(BPF_OBJECTS) ## the container image in bin/image, without a container engine (IMAGE_ARCH)
	@for a in $(IMAGE_ARCH); do \
		tools/image/debs.sh $$a bin/image/in/$$a/debs && rm -rf bin/image/in/$$a/bin && mkdir -p bin/image/in/$$a/bin && \
		CGO_ENABLED=0 GOARCH=$$a $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/image/in/$$a/bin/ ./cmd/... || exit 1; \
	done
	$(GO) run -C tools/image . -in ../../bin/image/in -out ../../bin/image -arch "$(IMAGE_ARCH)" -version $(VERSION)

bpf/obj/%.o: bpf/%.c $(BPF_HEADERS)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@

# Its name begins so that Go does not embed it with the objects: it is there or not.
bpf/obj/_layout.tmp: bpf/gen/layout.c bpf/layout.h
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@

generate: bpf/obj/_layout.tmp ## Go types out of bpf/layout.h, Go out of api/*.proto, custom resources out of api/v1, the chart's schema and deploy/weir.yaml
	$(GO) run ./bpf/gen $< > bpf/layout_gen.go.tmp && mv bpf/layout_gen.go.tmp bpf/layout_gen.go
	$(GO) run -C tools/proto . -go $(GO) ../..
	$(GO) run -C tools/crd . ../..
	$(GO) run -C tools/chart .

test-unit: $(BPF_OBJECTS) ## what needs no root: pure Go and scripts
	$(GO) test -C tools/crd ./...
	$(GO) test -C tools/chart ./...
	$(GO) test -C tools/image ./...
	$(GO) test -C tools/monitoring ./...
	$(GO) test -C test/hubble ./...
	$(GO) test -short $$($(GO) list ./... | grep -vE "^weir/(bpf/test|test/(packets|lifecycle|policylab|coexist|kube$$|single)|bench)")

test-page: browser $(BPF_OBJECTS) ## the relay's page in Chromium
	$(GO) test -C test/page -count=1 ./...

screenshots: browser $(BPF_OBJECTS) ## the pictures of docs/page.md, anew
	WEIR_SCREENSHOTS=$(CURDIR)/docs $(GO) test -C test/page -count=1 -v -run Screenshots ./...

test-bpf: $(BPF_OBJECTS) ## packets through the programs (root)
	$(GO) test ./bpf/... ./datapath/...

test-lab: build ## real agents, real traffic (root)
	$(GO) test -count=1 -timeout 20m ./lab/... ./test/...

test-truth: build ## flows against what was sent, for many connections (WEIR_TRUTH_SEED) and at a high rate (root; a minute)
	WEIR_TRUTH=20000 $(GO) test -count=1 -v -timeout 10m -run 'TestFlowsAreTheTruth$$' ./test/packets/
	WEIR_TRUTH=150000 $(GO) test -count=1 -v -timeout 10m -run TestFlowsAreTheTruthAtAHighRate ./test/packets/

bench: build ## figures as ratios in one run; takes a while
	$(GO) run ./bench

bench-quick: build ## the same, in two minutes, to see that it runs
	$(GO) run ./bench -quick

fuzz: $(BPF_OBJECTS) ## each fuzz target for FUZZTIME
	GO=$(GO) FUZZTIME=$(or $(FUZZTIME),60s) tools/fuzz.sh

fuzz-policy: $(BPF_OBJECTS) ## N random policies and packets from SEED: objects, maps and programs agree (root)
	FUZZ_POLICY_N=$(or $(N),100000) FUZZ_POLICY_SEED=$(SEED) $(GO) test -count=1 -v -timeout 0 -run 'TestEveryReader|TestTheWayToAState' ./test/policy

lint: $(BPF_OBJECTS) ## style and mistakes (.golangci.yml)
	$(GO) tool -modfile=tools/lint/go.mod golangci-lint run ./...

verify: $(BPF_OBJECTS) bpf/obj/_layout.tmp ## formatting, generated files, sizes, vet
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "gofmt these files"; exit 1; }
	@if command -v clang-format >/dev/null; then clang-format --dry-run -Werror bpf/*.c bpf/*.h; fi
	@$(GO) run ./bpf/gen bpf/obj/_layout.tmp | cmp - bpf/layout_gen.go || { echo "run make generate"; exit 1; }
	$(GO) run -C tools/proto . -go $(GO) -check ../..
	$(GO) run -C tools/crd . -check ../..
	$(GO) run -C tools/chart . -check
	$(GO) vet ./...
	$(GO) run ./tools/sizes

clean: ## what was built
	rm -rf bin results bpf/obj/*.o bpf/obj/*.tmp

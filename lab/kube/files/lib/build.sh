# Programs: Kubernetes, etcd and CoreDNS through the Go module proxy, the
# container runtime from Debian packages. Everything lands in $CACHE; a second
# call does nothing.

declare -A PROGRAMS=(
	[etcd]=go.etcd.io/etcd/server/v3
	[kube-apiserver]=k8s.io/kubernetes/cmd/kube-apiserver
	[kube-controller-manager]=k8s.io/kubernetes/cmd/kube-controller-manager
	[kube-scheduler]=k8s.io/kubernetes/cmd/kube-scheduler
	[kubelet]=k8s.io/kubernetes/cmd/kubelet
	[kube-proxy]=k8s.io/kubernetes/cmd/kube-proxy
	[kubectl]=k8s.io/kubernetes/cmd/kubectl
	[agnhost]=k8s.io/kubernetes/test/images/agnhost
	[boom-server]=k8s.io/kubernetes/test/images/regression-issue-74839
	[pause]=pause.go
	[nettool]=nettool.go
	[coredns]=coredns.go
	[single]=single.go
	[e2e.test]=k8s.io/kubernetes/test/e2e
	[ginkgo]=github.com/onsi/ginkgo/v2/ginkgo
)
# In this order each finds compiled what those before it share with it.
PROGRAMS_DEFAULT="etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl agnhost boom-server pause nettool coredns"
DEB_RUNTIME="containerd runc containernetworking-plugins"

ldflags() {
	local p minor=${KUBE_VERSION#v1.}
	printf -- '-s -w'
	for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		printf -- ' -X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s -X %s.gitTreeState=clean' \
			$p "$KUBE_VERSION" $p $p "${minor%%.*}" $p
	done
}

# A module's files stand here under other names, because a folder with a go.mod
# cannot be embedded into a Go program; the cache has them as Go wants them.
module_of() { case $1 in coredns | single) echo "$1" ;; *) echo kubernetes ;; esac; }
program_dir() { echo "$CACHE/src/$(module_of "$1")"; }
unpack_modules() {
	local m from=$HERE/programs
	for m in kubernetes coredns single; do
		mkdir -p "$CACHE/src/$m"
		cp "$from/$m.mod" "$CACHE/src/$m/go.mod"
		cp "$from/$m.sum" "$CACHE/src/$m/go.sum"
	done
	for m in coredns single; do cp "$from/$m.go" "$CACHE/src/$m/"; done
	cp "$from"/{pause,nettool}.go "$CACHE/src/kubernetes/"
}

find_go() {
	[[ ${GO-} ]] && return
	for GO in "${WEIR_GO-}" go /usr/local/go/bin/go /usr/lib/go-*/bin/go; do
		[[ $GO ]] && have "$GO" && return
	done
	die "Go 1.24 or later is needed to build Kubernetes: put it on PATH, or set WEIR_GO"
}

# What a program is made of: when this changes, it is built anew.
program_stamp() {
	local m; m=$HERE/programs/$(module_of "$1")
	{ echo "$ARCH"; ldflags; echo "${PROGRAMS[$1]}"; cat "$m.mod" "$m.sum"
	  [[ ${PROGRAMS[$1]} != *.go ]] || cat "$HERE/programs/${PROGRAMS[$1]}"
	} | sha256sum | cut -d' ' -f1
}

program_fresh() { [[ -x $BIN/$1 && $(cat "$BIN/.$1.stamp" 2>/dev/null) == "$(program_stamp "$1")" ]]; }

build_program() {
	local p=$1 stamp dir start=$SECONDS
	program_fresh "$p" && return
	stamp=$(program_stamp "$p")
	dir=$(program_dir "$p")
	log "building $p"
	local cmd=(build)
	[[ $p == e2e.test ]] && cmd=(test -c -vet=off)
	find_go
	( cd "$dir" && GOWORK=off GOFLAGS=-mod=readonly CGO_ENABLED=0 \
		"$GO" "${cmd[@]}" -trimpath -buildvcs=false -ldflags "$(ldflags)" -o "$BIN/$p.new" "${PROGRAMS[$p]}" ) 9>&- ||
		die "building $p failed"
	mv -f "$BIN/$p.new" "$BIN/$p"
	echo "$stamp" >"$BIN/.$p.stamp"
	log "built $p in $((SECONDS - start)) s, $(( $(stat -c %s "$BIN/$p") >> 20 )) MiB"
}

# Downloads packages and what they depend on, or with --no-deps those alone,
# without touching what is installed.
fetch_debs() { # DIR [--no-deps] PACKAGE...
	local dir=$1 deps=1; shift
	[[ $1 == --no-deps ]] && { deps=; shift; }
	mkdir -p "$dir/partial"
	have apt-get || die "apt-get is needed to fetch: $*"
	local apt=(apt-get -q -o APT::Sandbox::User=root -o APT::Install-Recommends=false)
	local try
	for try in 1 2; do
		if [[ $deps ]]; then
			: >"$dir/status"
			"${apt[@]}" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir" -o Dir::Cache::archives="$dir" \
				-o Debug::NoLocking=1 -y --download-only install "$@" >"$dir/apt.log" 2>&1 && return
		else
			( cd "$dir" && "${apt[@]}" download "$@" >"$dir/apt.log" 2>&1 ) && return
		fi
		(( try == 1 )) && { log "apt-get update"; "${apt[@]}" update >>"$dir/apt.log" 2>&1 || true; }
	done
	tail -n 20 "$dir/apt.log" >&2
	die "fetching Debian packages failed: $*"
}

runtime_fresh() { [[ -x $RUNTIME/bin/containerd && -x $RUNTIME/bin/runc && -x $RUNTIME/cni/host-local ]]; }

build_runtime() {
	runtime_fresh && return
	log "fetching $DEB_RUNTIME"
	local tmp=$CACHE/tmp.runtime d
	rm -rf "$tmp" "$RUNTIME" "$RUNTIME.new"; mkdir -p "$tmp/x" "$RUNTIME.new"/{bin,cni}
	fetch_debs "$tmp/debs" --no-deps $DEB_RUNTIME
	for d in "$tmp"/debs/*.deb; do
		dpkg-deb -x "$d" "$tmp/x"
		dpkg-deb -W "$d" >>"$RUNTIME.new/versions"
	done
	cp "$tmp"/x/usr/bin/{containerd,containerd-shim-runc-v2,ctr} "$tmp/x/usr/sbin/runc" "$RUNTIME.new/bin/"
	cp "$tmp"/x/usr/lib/cni/{loopback,ptp,host-local} "$RUNTIME.new/cni/" # the runtime needs loopback, tests the others
	mv "$RUNTIME.new" "$RUNTIME"; rm -rf "$tmp"
	"$RUNTIME/bin/runc" --version >/dev/null || die "runc does not run here (is libseccomp2 installed?)"
}

all_fresh() { # PROGRAM...
	local p
	for p; do program_fresh "$p" || return 1; done
}

build_all() { # [PROGRAM...]
	local p programs=${*:-$PROGRAMS_DEFAULT}
	for p in $programs; do [[ ${PROGRAMS[$p]-} ]] || die "no program $p; there are: ${!PROGRAMS[*]}"; done
	all_fresh $programs && { (( $# )) || { runtime_fresh && images_fresh; }; } && return
	mkdir -p "$BIN" "$IMAGES"
	exec 9>"$CACHE/lock"
	flock -n 9 || { log "waiting for another build"; flock 9; }
	unpack_modules
	for p in $programs; do build_program "$p"; done
	if (( $# == 0 )); then
		build_runtime
		build_images
	fi
	exec 9>&-
}

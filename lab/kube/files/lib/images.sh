# Container images, made from static programs (and, for agnhost, the Debian
# packages its tests call), as archives that `ctr images import` reads.

# pack_image ARCHIVE ROOTFS [CONFIG-JSON TAG,TAG...]...: one archive of one
# layer, and an image for each configuration given.
pack_image() {
	local out=$1 root=$2 tmp id diff entries=(); shift 2
	tmp=$(mktemp -d "$CACHE/tmp.image.XXXXXX")
	tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$root" -cf "$tmp/layer.tar" .
	diff=$(sha256sum "$tmp/layer.tar" | cut -d' ' -f1)
	while (( $# )); do
		jq -cn --argjson config "$1" --arg diff "sha256:$diff" --arg arch "$ARCH" \
			'{architecture:$arch, os:"linux", created:"1970-01-01T00:00:00Z", config:$config,
			  rootfs:{type:"layers", diff_ids:[$diff]},
			  history:[{created:"1970-01-01T00:00:00Z", created_by:"weir lab"}]}' >"$tmp/config.json"
		id=$(sha256sum "$tmp/config.json" | cut -d' ' -f1)
		mv "$tmp/config.json" "$tmp/$id.json"
		entries+=("$(jq -cn --arg c "$id.json" --arg t "$2" '{Config:$c, RepoTags:($t/","), Layers:["layer.tar"]}')")
		shift 2
	done
	printf '%s\n' "${entries[@]}" | jq -cs . >"$tmp/manifest.json"
	rm -f "$tmp/config.json"
	( cd "$tmp" && tar -cf "$out.new" -- *.json layer.tar ) && mv "$out.new" "$out" || die "packing $out failed"
	rm -rf "$tmp"
}

PATH_ENV='"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"'
PAUSE_IMAGE=registry.k8s.io/pause:3.10.1

kube_source() { find_go; ( cd "$CACHE/src/kubernetes" && GOWORK=off GOFLAGS=-mod=readonly "$GO" list -m -f "{{.Dir}}" k8s.io/kubernetes ); }

# test_image VARIABLE: the name under which this version's end-to-end tests ask
# for an image.
test_image() {
	local dir; dir=$(kube_source) || return 1
	sed -n "s|.*configs\\[$1\\] *= Config{list.PromoterE2eRegistry, \"\(.*\)\", \"\(.*\)\"}.*|registry.k8s.io/e2e-test-images/\1:\2|p" "$dir/test/utils/image/manifest.go" | grep .
}

# A folder of Debian packages and their dependencies, unpacked, not installed.
debian_rootfs() { # DIR PACKAGE...
	local root=$1 tmp=$CACHE/tmp.debs d; shift
	rm -rf "$tmp"; mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
	for d in bin sbin lib lib64; do ln -s "usr/$d" "$root/$d"; done
	fetch_debs "$tmp" "$@"
	for d in "$tmp"/*.deb; do
		dpkg-deb --fsys-tarfile "$d" | tar -x --keep-directory-symlink --no-same-owner -C "$root" \
			--exclude='./usr/share/*' --exclude='*/perl*' --exclude='./var/lib/*' --exclude='*/systemd/*' --exclude='*/gconv/*' --exclude='*/libperl*'
	done
	rm -rf "$tmp"
	mkdir -p "$root"/{etc,tmp,proc,sys,dev,run,root,var/tmp}; chmod 1777 "$root/tmp" "$root/var/tmp"
	[[ -e $root/bin/sh ]] || ln -s bash "$root/bin/sh"
	printf 'root:x:0:0:root:/root:/bin/sh\nuser-defined-in-image:x:1000:1000::/:/bin/sh\ntcpdump:x:100:100::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n' >"$root/etc/passwd"
	printf 'root:x:0:\nuser-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\ntcpdump:x:100:\nnogroup:x:65534:\n' >"$root/etc/group"
	printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
}

image_stamp() { # NAME PROGRAM...
	shift
	{ cat "$HERE/lib/images.sh"; for of; do cat "$BIN/.$of.stamp"; done; } | sha256sum | cut -d' ' -f1
}
image_fresh() { [[ -s $IMAGES/$1.tar && $(cat "$IMAGES/.$1.stamp" 2>/dev/null) == "$(image_stamp "$@")" ]]; }
image_done()  { image_stamp "$@" >"$IMAGES/.$1.stamp"; log "image $1: $(( $(stat -c %s "$IMAGES/$1.tar") >> 20 )) MiB"; }

images_fresh() { image_fresh pause pause && image_fresh coredns coredns && image_fresh tests $TEST_PROGRAMS; }
TEST_PROGRAMS="agnhost nettool boom-server coredns"

build_images() {
	local root=$CACHE/tmp.rootfs
	rm -rf "$root"
	if ! image_fresh pause pause; then
		mkdir -p "$root"; cp "$BIN/pause" "$root/pause"
		pack_image "$IMAGES/pause.tar" "$root" '{"Entrypoint":["/pause"],"User":"65535:65535"}' \
			"$PAUSE_IMAGE,registry.k8s.io/pause:3.10"
		rm -rf "$root"; image_done pause pause
	fi
	if ! image_fresh coredns coredns; then
		mkdir -p "$root"; cp "$BIN/coredns" "$root/coredns"
		pack_image "$IMAGES/coredns.tar" "$root" '{"Entrypoint":["/coredns"]}' \
			"weir.lab/coredns:$COREDNS_VERSION"
		rm -rf "$root"; image_done coredns coredns
	fi
	if ! image_fresh tests $TEST_PROGRAMS; then
		# One layer for all images that tests use, which differ in the program that
		# they start.
		local env="\"Env\":[$PATH_ENV]" agnhost busybox dns nginx boom
		agnhost=$(test_image Agnhost) && busybox=$(test_image BusyBox) && dns=$(test_image JessieDnsutils) &&
			nginx=$(test_image Nginx) && boom=$(test_image RegressionIssue74839) || die "no test image names in k8s.io/kubernetes@$KUBE_VERSION"
		debian_rootfs "$root" bash coreutils libc-bin grep sed curl wget netcat-openbsd bind9-dnsutils iproute2 iputils-ping iperf iperf3 tcpdump procps hostname mount util-linux
		[[ -x $root/usr/bin/nc ]] || ln -s nc.openbsd "$root/usr/bin/nc"
		cp "$BIN"/{agnhost,nettool,boom-server,coredns} "$root/"
		ln -s agnhost "$root/agnhost-2"; mkdir -p "$root/uploads"
		cp "$(kube_source)"/test/images/agnhost/porter/localhost.{crt,key} "$root/" && chmod 644 "$root"/localhost.* || die "no agnhost certificates"
		pack_image "$IMAGES/tests.tar" "$root" \
			"{\"Entrypoint\":[\"/agnhost\"],\"Cmd\":[\"pause\"],$env}" "$agnhost,weir.lab/agnhost:lab" \
			"{\"Cmd\":[\"sh\"],$env}" "$busybox,$dns,weir.lab/toolbox:lab" \
			"{\"Entrypoint\":[\"/nettool\"],$env}" "$nginx,docker.io/library/nettool:0.9" \
			"{\"Entrypoint\":[\"/boom-server\"],$env}" "$boom"
		rm -rf "$root"; image_done tests $TEST_PROGRAMS
	fi
}

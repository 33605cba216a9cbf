#!/usr/bin/env bash
# Installs what building and testing Weir needs and this machine lacks, from the
# distribution's own packages. Says what it does; does nothing when all is there.
#
#	tools/deps.sh            for everything but the page
#	tools/deps.sh browser    Chromium, for test/page: 110 MB to fetch, 400 MB on disk
set -euo pipefail
cd "$(dirname "$0")/.."

# Without a browser test/page is skipped and says so: it stops nobody from testing the rest.
if [ "${1:-}" = browser ]; then
	for n in chromium chromium-browser google-chrome google-chrome-stable; do
		command -v "$n" >/dev/null && exit 0
	done
	. /etc/os-release 2>/dev/null || true
	if [ "${ID:-}" != debian ]; then
		echo "no browser for the tests of the page: install Chromium or Chrome (this script knows Debian's package only)" >&2
	elif [ "$(id -u)" != 0 ]; then
		echo "no browser for the tests of the page: run  apt-get install chromium fonts-liberation  as root, or make as root" >&2
	else
		echo "installing: chromium fonts-liberation"
		export DEBIAN_FRONTEND=noninteractive
		{ apt-get -qq update && apt-get -qq install --no-install-recommends -y chromium fonts-liberation >/dev/null; } ||
			echo "no browser for the tests of the page: apt-get could not install chromium" >&2
	fi
	exit 0
fi

# command:package; bpftool is linux-tools-generic on Ubuntu.
needs="clang:clang clang-format:clang-format gcc:gcc make:make git:git ip:iproute2 ping:iputils-ping
tcpdump:tcpdump curl:curl jq:jq openssl:openssl iptables:iptables nft:nftables bpftool:bpftool arp:net-tools"
. /etc/os-release 2>/dev/null || true
[ "${ID:-}" = ubuntu ] && needs=${needs/bpftool:bpftool/bpftool:linux-tools-generic}

missing=
for n in $needs; do
	PATH=$PATH:/usr/sbin:/sbin command -v "${n%%:*}" >/dev/null || missing="$missing ${n##*:}"
done
[ -f /usr/include/linux/bpf.h ] || missing="$missing linux-libc-dev"
tools/go.sh >/dev/null 2>&1 || missing="$missing golang-go"

if [ -n "$missing" ]; then
	echo "installing:$missing"
	if [ "$(id -u)" != 0 ]; then
		echo "not root: run  apt-get install$missing  as root, or make as root" >&2
		exit 1
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update
	apt-get -qq install --no-install-recommends -y $missing >/dev/null
fi
if ! tools/go.sh >/dev/null; then
	echo "no usable Go: install Go 1.21 or later and put it on PATH (or set WEIR_GO)" >&2
	exit 1
fi

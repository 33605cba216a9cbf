#!/usr/bin/env bash
# debs.sh ARCH FOLDER: Debian's bpftool of an architecture and the packages of the
# libraries that it links, unless they are there. The machine's own packages and lists stay as they
# are.
set -euo pipefail
arch=$1 dir=$2
packages="bpftool libc6 libcap2 libelf1 zlib1g"

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
if [ -f "$dir/complete" ]; then exit 0; fi
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
chmod 755 "$state"
mkdir -p "$state"/lists/partial "$state"/cache/archives/partial
touch "$state/status"
apt="apt-get -qq -o APT::Architecture=$arch -o APT::Architectures=$arch -o Dir::State=$state -o Dir::State::status=$state/status
-o Dir::State::Lists=$state/lists -o Dir::Cache=$state/cache -o APT::Sandbox::User=root"
$apt update
(cd "$dir" && rm -f ./*.deb && $apt download $packages)
touch "$dir/complete"

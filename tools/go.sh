#!/usr/bin/env bash
# Prints a Go command that can build this project, or fails.
#
# Go 1.21 and later fetch the toolchain that go.mod asks for by themselves. An
# older one fetches it here, as the module that it is.
set -euo pipefail
cd "$(dirname "$0")/.."

for go in "${WEIR_GO:-}" go /usr/local/go/bin/go /usr/lib/go-*/bin/go; do
	[ -n "$go" ] && command -v "$go" >/dev/null 2>&1 || continue
	found=$go
	minor=$("$go" env GOVERSION 2>/dev/null | sed -E 's/^go1\.([0-9]+).*/\1/')
	if [ "${minor:-0}" -ge 21 ]; then
		echo "$go"
		exit 0
	fi
done
[ -n "${found:-}" ] || exit 1

version=$(sed -nE 's/^go ([0-9.]+)$/\1/p' go.mod)
module=golang.org/toolchain@v0.0.1-go$version.$("$found" env GOOS)-$("$found" env GOARCH)
dir=$(cd / && "$found" mod download -json "$module" 2>/dev/null | sed -nE 's/.*"Dir": "(.*)".*/\1/p')
[ -n "$dir" ] || exit 1
if [ ! -x "$dir/bin/go" ]; then
	# A module's files are not executable, and a module is not writable.
	chmod -R u+w "$dir"
	find "$dir/bin" "$dir/pkg/tool" -type f -exec chmod +x {} +
fi
echo "$dir/bin/go"

#!/usr/bin/env bash
# Every test: pure Go and scripts, packets through the programs, real agents in
# namespaces. Ends with how many passed, failed and were skipped, and why.
set -euo pipefail
cd "$(dirname "$0")/.."
GO=$(tools/go.sh)
mkdir -p results

# Labs share the machine's two cores badly: one package of them at a time.
labs='^weir/(lab|test/packets|test/lifecycle|test/policylab|test/coexist|test/kube$|test/single|bench)'
unit=$("$GO" list ./... | grep -vE "$labs")
slow=$("$GO" list ./... | grep -E "$labs" || true)

status=0
mkdir -p bin
"$GO" build -o bin/report ./tools/report
"$GO" test -json -timeout 20m $unit | tee results/unit.json | bin/report -progress || status=1
# What they start is built elsewhere, so that a result of before says nothing.
for module in tools/crd tools/chart tools/image tools/monitoring test/hubble test/page; do
	"$GO" test -C "$module" -json -count=1 ./... | tee -a results/unit.json | bin/report -progress || status=1
done
if [ -n "$slow" ]; then
	"$GO" test -json -count=1 -p 1 -timeout 40m $slow | tee results/lab.json | bin/report -progress || status=1
fi
bin/report results/unit.json results/lab.json || status=1
exit $status

# Upstream's end-to-end tests, from the e2e.test program of the same version.

cmd_e2e() { # REPORT-FOLDER PROCESSES TIMEOUT FOCUS SKIP PROVIDER
	local out=$1 pid rc
	build_all e2e.test ginkgo
	mkdir -p "$out"; out=$(readlink -f "$out")
	rm -f "$out"/junit_*.xml
	nsenter --net="/run/netns/$WORLD" env KUBECONFIG="$KUBECONFIG_FILE" PATH="$BIN:$PATH" \
		"$BIN/ginkgo" --focus="$4" ${5:+--skip="$5"} --procs="$2" --timeout="$3" -v --no-color --silence-skips "$BIN/e2e.test" -- \
		--kubeconfig="$KUBECONFIG_FILE" --provider="${6:-skeleton}" --num-nodes="$NODES" --disable-log-dump \
		--report-dir="$out" </dev/null >"$out/e2e.log" 2>&1 &
	pid=$!
	trap 'kill -INT $pid 2>/dev/null' INT TERM
	wait $pid; rc=$?
	grep -aE '^(Ran |SUCCESS|FAIL|Summarizing|  \[FAIL\])' "$out/e2e.log" >&2
	log "upstream's tests ended with $rc; report $out/junit_01.xml, log $out/e2e.log"
	return $rc
}

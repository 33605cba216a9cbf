#!/usr/bin/env bash
# Shows pods on three nodes reach each other through Weir, and proves with
# captures that the host's side of a pod sees a packet one way only: what a pod
# sends. What it receives is put into it by eBPF without passing there.
#
#   demo/run.sh            MODE=vxlan (default) or MODE=native
#
# The lab "demo" stays up to play with; the next run replaces it.
set -euo pipefail
cd "$(dirname "$0")/.."

MODE=${MODE:-vxlan}
PINGS=3
export WEIR_LAB=demo
export PATH="$PWD/bin:$PATH"
tmp=$(mktemp -d)
captures=()
failed=0

cleanup() {
	for pid in "${captures[@]}"; do kill "$pid" 2>/dev/null || true; done
	rm -rf "$tmp"
}
trap cleanup EXIT

title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
[ -t 1 ] || title() { printf '\n== %s\n' "$*"; }

# run shows a command and runs it.
run() {
	echo "# $*"
	"$@"
}

# addr POD 4|6: the pod's address of the family, nothing when it has none.
addr() {
	local sep='\.'
	[ "$2" = 6 ] && sep=':'
	weir lab exec "$1" -- printenv POD_IPS | tr ',' '\n' | grep "$sep" || true
}

# capture NAME POD|NODE DEVICE FILTER: into $tmp/NAME, from when this returns.
capture() {
	local name=$1 where=$2 dev=$3 filter=$4
	weir lab capture "$where" "$dev" -- --immediate-mode "$filter" >"$tmp/$name" 2>"$tmp/$name.err" &
	captures+=($!)
	for _ in $(seq 100); do
		grep -q 'istening on' "$tmp/$name.err" && return
		sleep 0.05
	done
	cat "$tmp/$name.err" >&2
	exit 1
}

# stop_captures waits until the last packets are written.
stop_captures() {
	sleep 0.3
	for pid in "${captures[@]}"; do kill "$pid" 2>/dev/null || true; done
	wait "${captures[@]}" 2>/dev/null || true
	captures=()
}

# expect WHAT GOT WANT
expect() {
	if [ "$2" = "$3" ]; then
		echo "  ok    $1: $2"
	else
		echo "  WRONG $1: $2, should be $3"
		failed=1
	fi
}

count() { grep -c "$2" "$tmp/$1" || true; }

# ping_and_prove FROM TO FAMILY TTL
ping_and_prove() {
	local from=$1 to=$2 family=$3 ttl=$4 ip filter=icmp
	ip=$(addr "$to" "$family")
	[ -n "$ip" ] || return 0
	[ "$family" = 6 ] && filter='icmp6 and (ip6[40] == 128 or ip6[40] == 129)'
	title "ping, IPv$family: $from to $to"
	capture source "$from" host "$filter"
	capture target "$to" host "$filter"
	run weir lab exec "$from" -- ping "-$family" -c "$PINGS" -i 0.2 -W 2 "$ip" | tee "$tmp/ping" || true
	stop_captures
	echo "  host side of the source:"
	grep . "$tmp/source" | sed "s/^/    /" || true
	echo "  host side of the target:"
	grep . "$tmp/target" | sed "s/^/    /" || true
	expect "replies with ttl $ttl" "$(grep -c "ttl=$ttl " "$tmp/ping" || true)" "$PINGS"
	expect "source's host side: requests" "$(count source 'echo request')" "$PINGS"
	expect "source's host side: replies" "$(count source 'echo reply')" 0
	expect "target's host side: requests" "$(count target 'echo request')" 0
	expect "target's host side: replies" "$(count target 'echo reply')" "$PINGS"
}

# underlay_proof: what travels between the nodes, in this mode.
underlay_proof() {
	local ip filter
	ip=$(addr evescn@n2 4)
	[ -n "$ip" ] || return 0
	filter="icmp and host $ip"
	[ "$MODE" = vxlan ] && filter='udp port 8472'
	title "between the nodes: $MODE"
	capture wire n1 eth0 "$filter"
	weir lab exec net -- ping -c 1 -W 2 "$ip" >/dev/null || true
	stop_captures
	grep . "$tmp/wire" | sed "s/^/    /" || true
	expect "request and reply, by $MODE" "$(count wire "$ip.*ICMP echo")" 2
}

title "a cluster in a box, $MODE"
weir lab down --name demo
run weir lab up --name demo --mode "$MODE"
run weir lab apply -f demo/cni.yaml
run weir lab status

for family in 4 6; do
	ping_and_prove net evescn@n1 "$family" 63
	ping_and_prove net evescn@n2 "$family" 62
done
underlay_proof

title "HTTP"
for to in evescn@n1 evescn@n2 evescn@n3; do
	for family in 4 6; do
		ip=$(addr "$to" "$family")
		[ -n "$ip" ] || continue
		url="http://$ip/"
		[ "$family" = 6 ] && url="http://[$ip]/"
		run weir lab exec net -- curl -sS --max-time 3 "$url" | tee "$tmp/answer" || true
		expect "the pod answered" "$(grep -c '^PodName: evescn-' "$tmp/answer" || true)" 1
	done
done

title "a NodePort, without kube-proxy"
run weir lab apply -f demo/service.yaml
run weir lab services
node_addr() { weir lab exec "$1" -- ip -4 -o addr show eth0 | awk '{sub("/.*", "", $4); print $4}'; }
node=$(node_addr n1)
# With a rule that asks for it, the node's stack tracks every connection that it sees.
tracked=(INPUT -m conntrack --ctstate NEW -j ACCEPT)
run weir lab exec n1 -- iptables -A "${tracked[@]}"
capture source net eth0 'tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn'
for _ in 1 2 3 4 5 6; do
	run weir lab exec net -- curl -sS --max-time 3 "http://$node:32000/" | tee -a "$tmp/nodeport" || true
done
stop_captures
expect "answers by http://$node:32000/ from a pod" "$(grep -c '^PodName: evescn-' "$tmp/nodeport" || true)" 6
echo "  what the pod itself sends:"
grep . "$tmp/source" | sed "s/^/    /" || true
expect "SYNs of the pod that go to a backend at once" "$(count source '\.80: ')" 6
expect "SYNs of the pod that go to the NodePort" "$(count source '\.32000: ')" 0
for from in n1 world; do
	run weir lab exec "$from" -- curl -sS --max-time 3 "http://$node:32000/" | tee "$tmp/answer" || true
	expect "an answer by http://$node:32000/ from $from" "$(grep -c '^PodName: evescn-' "$tmp/answer" || true)" 1
done
other=$(node_addr n2)
weir lab exec n1 -- ping -c 1 -W 1 "$other" >/dev/null
weir lab exec n1 -- iptables-save >"$tmp/rules"
weir lab exec n1 -- cat /proc/net/nf_conntrack >"$tmp/tracked"
weir lab exec n1 -- iptables -D "${tracked[@]}"
expect "rules of iptables about it" "$(grep -cE '32000|KUBE-' "$tmp/rules" || true)" 0
expect "entries of conntrack about it" "$(grep -c 32000 "$tmp/tracked" || true)" 0
# The agent's own probes of other nodes are tracked, too.
expect "entries of conntrack about pings to n2" "$(grep -q "^ipv4 .* icmp .* dst=$other " "$tmp/tracked" && echo some || echo none)" some
run weir lab exec n1 -- weir service list

title "one packet's way, through every program and map of both nodes"
pod=$(weir lab exec evescn@n2 -- printenv POD_NAME)
run weir lab exec n1 -- weir trace pod/net "pod/$pod" --port 80 | tee "$tmp/walk" || true
expect "packets dropped on the way" "$(grep -c 'DROP' "$tmp/walk" || true)" 0
expect "a SYN that the program of the pod's device sees" "$(grep -A1 ' -> n1 from_pod ' "$tmp/walk" | grep -c 'TCP SYN ' || true)" 1
expect "the same SYN on the other node" "$(grep -A1 ' -> n2 from_' "$tmp/walk" | grep -c 'TCP SYN ' || true)" 1

title "what the agent of n1 says"
run weir lab exec n1 -- weir status
run weir lab exec n1 -- weir endpoint list
run weir lab exec n1 -- weir ip list
run weir lab exec n1 -- weir map get weir_ipcache

title "result"
if [ "$failed" = 1 ]; then
	echo "Something is WRONG above. The lab stays up: weir lab logs n1; remove it with make demo-down."
	exit 1
fi
cat <<END
Every check is ok. The lab stays up (bin/ holds the commands, as root); what to try next:
  bin/weir lab exec --name demo net -- ip route                what a pod sees: a /32 and its gateway
  bin/weir lab exec --name demo world -- curl -s http://$(addr evescn@n3 4)/ from outside of the cluster
  bin/weir lab capture --name demo net host                    watch a pod's link from its node
  bin/weir lab exec --name demo n1 -- weir map list            the maps of a node
  bin/weir lab exec --name demo n1 -- weir observe -f          who talks to whom, and what is dropped
  bin/weir lab agent --name demo kill n2                       traffic goes on without the agent
  bin/weir lab agent --name demo start n2                      ... which adopts what is there
  bin/weir lab apply --name demo -f YOUR.yaml                  Pods, Deployments, DaemonSets; any program of this host
  MODE=native make demo                                        the same without a tunnel
  bin/weir lab down --name demo                                remove everything (also: make demo-down)
END

# Nodes.  A node is a process 1 with its own pid, mount, network, uts, ipc and
# cgroup namespaces; ending that process ends the node and all its pods.

# The host's cgroup mounts, one "mountpoint type options" a line.
cgroup_mounts() {
	awk '{ for (i = 7; i <= NF; i++) if ($i == "-") break
	       if (($(i+1) == "cgroup" || $(i+1) == "cgroup2") && $5 ~ /^\/sys\/fs\/cgroup(\/|$)/) {
	           o = $(i+3); gsub(/^rw,?|^ro,?/, "", o); print $5, $(i+1), (o == "" ? "-" : o) } }' /proc/self/mountinfo
}

# On a machine with cgroup2 alone, a cgroup's controllers have to be handed to
# those below it, and it must then hold no process itself.
cgroup2_delegate() {
	local c
	for c in $(cat "$1/cgroup.controllers"); do echo "+$c" >"$1/cgroup.subtree_control" 2>/dev/null; done
	return 0
}

cgroup_up() { # NODE: makes the node's cgroups, one in each hierarchy
	local mp type opts d level f
	while read -r mp type opts; do
		d=$mp
		for level in weir-kube "$NAME" "$1"; do
			[[ $mp == /sys/fs/cgroup ]] && cgroup2_delegate "$d"
			d=$d/$level
			mkdir -p "$d"
			for f in cpuset.cpus cpuset.mems; do
				[[ $type == cgroup && -f $d/$f && ! $(cat "$d/$f") ]] && cat "${d%/*}/$f" >"$d/$f"
			done
		done
		[[ $mp == /sys/fs/cgroup ]] && mkdir -p "$d/init"
	done < <(cgroup_mounts)
	return 0
}

# Whoever joins then becomes another program, so it may fork nobody that it does not wait for: no
# <(...), whose dead process would be that program's first child.
cgroup_join() { # NODE PID [init]
	local mp type opts d
	while read -r mp type opts; do
		d=$mp/weir-kube/$NAME/$1
		[[ ${3-} && -d $d/init ]] && d=$d/init
		echo "$2" >"$d/cgroup.procs" || return 1
	done <"$(node_dir "$1")/cgroup-mounts"
}

cgroup_down() {
	local mp type opts try d
	while read -r mp type opts; do
		d=$mp/weir-kube/$NAME
		for try in {1..50}; do
			[[ -d $d ]] || break
			find "$d" -depth -type d -exec rmdir {} + 2>/dev/null
			[[ -d $d ]] && sleep 0.1
		done
		rmdir "$mp/weir-kube" 2>/dev/null
	done < <(cgroup_mounts)
	return 0
}

# The sysctls of the whole machine that a kubelet sets.
HOST_SYSCTLS="vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes"
sysctl_save()    { local s; for s in $HOST_SYSCTLS; do echo "$s = $(sysctl -n $s)"; done >"$STATE_ROOT/.sysctl.$NAME"; }
sysctl_restore() {
	local f=$STATE_ROOT/.sysctl.$NAME
	[[ -f $f ]] || return 0
	# With another cluster up, its file takes over what is to be put back.
	local o
	for o in "$STATE_ROOT"/.sysctl.*; do
		[[ $o != "$f" ]] && { [[ $f -ot $o ]] && mv "$f" "$o" || rm -f "$f"; return 0; }
	done
	sysctl -q -p "$f" >/dev/null; rm -f "$f"
}

node_start() { # NODE
	local n=$1 d pid; d=$(node_dir "$n")
	mkdir -p "$d"/{root,opt} "$d$CNI_BIN_DIR" "$d$CNI_CONF_DIR" "$d"/var/{cache,lib,log/{weir-lab,pods,containers},spool,tmp}
	cp "$RUNTIME"/cni/* "$d$CNI_BIN_DIR/"
	cgroup_mounts >"$d/cgroup-mounts"
	(
		cgroup_join "$n" $BASHPID
		exec setsid nsenter --net="/run/netns/$PREFIX$n" \
			unshare --mount --uts --ipc --cgroup --pid --fork --kill-child --propagation private \
			env -i PATH="$PATH" bash "$HERE/lib/node-init.sh" "$n" "$d" "$BIN" "$RUNTIME/bin" \
			</dev/null >"$d/init.log" 2>&1 9>&-
	) &
	pid=$!
	proc_id $pid >"$d/unshare.pid"
	wait_for 60 "start of $n" "$d/init.log" node_inited "$n"
	local cg=/sys/fs/cgroup/weir-kube/$NAME/$n
	if [[ -d $cg/init ]]; then
		echo "$pid" >"$cg/init/cgroup.procs"
		cgroup2_delegate "$cg"
	fi
}

node_inited() {
	local d pid root; d=$(node_dir "$1")
	read -r pid _ <"$d/unshare.pid"
	pid=$(cat "/proc/$pid/task/$pid/children"); pid=${pid%% *} root=/proc/$pid/root
	[[ $pid && -e $root/run/weir-lab/ready ]] || return 1
	proc_id "$pid" >"$d/init.pid"
}

node_pid() { local p; read -r p _ <"$(node_dir "$1")/init.pid"; echo "$p"; }

NODE_PATH=/opt/weir-lab/bin:/opt/weir-lab/runtime:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# node_exec NODE COMMAND...: runs it in the node's namespaces and cgroups.
node_exec() {
	local n=$1; shift
	proc_alive "$(node_dir "$n")/init.pid" || { log "error: $n is not running"; return 1; }
	(
		cgroup_join "$n" $BASHPID init
		exec nsenter -t "$(node_pid "$n")" --mount --uts --ipc --net --pid --cgroup -- \
			env -i PATH=$NODE_PATH HOME=/root TERM="${TERM:-dumb}" \
			CONTAINER_RUNTIME_ENDPOINT="unix://$CONTAINERD_SOCKET" CONTAINERD_ADDRESS="$CONTAINERD_SOCKET" "$@" 9>&-
	)
}

# node_daemon NODE NAME COMMAND...: starts it there, with a log of its own, and
# remembers how.
node_daemon() {
	local n=$1 name=$2; shift 2
	printf '%s\0' "$@" >"$(node_dir "$n")/$name.command"
	node_daemon_again "$n" "$name"
}

node_daemon_again() { # NODE NAME
	local command
	mapfile -d '' command <"$(node_dir "$1")/$2.command"
	node_exec "$1" sh -c 'name=$1; shift; setsid "$@" </dev/null >>/var/log/weir-lab/$name.log 2>&1 & echo $! >/run/weir-lab/$name.pid' sh "$2" "${command[@]}" </dev/null
}

node_daemon_alive() { # NODE NAME
	node_exec "$1" sh -c 'kill -0 "$(cat "/run/weir-lab/$1.pid")"' sh "$2" 2>/dev/null
}

node_daemon_stop() { # NODE NAME
	node_exec "$1" sh -c '
		f=/run/weir-lab/$1.pid; p=$(cat $f 2>/dev/null) || exit 0
		kill $p 2>/dev/null
		for i in $(seq 50); do kill -0 $p 2>/dev/null || break; sleep 0.1; done
		kill -9 $p 2>/dev/null
		rm -f $f' sh "$2"
}

# wait_daemon SECONDS NODE NAME COMMAND...: as wait_for, but does not wait for
# one that has ended.
wait_daemon() {
	local limit=$1 n=$2 name=$3; shift 3
	daemon_step() { "$@" || ! node_daemon_alive "$n" "$name"; }
	wait_for "$limit" "$name on $n" "$(node_log "$n" "$name")" daemon_step "$@"
	node_daemon_alive "$n" "$name" && return
	tail -n 20 "$(node_log "$n" "$name")" | cut -c1-400 >&2
	die "$name on $n ended; its log is $(node_log "$n" "$name")"
}

nodes_stop() {
	local d f pid _
	for d in "$STATE"/nodes/*/; do
		for f in "$d/init.pid" "$d/unshare.pid"; do
			[[ -f $f ]] && proc_alive "$f" || continue
			read -r pid _ <"$f"
			kill -KILL "$pid" 2>/dev/null
		done
	done
	for d in "$STATE"/nodes/*/; do
		for f in "$d/init.pid" "$d/unshare.pid"; do
			[[ -f $f ]] && wait_for 60 "end of ${d%/}" - proc_gone "$f"
		done
	done
	return 0
}
proc_gone() { ! proc_alive "$1"; }

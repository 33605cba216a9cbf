#!/usr/bin/env bash
# Process 1 of a node, run inside its new namespaces by node_start: builds the
# node's root directory, moves into it, and becomes the reaper.
#
# The node sees the host's programs (/usr, read-only) and devices; /etc, /var,
# /opt, /run, /tmp, /proc and /sys are its own.
set -euo pipefail
node=$1 dir=$2 bin=$3 runtime=$4
root=$dir/root

echo "$node" >/proc/sys/kernel/hostname
mount -t tmpfs -o mode=755,size=64m node-root "$root"

bind() { # SOURCE TARGET [ro]
	mkdir -p "$2"
	mount --rbind "$1" "$2"
	mount --make-rprivate "$2"
	[[ ${3-} != ro ]] || mount -o remount,bind,ro "$2"
}

bind /usr "$root/usr" ro
for d in bin sbin lib lib32 lib64 libx32; do
	if [[ -L /$d ]]; then cp -P "/$d" "$root/$d"; elif [[ -d /$d ]]; then bind "/$d" "$root/$d" ro; fi
done

# /etc: what programs look up, and nothing of the host's own settings.
mkdir -p "$dir/etc"
for f in alternatives ca-certificates ca-certificates.conf ethertypes group gss host.conf iproute2 ld.so.cache \
	ld.so.conf ld.so.conf.d localtime nsswitch.conf os-release passwd protocols rpc services ssl/certs terminfo; do
	if [[ -e /etc/$f ]]; then mkdir -p "$dir/etc/${f%/*}"; [[ -d /etc/$f ]] || rmdir "$dir/etc/$f" 2>/dev/null || true; cp -a "/etc/$f" "$dir/etc/$([[ $f == */* ]] && echo "${f%/*}/")"; fi
done
cp "$dir/resolv.conf" "$dir/hosts" "$dir/etc/"
echo "$node" >"$dir/etc/hostname"
[[ -s $dir/etc/machine-id ]] || tr -d - </proc/sys/kernel/random/uuid >"$dir/etc/machine-id"
bind "$dir/etc" "$root/etc"
bind "$dir/var" "$root/var"
bind "$dir/opt" "$root/opt"
bind "$bin" "$root/opt/weir-lab/bin" ro
bind "$runtime" "$root/opt/weir-lab/runtime" ro
mkdir -p "$root"/{root,home,mnt,srv,proc,sys,dev,run,tmp}
ln -sfn ../run "$root/var/run"; ln -sfn ../run/lock "$root/var/lock"

mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
bind /dev "$root/dev"
if mountpoint -q "$root/dev/shm"; then umount -l "$root/dev/shm"; fi
mkdir -p "$root/dev/shm" && mount -t tmpfs -o nosuid,nodev shm "$root/dev/shm"
mount -t tmpfs -o mode=755 run "$root/run"
mkdir -p "$root"/run/{weir-lab,lock,netns}
mount -t tmpfs -o mode=1777 tmp "$root/tmp"

# /sys belongs to the network namespace; the cgroup mounts show the node's own
# cgroup as the root, and pins in its bpffs are the node's own.
mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/sys"
while read -r mp type opts; do
	if [[ $mp == /sys/fs/cgroup/* ]] && ! mountpoint -q "$root/sys/fs/cgroup"; then
		mount -t tmpfs -o mode=755,size=1m cgroup "$root/sys/fs/cgroup"
	fi
	mkdir -p "$root$mp" 2>/dev/null || true
	if [[ $type == cgroup ]]; then mount -t cgroup -o "$opts" cgroup "$root$mp"; else mount -t cgroup2 cgroup2 "$root$mp"; fi
done <"$dir/cgroup-mounts"
for l in /sys/fs/cgroup/*; do if [[ -L $l ]]; then cp -P "$l" "$root$l"; fi; done
if [[ -d $root/sys/fs/cgroup/init ]]; then # cgroup2 alone: the root must hold no process
	echo $$ >"$root/sys/fs/cgroup/init/cgroup.procs"
fi
mount -t bpf -o mode=700 bpf "$root/sys/fs/bpf"
mount -t tracefs tracefs "$root/sys/kernel/tracing" 2>/dev/null || true
mount -t debugfs debugfs "$root/sys/kernel/debug" 2>/dev/null || true

mkdir "$root/.old"
cd "$root"
pivot_root . .old
cd /
umount -l /.old
rmdir /.old
mount --make-rshared /

export PATH=/opt/weir-lab/bin:/opt/weir-lab/runtime:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
: >/run/weir-lab/ready
exec -a "weir-lab-$node" /opt/weir-lab/bin/pause

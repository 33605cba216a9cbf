# Shared settings and helpers. Nothing here changes the host.

HOME=${HOME:-/root}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/weir/kube
STATE_ROOT=${XDG_STATE_HOME:-$HOME/.local/state}/weir/kube

KUBE_VERSION=$(awk '$1 == "k8s.io/kubernetes" {print $2; exit}' "$HERE/programs/kubernetes.mod")
COREDNS_VERSION=$(awk '$2 == "github.com/coredns/coredns" {print $3; exit}' "$HERE/programs/coredns.mod")
case $(uname -m) in x86_64) ARCH=amd64 ;; aarch64) ARCH=arm64 ;; *) ARCH=$(uname -m) ;; esac

BIN=$CACHE/$KUBE_VERSION/bin          # built through the Go module proxy
RUNTIME=$CACHE/runtime                # unpacked Debian packages: containerd, runc, CNI plugins
IMAGES=$CACHE/$KUBE_VERSION/images    # image archives made here

set_lab() { # NAME
	NAME=$1
	STATE=$STATE_ROOT/$NAME
	PREFIX=weir-$NAME-                # of network namespaces, as in labs without Kubernetes
	WORLD=${PREFIX}world
	KUBECONFIG_FILE=$STATE/kubeconfig
}

T0=$(date +%s%N)
log()  { printf '%6.2fs  %s\n' "$(( ($(date +%s%N) - T0) / 10000000 ))e-2" "$*" >&2; }
die()  { log "error: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# wait_for SECONDS WHAT LOGFILE COMMAND...: polls until COMMAND succeeds. On
# time-out it shows the end of LOGFILE ("-" for none) and gives up.
wait_for() {
	local limit=$1 what=$2 logfile=$3 start=$SECONDS; shift 3
	until "$@" >/dev/null 2>&1; do
		if (( SECONDS - start >= limit )); then
			if [[ $logfile != - && -f $logfile ]]; then
				log "last lines of $logfile:"
				tail -n 20 "$logfile" | cut -c1-400 >&2
			fi
			die "$what: not after $limit s"
		fi
		sleep 0.2
	done
}

# proc_id PID: the pid and its start time, which together name one process.
proc_id() {
	local s
	s=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	s=${s##*) }
	set -- "$1" $s
	echo "$1 ${21}"
}

# proc_alive FILE: is the process recorded in FILE (by proc_id) running?
proc_alive() {
	local rec pid
	[[ -s $1 ]] && rec=$(<"$1") && pid=${rec%% *} || return 1
	[[ $(proc_id "$pid") == "$rec" ]] && ! grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null
}

nodes() { local i; for ((i = 1; i <= NODES; i++)); do echo "n$i"; done; }
node_dir() { echo "$STATE/nodes/$1"; }
node_log() { echo "$STATE/nodes/$1/var/log/weir-lab/$2.log"; }

# Addresses are those of labs without Kubernetes: node n1 is .2 on the underlay,
# and the world outside, where the nodes' default route leads, is .254.
UNDERLAY4=172.18.0 UNDERLAY6=fc00:f853:ccd:e793
WORLD4=$UNDERLAY4.254 WORLD6=$UNDERLAY6::fe
POD_CIDR4=10.244.0.0/16 POD_CIDR6=fd00:10:244::/56
SVC_CIDR4=10.96.0.0/16  SVC_CIDR6=fd00:10:96::/112
node_ip4() { echo "$UNDERLAY4.$(( 1 + ${1#n} ))"; }
node_ip6() { printf '%s::%x\n' "$UNDERLAY6" $(( 1 + ${1#n} )); }

pick_family() { # V4 V6: the two joined by a comma, or the one in use
	case $FAMILY in
	ipv4) echo "$1" ;; ipv6) echo "$2" ;; dual) echo "$1,$2" ;;
	esac
}
node_ip()  { if [[ $FAMILY == ipv6 ]]; then node_ip6 "$1"; else node_ip4 "$1"; fi; }
url_host() { if [[ $1 == *:* ]]; then echo "[$1]"; else echo "$1"; fi; }
dns_ip()   { if [[ $FAMILY == ipv6 ]]; then echo "${SVC_CIDR6%/*}a"; else echo "${SVC_CIDR4%.0/*}.10"; fi; }

# Where a node has its files, and which program has its kubelet: as kubeadm has it, or as
# k3s, which is one program and has nothing in the usual places.
set_layout() { # kubeadm|k3s
	LAYOUT=$1
	case $LAYOUT in
	kubeadm)
		SERVER_DIR=/etc/kubernetes AGENT_DIR=/etc/kubernetes TLS_DIR=/etc/kubernetes/pki
		KUBELET=kubelet KUBELET_KUBECONFIG=/etc/kubernetes/kubelet.conf
		CNI_CONF_DIR=/etc/cni/net.d CNI_BIN_DIR=/opt/cni/bin
		CONTAINERD_CONFIG=/etc/containerd/config.toml CONTAINERD_ROOT=/var/lib/containerd CONTAINERD_STATE=/run/containerd
		;;
	k3s)
		SERVER_DIR=/var/lib/rancher/k3s/server AGENT_DIR=/var/lib/rancher/k3s/agent TLS_DIR=$SERVER_DIR/tls
		KUBELET=single KUBELET_KUBECONFIG=$AGENT_DIR/kubelet.kubeconfig
		CNI_CONF_DIR=$AGENT_DIR/etc/cni/net.d CNI_BIN_DIR=/var/lib/rancher/k3s/data/cni
		CONTAINERD_CONFIG=$AGENT_DIR/etc/containerd/config.toml CONTAINERD_ROOT=$AGENT_DIR/containerd CONTAINERD_STATE=/run/k3s/containerd
		;;
	*) die "no layout $LAYOUT" ;;
	esac
	CONTAINERD_SOCKET=$CONTAINERD_STATE/containerd.sock
}

save_settings() {
	cat >"$STATE/settings" <<-END
	NODES=$NODES
	FAMILY=$FAMILY
	KUBE_PROXY=$KUBE_PROXY
	LAYOUT=$LAYOUT
	END
}
load_settings() {
	[[ -f $STATE/settings ]] || die "lab $NAME: there is none with Kubernetes; make it with: weir lab up --kubernetes --name $NAME"
	. "$STATE/settings"
	set_layout "${LAYOUT:-kubeadm}"
}

kubectl() { nsenter --net="/run/netns/$WORLD" "$BIN/kubectl" --kubeconfig "$KUBECONFIG_FILE" "$@"; }

# The control plane (on n1), containerd, kubelet and kube-proxy: each a process of its
# own, or parts of the one that single.sh starts.

write_node_files() { # NODE: what node-init.sh and the daemons read
	local n=$1 d m; d=$(node_dir "$n")
	mkdir -p "$d${CONTAINERD_CONFIG%/*}" "$d$AGENT_DIR/manifests"
	printf 'nameserver %s\n' "$WORLD4" >"$d/resolv.conf"
	{
		printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n'
		for m in $(nodes); do pick_family "$(node_ip4 "$m")" "$(node_ip6 "$m")" | tr , '\n' | sed "s/$/ $m/"; done
	} >"$d/hosts"
	cat >"$d$CONTAINERD_CONFIG" <<-END
	version = 2
	root = "$CONTAINERD_ROOT"
	state = "$CONTAINERD_STATE"
	[grpc]
	  address = "$CONTAINERD_SOCKET"
	[plugins."io.containerd.grpc.v1.cri"]
	  sandbox_image = "$PAUSE_IMAGE"
	  stream_server_address = "127.0.0.1"
	  restrict_oom_score_adj = $RESTRICT_OOM
	  [plugins."io.containerd.grpc.v1.cri".containerd]
	    snapshotter = "$SNAPSHOTTER"
	    discard_unpacked_layers = true
	    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
	      runtime_type = "io.containerd.runc.v2"
	      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
	        SystemdCgroup = false
	  [plugins."io.containerd.grpc.v1.cri".cni]
	    bin_dir = "$CNI_BIN_DIR"
	    conf_dir = "$CNI_CONF_DIR"
	END
	cp "$STATE/pki/ca.crt" "$d$AGENT_DIR/ca.crt"
	kubeconfig "$d$KUBELET_KUBECONFIG" "$n" $(server_for_kubelet)
	cat >"$d$AGENT_DIR/kubelet.yaml" <<-END
	apiVersion: kubelet.config.k8s.io/v1beta1
	kind: KubeletConfiguration
	authentication:
	  anonymous: {enabled: false}
	  webhook: {enabled: true}
	  x509: {clientCAFile: $AGENT_DIR/ca.crt}
	authorization: {mode: Webhook}
	cgroupDriver: cgroupfs
	clusterDomain: cluster.local
	clusterDNS: ["$(dns_ip)"]
	containerRuntimeEndpoint: unix://$CONTAINERD_SOCKET
	evictionHard: {imagefs.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%"}
	failSwapOn: false
	imageGCHighThresholdPercent: 100
	resolvConf: /etc/resolv.conf
	staticPodPath: $AGENT_DIR/manifests
	$( (( $(cut -d. -f2 <<<"$KUBE_VERSION") < 35 )) || echo "failCgroupV1: false" )
	END
	[[ $KUBE_PROXY != none ]] || return 0
	kubeconfig "$d$AGENT_DIR/kube-proxy.conf" kube-proxy
	cat >"$d$AGENT_DIR/kube-proxy.yaml" <<-END
	apiVersion: kubeproxy.config.k8s.io/v1alpha1
	kind: KubeProxyConfiguration
	mode: $KUBE_PROXY
	clusterCIDR: "$(pick_family $POD_CIDR4 $POD_CIDR6)"
	hostnameOverride: $n
	clientConnection: {kubeconfig: $AGENT_DIR/kube-proxy.conf}
	# These are sysctls of the whole machine: leave them.
	conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
	END
}

containerd_up() { # NODE
	node_daemon "$1" containerd containerd --config "$CONTAINERD_CONFIG"
	wait_daemon 60 "$1" containerd node_exec "$1" ctr version
}

load_default_images() { # NODE
	local n=$1
	load_image "$n" "$IMAGES/pause.tar" "$IMAGES/coredns.tar" "$IMAGES/tests.tar"
}

load_image() { # NODE ARCHIVE...
	local n=$1 a; shift
	for a in "$@"; do
		node_exec "$n" ctr -n k8s.io images import --snapshotter "$SNAPSHOTTER" - <"$a" \
			>>"$(node_log "$n" images)" 2>&1 || { tail -n 5 "$(node_log "$n" images)" >&2; die "$n: importing $a failed"; }
	done
}

healthy() { # PORT PATH: of a control plane program, asked from n1
	node_exec n1 curl -fsSk --max-time 3 "https://127.0.0.1:$1$2"
}

# Arguments of a program, in ARGS.
apiserver_args() { # ETCD
	ARGS=(
		--etcd-servers="$1"
		--advertise-address="$(node_ip n1)" --bind-address="$([[ $FAMILY == ipv4 ]] && echo 0.0.0.0 || echo ::)" --secure-port=6443
		--allow-privileged=true --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction
		--client-ca-file=$TLS_DIR/ca.crt --tls-cert-file=$TLS_DIR/apiserver.crt --tls-private-key-file=$TLS_DIR/apiserver.key
		--kubelet-client-certificate=$TLS_DIR/apiserver-kubelet-client.crt --kubelet-client-key=$TLS_DIR/apiserver-kubelet-client.key
		--kubelet-preferred-address-types=InternalIP,Hostname
		--service-account-issuer=https://kubernetes.default.svc.cluster.local
		--service-account-key-file=$TLS_DIR/sa.pub --service-account-signing-key-file=$TLS_DIR/sa.key
		--service-cluster-ip-range="$(pick_family $SVC_CIDR4 $SVC_CIDR6)"
		--requestheader-client-ca-file=$TLS_DIR/front-proxy-ca.crt --requestheader-allowed-names=front-proxy-client
		--requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group
		--requestheader-extra-headers-prefix=X-Remote-Extra- --enable-aggregator-routing=true
		--proxy-client-cert-file=$TLS_DIR/front-proxy-client.crt --proxy-client-key-file=$TLS_DIR/front-proxy-client.key
		${GATES:+--feature-gates="$GATES"}
	)
}

controller_manager_args() {
	local conf=$SERVER_DIR/kube-controller-manager.conf
	ARGS=(
		--kubeconfig=$conf --authentication-kubeconfig=$conf --authorization-kubeconfig=$conf --bind-address=127.0.0.1
		--leader-elect=false --use-service-account-credentials=true --controllers='*'
		--service-account-private-key-file=$TLS_DIR/sa.key --root-ca-file=$TLS_DIR/ca.crt
		--cluster-signing-cert-file=$TLS_DIR/ca.crt --cluster-signing-key-file=$TLS_DIR/ca.key
		--requestheader-client-ca-file=$TLS_DIR/front-proxy-ca.crt
		--allocate-node-cidrs=true --cluster-cidr="$(pick_family $POD_CIDR4 $POD_CIDR6)"
		--service-cluster-ip-range="$(pick_family $SVC_CIDR4 $SVC_CIDR6)" ${GATES:+--feature-gates="$GATES"}
	)
}

scheduler_args() {
	local conf=$SERVER_DIR/kube-scheduler.conf
	ARGS=(
		--kubeconfig=$conf --authentication-kubeconfig=$conf --authorization-kubeconfig=$conf
		--bind-address=127.0.0.1 --leader-elect=false ${GATES:+--feature-gates="$GATES"}
	)
}

kubelet_args() { # NODE
	local labels=weir-lab=$NAME
	(( ZONES == 0 )) || labels+=,topology.kubernetes.io/zone=zone$(( (${1#n} - 1) % ZONES + 1 ))
	ARGS=(
		--config=$AGENT_DIR/kubelet.yaml --kubeconfig=$KUBELET_KUBECONFIG
		--hostname-override="$1" --node-ip="$(pick_family "$(node_ip4 "$1")" "$(node_ip6 "$1")")" --node-labels="$labels"
		${GATES:+--feature-gates="$GATES"}
	)
}

write_server_files() { # what the control plane reads
	local d c; d=$(node_dir n1)
	mkdir -p "$d$SERVER_DIR"
	cp -r "$STATE/pki" "$d$TLS_DIR"
	for c in kube-controller-manager kube-scheduler; do kubeconfig "$d$SERVER_DIR/$c.conf" $c; done
}

control_plane_up() {
	write_server_files
	node_daemon n1 etcd etcd --name "$NAME" --data-dir /var/lib/etcd --unsafe-no-fsync \
		--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --log-level warn
	wait_daemon 60 n1 etcd node_exec n1 curl -fsS --max-time 3 http://127.0.0.1:2379/health

	apiserver_args http://127.0.0.1:2379
	node_daemon n1 kube-apiserver kube-apiserver "${ARGS[@]}"
	wait_daemon 120 n1 kube-apiserver kubectl get --raw /readyz

	controller_manager_args; node_daemon n1 kube-controller-manager kube-controller-manager "${ARGS[@]}"
	scheduler_args;          node_daemon n1 kube-scheduler kube-scheduler "${ARGS[@]}"
}

control_plane_ready() {
	wait_daemon 60 n1 kube-controller-manager healthy 10257 /healthz
	wait_daemon 60 n1 kube-scheduler healthy 10259 /healthz
}

kubelet_up() { # NODE
	kubelet_args "$1"
	node_daemon "$1" kubelet kubelet "${ARGS[@]}"
}

# Each program a process.
programs_up() {
	local n p pids=()
	log "containerd, images, control plane"
	for n in $(nodes); do ( containerd_up "$n" && load_default_images "$n" ) & pids+=($!); done
	control_plane_up
	for p in "${pids[@]}"; do wait "$p" || die "containerd set-up failed"; done
	log "kubelets"
	for n in $(nodes); do kubelet_up "$n"; done
	control_plane_ready
	for n in $(nodes); do wait_daemon 60 "$n" kubelet node_registered "$n"; done
}

kube_proxy_up() { # NODE
	node_daemon "$1" kube-proxy kube-proxy --config="$AGENT_DIR/kube-proxy.yaml"
}
kube_proxy_ready() { # NODE
	wait_daemon 60 "$1" kube-proxy node_exec "$1" curl -fsS --max-time 3 http://127.0.0.1:10256/healthz
}

node_registered() { kubectl get node "$1" -o name; }
node_condition()  { kubectl get node "$1" -o 'jsonpath={range .status.conditions[?(@.type=="Ready")]}{.status}: {.message}{end}'; }
node_awaits_cni() { [[ $(node_condition "$1") == False:*[Nn]etwork*plugin*not*initialized* ]]; }

coredns_up() {
	local families='IPv4' policy=SingleStack
	[[ $FAMILY == ipv6 ]] && families='IPv6'
	[[ $FAMILY == dual ]] && policy=PreferDualStack
	sed -e "s|@IMAGE@|weir.lab/coredns:$COREDNS_VERSION|" -e "s|@DNS_IP@|$(dns_ip)|" \
		-e "s|@POLICY@|$policy|" "$HERE/manifests/coredns.yaml" | kubectl apply -f - >/dev/null || die "coredns: apply failed"
}

# The control plane (on n1, as plain processes), containerd, kubelet and
# kube-proxy.

write_node_files() { # NODE: what node-init.sh and the daemons read
	local n=$1 d m; d=$(node_dir "$n")
	mkdir -p "$d/etc"/{containerd,kubernetes/manifests}
	printf 'nameserver %s\n' "$WORLD4" >"$d/resolv.conf"
	{
		printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n'
		for m in $(nodes); do pick_family "$(node_ip4 "$m")" "$(node_ip6 "$m")" | tr , '\n' | sed "s/$/ $m/"; done
	} >"$d/hosts"
	cat >"$d/etc/containerd/config.toml" <<-END
	version = 2
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
	    bin_dir = "/opt/cni/bin"
	    conf_dir = "/etc/cni/net.d"
	END
	cp "$STATE/pki/ca.crt" "$d/etc/kubernetes/ca.crt"
	kubeconfig "$d/etc/kubernetes/kubelet.conf" "$n" 
	[[ $KUBE_PROXY == none ]] || kubeconfig "$d/etc/kubernetes/kube-proxy.conf" kube-proxy
	cat >"$d/etc/kubernetes/kubelet.yaml" <<-END
	apiVersion: kubelet.config.k8s.io/v1beta1
	kind: KubeletConfiguration
	authentication:
	  anonymous: {enabled: false}
	  webhook: {enabled: true}
	  x509: {clientCAFile: /etc/kubernetes/ca.crt}
	authorization: {mode: Webhook}
	cgroupDriver: cgroupfs
	clusterDomain: cluster.local
	clusterDNS: ["$(dns_ip)"]
	containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
	evictionHard: {imagefs.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%"}
	failSwapOn: false
	imageGCHighThresholdPercent: 100
	resolvConf: /etc/resolv.conf
	staticPodPath: /etc/kubernetes/manifests
	$( (( $(cut -d. -f2 <<<"$KUBE_VERSION") < 35 )) || echo "failCgroupV1: false" )
	END
	cat >"$d/etc/kubernetes/kube-proxy.yaml" <<-END
	apiVersion: kubeproxy.config.k8s.io/v1alpha1
	kind: KubeProxyConfiguration
	mode: $KUBE_PROXY
	clusterCIDR: "$(pick_family $POD_CIDR4 $POD_CIDR6)"
	hostnameOverride: $n
	clientConnection: {kubeconfig: /etc/kubernetes/kube-proxy.conf}
	# These are sysctls of the whole machine: leave them.
	conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
	END
}

containerd_up() { # NODE
	node_daemon "$1" containerd containerd --config /etc/containerd/config.toml
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

control_plane_up() {
	local d k=/etc/kubernetes c; d=$(node_dir n1)
	cp -r "$STATE/pki" "$d/etc/kubernetes/pki"
	for c in kube-controller-manager kube-scheduler; do kubeconfig "$d/etc/kubernetes/$c.conf" $c; done

	node_daemon n1 etcd etcd --name "$NAME" --data-dir /var/lib/etcd --unsafe-no-fsync \
		--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --log-level warn
	wait_daemon 60 n1 etcd node_exec n1 curl -fsS --max-time 3 http://127.0.0.1:2379/health

	node_daemon n1 kube-apiserver kube-apiserver \
		--etcd-servers=http://127.0.0.1:2379 \
		--advertise-address="$(node_ip n1)" --bind-address="$([[ $FAMILY == ipv4 ]] && echo 0.0.0.0 || echo ::)" --secure-port=6443 \
		--allow-privileged=true --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
		--client-ca-file=$k/pki/ca.crt --tls-cert-file=$k/pki/apiserver.crt --tls-private-key-file=$k/pki/apiserver.key \
		--kubelet-client-certificate=$k/pki/apiserver-kubelet-client.crt --kubelet-client-key=$k/pki/apiserver-kubelet-client.key \
		--kubelet-preferred-address-types=InternalIP,Hostname \
		--service-account-issuer=https://kubernetes.default.svc.cluster.local \
		--service-account-key-file=$k/pki/sa.pub --service-account-signing-key-file=$k/pki/sa.key \
		--service-cluster-ip-range="$(pick_family $SVC_CIDR4 $SVC_CIDR6)" \
		--requestheader-client-ca-file=$k/pki/front-proxy-ca.crt --requestheader-allowed-names=front-proxy-client \
		--requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
		--requestheader-extra-headers-prefix=X-Remote-Extra- --enable-aggregator-routing=true \
		--proxy-client-cert-file=$k/pki/front-proxy-client.crt --proxy-client-key-file=$k/pki/front-proxy-client.key \
		${GATES:+--feature-gates="$GATES"}
	wait_daemon 120 n1 kube-apiserver kubectl get --raw /readyz

	node_daemon n1 kube-controller-manager kube-controller-manager \
		--kubeconfig=$k/kube-controller-manager.conf --authentication-kubeconfig=$k/kube-controller-manager.conf \
		--authorization-kubeconfig=$k/kube-controller-manager.conf --bind-address=127.0.0.1 \
		--leader-elect=false --use-service-account-credentials=true --controllers='*' \
		--service-account-private-key-file=$k/pki/sa.key --root-ca-file=$k/pki/ca.crt \
		--cluster-signing-cert-file=$k/pki/ca.crt --cluster-signing-key-file=$k/pki/ca.key \
		--requestheader-client-ca-file=$k/pki/front-proxy-ca.crt \
		--allocate-node-cidrs=true --cluster-cidr="$(pick_family $POD_CIDR4 $POD_CIDR6)" \
		--service-cluster-ip-range="$(pick_family $SVC_CIDR4 $SVC_CIDR6)" ${GATES:+--feature-gates="$GATES"}
	node_daemon n1 kube-scheduler kube-scheduler \
		--kubeconfig=$k/kube-scheduler.conf --authentication-kubeconfig=$k/kube-scheduler.conf \
		--authorization-kubeconfig=$k/kube-scheduler.conf --bind-address=127.0.0.1 --leader-elect=false \
		${GATES:+--feature-gates="$GATES"}
}

control_plane_ready() {
	wait_daemon 60 n1 kube-controller-manager healthy 10257 /healthz
	wait_daemon 60 n1 kube-scheduler healthy 10259 /healthz
}

kubelet_up() { # NODE
	local labels=weir-lab=$NAME
	(( ZONES == 0 )) || labels+=,topology.kubernetes.io/zone=zone$(( (${1#n} - 1) % ZONES + 1 ))
	node_daemon "$1" kubelet kubelet --config=/etc/kubernetes/kubelet.yaml --kubeconfig=/etc/kubernetes/kubelet.conf \
		--hostname-override="$1" --node-ip="$(pick_family "$(node_ip4 "$1")" "$(node_ip6 "$1")")" --node-labels="$labels" \
		${GATES:+--feature-gates="$GATES"}
}

kube_proxy_up() { # NODE
	node_daemon "$1" kube-proxy kube-proxy --config=/etc/kubernetes/kube-proxy.yaml
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

# A cluster of one program, which is the control plane, the kubelet and what etcd and
# containerd are elsewhere: one process for each node, with the files where k3s has them.

# A kubelet's kubeconfig names the node itself, where the program passes on what it is
# asked to the API server, wherever that is.
LOCAL_SERVER=127.0.0.1:6444
server_for_kubelet() { if [[ $LAYOUT == k3s ]]; then echo "https://$LOCAL_SERVER"; fi; }

single_up() { # NODE
	local n=$1 command=(single)
	part() { (( ${#command[@]} == 1 )) || command+=(--); command+=("$@"); }
	part containerd "$CONTAINERD_SOCKET" --config "$CONTAINERD_CONFIG"
	if [[ $n == n1 ]]; then
		part kine "$SERVER_DIR/kine.sock" "$SERVER_DIR/db/state.db"
		apiserver_args "unix://$SERVER_DIR/kine.sock"; part kube-apiserver "${ARGS[@]}"
		controller_manager_args;                       part kube-controller-manager "${ARGS[@]}"
		scheduler_args;                                part kube-scheduler "${ARGS[@]}"
	fi
	part forward "$LOCAL_SERVER" "$(url_host "$(node_ip n1)"):6443"
	kubelet_args "$n"; part kubelet "${ARGS[@]}"
	node_daemon "$n" single "${command[@]}"
}

singles_up() {
	local n p pids=()
	log "one program for each node, images"
	write_server_files
	for n in $(nodes); do single_up "$n"; done
	for n in $(nodes); do
		( wait_daemon 60 "$n" single node_exec "$n" ctr version && load_default_images "$n" ) & pids+=($!)
	done
	wait_daemon 120 n1 single kubectl get --raw /readyz
	for p in "${pids[@]}"; do wait "$p" || die "containerd set-up failed"; done
	for n in $(nodes); do wait_daemon 60 "$n" single node_registered "$n"; done
}

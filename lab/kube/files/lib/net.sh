# The underlay: one namespace with a bridge, which is every node's gateway and
# stands for the world outside the cluster. The root namespace is not touched.

net_up() {
	local n ns ip
	ip netns add "$WORLD" || return 1
	ip netns exec "$WORLD" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
		net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
	ip -n "$WORLD" link set lo up
	# What only the default route leads to; the last two are asked for by upstream's tests.
	for ip in 198.51.100.1 2001:db8::1 8.8.8.8 2001:4860:4860::8888; do ip -n "$WORLD" addr add "$ip" dev lo; done
	ip -n "$WORLD" link add br0 type bridge forward_delay 0
	ip -n "$WORLD" link set br0 up
	ip -n "$WORLD" addr add "$WORLD4/16" dev br0
	ip -n "$WORLD" addr add "$WORLD6/64" dev br0 nodad
	for n in $(nodes); do
		ns=$PREFIX$n
		ip netns add "$ns"
		ip netns exec "$ns" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
			net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
			net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
		ip -n "$WORLD" link add "$n" type veth peer name eth0 netns "$ns"
		ip -n "$WORLD" link set "$n" master br0 up
		ip -n "$ns" link set lo up
		ip -n "$ns" link set eth0 up
		if [[ $FAMILY != ipv6 ]]; then
			ip -n "$ns" addr add "$(node_ip4 "$n")/16" dev eth0
			ip -n "$ns" route add default via "$WORLD4"
		fi
		if [[ $FAMILY != ipv4 ]]; then
			ip -n "$ns" addr add "$(node_ip6 "$n")/64" dev eth0 nodad
			ip -n "$ns" -6 route add default via "$WORLD6"
		fi || return 1
	done
}

# The world answers on the ports of HTTP and DNS, by TCP.
world_up() {
	nsenter --net="/run/netns/$WORLD" setsid "$BIN/nettool" 80 53 </dev/null >"$STATE/world.log" 2>&1 &
	proc_id $! >"$STATE/world.pid"
}

net_down() {
	local ns pid _
	if proc_alive "$STATE/world.pid"; then
		read -r pid _ <"$STATE/world.pid"
		kill "$pid"
	fi
	for ns in $(netns_left); do ip netns del "$ns"; done
	return 0
}

# Of this lab, and of no other whose name begins as its own does.
netns_left() { ip netns list | awk -v p="$PREFIX" 'index($1, p) == 1 { rest = substr($1, length(p) + 1); if (rest ~ /^(world|n[0-9]+)$/) print $1 }'; }

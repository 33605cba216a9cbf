//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Services for sockets: a process that names a service talks to a backend from the first packet on,
 * so its packets need no translation. The programs hang on the node's cgroup, and see the sockets
 * of its pods and of its own processes.
 *
 *   connect      puts the backend in the service's place, and notes both with the socket
 *   sendmsg      the same for a datagram of an unconnected socket
 *   recvmsg      puts the service back as the sender of an answer
 *   getpeername  says the service
 *   post_bind    keeps processes of the node off ports that are NodePorts
 *   sock_release counts
 *
 * What is noted lies in the socket's own storage, and is gone with it.
 */
#include "service.h"
#include "socket.h"

#define EADDRINUSE 98
#define ECONNREFUSED 111
#define SOCK_STREAM 1
#define SOCK_DGRAM 2

enum { REFUSE = 0, PROCEED = 1 };

/*
 * Which network namespaces have connected to which backends. Written by connect, once for each
 * pair; the agent takes out what is no more. It says where to look for sockets of a backend that
 * has gone (end.c): a node has hundreds of namespaces, and to look through one takes long.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct socket_user);
	__type(value, __u32); /* says nothing */
	__uint(max_entries, 65536);
} weir_socket_users SEC(".maps");

/* An address and port of a socket call. */
struct sockname {
	struct addr addr;
	__u16 port; /* network byte order */
};

/* Answers a call with an error, where the kernel lets a program say which; otherwise it is EPERM.
 */
static __always_inline int fail(int error)
{
	if (config.set_retval)
		bpf_set_retval(-error);
	return REFUSE;
}

static __always_inline int is_host(void *ctx)
{
	return bpf_get_netns_cookie(ctx) == config.netns;
}

/* The transport of a socket, as services know it; 0: none that has services. */
static __always_inline __u8 transport_of(__u32 type, __u32 protocol)
{
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP)
		return protocol;
	return protocol == IPPROTO_MPTCP && type == SOCK_STREAM ? IPPROTO_TCP : 0;
}

static __always_inline int is_loopback(const struct addr *a)
{
	if (is_mapped(a))
		return (a->w[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !(a->w[0] | a->w[1] | a->w[2]) && a->w[3] == bpf_htonl(1);
}

/*
 * The service of a NodePort, by whatever address of whatever node it is asked for: on the node
 * itself at its loopback addresses, too. Where only backends of the asked node serve clients from
 * outside, which another node is for it, and its pods, it is left to that node. A HostPort is its
 * own node's only.
 */
static __always_inline const struct service *node_port_find(void *ctx, const struct sockname *to,
							    __u8 proto)
{
	struct addr any = {{0, 0, to->addr.w[2] == V4_MAPPED ? V4_MAPPED : 0, 0}};
	struct ipcache_key key = {.prefix_len = 128, .addr = to->addr};
	const struct service *s = service_find(&any, to->port, proto);
	const struct ipcache_entry *entry;

	if (!s)
		return 0;
	if (is_loopback(&to->addr) || addr_is_zero(&to->addr) || addr_equal(&to->addr, &any))
		return is_host(ctx) ? s : 0;
	entry = bpf_map_lookup_elem(&weir_ipcache, &key);
	if (!entry)
		return 0;
	if (entry->flags & IPCACHE_HOST)
		return s;
	if (entry->identity != IDENTITY_REMOTE_NODE)
		return 0;
	return (s->flags & (SERVICE_NODEPORT | SERVICE_KEEP_CLIENT)) == SERVICE_NODEPORT ? s : 0;
}

/* Finds the backend in whose place to is named. 1: there is one; 0: to is no service; negative: an
 * error, since the service has none. */
static __always_inline int translate(void *ctx, const struct sockname *to, __u8 proto,
				     struct socket_peer *peer)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);
	struct addr client = {{cookie, cookie >> 32, ~0U, ~0U}};
	struct choice c;
	const struct service *s, *any;

	if (!config.services || !proto || (is_loopback(&to->addr) && !is_host(ctx)))
		return 0; /* a pod's loopback is its own: a HostPort may be at the node's */
	s = service_find(&to->addr, to->port, proto);
	any = !s || s->flags & SERVICE_ELSEWHERE ? node_port_find(ctx, to, proto) : 0;
	s = any ? any : s;
	if (!s || (s->flags & SERVICE_RANGES && !is_host(ctx)))
		return 0; /* ranges are of addresses: a pod's packet has one */
	if (!service_choose(s, &s->inside, &client, bpf_get_prandom_u32(), &c))
		return s->flags & SERVICE_DROP_INSIDE ? 0 : -ECONNREFUSED;
	peer->service = to->addr;
	peer->service_port = to->port;
	peer->backend = c.addr;
	peer->backend_port = c.port;
	peer->backend_row = c.number;
	peer->generation = c.generation;
	return 1;
}

/* One that cannot be noted is counted: the agent looks everywhere from then on. */
static __always_inline void user_note(void *ctx, const struct socket_peer *peer)
{
	struct socket_user user = {.netns = bpf_get_netns_cookie(ctx),
				   .backend_row = peer->backend_row,
				   .generation = peer->generation};
	__u32 value = 1;

	if (bpf_map_lookup_elem(&weir_socket_users, &user))
		return;
	if (bpf_map_update_elem(&weir_socket_users, &user, &value, BPF_ANY))
		tally(REASON_SOCKET_UNNOTED);
}

/* connect(): the socket's peer from here on. */
static __always_inline int connect_to(struct bpf_sock_addr *ctx, struct sockname *to)
{
	struct socket_peer peer = {}, *kept;
	int found = translate(ctx, to, transport_of(ctx->type, ctx->protocol), &peer);

	if (found < 0)
		return fail(-found);
	if (!ctx->sk)
		return PROCEED;
	if (!found) {
		bpf_sk_storage_delete(&weir_socket_peer, ctx->sk);
		return PROCEED;
	}
	kept = bpf_sk_storage_get(&weir_socket_peer, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (kept)
		*kept = peer;
	user_note(ctx, &peer);
	say(ctx, REASON_SOCKET_CONNECTED, &peer);
	to->addr = peer.backend;
	to->port = peer.backend_port;
	return PROCEED;
}

/* Notes the peer of a datagram, unless it is noted already. */
static __always_inline void peer_note(struct socket_peers *peers, const struct socket_peer *peer)
{
	struct socket_peer *p = peer_sent(peers, &peer->backend, peer->backend_port);

	if (!p)
		p = &peers->peers[peers->next++ % PEERS_MAX];
	*p = *peer;
}

/* A datagram to this address itself: what comes from there answers no service. */
static __always_inline void peer_forget(struct bpf_sock *sk, const struct sockname *to)
{
	struct socket_peer *p =
		peer_sent(bpf_sk_storage_get(&weir_socket_peers, sk, 0, 0), &to->addr, to->port);

	if (p)
		*p = (struct socket_peer){};
}

static __always_inline int send_to(struct bpf_sock_addr *ctx, struct sockname *to)
{
	struct socket_peer peer = {};
	struct socket_peers *peers;
	int found = translate(ctx, to, transport_of(ctx->type, ctx->protocol), &peer);

	if (found < 0)
		return fail(-found);
	if (!ctx->sk)
		return PROCEED;
	if (!found) {
		peer_forget(ctx->sk, to);
		return PROCEED;
	}
	peers = bpf_sk_storage_get(&weir_socket_peers, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!peers)
		return PROCEED; /* the packet's way translates, too */
	peer_note(peers, &peer);
	say(ctx, REASON_SOCKET_SENT, &peer);
	to->addr = peer.backend;
	to->port = peer.backend_port;
	return PROCEED;
}

/* Puts a service in the place of the backend that stood for it, if any did. */
static __always_inline void service_back(struct bpf_sock_addr *ctx, struct sockname *from)
{
	const struct socket_peer *p;

	if (!config.services || !ctx->sk)
		return;
	p = peer_find(ctx->sk, &from->addr, from->port);
	if (!p)
		return;
	from->addr = p->service;
	from->port = p->service_port;
}

static __always_inline void name4_get(const struct bpf_sock_addr *ctx, struct sockname *n)
{
	n->addr = addr_from_ipv4(ctx->user_ip4);
	n->port = ctx->user_port;
}

static __always_inline void name4_set(struct bpf_sock_addr *ctx, const struct sockname *n)
{
	ctx->user_ip4 = n->addr.w[3];
	ctx->user_port = n->port;
}

static __always_inline void name6_get(const struct bpf_sock_addr *ctx, struct sockname *n)
{
	n->addr.w[0] = ctx->user_ip6[0];
	n->addr.w[1] = ctx->user_ip6[1];
	n->addr.w[2] = ctx->user_ip6[2];
	n->addr.w[3] = ctx->user_ip6[3];
	n->port = ctx->user_port;
}

static __always_inline void name6_set(struct bpf_sock_addr *ctx, const struct sockname *n)
{
	ctx->user_ip6[0] = n->addr.w[0];
	ctx->user_ip6[1] = n->addr.w[1];
	ctx->user_ip6[2] = n->addr.w[2];
	ctx->user_ip6[3] = n->addr.w[3];
	ctx->user_port = n->port;
}

SEC("cgroup/connect4")
int sock4_connect(struct bpf_sock_addr *ctx)
{
	struct sockname n;
	int verdict;

	name4_get(ctx, &n);
	verdict = connect_to(ctx, &n);
	name4_set(ctx, &n);
	return verdict;
}

/* An IPv6 socket may name an IPv4 address as ::ffff:a.b.c.d, which is how addresses look here. */
SEC("cgroup/connect6")
int sock6_connect(struct bpf_sock_addr *ctx)
{
	struct sockname n;
	int verdict;

	name6_get(ctx, &n);
	verdict = connect_to(ctx, &n);
	name6_set(ctx, &n);
	return verdict;
}

SEC("cgroup/sendmsg4")
int sock4_sendmsg(struct bpf_sock_addr *ctx)
{
	struct sockname n;
	int verdict;

	name4_get(ctx, &n);
	verdict = send_to(ctx, &n);
	name4_set(ctx, &n);
	return verdict;
}

SEC("cgroup/sendmsg6")
int sock6_sendmsg(struct bpf_sock_addr *ctx)
{
	struct sockname n;
	int verdict;

	name6_get(ctx, &n);
	verdict = send_to(ctx, &n);
	name6_set(ctx, &n);
	return verdict;
}

SEC("cgroup/recvmsg4")
int sock4_recvmsg(struct bpf_sock_addr *ctx)
{
	struct sockname n;

	name4_get(ctx, &n);
	service_back(ctx, &n);
	name4_set(ctx, &n);
	return PROCEED;
}

SEC("cgroup/recvmsg6")
int sock6_recvmsg(struct bpf_sock_addr *ctx)
{
	struct sockname n;

	name6_get(ctx, &n);
	service_back(ctx, &n);
	name6_set(ctx, &n);
	return PROCEED;
}

SEC("cgroup/getpeername4")
int sock4_getpeername(struct bpf_sock_addr *ctx)
{
	struct sockname n;

	name4_get(ctx, &n);
	service_back(ctx, &n);
	name4_set(ctx, &n);
	return PROCEED;
}

SEC("cgroup/getpeername6")
int sock6_getpeername(struct bpf_sock_addr *ctx)
{
	struct sockname n;

	name6_get(ctx, &n);
	service_back(ctx, &n);
	name6_set(ctx, &n);
	return PROCEED;
}

/* A port of the node that is a NodePort would hear nothing: whoever asks for it gets a backend. */
static __always_inline int bind_check(struct bpf_sock *ctx, const struct addr *any)
{
	const struct service *s;

	if (!config.services || !is_host(ctx))
		return PROCEED;
	s = service_find(any, bpf_htons(ctx->src_port), transport_of(ctx->type, ctx->protocol));
	return s && s->flags & SERVICE_NODEPORT ? fail(EADDRINUSE) : PROCEED;
}

SEC("cgroup/post_bind4")
int sock4_post_bind(struct bpf_sock *ctx)
{
	struct addr any = addr_from_ipv4(0);

	return bind_check(ctx, &any);
}

/* A socket of both families is kept off the ports of both. */
SEC("cgroup/post_bind6")
int sock6_post_bind(struct bpf_sock *ctx)
{
	struct addr any = {}, any4 = addr_from_ipv4(0);
	int verdict = bind_check(ctx, &any);

	return verdict == PROCEED ? bind_check(ctx, &any4) : verdict;
}

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx)
{
	if (config.build && bpf_sk_storage_get(&weir_socket_peer, ctx, 0, 0))
		tally(REASON_SOCKET_CLOSED);
	return PROCEED;
}

char _license[] SEC("license") = "Dual BSD/GPL";

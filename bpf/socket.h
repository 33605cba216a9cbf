/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What is noted with a socket that talks to a service: written by sock.c, read by it, by end.c,
 * which ends those whose backend is no more, and by trace.h, which says what a packet's sender
 * asked for.
 */
#pragma once
#include "config.h"
#include "maps.h"
#include "wanted.h"

/* Written by connect, read by recvmsg, getpeername, end.c and trace.h. 44 octets with a socket that
 * is connected to a service. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_peer);
} weir_socket_peer SEC(".maps");

/* Written by sendmsg, read by recvmsg, getpeername and trace.h. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_peers);
} weir_socket_peers SEC(".maps");

static __always_inline int is_peer_at(const struct socket_peer *p, const struct addr *a, __u16 port)
{
	return p->backend_port == port && addr_equal(&p->backend, a);
}

static __always_inline const struct socket_peer *peer_connected(const struct socket_peer *p,
								const struct addr *a, __u16 port)
{
	return p && is_peer_at(p, a, port) ? p : 0;
}

/* The one whose backend an unconnected socket has sent to. */
static __always_inline struct socket_peer *peer_sent(struct socket_peers *sent,
						     const struct addr *a, __u16 port)
{
	__u32 i;

	for (i = 0; sent && i < PEERS_MAX; i++)
		if (is_peer_at(&sent->peers[i], a, port))
			return &sent->peers[i];
	return 0;
}

/* Of which service a socket has the backend at a and port, or NULL: of none. A macro, since what
 * programs have of a socket is of different types for the verifier. */
#define peer_find(sk, a, port)                                                                     \
	(peer_connected(bpf_sk_storage_get(&weir_socket_peer, sk, 0, 0), a, port)                  \
		 ?: peer_sent(bpf_sk_storage_get(&weir_socket_peers, sk, 0, 0), a, port))

static __always_inline void tally(__u8 reason)
{
	__u32 key = PLACE_SOCKET * REASONS + reason;
	struct metric *m = bpf_map_lookup_elem(&weir_metrics, &key);

	if (m)
		m->packets++;
}

/* Counts a call that a backend was put into, and tells who follows it. */
static __always_inline void say(struct bpf_sock_addr *ctx, __u8 reason,
				const struct socket_peer *peer)
{
	tally(reason);
	walk_socket(ctx, reason, peer);
}

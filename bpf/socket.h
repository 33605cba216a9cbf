/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What is noted with a socket that is connected to a service: written by sock.c, read by it and by
 * end.c, which ends those whose backend is no more.
 */
#pragma once
#include "config.h"
#include "maps.h"
#include "wanted.h"

/* Written by connect, read by recvmsg, getpeername and end.c. 44 octets with a socket that is
 * connected to a service. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_peer);
} weir_socket_peer SEC(".maps");

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

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whether somebody follows packets, or the calls of sockets: see walk.h. */
#pragma once
#include "maps.h"

/* What is followed; NULL: nothing is. */
static __always_inline const struct walk *walk_wanted(void)
{
	__u32 zero = 0;
	const struct walk *w = bpf_map_lookup_elem(&weir_walk, &zero);

	return w && w->on ? w : 0;
}

/* The step of a socket call to a service, in whose place a backend has come. */
static __always_inline void walk_socket(struct bpf_sock_addr *ctx, __u8 reason,
					const struct socket_peer *peer)
{
	const struct walk *walk = walk_wanted();
	struct step *s;

	if (!walk || !walk->netns || walk->netns != bpf_get_netns_cookie(ctx))
		return;
	s = bpf_ringbuf_reserve(&weir_steps, sizeof(*s), 0);
	if (!s)
		return;
	__builtin_memset(s, 0, sizeof(*s));
	s->time = bpf_ktime_get_ns();
	s->came_dst = peer->service;
	s->came_dport = peer->service_port;
	s->dst = peer->backend;
	s->dport = peer->backend_port;
	s->backend = peer->backend_row;
	s->endpoint = ENDPOINTS_MAX;
	s->place = PLACE_SOCKET;
	s->reason = reason;
	s->family = ctx->family;
	s->proto = ctx->protocol;
	bpf_ringbuf_submit(s, BPF_RB_NO_WAKEUP);
}

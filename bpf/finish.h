/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Acts upon a decision: rewrites, encapsulates, redirects, and counts, each once. Every program
 * ends here, so that no packet vanishes without a reason.
 */
#pragma once
#include "rewrite.h"
#include "trace.h"
#include "tunnel.h"

enum { TC_NEXT = -1 }; /* TCX_NEXT, TC_ACT_UNSPEC: whoever else is on the hook goes on */

/*
 * Into a pod. The peer form enters the pod's netns at once, without the host device's egress hook
 * and without another round through the softirq; tc knows it on ingress only, from kernel 5.10.
 */
static __always_inline int to_endpoint(struct __sk_buff *skb, const struct decision *d)
{
	if (macs_set(skb, d->to))
		return -1;
	if (config.host_routing && !d->host)
		return bpf_redirect_peer(d->to->ifindex, 0);
	return bpf_redirect(d->to->ifindex, 0);
}

static __always_inline int to_neighbour(struct __sk_buff *skb, const struct decision *d)
{
	struct bpf_redir_neigh next = {.nh_family = d->via_family};

	if (d->via_family == AF_INET)
		next.ipv4_nh = d->via.w[3];
	else
		__builtin_memcpy(next.ipv6_nh, &d->via, sizeof(d->via));
	return bpf_redirect_neigh(d->ifindex, &next, sizeof(next), 0);
}

/* Lets a packet on without judging it. Naming the build here gives every program its stamp, by
 * which the agent knows the version of what it finds pinned. */
static __always_inline int pass(struct __sk_buff *skb, __u32 place, __u8 reason)
{
	if (config.build)
		count(skb, place, reason);
	return TC_NEXT;
}

static __always_inline int refuse(struct __sk_buff *skb, __u32 place, __u8 reason)
{
	count(skb, place, reason);
	return TC_ACT_SHOT;
}

static __always_inline int finish(struct __sk_buff *skb, const struct packet *p,
				  const struct decision *d, __u32 place)
{
	int action = TC_ACT_SHOT;

	if (d->way != WAY_PASS && d->way != WAY_DROP && d->ttl && ttl_decrement(skb, p))
		return refuse(skb, place, DROP_WRITE_ERROR);
	switch (d->way) {
	case WAY_PASS:
		action = TC_NEXT;
		break;
	case WAY_ENDPOINT:
		action = to_endpoint(skb, d);
		break;
	case WAY_TUNNEL:
		if (tunnel_key_set(skb, d))
			return refuse(skb, place, DROP_TUNNEL_KEY);
		action = bpf_redirect(config.tunnel_ifindex, 0);
		break;
	case WAY_NEIGH:
		action = to_neighbour(skb, d);
		break;
	case WAY_BOUNCE:
		action = bpf_redirect(skb->ifindex, 0);
		break;
	}
	if (action == -1 && d->way != WAY_PASS)
		return refuse(skb, place, DROP_WRITE_ERROR);
	count(skb, place, d->reason);
	return action;
}

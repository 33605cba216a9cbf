/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The way out. Decides from the destination's ipcache entry:
 *
 *   a pod of this node       -> WAY_ENDPOINT
 *   this node                -> WAY_PASS (the stack delivers)
 *   a pod of another node    -> WAY_TUNNEL, or in native routing the kernel's FIB
 *   anything else            -> the kernel's FIB: WAY_NEIGH, or WAY_PASS in legacy host routing
 *
 * What needs an ICMP error (TTL used up, too big, no way) is counted as the drop it is and left
 * to the host's stack, whose answers are complete, rate limited and the operator's to tune. The
 * stack cannot forward such a packet: its routes have the same MTU.
 */
#pragma once
#include "config.h"
#include "decision.h"
#include "ip.h"
#include "work.h"

/* Of bpf_fib_lookup: it says which source the kernel would choose (BPF_FIB_LOOKUP_SRC, 6.7), and
 * leaves out the neighbour. A kernel that does not know them changes nothing. */
#define FIB_SOURCE (1U << 4 | 1U << 2)

static __always_inline void fib_fill(__u32 ifindex, const struct packet *p,
				     struct bpf_fib_lookup *fib)
{
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->family = p->family;
	fib->ifindex = ifindex;
	fib->tot_len = p->len;
	if (p->family == AF_INET) {
		fib->ipv4_src = p->src.w[3];
		fib->ipv4_dst = p->dst.w[3];
	} else {
		__builtin_memcpy(fib->ipv6_src, &p->src, sizeof(p->src));
		__builtin_memcpy(fib->ipv6_dst, &p->dst, sizeof(p->dst));
	}
}

/* What the stack is to do with a packet. It takes none that has an address of this node already: of
 * a translated packet nobody knows the way then. */
static __always_inline void route_stack(struct decision *d, __u8 reason)
{
	if (d->translate)
		decide(d, WAY_DROP, reason == REASON_FRAGMENTED ? DROP_FRAG_NEEDED : DROP_FIB);
	else
		decide(d, WAY_PASS, reason);
}

/*
 * By the kernel's routing table. TTL and length were not judged yet. In legacy host routing this is
 * the stack's business, but for translated packets.
 */
static __always_inline void route_fib(struct __sk_buff *skb, const struct packet *p,
				      struct decision *d)
{
	struct work *w = work_slot();
	struct bpf_fib_lookup *fib;
	long ret;

	if ((!config.host_routing && !d->translate) || !w) {
		d->ttl = 0; /* the stack decrements */
		return decide(d, WAY_PASS, REASON_TO_STACK);
	}
	fib = &w->fib;
	fib_fill(skb->ifindex, p, fib);
	ret = bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
	w->fib_answer = ret > 0 ? ret : 0;
	if (ret == BPF_FIB_LKUP_RET_SUCCESS || ret == BPF_FIB_LKUP_RET_NO_NEIGH) {
		/* Before 5.12 a missing neighbour leaves ifindex as it was; nothing is routed back
		 * to a pod's device. */
		if (fib->ifindex == skb->ifindex && skb->ifindex >= IFINDEX_BASE) {
			w->fib_answer = FIB_BACK;
			return route_stack(d, REASON_TO_STACK);
		}
		d->ifindex = fib->ifindex;
		d->via_family = fib->family;
		if (fib->family == AF_INET)
			d->via = addr_from_ipv4(fib->ipv4_dst);
		else
			__builtin_memcpy(&d->via, fib->ipv6_dst, sizeof(d->via));
		return decide(d, WAY_NEIGH, REASON_TO_NETWORK);
	}
	if (ret == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		/* Before 5.12 it does not say how much is too much. */
		w->mtu = fib->mtu_result < p->len ? fib->mtu_result : 0;
		return p->dont_fragment ? decide(d, WAY_PASS, DROP_FRAG_NEEDED)
					: route_stack(d, REASON_FRAGMENTED);
	}
	if (ret == BPF_FIB_LKUP_RET_BLACKHOLE || ret == BPF_FIB_LKUP_RET_UNREACHABLE ||
	    ret == BPF_FIB_LKUP_RET_PROHIBIT)
		return decide(d, WAY_PASS, DROP_FIB);
	/* The stack asks the same setting of IPv4, and drops without a word; of IPv6 it asks that
	 * of all devices, so it may forward yet. */
	if (ret == BPF_FIB_LKUP_RET_FWD_DISABLED && p->family == AF_INET && !d->translate)
		return decide(d, WAY_PASS, DROP_FIB);
	route_stack(d, REASON_TO_STACK);
}

/* Whether the routing table delivers here: what it does not forward, of which broadcasts are a
 * part. */
static __always_inline int route_is_local(struct __sk_buff *skb, const struct packet *p)
{
	struct work *w = work_slot();
	long ret;

	if (!w)
		return 1;
	fib_fill(skb->ifindex, p, &w->fib);
	ret = bpf_fib_lookup(skb, &w->fib, sizeof(w->fib), 0);
	return ret == BPF_FIB_LKUP_RET_NOT_FWDED || ret == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

static __always_inline void route_tunnel(const struct packet *p, const struct ipcache_entry *entry,
					 struct decision *d)
{
	if (p->len > config.tunnel_mtu && !d->host) {
		struct work *w = work_slot();

		if (w)
			w->mtu = config.tunnel_mtu;
		return decide(d, WAY_PASS, p->dont_fragment ? DROP_FRAG_NEEDED : REASON_FRAGMENTED);
	}
	d->via = entry->tunnel_endpoint;
	decide(d, WAY_TUNNEL, REASON_TO_OVERLAY);
}

/* A packet that a pod of this node sends. Sets d->ttl: this node is a router on its way. */
static __always_inline void route_from_pod(struct __sk_buff *skb, const struct packet *p,
					   struct decision *d)
{
	const struct ipcache_entry *entry = ipcache_lookup(&p->dst);

	if (!entry)
		return decide(d, WAY_DROP, DROP_HOST_NOT_READY);
	if (entry->flags & IPCACHE_HOST)
		return decide(d, WAY_PASS, REASON_TO_HOST);
	if (p->ttl <= 1)
		return decide(d, WAY_PASS, DROP_TTL_EXCEEDED);
	d->ttl = 1;
	if (entry->endpoint) {
		d->to = endpoint_at(entry, &p->dst);
		if (!d->to)
			return decide(d, WAY_DROP, DROP_POD_NOT_READY);
		return decide(d, WAY_ENDPOINT, REASON_TO_ENDPOINT);
	}
	if (entry->flags & IPCACHE_LOCAL_CIDR)
		return decide(d, WAY_DROP, DROP_UNROUTABLE);
	if (config.tunnel_ifindex && !addr_is_zero(&entry->tunnel_endpoint))
		return route_tunnel(p, entry, d);
	route_fib(skb, p, d);
}

/* A packet from outside, for a pod of this node or none of ours: WAY_PASS when it is not ours. */
static __always_inline void route_to_endpoint(const struct packet *p, struct decision *d)
{
	const struct ipcache_entry *entry = ipcache_lookup(&p->dst);

	if (!entry || !entry->endpoint) {
		__u8 host = entry && entry->flags & IPCACHE_HOST;

		return decide(d, WAY_PASS, host ? REASON_TO_HOST : REASON_TO_STACK);
	}
	if (p->ttl <= 1)
		return decide(d, WAY_PASS, DROP_TTL_EXCEEDED);
	d->ttl = 1;
	d->to = endpoint_at(entry, &p->dst);
	if (!d->to)
		return decide(d, WAY_DROP, DROP_POD_NOT_READY);
	decide(d, WAY_ENDPOINT, REASON_TO_ENDPOINT);
}

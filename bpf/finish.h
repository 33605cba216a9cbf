/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Acts upon a decision: rewrites, encapsulates, redirects, and counts, each once. Every program
 * ends here, so that no packet vanishes without a reason.
 */
#pragma once
#include "flow.h"
#include "reject.h"
#include "rewrite.h"
#include "trace.h"
#include "translate.h"
#include "tunnel.h"

/* In skb->tc_index: another program has judged and counted the packet, which was redirected. */
enum { JUDGED = 0x5745 };

/* In skb->mark: an answer of ours on its way into the stack by a device's ingress. A mark does not
 * cross into another network namespace, so no pod can send one. */
enum { ANSWERED = 0x57455245 };

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
	skb->tc_index = JUDGED;
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
	if (config.monitor == MONITOR_NONE || walk_wanted())
		passing_report(skb, place, reason);
	return TC_NEXT;
}

static __always_inline int refuse(struct __sk_buff *skb, __u32 place, __u8 reason)
{
	report(skb, place, reason);
	return TC_ACT_SHOT;
}

/*
 * Drops a packet and sends its sender the answer: back into the pod, into the tunnel, onto the
 * device, or into this node's own stack, whence it came. The answer goes round every policy.
 */
static __always_inline int answer(struct __sk_buff *skb, const struct decision *d, __u32 place)
{
	int reason;

	report(skb, place, d->reason);
	reason = reject(skb);
	if (!reason)
		return TC_ACT_SHOT;
	count(skb, PLACE_NONE, reason);
	switch (place) {
	case PLACE_FROM_POD:
		if (config.host_routing)
			return bpf_redirect_peer(skb->ifindex, 0);
		skb->tc_index = JUDGED;
		return bpf_redirect(skb->ifindex, 0);
	case PLACE_FROM_OVERLAY:
		if (tunnel_key_set(skb, d))
			return TC_ACT_SHOT;
		return bpf_redirect(config.tunnel_ifindex, 0);
	case PLACE_FROM_NETDEV:
		return bpf_redirect(skb->ifindex, 0);
	case PLACE_TO_POD:
	case PLACE_TO_NETDEV:
		skb->mark = ANSWERED;
		break;
	}
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

/* Lets an answer on into the stack: nobody has sent it, so no policy is asked. */
static __always_inline int answer_pass(struct __sk_buff *skb, __u32 place)
{
	skb->mark = 0;
	return pass(skb, place, REASON_PASSED);
}

/* Whether to_netdev looks at packets: at the host's own, for its policy and services. */
static __always_inline int judges_leaving(void)
{
	return config.host_firewall || config.services;
}

static __always_inline int finish(struct __sk_buff *skb, const struct packet *p,
				  const struct decision *d, __u32 place)
{
	int action = TC_ACT_SHOT;

	if (d->way == WAY_DROP && d->reject)
		return answer(skb, d, place);
	if (d->translate && translate(skb))
		return refuse(skb, place, DROP_WRITE_ERROR);
	if (d->way != WAY_PASS && d->way != WAY_DROP && d->ttl && ttl_decrement(skb, p))
		return refuse(skb, place, DROP_WRITE_ERROR);
	if (place == PLACE_FROM_NETDEV && d->dsr && (d->dsr == DSR_MUST || dsr_fits(skb)) &&
	    dsr_put(skb))
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
		if (judges_leaving()) /* to_netdev asks, and takes it away */
			skb->tc_index = JUDGED;
		action = to_neighbour(skb, d);
		break;
	case WAY_BOUNCE:
		action = bpf_redirect(skb->ifindex, 0);
		break;
	}
	if (action == -1 && d->way != WAY_PASS)
		return refuse(skb, place, DROP_WRITE_ERROR);
	report(skb, place, d->reason);
	return action;
}

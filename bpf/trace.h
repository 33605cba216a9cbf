/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The one place that reports. Each packet is counted exactly once by each program it meets, under
 * the program's place and the reason of its end there; a drop is an event, too.
 */
#pragma once
#include "ip.h"
#include "ports.h"
#include "walk.h"

static __always_inline struct metric *metric_of(__u32 place, __u8 reason)
{
	__u32 key = place * REASONS + reason;

	return bpf_map_lookup_elem(&weir_metrics, &key);
}

static __always_inline void count(struct __sk_buff *skb, __u32 place, __u8 reason)
{
	struct metric *m = metric_of(place, reason);

	if (!m)
		return;
	m->packets += skb->gso_segs ? skb->gso_segs : 1;
	m->bytes += skb->len;
}

static __always_inline __u32 identity_of(const struct addr *a)
{
	const struct ipcache_entry *entry = ipcache_lookup(a);

	return entry ? entry->identity : IDENTITY_UNKNOWN;
}

/*
 * Says that w->p is dropped at w->place for w->reason. Never wakes the reader: the wake-up would
 * cost more than the packet did.
 */
STAGE int drop_report(struct __sk_buff *skb)
{
	struct work *w = work_slot();
	struct event *e;

	if (!w)
		return 0;
	e = bpf_ringbuf_reserve(&weir_events, sizeof(*e), 0);
	if (!e) {
		count(skb, PLACE_NONE, REASON_EVENT_LOST);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->time = bpf_ktime_get_ns();
	e->kind = EVENT_DROP;
	e->src = w->p.src;
	e->dst = w->p.dst;
	e->sport = w->p.sport;
	e->dport = w->p.dport;
	if (w->p.echo == ECHO_REPLY)
		e->dport = w->p.proto == IPPROTO_ICMP ? bpf_htons(ICMP_ECHO_REPLY)
						      : bpf_htons(ICMPV6_ECHO_REPLY);
	e->family = w->p.family;
	e->proto = w->p.proto;
	e->tcp_flags = w->p.tcp_flags;
	e->reason = w->reason;
	e->place = w->place;
	e->ifindex = skb->ifindex;
	e->len = skb->len;
	e->protocol = skb->protocol;
	e->endpoint = ENDPOINTS_MAX;
	if (w->reason == DROP_POLICY || w->reason == DROP_POLICY_DENY ||
	    w->reason == DROP_NO_POLICY) {
		e->endpoint = w->denied_at;
		e->rule[w->ingress & 1] = w->denied_by;
		e->direction = w->ingress;
		e->src_identity = w->ends[w->dir & 1].identity;
		e->dst_identity = w->ends[!w->dir].identity;
	} else if (e->family) {
		e->src_identity = identity_of(&w->p.src);
		e->dst_identity = identity_of(&w->p.dst);
	}
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

/* The step of a packet that goes on as it came, whether it was looked at or not. */
STAGE int walk_pass(struct __sk_buff *skb, __u32 place, __u32 reason)
{
	struct packet *p = packet_begin();

	if (!p || parse(skb, p) || ports_parse(skb, p))
		return 0;
	return walk_step(place, reason, skb->ifindex, skb->len);
}

/* A packet that is not let through, or only to the stack for its error: counted and reported. */
static __always_inline void report(struct __sk_buff *skb, __u32 place, __u8 reason)
{
	struct work *w = work_slot();

	count(skb, place, reason);
	if (walk_wanted())
		walk_step(place, reason, skb->ifindex, skb->len);
	if (reason < DROP_FIRST || !w)
		return;
	w->place = place;
	w->reason = reason;
	drop_report(skb);
}

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Answers of DNS, copied for the agent as they go into the pod that asked: names of addresses that
 * pods go to. Nothing waits for it, and nothing is held up.
 *
 * A copy is made of answers alone: what comes from port 53 in a connection that the pod opened.
 * Whoever sends to a pod without having been asked tells nothing.
 */
#pragma once
#include "conntrack.h"
#include "count.h"
#include "ports.h"
#include "walk.h"
#include "work.h"

#define DNS_PORT 53 /* RFC 1035 section 4.2.1 */

/* Notes of a packet of a connection that is known what its entry says. */
static __always_inline void dns_hit(struct packet *p, const struct ct_entry *e,
				    const struct ct_key *key, __u8 side)
{
	struct work *w = work_of(p);

	if (!config.dns || p->proto != IPPROTO_UDP)
		return;
	w->key = *key;
	w->side = side;
	w->dir = ct_dir(e, side) & 1;
}

/* The server's own address, whatever its client knows: who judges has noted it. */
static __always_inline void dns_server(struct work *w)
{
	if (w->p.how == STEP_JUDGED)
		return;
	w->came.src = w->side ? w->key.b : w->key.a;
	w->came.sport = w->side ? w->key.port_b : w->key.port_a;
}

/* Copies w->p, if it is an answer: its header, and what there is room for. */
STAGE int dns_copy(struct __sk_buff *skb)
{
	struct work *w = work_slot();
	__u32 at, end, len;
	struct dns_answer *a;

	if (!w || w->p.kind != KIND_PLAIN || w->p.fragment == FRAGMENT_LATER ||
	    w->p.how == STEP_PASSED || !w->dir || w->p.l4 > OFFSET_MAX)
		return 0;
	at = w->p.l4 + sizeof(struct udphdr);
	end = L3 + w->p.len;
	if (end <= at)
		return 0;
	len = end - at;
	a = bpf_ringbuf_reserve(&weir_dns, sizeof(*a), 0);
	if (!a) {
		event_lost(REASON_DNS_LOST);
		return 0;
	}
	a->time = bpf_ktime_get_ns();
	dns_server(w);
	a->src = w->came.src;
	a->sport = w->came.sport;
	a->asked = w->p.src;
	a->asked_port = w->p.sport;
	a->dst = w->p.dst;
	a->dport = w->p.dport;
	a->ifindex = skb->ifindex;
	a->len = len;
	a->src_identity = identity_of(w, &w->came.src);
	a->dst_identity = identity_of(w, &w->p.dst);
	a->family = w->p.family;
	a->place = w->place;
	if (len > DNS_OCTETS)
		len = DNS_OCTETS;
	a->copied = len;
	asm volatile("" : "+r"(len)); /* the compiler has seen that it is 1 to DNS_OCTETS, and */
	len = ((len - 1) & (DNS_OCTETS - 1)) + 1; /* the verifier is to see it, too */
	if (bpf_skb_load_bytes(skb, at, a->payload, len)) {
		bpf_ringbuf_discard(a, BPF_RB_NO_WAKEUP);
		event_lost(REASON_DNS_LOST);
		return 0;
	}
	bpf_ringbuf_submit(a, BPF_RB_NO_WAKEUP);
	return 0;
}

/* Of a packet that goes into a pod: whoever else sees it has told, or will. One branch, or the
 * verifier walks what follows once for each. */
static __always_inline void dns_tell(struct __sk_buff *skb, struct work *w, __u32 place,
				     __u8 reason)
{
	if (!config.dns || ((reason ^ REASON_TO_ENDPOINT) | (w->p.proto ^ IPPROTO_UDP) |
			    (w->p.sport ^ bpf_htons(DNS_PORT))))
		return;
	w->place = place;
	dns_copy(skb);
}

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Packets that belong to another one: later fragments, which have no ports, and ICMP errors, which
 * quote the packet that they are about. Also what the fast path leaves out, extension headers.
 */
#pragma once
#include "conntrack.h"
#include "ports.h"
#include "work.h"

/* A fragmented datagram: notes what its first fragment says, and finds it for a later one. */
static __always_inline __u8 fragment_follow(struct __sk_buff *skb, struct work *w, __u32 id)
{
	struct fragment_key key = {
		.src = w->p.src, .dst = w->p.dst, .id = id, .proto = IPPROTO_FRAGMENT};
	struct fragment says = {w->p.sport, w->p.dport, w->p.proto, w->p.kind, w->p.echo};
	const struct fragment *first;
	__u16 id4;

	if (w->p.family == AF_INET) {
		if (bpf_skb_load_bytes(skb, L3 + offsetof(struct iphdr, id), &id4, 2))
			return DROP_INVALID_PACKET;
		key.id = id4;
		key.proto = w->p.proto;
	}
	if (w->p.kind != KIND_FRAGMENT) {
		bpf_map_update_elem(&weir_fragments, &key, &says, BPF_ANY);
		return REASON_NONE;
	}
	first = bpf_map_lookup_elem(&weir_fragments, &key);
	if (!first)
		return DROP_FRAGMENT;
	w->p.sport = first->sport;
	w->p.dport = first->dport;
	w->p.proto = first->proto;
	w->p.kind = first->kind;
	w->p.echo = first->echo;
	w->p.fragment = FRAGMENT_LATER;
	return REASON_NONE;
}

/*
 * What an ICMP error quotes: its addresses and ports into w->quoted, its connection's key into
 * w->key. 0: it is nothing that its receiver has sent. RFC 792, RFC 4443 section 3.
 */
static __always_inline int icmp_quoted(struct __sk_buff *skb)
{
	struct work *w = work_slot();
	struct packet *q;
	__u16 l4[4];
	__u32 at;

	if (!w)
		return 0;
	q = &w->quoted;
	at = w->p.l4 + 8;

	__builtin_memset(q, 0, sizeof(*q));
	q->family = w->p.family;
	if (q->family == AF_INET) {
		if (bpf_skb_load_bytes(skb, at, &w->ip4, sizeof(w->ip4)) || w->ip4.ihl < 5 ||
		    w->ip4.frag_off & bpf_htons(0x1fff))
			return 0;
		q->src = addr_from_ipv4(w->ip4.saddr);
		q->dst = addr_from_ipv4(w->ip4.daddr);
		q->proto = w->ip4.protocol;
		at += w->ip4.ihl * 4;
	} else {
		if (bpf_skb_load_bytes(skb, at, &w->ip6, sizeof(w->ip6)))
			return 0;
		__builtin_memcpy(&q->src, &w->ip6.saddr, sizeof(q->src));
		__builtin_memcpy(&q->dst, &w->ip6.daddr, sizeof(q->dst));
		q->proto = w->ip6.nexthdr;
		at += sizeof(w->ip6);
	}
	if (!addr_equal(&q->src, &w->p.dst) || bpf_skb_load_bytes(skb, at, l4, sizeof(l4)))
		return 0;
	q->l4 = at;
	if (q->proto == IPPROTO_ICMP || q->proto == IPPROTO_ICMPV6) {
		icmp_parse(q, *(__u8 *)l4, l4[2]);
		if (q->kind != KIND_PLAIN)
			return 0;
	} else {
		q->sport = l4[0];
		q->dport = l4[1];
	}
	w->side = ct_key_set(q, &w->key);
	return 1;
}

/* What the fast path leaves out: extension headers and fragments. A second time there is nothing to
 * do, and of IPv6 nothing that says which datagram a fragment is of. */
STAGE int packet_complete(struct __sk_buff *skb)
{
	struct work *w = work_slot();
	__u8 refused = REASON_NONE, fresh;
	__u32 id = 0;

	if (!w)
		return DROP_NO_POLICY;
	fresh = w->p.family == AF_INET || w->p.kind == KIND_EXTENSION;
	if (w->p.kind == KIND_EXTENSION)
		refused = ports_extension(skb, &w->p, &id);
	if (refused || !fresh)
		return refused;
	if (w->p.kind == KIND_FRAGMENT || w->p.fragment == FRAGMENT_FIRST)
		refused = fragment_follow(skb, w, id);
	return refused;
}

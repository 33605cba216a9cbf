/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The bytes of a translated packet: its addresses and ports become those of struct packet, and the
 * sums over them follow.
 *
 * Sums of the transport header go by bpf_l4_csum_replace only: what a pod sends has none yet
 * (CHECKSUM_PARTIAL), which the helper knows and a program does not.
 */
#pragma once
#include "ports.h"
#include "rewrite.h"
#include "sctp.h"
#include "work.h"

/* The second packet of a fragmented datagram has no transport header. */
static __always_inline int has_transport(const struct packet *p)
{
	return p->fragment != FRAGMENT_LATER;
}

/* Where the transport header has its sum, from its begin on; 0: nowhere that helps. */
static __always_inline __u16 sum_offset(const struct packet *p)
{
	switch (p->proto) {
	case IPPROTO_TCP:
		return offsetof(struct tcphdr, check);
	case IPPROTO_UDP:
		return offsetof(struct udphdr, check);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return 2;
	}
	return 0;
}

/* A sum over no data is none for UDP over IPv4, and stays none. */
static __always_inline __u64 sum_flags(const struct packet *p)
{
	return p->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

static __always_inline int translate_addrs(struct __sk_buff *skb, const struct packet *p)
{
	__u32 old[8], new[8], at = L3 + offsetof(struct ipv6hdr, saddr);
	__u16 sum = sum_offset(p);
	__s64 diff;

	__builtin_memcpy(new, &p->src, 16);
	__builtin_memcpy(new + 4, &p->dst, 16);
	if (p->family == AF_INET) {
		at = L3 + offsetof(struct iphdr, saddr);
		new[0] = p->src.w[3];
		new[1] = p->dst.w[3];
		if (bpf_skb_load_bytes(skb, at, old, 8))
			return -1;
		diff = bpf_csum_diff(old, 8, new, 8, 0);
		if (bpf_l3_csum_replace(skb, L3 + offsetof(struct iphdr, check), 0, diff, 0) ||
		    bpf_skb_store_bytes(skb, at, new, 8, 0))
			return -1;
	} else {
		if (bpf_skb_load_bytes(skb, at, old, 32))
			return -1;
		diff = bpf_csum_diff(old, 32, new, 32, 0);
		/* Unlike IPv4's, the header has no sum that makes up for its change where a device
		 * has summed the whole packet. */
		if (bpf_skb_store_bytes(skb, at, new, 32, BPF_F_RECOMPUTE_CSUM))
			return -1;
	}
	if (!sum || !has_transport(p) || p->proto == IPPROTO_ICMP)
		return 0;
	return bpf_l4_csum_replace(skb, p->l4 + sum, 0, diff, BPF_F_PSEUDO_HDR | sum_flags(p));
}

static __always_inline int translate_ports(struct __sk_buff *skb, const struct packet *p)
{
	__u16 sum = sum_offset(p), old[2], new[2] = {p->sport, p->dport};
	__u32 at = p->l4, was, is;

	if (p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6) {
		at += 4; /* the identifier; the sequence number stays */
		if (bpf_skb_load_bytes(skb, at, old, 4))
			return -1;
		new[0] = p->echo == ECHO_REQUEST ? p->sport : p->dport;
		new[1] = old[1];
	} else if (bpf_skb_load_bytes(skb, at, old, 4)) {
		return -1;
	}
	__builtin_memcpy(&was, old, 4);
	__builtin_memcpy(&is, new, 4);
	if (was == is)
		return 0;
	if (sum && bpf_l4_csum_replace(skb, p->l4 + sum, was, is, 4 | sum_flags(p)))
		return -1;
	if (p->proto == IPPROTO_SCTP && sctp_sum(skb, p, was, is))
		return -1;
	return bpf_skb_store_bytes(skb, at, new, 4, 0);
}

/* Another sum over what was changed by diff; the sum over that one, at outer, follows. */
static __always_inline int quote_sum(struct __sk_buff *skb, __u32 at, __u32 outer, __s64 diff)
{
	__u16 was, is;

	if (bpf_skb_load_bytes(skb, at, &was, 2) || bpf_l4_csum_replace(skb, at, 0, diff, 0) ||
	    bpf_skb_load_bytes(skb, at, &is, 2))
		return -1;
	return was == is ? 0 : bpf_l4_csum_replace(skb, outer, was, is, 2);
}

/* The addresses in a quoted header. Returns by what they have changed the sums over them. */
static __always_inline int quote_addrs(struct __sk_buff *skb, const struct packet *q, __u32 l3,
				       __u32 outer, __s64 *diff)
{
	__u32 old[8], new[8];

	__builtin_memcpy(new, &q->src, 16);
	__builtin_memcpy(new + 4, &q->dst, 16);
	if (q->family == AF_INET) {
		new[0] = q->src.w[3];
		new[1] = q->dst.w[3];
		l3 += offsetof(struct iphdr, saddr);
		if (bpf_skb_load_bytes(skb, l3, old, 8))
			return -1;
		*diff = bpf_csum_diff(old, 8, new, 8, 0);
		/* The header's own sum makes up for it. */
		return bpf_skb_store_bytes(skb, l3, new, 8, 0) ||
		       bpf_l3_csum_replace(skb, l3 - 2, 0, *diff, 0);
	}
	l3 += offsetof(struct ipv6hdr, saddr);
	if (bpf_skb_load_bytes(skb, l3, old, 32))
		return -1;
	*diff = bpf_csum_diff(old, 32, new, 32, 0);
	return bpf_skb_store_bytes(skb, l3, new, 32, 0) ||
	       bpf_l4_csum_replace(skb, outer, 0, *diff, 0);
}

/*
 * What an ICMP error quotes becomes w->quoted, with its sums, as far as they are quoted: RFC 792
 * promises 8 octets of the transport header, in which TCP has none.
 */
STAGE int translate_quote(struct __sk_buff *skb)
{
	struct work *w = work_slot();
	__u32 outer, was, is, ports;
	__u16 sum, old[2], new[2];
	struct packet *q;
	__s64 diff, moved;

	if (!w || w->p.l4 > OFFSET_MAX || w->quoted.l4 > 2 * OFFSET_MAX)
		return -1;
	q = &w->quoted;
	outer = w->p.l4 + 2;
	ports = q->l4 + (q->echo ? 4 : 0);
	if (quote_addrs(skb, q, w->p.l4 + 8, outer, &diff) ||
	    bpf_skb_load_bytes(skb, ports, old, 4))
		return -1;
	new[0] = q->echo == ECHO_REPLY ? q->dport : q->sport;
	new[1] = q->echo ? old[1] : q->dport;
	__builtin_memcpy(&was, old, 4);
	__builtin_memcpy(&is, new, 4);
	moved = bpf_csum_diff(&was, 4, &is, 4, 0);
	if (bpf_skb_store_bytes(skb, ports, new, 4, 0) ||
	    bpf_l4_csum_replace(skb, outer, 0, moved, 0))
		return -1;
	sum = sum_offset(q);
	if (!sum || bpf_skb_load_bytes(skb, q->l4 + sum, old, 2) ||
	    (q->proto == IPPROTO_UDP && !old[0]))
		return 0;
	if (q->proto != IPPROTO_ICMP && quote_sum(skb, q->l4 + sum, outer, diff))
		return -1;
	return quote_sum(skb, q->l4 + sum, outer, moved);
}

/* Makes the packet what w->p says. Pointers into it are void after that. */
STAGE int translate(struct __sk_buff *skb)
{
	struct work *w = work_slot();

	if (!w || w->p.l4 > OFFSET_MAX || translate_addrs(skb, &w->p))
		return -1;
	if (w->p.kind == KIND_ERROR)
		return translate_quote(skb);
	return has_transport(&w->p) ? translate_ports(skb, &w->p) : 0;
}

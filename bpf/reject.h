/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Tells the sender of a packet that policy denies it: TCP gets a reset (RFC 9293 section 3.10.7.1),
 * everything else ICMP "communication administratively prohibited" (RFC 1812 section 5.2.7.1, RFC
 * 4443 section 3.1), from the address that was asked; or that nobody serves there, "port
 * unreachable" in place of prohibited; or that it is too big, and w->mtu is not. The
 * packet becomes its answer in place; where it goes from there is the caller's business. At most
 * REJECTS_MAX in each eighth of a second on each CPU; errors, resets, fragments and IPv4 packets
 * with options get none (RFC 1122 3.2.2).
 */
#pragma once
#include "count.h"
#include "rewrite.h"
#include "work.h"

#define REJECTS_MAX 128
#define REJECT_WINDOW_BITS 27 /* of nanoseconds: 134 ms */
#define ICMP_PROHIBITED 13    /* code of ICMP_UNREACHABLE */
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_PROHIBITED 1	  /* code */
#define ICMP_PORT_UNREACHABLE 3	  /* code, as kube-proxy answers for it, too */
#define ICMPV6_PORT_UNREACHABLE 4 /* code */
#define ICMP_TOO_BIG 4		  /* code of ICMP_UNREACHABLE: fragmentation needed */
#define ICMPV6_TOO_BIG 2	  /* type */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct budget);
	__uint(max_entries, 1);
} reject_budget SEC(".maps");

static __always_inline int reject_allowed(void)
{
	__u32 zero = 0;
	struct budget *b = bpf_map_lookup_elem(&reject_budget, &zero);

	return b && budget_take(b, bpf_ktime_get_ns() >> REJECT_WINDOW_BITS, REJECTS_MAX);
}

static __always_inline void ipv4_answer(struct iphdr *ip, const struct packet *p, __u16 len,
					__u8 proto)
{
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = bpf_htons(len);
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = 64;
	ip->protocol = proto;
	ip->saddr = p->dst.w[3];
	ip->daddr = p->src.w[3];
	ip->check = ~fold(fold(bpf_csum_diff(0, 0, (__be32 *)ip, sizeof(*ip), 0)));
}

static __always_inline void ipv6_answer(struct ipv6hdr *ip6, const struct packet *p, __u16 len,
					__u8 proto)
{
	ip6->version = 6;
	ip6->payload_len = bpf_htons(len);
	ip6->nexthdr = proto;
	ip6->hop_limit = 64;
	__builtin_memcpy(&ip6->saddr, &p->dst, sizeof(p->dst));
	__builtin_memcpy(&ip6->daddr, &p->src, sizeof(p->src));
}

/* Sum of the pseudo header, whose addresses are those of the packet whichever way round. */
static __always_inline __u32 pseudo_sum(const struct packet *p, __u16 len, __u8 proto)
{
	__u32 sum = bpf_htonl(len + proto);

	if (p->family == AF_INET) {
		sum = bpf_csum_diff(0, 0, (__be32 *)&p->src.w[3], 4, sum);
		return bpf_csum_diff(0, 0, (__be32 *)&p->dst.w[3], 4, sum);
	}
	sum = bpf_csum_diff(0, 0, (__be32 *)&p->src, 16, sum);
	return bpf_csum_diff(0, 0, (__be32 *)&p->dst, 16, sum);
}

/*
 * Whether the stack has left the packet's sum to a device (CHECKSUM_PARTIAL): the field then has
 * the sum of the pseudo header. No helper takes the task back, so a device that computes sums will
 * put one into the answer, at the same offset.
 */
static __always_inline int sum_is_left(struct __sk_buff *skb, const struct packet *p, __u16 check)
{
	__u16 len = skb->gso_size ? skb->len - p->l4 : p->len - (p->l4 - L3);

	return check == fold(pseudo_sum(p, len, p->proto));
}

/* The sequence numbers of a reset: as if the connection did not exist. */
static __always_inline int reset_fill(struct __sk_buff *skb, const struct packet *p,
				      struct tcphdr *rst)
{
	struct tcphdr tcp;
	__u32 data, sum;

	if (bpf_skb_load_bytes(skb, p->l4, &tcp, sizeof(tcp)) || tcp.rst)
		return -1;
	data = p->len - (p->l4 - L3) - tcp.doff * 4 + tcp.syn + tcp.fin;
	rst->source = tcp.dest;
	rst->dest = tcp.source;
	rst->doff = 5;
	rst->rst = 1;
	if (tcp.ack) {
		rst->seq = tcp.ack_seq;
	} else {
		rst->ack = 1;
		rst->ack_seq = bpf_htonl(bpf_ntohl(tcp.seq) + data);
	}
	sum = pseudo_sum(p, sizeof(*rst), IPPROTO_TCP);
	if (sum_is_left(skb, p, tcp.check))
		rst->check = fold(sum);
	else
		rst->check = ~fold(bpf_csum_diff(0, 0, (__be32 *)rst, sizeof(*rst), sum));
	return 0;
}

/* Gives the packet the answer's length and puts it in. */
static __always_inline int answer_put(struct __sk_buff *skb, struct work *w, __u32 len)
{
	if (bpf_skb_change_tail(skb, L3 + len, 0))
		return -1;
	return bpf_skb_store_bytes(skb, L3, &w->answer, len, 0);
}

static __always_inline int reject_tcp(struct __sk_buff *skb, struct work *w)
{
	struct answer *a = &w->answer;

	if (w->p.family == AF_INET) {
		if (reset_fill(skb, &w->p, &a->v4.tcp))
			return -1;
		ipv4_answer(&a->v4.ip, &w->p, 40, IPPROTO_TCP);
		return answer_put(skb, w, 40);
	}
	if (reset_fill(skb, &w->p, &a->v6.tcp))
		return -1;
	ipv6_answer(&a->v6.ip, &w->p, 20, IPPROTO_TCP);
	return answer_put(skb, w, 60);
}

/* What the sender is told. */
static __always_inline __u8 reject_reason(const struct work *w)
{
	if (w->reason == DROP_FRAG_NEEDED)
		return REASON_TOO_BIG;
	if (w->p.proto == IPPROTO_TCP)
		return REASON_RESET;
	return w->reason == DROP_NO_BACKEND ? REASON_UNREACHABLE : REASON_PROHIBITED;
}

static __always_inline int reject_icmp(struct __sk_buff *skb, struct work *w, __u8 reason)
{
	int too_big = reason == REASON_TOO_BIG, nobody = reason == REASON_UNREACHABLE;
	struct answer *a = &w->answer;
	__u16 check;
	__u32 sum;

	if (w->p.family == AF_INET) {
		if (bpf_skb_load_bytes(skb, L3, a->v4.icmp.quoted, sizeof(a->v4.icmp.quoted)))
			return -1;
		a->v4.icmp.type = ICMP_UNREACHABLE;
		a->v4.icmp.code = too_big  ? ICMP_TOO_BIG
				  : nobody ? ICMP_PORT_UNREACHABLE
					   : ICMP_PROHIBITED;
		a->v4.icmp.unused = too_big ? bpf_htonl(w->mtu) : 0; /* RFC 1191 section 4 */
		a->v4.icmp.checksum =
			~fold(fold(bpf_csum_diff(0, 0, (__be32 *)&a->v4.icmp, 36, 0)));
		ipv4_answer(&a->v4.ip, &w->p, 56, IPPROTO_ICMP);
		return answer_put(skb, w, 56);
	}
	if (bpf_skb_load_bytes(skb, L3, a->v6.icmp.quoted, sizeof(a->v6.icmp.quoted)))
		return -1;
	a->v6.icmp.type = too_big ? ICMPV6_TOO_BIG : ICMPV6_UNREACHABLE;
	a->v6.icmp.code = too_big ? 0 : nobody ? ICMPV6_PORT_UNREACHABLE : ICMPV6_PROHIBITED;
	a->v6.icmp.unused = too_big ? bpf_htonl(w->mtu) : 0; /* RFC 4443 section 3.2 */
	sum = pseudo_sum(&w->p, 56, IPPROTO_ICMPV6);
	/* Where UDP has its sum: with what a device will put there the message's own is right. (In
	 * ICMP, without a pseudo header, any is.) */
	__builtin_memcpy(&check, &a->v6.icmp.quoted[46], sizeof(check));
	if (!too_big && w->p.proto == IPPROTO_UDP && sum_is_left(skb, &w->p, check))
		a->v6.icmp.unused = bpf_htonl(bpf_ntohs(fold(sum)));
	a->v6.icmp.checksum = ~fold(bpf_csum_diff(0, 0, (__be32 *)&a->v6.icmp, 56, sum));
	ipv6_answer(&a->v6.ip, &w->p, 56, IPPROTO_ICMPV6);
	return answer_put(skb, w, 96);
}

/* Whether an answer may be sent at all. */
static __always_inline int reject_fits(const struct packet *p)
{
	if (p->kind == KIND_ERROR || p->kind == KIND_FRAGMENT || p->fragment)
		return 0;
	return p->family == AF_INET6 ? p->l4 == L3 + 40 : p->l4 == L3 + 20;
}

/* Turns w->p into its answer. Returns its reason, or REASON_NONE: there is none. */
STAGE int reject(struct __sk_buff *skb)
{
	struct work *w = work_slot();
	struct mac macs[2];
	__u8 reason;
	int err;

	if (!w || !reject_fits(&w->p) || !reject_allowed() ||
	    bpf_skb_load_bytes(skb, ETH_ALEN, &macs[0], ETH_ALEN) ||
	    bpf_skb_load_bytes(skb, 0, &macs[1], ETH_ALEN))
		return REASON_NONE;
	__builtin_memset(&w->answer, 0, sizeof(w->answer));
	reason = reject_reason(w);
	if (reason == REASON_RESET)
		err = reject_tcp(skb, w);
	else
		err = reject_icmp(skb, w, reason);
	if (err || bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0))
		return REASON_NONE;
	return reason;
}

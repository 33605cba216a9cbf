/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A frame before there is an skb, as its driver hands it to a program: its bytes to struct packet,
 * and back.
 *
 * Only what is simple is understood: TCP and UDP right behind an IPv4 header without options or an
 * IPv6 header, in one piece, with complete sums. Everything else is left to the programs that have
 * an skb.
 */
#pragma once
#include "parse.h"
#include "ports.h"
#include "rewrite.h"

static __always_inline int frame_ipv4(void *data, void *end, struct packet *p)
{
	struct iphdr *ip = data + L3;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl != 5 ||
	    ip->frag_off & bpf_htons(0x3fff))
		return -1;
	p->src = addr_from_ipv4(ip->saddr);
	p->dst = addr_from_ipv4(ip->daddr);
	p->family = AF_INET;
	p->proto = ip->protocol;
	p->ttl = ip->ttl;
	p->dont_fragment = !!(ip->frag_off & bpf_htons(0x4000));
	p->l4 = L3 + sizeof(*ip);
	p->len = bpf_ntohs(ip->tot_len);
	return 0;
}

static __always_inline int frame_ipv6(void *data, void *end, struct packet *p)
{
	struct ipv6hdr *ip6 = data + L3;
	__u32 len;

	if ((void *)(ip6 + 1) > end || ip6->version != 6)
		return -1;
	__builtin_memcpy(&p->src, &ip6->saddr, sizeof(p->src));
	__builtin_memcpy(&p->dst, &ip6->daddr, sizeof(p->dst));
	len = sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
	if (is_mapped(&p->src) || is_mapped(&p->dst) || len > 0xffff)
		return -1;
	p->family = AF_INET6;
	p->proto = ip6->nexthdr;
	p->ttl = ip6->hop_limit;
	p->dont_fragment = 1;
	p->l4 = L3 + sizeof(*ip6);
	p->len = len;
	return 0;
}

/* Ones' complement sum of numbers that add up to sum, in the packet's byte order. */
static __always_inline __u16 fold_long(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* The prefix of a mapped address adds 0xffff, which is nothing. */
static __always_inline __u16 sum_addrs(const struct packet *p)
{
	const __u32 *s = p->src.w, *d = p->dst.w;

	return fold_long((__u64)s[0] + s[1] + s[2] + s[3] + d[0] + d[1] + d[2] + d[3]);
}

/*
 * Whether the sum of the transport header is still to be completed, by a device that the packet
 * will never meet: its sender is the stack of this very machine (CHECKSUM_PARTIAL). It is the sum
 * of the pseudo header then. Any other packet has that once in 65535 times, and loses nothing but
 * the short way.
 */
static __always_inline int is_unsummed(const struct packet *p, __u16 sum)
{
	__u16 len = p->len - (p->l4 - L3);

	return sum == fold_long((__u64)sum_addrs(p) + bpf_htons(p->proto) + bpf_htons(len));
}

static __always_inline int frame_transport(void *data, void *end, struct packet *p)
{
	void *l4 = data +
		   (p->family == AF_INET ? L3 + sizeof(struct iphdr) : L3 + sizeof(struct ipv6hdr));
	struct tcphdr *tcp = l4;
	struct udphdr *udp = l4;
	__u16 sum, need = p->l4 - L3 + sizeof(*udp);

	if ((void *)(udp + 1) > end)
		return -1;
	sum = udp->check;
	if (p->proto == IPPROTO_TCP) {
		need = p->l4 - L3 + sizeof(*tcp);
		if ((void *)(tcp + 1) > end)
			return -1;
		p->tcp_flags = ((__u8 *)tcp)[13];
		sum = tcp->check;
	} else if (p->proto != IPPROTO_UDP || (!sum && p->family == AF_INET6)) {
		return -1;
	}
	p->sport = udp->source;
	p->dport = udp->dest;
	return p->len < need || p->len > end - data - L3 || is_unsummed(p, sum) ? -1 : 0;
}

/* Fills p, which is all zero. Negative when the frame is for others to understand. */
static __always_inline int frame_parse(struct xdp_md *ctx, struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	int err = -1;

	if ((void *)(eth + 1) > end || eth->h_dest[0] & 1)
		return -1;
	if (eth->h_proto == bpf_htons(ETH_P_IP) && config.ipv4)
		err = frame_ipv4(data, end, p);
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6) && config.ipv6)
		err = frame_ipv6(data, end, p);
	return err ? err : frame_transport(data, end, p);
}

/* A sum after a change of what it is over (RFC 1624). */
static __always_inline __u16 sum_after(__u16 sum, __u16 diff)
{
	return ~fold((__u16)~sum + diff);
}

/* Addresses, and one hop less. diff: what the sum over the addresses grows by. */
static __always_inline int frame_ipv4_write(struct iphdr *ip, void *end, const struct packet *p,
					    __u16 diff)
{
	if ((void *)(ip + 1) > end)
		return -1;
	ip->saddr = p->src.w[3];
	ip->daddr = p->dst.w[3];
	ip->ttl = p->ttl - 1; /* see ttl_decrement */
	ip->check = sum_after(ip->check, fold(diff + (__u16)~bpf_htons(0x0100)));
	return 0;
}

static __always_inline int frame_ipv6_write(struct ipv6hdr *ip6, void *end, const struct packet *p)
{
	if ((void *)(ip6 + 1) > end)
		return -1;
	__builtin_memcpy(&ip6->saddr, &p->src, sizeof(p->src));
	__builtin_memcpy(&ip6->daddr, &p->dst, sizeof(p->dst));
	ip6->hop_limit = p->ttl - 1;
	return 0;
}

static __always_inline int frame_ports(void *l4, void *end, const struct packet *p, __u16 diff)
{
	struct tcphdr *tcp = l4;
	struct udphdr *udp = l4;

	if ((void *)(udp + 1) > end)
		return -1;
	diff = fold((__u32)diff + (__u16)~udp->source + (__u16)~udp->dest + p->sport + p->dport);
	if (p->proto == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end)
			return -1;
		tcp->check = sum_after(tcp->check, diff);
	} else if (udp->check) {
		udp->check = sum_after(udp->check, diff);
		if (!udp->check)
			udp->check = 0xffff;
	}
	udp->source = p->sport;
	udp->dest = p->dport;
	return 0;
}

/* Makes the frame what p says, one hop further. addrs: sum_addrs of the frame as it is. Negative
 * when it is none that frame_parse has understood. */
static __always_inline int frame_write(struct xdp_md *ctx, const struct packet *p, __u16 addrs)
{
	void *l3 = (void *)(long)ctx->data + L3, *end = (void *)(long)ctx->data_end;
	__u16 diff = fold((__u32)(__u16)~addrs + sum_addrs(p));

	if (p->family == AF_INET)
		return frame_ipv4_write(l3, end, p, diff) ||
		       frame_ports(l3 + sizeof(struct iphdr), end, p, diff);
	return frame_ipv6_write(l3, end, p) ||
	       frame_ports(l3 + sizeof(struct ipv6hdr), end, p, diff);
}

/* Addresses the frame to the neighbour that the routing table has named. */
static __always_inline int frame_macs(struct xdp_md *ctx, const struct bpf_fib_lookup *to)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return -1;
	__builtin_memcpy(eth->h_dest, to->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, to->smac, ETH_ALEN);
	return 0;
}

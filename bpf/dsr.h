/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Direct server return: a client's packet keeps its source on the way to a backend of another node,
 * and that node answers the client itself, in the service's name. So that it can, the packet says
 * which service was asked, in an option of its IP header:
 *
 *   IPv4  | 158 | 8 | port | address |                              RFC 791, RFC 4727 section 3
 *   IPv6  | next | 2 | PadN 0 | 30 | 18 | port | address |          RFC 8200 section 4.6, RFC 4727
 *
 * Both numbers are those for experiments; who does not know them skips them. In the tunnel the
 * option is in the inner packet, so that it needs no tunnel that has options.
 *
 *   dsr_judge, dsr_put   the node that was asked: whether the packet fits with it, and puts it in
 *   dsr_take             the backend's node: whether it is to be believed, and takes it out
 *
 * Every packet has it that may be the first which the backend's node sees; of an established TCP
 * connection none has, since the packets of clients are as long as the way is wide.
 */
#pragma once
#include "asked.h"
#include "ip.h"
#include "nat.h"
#include "rewrite.h"
#include "route.h"

enum dsr {
	DSR_NONE = 0,
	DSR_ROOM, /* the packet has it if it fits */
	DSR_MUST, /* it fits */
};

enum { DSR_TOO_BIG = -1 }; /* what dsr_judge says where it must have it, and has no room */

/* Whether answers of the connection come from a service that another node was asked for. */
static __always_inline int is_dsr(const struct ct_entry *e)
{
	return config.services && e->way[1] == OUT_DSR;
}

/* The answer comes from that service. 0: nobody knows any more which it is. */
static __always_inline int dsr_answer(__u32 number, struct packet *p)
{
	const struct frontend *asked = asked_find(number);

	if (!asked)
		return 0;
	p->src = asked->addr;
	p->sport = asked->port;
	return 1;
}

/* Whether a packet of the opener is to say what it asked, though its connection is known: where
 * nothing tells whether the backend's node knows it, too. */
static __always_inline __u8 dsr_hit(const struct ct_entry *e, const struct packet *p)
{
	const struct ct_forward *f = (const struct ct_forward *)e;

	return (e->flags & CT_IS_FORWARD && f->source == NAT_DSR && p->proto != IPPROTO_TCP) *
	       DSR_ROOM;
}

/* Whether the tunnel may bring a client's packets from there: from any node, whichever was asked.
 */
static __always_inline int dsr_from(const struct addr *remote)
{
	const struct ipcache_entry *sender;
	struct work *w = work_slot();

	if (!w)
		return 0;
	w->prefix.prefix_len = 128; /* in the slot: the fast path's stack is full */
	w->prefix.addr = *remote;
	sender = bpf_map_lookup_elem(&weir_ipcache, &w->prefix);
	return sender && sender->identity == IDENTITY_REMOTE_NODE;
}

#define DSR_OPTION4 158
#define DSR_OPTION6 30

struct dsr_option {
	__u8 type, len;
	__u16 port;
	__u32 addr;
};

struct dsr_header {
	__u8 next, len;
	__u8 pad, pad_len;
	__u8 type, type_len;
	__u16 port;
	struct addr addr;
};

_Static_assert(sizeof(struct dsr_option) == 8, "dsr_option");
_Static_assert(sizeof(struct dsr_header) == 24, "dsr_header");

/* The option comes first, where the kernel makes and takes room. The sums of transport headers do
 * not cover it. */
#define DSR_ROOM_FLAGS (BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET)

static __always_inline __u32 dsr_size(const struct packet *p)
{
	return p->family == AF_INET ? sizeof(struct dsr_option) : sizeof(struct dsr_header);
}

/* What is on the way may be, with the option; 0: nothing limits it. */
static __always_inline __u32 dsr_limit(struct __sk_buff *skb, struct work *w, __u32 len)
{
	const struct ipcache_entry *entry = ipcache_lookup(&w->p.dst);
	long ret;

	if (config.tunnel_ifindex && entry && !addr_is_zero(&entry->tunnel_endpoint))
		return len > config.tunnel_mtu ? config.tunnel_mtu : 0;
	fib_fill(skb->ifindex, &w->p, &w->fib);
	w->fib.tot_len = len;
	ret = bpf_fib_lookup(skb, &w->fib, sizeof(w->fib), 0);
	if (ret != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return 0;
	/* Before 5.12 it does not say how much is too much. */
	return w->fib.mtu_result < len ? w->fib.mtu_result : len - 1;
}

/* Whether w->p, on its way to the backend, fits with the option. */
STAGE int dsr_fits(struct __sk_buff *skb)
{
	struct work *w = work_slot();
	__u32 limit, size;

	if (!w)
		return 0;
	w->mtu = 0;
	size = dsr_size(&w->p);
	if (w->p.family == AF_INET && w->p.l4 > L3 + 60 - size)
		return 0; /* a header is 60 octets at most */
	limit = dsr_limit(skb, w, w->p.len + size);
	w->mtu = limit - size;
	return !limit;
}

/* Of a connection's packet that was judged: enum dsr, or DSR_TOO_BIG. */
STAGE int dsr_judge(struct __sk_buff *skb)
{
	struct work *w = work_slot();

	if (!w || w->nat.is != CT_IS_FORWARD || w->nat.source != NAT_DSR)
		return DSR_NONE;
	if (dsr_fits(skb))
		return DSR_MUST;
	if (w->nat.known)
		return DSR_NONE; /* the backend's node has heard of it */
	w->p.dst = w->nat.asked;
	w->p.dport = w->nat.asked_port;
	return DSR_TOO_BIG;
}

static __always_inline int dsr_put_ipv4(struct __sk_buff *skb, struct work *w)
{
	struct dsr_option option = {.type = DSR_OPTION4,
				    .len = sizeof(option),
				    .port = w->nat.asked_port,
				    .addr = w->nat.asked.w[3]};
	struct iphdr *ip = &w->ip4;
	__u32 was, is, sum;

	if (bpf_skb_load_bytes(skb, L3, ip, sizeof(*ip)) ||
	    bpf_skb_adjust_room(skb, sizeof(option), BPF_ADJ_ROOM_NET, DSR_ROOM_FLAGS))
		return -1;
	__builtin_memcpy(&was, ip, sizeof(was));
	ip->ihl += sizeof(option) / 4;
	if (ip->tot_len) /* of several segments at once it may be 0 */
		ip->tot_len = bpf_htons(bpf_ntohs(ip->tot_len) + sizeof(option));
	__builtin_memcpy(&is, ip, sizeof(is));
	sum = bpf_csum_diff(&was, sizeof(was), &is, sizeof(is), (__u16)~ip->check);
	sum = bpf_csum_diff(0, 0, (__be32 *)&option, sizeof(option), sum);
	ip->check = ~fold(sum);
	if (bpf_skb_store_bytes(skb, L3, ip, sizeof(*ip), BPF_F_RECOMPUTE_CSUM))
		return -1;
	return bpf_skb_store_bytes(skb, L3 + sizeof(*ip), &option, sizeof(option),
				   BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int dsr_put_ipv6(struct __sk_buff *skb, struct work *w)
{
	struct dsr_header header = {.len = sizeof(header) / 8 - 1,
				    .pad = 1,
				    .type = DSR_OPTION6,
				    .type_len = 18,
				    .port = w->nat.asked_port,
				    .addr = w->nat.asked};
	struct ipv6hdr *ip6 = &w->ip6;

	if (bpf_skb_load_bytes(skb, L3, ip6, sizeof(*ip6)) ||
	    bpf_skb_adjust_room(skb, sizeof(header), BPF_ADJ_ROOM_NET, DSR_ROOM_FLAGS))
		return -1;
	header.next = ip6->nexthdr;
	ip6->nexthdr = IPPROTO_DSTOPTS;
	if (ip6->payload_len) /* of several segments at once it may be 0 */
		ip6->payload_len = bpf_htons(bpf_ntohs(ip6->payload_len) + sizeof(header));
	if (bpf_skb_store_bytes(skb, L3, ip6, sizeof(*ip6), BPF_F_RECOMPUTE_CSUM))
		return -1;
	return bpf_skb_store_bytes(skb, L3 + sizeof(*ip6), &header, sizeof(header),
				   BPF_F_RECOMPUTE_CSUM);
}

/* Says in the packet that w->nat.asked was asked. Pointers into it are void after that. */
STAGE int dsr_put(struct __sk_buff *skb)
{
	struct work *w = work_slot();

	if (!w)
		return -1;
	return w->p.family == AF_INET ? dsr_put_ipv4(skb, w) : dsr_put_ipv6(skb, w);
}

/* Whether a packet may have the option. */
static __always_inline int dsr_possible(const struct packet *p)
{
	if (!config.services)
		return 0;
	return p->family == AF_INET ? p->l4 > L3 + sizeof(struct iphdr)
				    : p->proto == IPPROTO_DSTOPTS;
}

/* Reads the option into w->nat.asked. Returns the protocol behind it, or 0: there is none of ours.
 */
static __always_inline __u8 dsr_read(struct __sk_buff *skb, struct work *w)
{
	struct dsr_option option;
	struct dsr_header header;
	__u8 proto;

	if (w->p.family == AF_INET) {
		if (bpf_skb_load_bytes(skb, L3 + sizeof(struct iphdr), &option, sizeof(option)) ||
		    option.type != DSR_OPTION4 || option.len != sizeof(option))
			return 0;
		w->nat.asked = addr_from_ipv4(option.addr);
		w->nat.asked_port = option.port;
		return w->p.proto;
	}
	if (bpf_skb_load_bytes(skb, w->p.l4, &header, sizeof(header)) ||
	    header.len != sizeof(header) / 8 - 1 || header.pad != 1 || header.pad_len ||
	    header.type != DSR_OPTION6 || header.type_len != 18 ||
	    w->p.len < sizeof(struct ipv6hdr) + sizeof(header))
		return 0;
	w->nat.asked = header.addr;
	w->nat.asked_port = header.port;
	proto = header.next;
	if (proto == IPPROTO_FRAGMENT &&
	    bpf_skb_load_bytes(skb, w->p.l4 + sizeof(header), &proto, sizeof(proto)))
		return 0;
	return proto;
}

/*
 * Whether this node may answer in that name: it is an address at which a service is open to the
 * outside. The other node's own addresses for NodePorts are in no map here; that it is a node, and
 * the port a NodePort, is.
 */
static __always_inline int dsr_service_valid(const struct work *w, __u8 proto)
{
	const struct service *s = service_find(&w->nat.asked, w->nat.asked_port, proto);
	const struct ipcache_entry *entry;
	struct addr any = {};

	if (!s) {
		entry = ipcache_lookup(&w->nat.asked);
		if (!entry || entry->identity != IDENTITY_REMOTE_NODE)
			return 0;
		if (w->p.family == AF_INET)
			any.w[2] = V4_MAPPED;
		s = service_find(&any, w->nat.asked_port, proto);
	}
	return s && s->flags & SERVICE_EXTERNAL;
}

/* Who is no part of the cluster: nobody else is forwarded so. */
static __always_inline int dsr_client_valid(const struct addr *client)
{
	const struct ipcache_entry *entry = ipcache_lookup(client);

	return entry && !entry->endpoint && !entry->flags &&
	       addr_is_zero(&entry->tunnel_endpoint) && entry->identity != IDENTITY_REMOTE_NODE;
}

static __always_inline int dsr_strip(struct __sk_buff *skb, struct work *w)
{
	__s32 size = dsr_size(&w->p);
	struct iphdr *ip = &w->ip4;
	struct dsr_option option;
	__u32 was, is, sum;
	__u8 next;

	if (w->p.family == AF_INET6) {
		if (bpf_skb_load_bytes(skb, L3, &w->ip6, sizeof(w->ip6)) ||
		    bpf_skb_load_bytes(skb, w->p.l4, &next, sizeof(next)) ||
		    bpf_skb_adjust_room(skb, -size, BPF_ADJ_ROOM_NET, DSR_ROOM_FLAGS))
			return -1;
		w->p.proto = w->ip6.nexthdr = next;
		w->p.len -= size;
		if (w->ip6.payload_len)
			w->ip6.payload_len = bpf_htons(bpf_ntohs(w->ip6.payload_len) - size);
		return bpf_skb_store_bytes(skb, L3, &w->ip6, sizeof(w->ip6), BPF_F_RECOMPUTE_CSUM);
	}
	if (bpf_skb_load_bytes(skb, L3, ip, sizeof(*ip)) ||
	    bpf_skb_load_bytes(skb, L3 + sizeof(*ip), &option, sizeof(option)) ||
	    bpf_skb_adjust_room(skb, -size, BPF_ADJ_ROOM_NET, DSR_ROOM_FLAGS))
		return -1;
	__builtin_memcpy(&was, ip, sizeof(was));
	ip->ihl -= size / 4;
	if (ip->tot_len)
		ip->tot_len = bpf_htons(bpf_ntohs(ip->tot_len) - size);
	__builtin_memcpy(&is, ip, sizeof(is));
	sum = bpf_csum_diff(&was, sizeof(was), &is, sizeof(is), (__u16)~ip->check);
	sum = bpf_csum_diff((__be32 *)&option, sizeof(option), 0, 0, sum);
	ip->check = ~fold(sum);
	w->p.l4 -= size;
	w->p.len -= size;
	return bpf_skb_store_bytes(skb, L3, ip, sizeof(*ip), BPF_F_RECOMPUTE_CSUM);
}

/*
 * Takes the option out of a packet that was just parsed, before anything looks at its transport
 * header, and notes in w->p.dsr what it said. Returns REASON_NONE, or why the packet is dropped.
 *
 * Nobody signs an option, so what it says must be true whoever says it: it may name nothing but a
 * service that is open to the outside, and only for a client from there. Whoever made it up could
 * have asked that service. What is for pods is believed only if the tunnel brings it, where there
 * is one.
 */
STAGE int dsr_take(struct __sk_buff *skb)
{
	int through = config.tunnel_ifindex && skb->ifindex == config.tunnel_ifindex;
	struct work *w = work_slot();
	const struct ipcache_entry *to;
	__u8 proto;

	if (!w)
		return DROP_NO_POLICY;
	proto = dsr_read(skb, w);
	if (!proto)
		return REASON_NONE;
	to = ipcache_lookup(&w->p.dst);
	if (!to || (!to->endpoint && !(to->flags & IPCACHE_HOST)))
		return REASON_NONE; /* it only passes here */
	if ((config.tunnel_ifindex && to->endpoint && !through) || !dsr_client_valid(&w->p.src) ||
	    !dsr_service_valid(w, proto))
		return DROP_DSR;
	w->p.dsr = asked_number(w, proto);
	if (!w->p.dsr)
		return DROP_CT_FULL;
	return dsr_strip(skb, w) ? DROP_WRITE_ERROR : REASON_NONE;
}

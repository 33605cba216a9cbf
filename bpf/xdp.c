//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Services whose backend is on another node, before the kernel makes an skb of the packet. The
 * judging is that of from_netdev, by the same code and on the same tables, so that a connection
 * may change between the two at any packet.
 *
 * This is a short way and never another one: what is not understood here, or is to be refused,
 * passes to from_netdev as it came, which judges it anew and says why. So the backend of a
 * connection that both may open follows from its addresses and ports (nat_new), and nothing is
 * written down before it is clear that the packet leaves here.
 */
#include "flow.h"
#include "frame.h"
#include "trace.h"

/* Whether the frame is for the device with that address, and not for another one that is on it, or
 * for another host. */
static __always_inline int is_for_device(struct xdp_md *ctx, const __u8 *mac)
{
	const __u8 *dest = (void *)(long)ctx->data;

	return (void *)(dest + ETH_ALEN) <= (void *)(long)ctx->data_end && mac_equal(dest, mac);
}

/*
 * Finds the neighbour, and leaves it in w->fib. 0: the packet does not go back out of the device
 * that it came from, and was for, or the stack has to do something first: find a neighbour, or
 * refuse.
 */
static __always_inline int xdp_route(struct xdp_md *ctx, struct work *w)
{
	__u32 ifindex = ctx->ingress_ifindex;

	if (w->p.ttl <= 1)
		return 0;
	fib_fill(ifindex, &w->p, &w->fib);
	return bpf_fib_lookup(ctx, &w->fib, sizeof(w->fib), 0) == BPF_FIB_LKUP_RET_SUCCESS &&
	       w->fib.ifindex == ifindex && is_for_device(ctx, w->fib.smac);
}

/* The way to the other end leads over the underlay as it is: native routing, or out of the cluster.
 */
static __always_inline int leaves_plain(const struct end *end)
{
	return !end->endpoint && !end->host && !(config.tunnel_ifindex && end->tunnel);
}

/* Whether an entry holds for a packet with both ends elsewhere, whose destination is that of the
 * way on. */
static __always_inline int stamp_holds(const struct ct_entry *e, __u8 dir, const struct packet *p)
{
	__u32 src = epoch_of(&p->src, 0), dst = epoch_of(&p->dst, 0);

	return e->stamp && src && dst &&
	       e->stamp == (dir ? stamp_of(dst, src) : stamp_of(src, dst));
}

/* Whether the connection goes to a backend in this node's name; its answers are an opener's then.
 */
static __always_inline int is_snat(const struct ct_entry *e)
{
	if (e->flags & CT_IS_FORWARD)
		return ((const struct ct_forward *)e)->source == NAT_NODE;
	return e->flags & CT_IS_REVERSE;
}

enum known { KNOWN_NOT, KNOWN_HERE, KNOWN_ELSEWHERE };

/*
 * What flow_hit does, for packets of translated connections with both ends elsewhere: KNOWN_HERE.
 * KNOWN_ELSEWHERE: a connection that is not for this program.
 */
static __always_inline enum known xdp_hit(struct xdp_md *ctx, struct work *w, __u32 bytes)
{
	struct packet *p = &w->p;
	struct addr asked = p->dst;
	__u16 asked_port = p->dport;
	struct ct_entry *e;
	struct ct_key key;
	__u8 dir, side;
	__u32 news;

	if (is_syn(p))
		return KNOWN_NOT;
	side = ct_key_set(p, &key);
	e = ct_find(&key, CT_TABLE);
	if (!e)
		return KNOWN_NOT;
	dir = ct_dir(e, side) & 1;
	if (!is_snat(e) || e->way[dir] != OUT_FIB || e->way[!dir] != OUT_FIB)
		return KNOWN_ELSEWHERE;
	if (!hit_destination(e, dir, p) || !stamp_holds(e, dir, p)) {
		p->dst = asked;
		p->dport = asked_port;
		return KNOWN_NOT;
	}
	if (!xdp_route(ctx, w) || !hit_source(e, p))
		return KNOWN_ELSEWHERE;
	p->how = STEP_HIT;
	news = dir ? reverse_account((struct ct_reverse *)e, &key, p->tcp_flags, 1, bytes)
		   : hit_account(e, &key, dir, p->tcp_flags, 1, bytes);
	hit_tell(p, e, &key, side, 0, news);
	return KNOWN_HERE;
}

STAGE int xdp_judge(void)
{
	return judge_connection(0, 1);
}

/* A packet for a service, of no connection that is known. */
static __always_inline int xdp_new(struct xdp_md *ctx, __u32 bytes)
{
	struct work *w = work_open(0, 0, PLACE_FROM_NETDEV);

	if (!w || !service_find(&w->p.dst, w->p.dport, w->p.proto))
		return 0;
	w->segments = 1;
	w->bytes = bytes;
	if (xdp_judge())
		return 0;
	if (w->nat.is != CT_IS_FORWARD || w->nat.source != NAT_NODE || !leaves_plain(&w->ends[0]) ||
	    !leaves_plain(&w->ends[1]) || !xdp_route(ctx, w))
		return 0;
	return !flow_store();
}

/* Whether there can be anything to do for this program. What other nodes send through the tunnel is
 * most of what arrives. */
static __always_inline int is_candidate(const struct packet *p)
{
	return p->proto != IPPROTO_UDP || p->dport != config.tunnel_port;
}

/* Judges the frame, and makes w->p and w->fib what becomes of it. 0: it is left to from_netdev. */
static __always_inline int xdp_frame(struct xdp_md *ctx, struct work *w, __u32 bytes, __u16 *addrs)
{
	enum known known;

	if (frame_parse(ctx, &w->p) || !is_candidate(&w->p))
		return 0;
	*addrs = sum_addrs(&w->p);
	walk_came(&w->p);
	known = xdp_hit(ctx, w, bytes);
	return known == KNOWN_HERE || (known == KNOWN_NOT && xdp_new(ctx, bytes));
}

/* Says that w->p is sent on from here. */
STAGE int xdp_report(struct xdp_md *ctx)
{
	struct work *w = work_slot();
	struct event *e;

	if (!w)
		return 0;
	w->place = PLACE_FROM_XDP;
	w->reason = REASON_TO_NETWORK;
	e = event_of_packet(w);
	if (!e)
		return 0;
	e->ifindex = ctx->ingress_ifindex;
	e->len = w->bytes;
	e->protocol = w->p.family == AF_INET ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	event_end(e);
	return 0;
}

static __always_inline void xdp_count(__u8 reason, __u32 bytes)
{
	struct metric *m = metric_of(PLACE_FROM_XDP, reason);

	if (!m)
		return;
	m->packets++;
	m->bytes += bytes;
}

/* Packets that arrive from the underlay, on devices whose driver, or the kernel in its place, runs
 * XDP programs. Naming the build: see pass. */
SEC("xdp")
int from_xdp(struct xdp_md *ctx)
{
	__u32 bytes = ctx->data_end - ctx->data;
	struct work *w = work_slot();
	__u16 addrs = 0;

	if (!config.build || !w || !packet_begin())
		return XDP_PASS;
	if (!config.acceleration || !config.services || !xdp_frame(ctx, w, bytes, &addrs)) {
		xdp_count(REASON_PASSED, bytes);
		return XDP_PASS;
	}
	if (frame_write(ctx, &w->p, addrs) || frame_macs(ctx, &w->fib)) {
		xdp_count(DROP_WRITE_ERROR, bytes);
		return XDP_DROP;
	}
	xdp_count(REASON_TO_NETWORK, bytes);
	if (walk_wanted())
		walk_step(PLACE_FROM_XDP, REASON_TO_NETWORK, ctx->ingress_ifindex, bytes);
	if (is_told(&w->p)) {
		w->bytes = bytes;
		xdp_report(ctx);
	}
	return XDP_TX;
}

char _license[] SEC("license") = "Dual BSD/GPL";

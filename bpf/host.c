//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The programs of the node itself: its devices on the underlay, and its own device weir_host. */
#include "finish.h"
#include "route.h"

/* Whether the configuration lets this VLAN pass. */
static __always_inline int vlan_bypassed(__u16 id)
{
	int i;

	if (config.vlan_bypass[0] == VLAN_ALL)
		return 1;
#pragma unroll
	for (i = 0; i < VLAN_BYPASS_MAX; i++)
		if (config.vlan_bypass[i] && config.vlan_bypass[i] == id)
			return 1;
	return 0;
}

static __always_inline void judge_vlan(__u16 tci, struct decision *d)
{
	if (vlan_bypassed(tci & 0x0fff))
		return decide(d, WAY_PASS, REASON_VLAN_BYPASSED);
	decide(d, WAY_DROP, DROP_VLAN);
}

/* Whether the packet is for this node's own address: nearly all that arrives, tunnel and all. */
static __always_inline int is_for_node(const struct packet *p)
{
	if (p->family == AF_INET)
		return p->dst.w[3] == config.node_ipv4.w[3];
	return p->dst.w[3] == config.node_ipv6.w[3] && p->dst.w[2] == config.node_ipv6.w[2] &&
	       p->dst.w[1] == config.node_ipv6.w[1] && p->dst.w[0] == config.node_ipv6.w[0];
}

/*
 * A frame of the underlay. Whatever is not for a pod is the host's own business, well formed or
 * not: it passes.
 */
static __always_inline void judge_netdev(struct __sk_buff *skb, struct packet *p,
					 struct decision *d)
{
	/* VLAN 0 is none: the tag carries a priority only (IEEE 802.1Q 9.6). */
	if (skb->vlan_present && (skb->vlan_tci & 0x0fff))
		return judge_vlan(skb->vlan_tci, d);
	if (parse(skb, p))
		return decide(d, WAY_PASS, REASON_PASSED);
	if (is_for_node(p))
		return decide(d, WAY_PASS, REASON_TO_HOST);
	route_to_endpoint(p, d);
	if (d->way == WAY_PASS && d->reason == REASON_TO_STACK)
		d->reason = REASON_PASSED;
}

/* Packets that arrive from the underlay: ingress of each device that leads there. */
SEC("tc")
int from_netdev(struct __sk_buff *skb)
{
	struct packet p = {};
	struct decision d = {};

	judge_netdev(skb, &p, &d);
	return finish(skb, &p, &d, PLACE_FROM_NETDEV);
}

/* Packets that leave for the underlay: egress of the same devices. */
SEC("tc")
int to_netdev(struct __sk_buff *skb)
{
	return pass(skb, PLACE_TO_NETDEV, REASON_PASSED);
}

/* The identity under which other nodes see what the host's stack sends. */
static __always_inline __u32 host_identity(const struct packet *p)
{
	const struct ipcache_entry *entry = ipcache_lookup(&p->src);

	if (!entry)
		return IDENTITY_UNKNOWN;
	return entry->flags & IPCACHE_HOST ? IDENTITY_REMOTE_NODE : entry->identity;
}

static __always_inline void judge_host(struct __sk_buff *skb, struct packet *p, struct decision *d)
{
	const struct ipcache_entry *entry;
	__u8 refused = parse(skb, p);

	if (refused)
		return decide(d, WAY_DROP,
			      refused == DROP_UNSUPPORTED_L2 ? REASON_LINK_CHATTER : refused);
	if (is_multicast(p) || is_ipv6_link_local(&p->dst))
		return decide(d, WAY_DROP, REASON_LINK_CHATTER);
	d->host = 1;
	entry = ipcache_lookup(&p->dst);
	if (!entry)
		return decide(d, WAY_DROP, DROP_HOST_NOT_READY);
	if (entry->endpoint) {
		d->to = endpoint_at(entry, &p->dst);
		if (!d->to)
			return decide(d, WAY_DROP, DROP_POD_NOT_READY);
		return decide(d, WAY_ENDPOINT, REASON_TO_ENDPOINT);
	}
	if (config.tunnel_ifindex && !addr_is_zero(&entry->tunnel_endpoint)) {
		d->identity = host_identity(p);
		return route_tunnel(p, entry, d);
	}
	decide(d, WAY_DROP, DROP_UNROUTABLE);
}

/*
 * Packets that the host's stack sends or forwards to pods: egress of weir_host, to which the routes
 * of the pod CIDRs lead. The stack counts the hop when it forwards; one of its own has none.
 */
SEC("tc")
int from_host(struct __sk_buff *skb)
{
	struct packet p = {};
	struct decision d = {};

	judge_host(skb, &p, &d);
	return finish(skb, &p, &d, PLACE_FROM_HOST);
}

/* Packets that enter the host's stack through weir_host, and what strays onto weir_net. */
SEC("tc")
int to_host(struct __sk_buff *skb)
{
	return pass(skb, PLACE_TO_HOST, REASON_TO_HOST);
}

char _license[] SEC("license") = "Dual BSD/GPL";

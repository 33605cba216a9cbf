//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The programs of the node itself: its devices on the underlay, and its own device weir_host. */
#include "finish.h"
#include "l2announce.h"
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

static __always_inline int is_from_node(const struct packet *p)
{
	if (p->family == AF_INET)
		return p->src.w[3] == config.node_ipv4.w[3];
	return p->src.w[3] == config.node_ipv6.w[3] && p->src.w[2] == config.node_ipv6.w[2] &&
	       p->src.w[1] == config.node_ipv6.w[1] && p->src.w[0] == config.node_ipv6.w[0];
}

/* Whether an address is any of this node's own: the underlay's, the router's, of other devices. */
static __always_inline int is_of_host(const struct addr *a)
{
	const struct ipcache_entry *entry = ipcache_lookup(a);

	return entry && entry->flags & IPCACHE_HOST;
}

static __always_inline int is_other_node(const struct addr *a)
{
	const struct ipcache_entry *entry = ipcache_lookup(a);

	return entry && entry->identity == IDENTITY_REMOTE_NODE;
}

/*
 * Whether the stack delivers the packet here and does not forward it: one for a group, for a link,
 * or for an address that the routing table knows as this node's, broadcast ones among them.
 */
static __always_inline int is_delivered(struct __sk_buff *skb, const struct packet *p)
{
	const struct ipcache_entry *entry = ipcache_lookup(&p->dst);

	if (entry && entry->endpoint)
		return 0;
	if ((entry && entry->flags & IPCACHE_HOST) ||
	    (p->family == AF_INET6 && is_ipv6_link_local(&p->dst)))
		return 1;
	return route_is_local(skb, p);
}

/* What the links themselves live on: groups (IGMP, MLD) and the neighbours of IPv6, without whom
 * nobody can be reached. RFC 4890 section 4.4.1. */
static __always_inline int is_link_upkeep(const struct packet *p)
{
	__u8 type = bpf_ntohs(p->dport);

	if (p->proto == IPPROTO_IGMP)
		return 1;
	return p->proto == IPPROTO_ICMPV6 && p->kind == KIND_CONTROL &&
	       ((type >= ICMPV6_MLD_FIRST && type <= ICMPV6_NEIGHBOUR_ADVERTISEMENT) ||
		type == ICMPV6_MLD2_REPORT);
}

/* The host firewall, for a packet of no connection that is known: the host is endpoint 0. */
static __always_inline void judge_firewall(struct __sk_buff *skb, struct packet *p, __u8 refused,
					   __u32 place, struct decision *d)
{
	__u8 reason = place == PLACE_FROM_NETDEV ? REASON_TO_HOST : REASON_PASSED;

	decide(d, WAY_PASS, reason);
	if (refused)
		return decide(d, WAY_DROP, refused);
	if (is_link_upkeep(p))
		return;
	if (p->proto == IPPROTO_UDP && p->dport == config.tunnel_port &&
	    is_other_node(place == PLACE_FROM_NETDEV ? &p->src : &p->dst))
		return; /* what is in it is judged when it is out */
	if (!flow_allow_local(skb, place, d))
		return;
	flow_keep(d);
	if (d->way != WAY_DROP)
		decide(d, WAY_PASS, reason);
}

/* A packet that may be for a pod, of no connection that is known. refused: what is wrong with it.
 */
static __always_inline void judge_new(struct __sk_buff *skb, const struct packet *p, __u8 refused,
				      struct decision *d)
{
	route_to_endpoint(p, d);
	if (d->way == WAY_PASS && d->reason == REASON_TO_STACK)
		d->reason = REASON_PASSED;
	if (d->way != WAY_ENDPOINT)
		return;
	if (refused)
		return decide(d, WAY_DROP, refused);
	if (flow_allow(skb, 0, 0, PLACE_FROM_NETDEV, d))
		flow_keep(d);
}

/* A packet for a service, here or as another node says, or of a translated connection, of which no
 * entry holds. */
static __always_inline void judge_service(struct __sk_buff *skb, struct packet *p,
					  struct decision *d)
{
	int dsr;

	if (!flow_allow(skb, 0, 0, PLACE_FROM_NETDEV, d))
		return;
	flow_translate(d);
	dsr = dsr_judge(skb);
	if (dsr == DSR_TOO_BIG) {
		d->reject = 1;
		return decide(d, WAY_DROP, DROP_FRAG_NEEDED);
	}
	d->dsr = dsr;
	d->identity = world_of(work_of(p));
	route_from_pod(skb, p, d);
	flow_keep(d);
}

/*
 * A frame of the underlay. Whatever is not for a pod is the host's own business, well formed or
 * not: it passes, unless the host has a firewall. The host's own packets are looked up only where
 * they may be somebody else's: a service's, or answers to what left as this node's.
 */
static __always_inline void judge_netdev(struct __sk_buff *skb, struct packet *p,
					 struct decision *d)
{
	__u8 refused, mine, found;
	int of;

	/* VLAN 0 is none: the tag carries a priority only (IEEE 802.1Q 9.6). */
	if (skb->vlan_present && (skb->vlan_tci & 0x0fff))
		return judge_vlan(skb->vlan_tci, d);
	if (l2_answer_link(skb, d))
		return;
	refused = config.host_firewall ? parse_any(skb, p) : parse(skb, p);
	if (refused == DROP_UNSUPPORTED_L2 || (refused && !config.host_firewall))
		return decide(d, WAY_PASS, REASON_PASSED);
	if (refused)
		return decide(d, WAY_DROP, refused);
	if (l2_answer(skb, p, d))
		return;
	if (beside_kube_proxy() && is_stacks_first())
		return decide(d, WAY_PASS, REASON_TO_STACK);
	refused = dsr_possible(p) ? dsr_take(skb) : REASON_NONE;
	if (refused)
		return decide(d, WAY_DROP, refused);
	mine = is_for_node(p) || (config.host_firewall && is_multicast(p));
	if (mine && !config.host_firewall && !translates())
		return decide(d, WAY_PASS, REASON_TO_HOST);
	refused = ports_parse(skb, p);
	found = refused || (mine && p->kind == KIND_PLAIN && p->proto == IPPROTO_UDP &&
			    p->dport == config.tunnel_port);
	d->only_translated = mine && !config.host_firewall;
	if (!found && flow_hit(skb, p, 0, 0, d)) {
		if (d->translate || d->way == WAY_ENDPOINT || d->reason == REASON_TO_HOST)
			return;
		found = 1; /* what its entry says is not for here */
	}
	if (!found && config.services &&
	    (p->dsr || (p->kind == KIND_PLAIN && service_find(&p->dst, p->dport, p->proto))))
		return judge_service(skb, p, d);
	of = !found && translates() ? is_of_translated(skb) : 0;
	if (of > 0)
		return judge_service(skb, p, d);
	if (of < 0)
		refused = -of;
	if (config.host_firewall && (mine || is_delivered(skb, p)))
		return judge_firewall(skb, p, refused, PLACE_FROM_NETDEV, d);
	if (mine)
		return decide(d, WAY_PASS, REASON_TO_HOST);
	judge_new(skb, p, refused, d);
}

/* Packets that arrive from the underlay: ingress of each device that leads there. */
SEC("tc")
int from_netdev(struct __sk_buff *skb)
{
	struct packet *p = packet_begin();
	struct decision d = {};

	if (!p)
		return TC_ACT_SHOT;
	if (skb->mark == ANSWERED)
		return answer_pass(skb, PLACE_FROM_NETDEV);
	if (skb->pkt_type == PACKET_OTHERHOST) /* the device sees it, since somebody listens */
		return pass(skb, PLACE_FROM_NETDEV, REASON_PASSED);
	skb->tc_index = 0; /* whatever the sender has set: see JUDGED */
	judge_netdev(skb, p, &d);
	return finish(skb, p, &d, PLACE_FROM_NETDEV);
}

/* Whether the host itself sends the packet. What came in by a device is forwarded, unless it has an
 * address of ours: a tunnel's. */
static __always_inline int is_sent_here(struct __sk_buff *skb, const struct packet *p)
{
	return !skb->ingress_ifindex || is_of_host(&p->src);
}

/* A packet that leaves. Where the host has no firewall, only the answers of services whose backend
 * it is concern anybody here. */
static __always_inline void judge_leaving(struct __sk_buff *skb, struct packet *p,
					  struct decision *d)
{
	__u8 refused;

	decide(d, WAY_PASS, REASON_PASSED);
	if (parse_any(skb, p) || (!config.host_firewall && !is_from_node(p)))
		return;
	refused = ports_parse(skb, p);
	d->host = 1;
	d->only_translated = !config.host_firewall;
	if (!refused && flow_hit(skb, p, 0, 0, d)) {
		if (d->way != WAY_DROP)
			decide(d, WAY_PASS, REASON_PASSED);
		return;
	}
	if (config.host_firewall && is_sent_here(skb, p))
		judge_firewall(skb, p, refused, PLACE_TO_NETDEV, d);
}

/* Packets that leave for the underlay: egress of the same devices. Judges those of the host itself;
 * what pods send was judged where it came from. */
SEC("tc")
int to_netdev(struct __sk_buff *skb)
{
	struct packet *p = packet_begin();
	struct decision d = {};

	if (!p)
		return TC_ACT_SHOT;
	if (!judges_leaving())
		return pass(skb, PLACE_TO_NETDEV, REASON_PASSED);
	if (skb->tc_index == JUDGED) {
		skb->tc_index = 0; /* a pod's, or a client's, maybe as this node's */
		return pass(skb, PLACE_TO_NETDEV, REASON_PASSED);
	}
	judge_leaving(skb, p, &d);
	return finish(skb, p, &d, PLACE_TO_NETDEV);
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
	refused = ports_parse(skb, p);
	if (refused)
		return decide(d, WAY_DROP, refused);
	d->identity = host_identity(p);
	if (flow_hit(skb, p, 0, 0, d))
		return;
	if (!flow_allow(skb, 0, 0, PLACE_FROM_HOST, d))
		return;
	entry = ipcache_lookup(&p->dst);
	if (!entry)
		return decide(d, WAY_DROP, DROP_HOST_NOT_READY);
	if (entry->endpoint) {
		d->to = endpoint_at(entry, &p->dst);
		if (!d->to)
			return decide(d, WAY_DROP, DROP_POD_NOT_READY);
		decide(d, WAY_ENDPOINT, REASON_TO_ENDPOINT);
		return flow_keep(d);
	}
	if (config.tunnel_ifindex && !addr_is_zero(&entry->tunnel_endpoint)) {
		route_tunnel(p, entry, d);
		return flow_keep(d);
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
	struct packet *p = packet_begin();
	struct decision d = {};

	if (!p)
		return TC_ACT_SHOT;
	judge_host(skb, p, &d);
	return finish(skb, p, &d, PLACE_FROM_HOST);
}

/* Packets that enter the host's stack through weir_host, and what strays onto weir_net. */
SEC("tc")
int to_host(struct __sk_buff *skb)
{
	return pass(skb, PLACE_TO_HOST, REASON_TO_HOST);
}

char _license[] SEC("license") = "Dual BSD/GPL";

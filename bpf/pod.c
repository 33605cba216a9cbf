//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The two programs of a pod's host device. One program serves all pods: which pod it is says the
 * device's index.
 */
#include "finish.h"
#include "neighbour.h"
#include "route.h"

/* Whether the packet may leave: the source is the pod's own, the destination can be somebody's. */
static __always_inline __u8 verify(const struct packet *p, const struct endpoint *ep)
{
	const struct addr *own = p->family == AF_INET ? &ep->ipv4 : &ep->ipv6;

	if (!addr_equal(&p->src, own) || addr_is_zero(own))
		return p->proto == IPPROTO_IGMP && is_multicast(p) ? REASON_LINK_CHATTER
								   : DROP_INVALID_SOURCE_IP;
	if (is_multicast(p))
		return p->proto == IPPROTO_IGMP ? REASON_LINK_CHATTER : DROP_MULTICAST;
	if (is_martian(p, &p->dst) || (p->family == AF_INET6 && is_ipv6_link_local(&p->dst)))
		return DROP_UNKNOWN_TARGET;
	return REASON_NONE;
}

static __always_inline void judge(struct __sk_buff *skb, struct packet *p, struct decision *d)
{
	const struct endpoint *ep = endpoint_of(skb->ifindex);
	__u8 refused;
	int found;

	if (!ep)
		return decide(d, WAY_DROP, DROP_POD_NOT_READY);
	if (skb->vlan_present)
		return decide(d, WAY_DROP, DROP_VLAN);
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return arp_answer(skb, ep, d);
	refused = parse(skb, p);
	if (refused)
		return decide(d, WAY_DROP, refused);
	if (config.ipv6 && p->family == AF_INET6 && ndp_answer(skb, p, ep, d))
		return;
	refused = verify(p, ep);
	if (!refused)
		refused = ports_parse(skb, p);
	if (refused)
		return decide(d, WAY_DROP, refused);
	found = flow_hit(skb, p, ep->id, 0, d);
	d->identity = ep->identity;
	if (found)
		return;
	if (!flow_allow(skb, ep->id, 0, PLACE_FROM_POD, d))
		return;
	flow_translate(d);
	if (!answers_stack(d))
		route_from_pod(skb, p, d);
	flow_keep(d);
}

/* Packets a pod sends: ingress of its host device. */
SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	struct packet *p = packet_begin();
	struct decision d = {};

	if (!p)
		return TC_ACT_SHOT;
	if (skb->mark == ANSWERED)
		return answer_pass(skb, PLACE_FROM_POD);
	skb->tc_index = 0; /* whatever the pod has set: see JUDGED */
	judge(skb, p, &d);
	return finish(skb, p, &d, PLACE_FROM_POD);
}

/* What the host's stack, or a redirect, sends to a pod. */
static __always_inline void judge_delivery(struct __sk_buff *skb, struct packet *p,
					   struct decision *d)
{
	const struct endpoint *ep = endpoint_of(skb->ifindex);
	__u8 refused;

	if (!ep)
		return decide(d, WAY_DROP, DROP_POD_NOT_READY);
	if (skb->protocol == bpf_htons(ETH_P_ARP)) /* from_pod's answer */
		return decide(d, WAY_PASS, REASON_PASSED);
	refused = parse(skb, p);
	if (refused)
		return decide(d, WAY_DROP, refused);
	if (p->family == AF_INET6 && is_ipv6_link_local(&p->dst)) /* likewise */
		return decide(d, WAY_PASS, REASON_PASSED);
	/* The host's own reports of the groups it listens to: no pod has asked for them. */
	if (is_multicast(p))
		return decide(d, WAY_DROP, REASON_LINK_CHATTER);
	if (!addr_equal(&p->dst, p->family == AF_INET ? &ep->ipv4 : &ep->ipv6))
		return decide(d, WAY_DROP, DROP_UNKNOWN_TARGET);
	if (skb->tc_index != JUDGED) {
		refused = ports_parse(skb, p);
		if (refused)
			return decide(d, WAY_DROP, refused);
		if (!flow_allow(skb, 0, 0, PLACE_TO_POD, d))
			return;
	}
	if (macs_set(skb, ep))
		return decide(d, WAY_DROP, DROP_WRITE_ERROR);
	decide(d, WAY_PASS, REASON_TO_ENDPOINT);
	if (skb->tc_index != JUDGED)
		flow_keep(d);
}

/*
 * Packets for a pod that come through its host device: egress of it. Attached in legacy host
 * routing and with endpoint routes, where the stack or a plain redirect delivers.
 */
SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	struct packet *p = packet_begin();
	struct decision d = {};

	if (!p)
		return TC_ACT_SHOT;
	judge_delivery(skb, p, &d);
	return finish(skb, p, &d, PLACE_TO_POD);
}

char _license[] SEC("license") = "Dual BSD/GPL";

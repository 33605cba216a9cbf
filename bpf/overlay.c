//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The two programs of the tunnel device weir_vxlan. */
#include "finish.h"
#include "route.h"

/*
 * Whether the node that sent the packet has the inner sender. An address that is nobody's in the
 * cluster may come from any node: what a node's stack forwards. Without this, whoever reaches the
 * tunnel's port could send as any pod.
 */
static __always_inline int tunnel_source_valid(const struct packet *p, const struct addr *remote)
{
	const struct ipcache_entry *sender = ipcache_lookup(&p->src), *node;

	if (!sender || is_martian(p, &p->src))
		return 0;
	if (!addr_is_zero(&sender->tunnel_endpoint))
		return addr_equal(&sender->tunnel_endpoint, remote);
	if (sender->endpoint || sender->flags)
		return 0; /* this node's own */
	node = ipcache_lookup(remote);
	return node && node->identity == IDENTITY_REMOTE_NODE;
}

static __always_inline void judge(struct __sk_buff *skb, struct packet *p, struct decision *d)
{
	__u8 refused = parse(skb, p);
	struct addr remote;

	if (refused)
		return decide(d, WAY_DROP, refused);
	if (tunnel_key_get(skb, &d->identity, &remote))
		return decide(d, WAY_DROP, DROP_TUNNEL_KEY);
	if (is_multicast(p) || is_martian(p, &p->dst))
		return decide(d, WAY_DROP, DROP_UNKNOWN_TARGET);
	refused = dsr_possible(p) ? dsr_take(skb) : REASON_NONE;
	if (!refused)
		refused = ports_parse(skb, p);
	if (refused)
		return decide(d, WAY_DROP, refused);
	d->via = remote; /* whither an answer goes */
	/* The inner frame was addressed to the sender's gateway. A stack takes only what is its
	 * own, and the pod's does not look again: older kernels keep the mark on the way there. */
	bpf_skb_change_type(skb, PACKET_HOST);
	if (flow_hit(skb, p, 0, &remote, d))
		return;
	if (!tunnel_source_valid(p, &remote))
		return decide(d, WAY_DROP, DROP_TUNNEL_SOURCE);
	if (!flow_allow(skb, 0, d->identity, PLACE_FROM_OVERLAY, d))
		return;
	if (answers_stack(d))
		return flow_keep(d);
	route_to_endpoint(p, d);
	/* Only pods of this node, its own addresses and answers the stack owes come this way. */
	if (d->way == WAY_PASS && d->reason == REASON_TO_STACK)
		return decide(d, WAY_DROP, DROP_NO_ENDPOINT);
	flow_keep(d);
}

/* Packets from other nodes, unwrapped: ingress of weir_vxlan. */
SEC("tc")
int from_overlay(struct __sk_buff *skb)
{
	struct packet *p = packet_begin();
	struct decision d = {};

	if (!p)
		return TC_ACT_SHOT;
	judge(skb, p, &d);
	return finish(skb, p, &d, PLACE_FROM_OVERLAY);
}

/* Packets for other nodes, about to be wrapped: egress of weir_vxlan. */
SEC("tc")
int to_overlay(struct __sk_buff *skb)
{
	return pass(skb, PLACE_TO_OVERLAY, REASON_PASSED);
}

char _license[] SEC("license") = "Dual BSD/GPL";

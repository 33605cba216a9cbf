//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The two programs of the tunnel device weir_vxlan. */
#include "finish.h"
#include "route.h"

static __always_inline void judge(struct __sk_buff *skb, struct packet *p, struct decision *d)
{
	__u8 refused = parse(skb, p);

	if (refused)
		return decide(d, WAY_DROP, refused);
	if (tunnel_identity(skb, &d->identity))
		return decide(d, WAY_DROP, DROP_TUNNEL_KEY);
	route_to_endpoint(p, d);
	if (d->way != WAY_PASS)
		return;
	/* Only pods of this node, its own addresses and answers the stack owes come this way. */
	if (d->reason == REASON_TO_STACK)
		return decide(d, WAY_DROP, DROP_NO_ENDPOINT);
	/* The inner frame was addressed to a pod's gateway: the stack takes only what is its own.
	 */
	bpf_skb_change_type(skb, PACKET_HOST);
}

/* Packets from other nodes, unwrapped: ingress of weir_vxlan. */
SEC("tc")
int from_overlay(struct __sk_buff *skb)
{
	struct packet p = {};
	struct decision d = {};

	judge(skb, &p, &d);
	return finish(skb, &p, &d, PLACE_FROM_OVERLAY);
}

/* Packets for other nodes, about to be wrapped: egress of weir_vxlan. */
SEC("tc")
int to_overlay(struct __sk_buff *skb)
{
	return pass(skb, PLACE_TO_OVERLAY, REASON_PASSED);
}

char _license[] SEC("license") = "Dual BSD/GPL";

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The overlay: weir_vxlan is one device for all nodes (collect metadata), told for each packet
 * where to send it. The VNI carries the sender's identity (RFC 7348: 24 bits).
 */
#pragma once
#include "config.h"
#include "decision.h"

/* Where the device is to send the packet. The outer UDP checksum stays off over IPv4, where it may
 * be zero (RFC 7348 section 5); over IPv6 it may not (RFC 8200 section 8.1). */
static __always_inline int tunnel_key_set(struct __sk_buff *skb, const struct decision *d)
{
	struct bpf_tunnel_key key = {.tunnel_ttl = 64};

	/* A number of this node's own means nothing to others; cut to 24 bits it would be another.
	 */
	if (d->identity < IDENTITY_LOCAL)
		key.tunnel_id = d->identity;

	if (config.underlay_ipv6) {
		__builtin_memcpy(key.remote_ipv6, &d->via, sizeof(d->via));
		return bpf_skb_set_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6);
	}
	key.remote_ipv4 = bpf_ntohl(d->via.w[3]); /* the helper wants host order */
	return bpf_skb_set_tunnel_key(skb, &key, sizeof(key), BPF_F_ZERO_CSUM_TX);
}

/* The identity a packet came with, and the node it came from. Negative when it did not come
 * through the tunnel. */
static __always_inline int tunnel_key_get(struct __sk_buff *skb, __u32 *identity,
					  struct addr *remote)
{
	struct bpf_tunnel_key key = {};
	int err;

	err = bpf_skb_get_tunnel_key(skb, &key, sizeof(key),
				     config.underlay_ipv6 ? BPF_F_TUNINFO_IPV6 : 0);
	*identity = key.tunnel_id;
	if (config.underlay_ipv6)
		__builtin_memcpy(remote, key.remote_ipv6, sizeof(*remote));
	else
		*remote = addr_from_ipv4(
			bpf_htonl(key.remote_ipv4)); /* the helper gives host order */
	return err;
}

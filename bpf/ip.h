/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Address to identity and way: the ipcache. */
#pragma once
#include "maps.h"

/* The entry of the longest prefix that has the address; NULL only before the agent's first run. */
static __always_inline const struct ipcache_entry *ipcache_lookup(const struct addr *a)
{
	struct ipcache_key key = {.prefix_len = 128, .addr = *a};

	return bpf_map_lookup_elem(&weir_ipcache, &key);
}

/*
 * The pod an entry names, if its row still says that it has the address: a slot that was given to
 * another pod while the entry was on its way out never gets the packet.
 */
static __always_inline const struct endpoint *endpoint_at(const struct ipcache_entry *entry,
							  const struct addr *a)
{
	__u32 id = entry->endpoint;
	const struct endpoint *ep = bpf_map_lookup_elem(&weir_endpoints, &id);

	if (!ep || !ep->id)
		return 0;
	if (!addr_equal(&ep->ipv4, a) && !addr_equal(&ep->ipv6, a))
		return 0;
	return ep;
}

/* The pod whose host device has this index, or NULL. */
static __always_inline const struct endpoint *endpoint_of(__u32 ifindex)
{
	__u32 id = ifindex - IFINDEX_BASE;
	const struct endpoint *ep = bpf_map_lookup_elem(&weir_endpoints, &id);

	return ep && ep->id ? ep : 0;
}

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Beside kube-proxy, which translates in the host's stack: a connection that the stack translates
 * has to pass through it in both directions, or the client hears from somebody whom it has not
 * asked. So
 *
 *   - what the stack forwards for a pod is answered to the stack (OUT_STACK), and
 *   - what arrives for a pod by the underlay goes to the stack first. In native routing nobody here
 *     has seen what the stack has made of the pod's packets, so anything can be an answer.
 *
 * Pods of this node talk to each other, and through the tunnel, without the stack, as ever: nothing
 * of that is translated. All of this is compiled away where services are Weir's.
 */
#pragma once
#include "conntrack.h"
#include "ip.h"
#include "work.h"

static __always_inline int beside_kube_proxy(void)
{
	return !config.services && !config.host_routing;
}

/* Whether an endpoint of this node is behind a way: OUT_ENDPOINT or OUT_STACK, by one comparison,
 * since whoever asks is on the fast path and has no stack left. */
static __always_inline int is_endpoint_behind(__u8 way)
{
	return (way & 3) == OUT_ENDPOINT;
}

_Static_assert((OUT_STACK & 3) == OUT_ENDPOINT && (OUT_HOST & 3) != OUT_ENDPOINT &&
		       (OUT_DSR & 3) != OUT_ENDPOINT,
	       "ct_out");

/* Whether the stack forwards the opener's packets. e: the connection's entry, or NULL. */
static __always_inline __u8 is_forwarded(const struct work *w, const struct ct_entry *e)
{
	if (!beside_kube_proxy())
		return 0;
	if (e)
		return e->way[1] == OUT_STACK;
	return w->place == PLACE_FROM_HOST || w->place == PLACE_TO_POD;
}

/* Whether the judged packet is an answer that the stack is to translate. Decides, if so. */
static __always_inline int answers_stack(struct decision *d)
{
	const struct work *w;

	if (!beside_kube_proxy())
		return 0;
	w = work_slot();
	if (!w || !w->stack || !w->dir)
		return 0;
	decide(d, WAY_PASS, REASON_TO_STACK);
	return 1;
}

/* Whether the stack sees a packet of the underlay before its pod does. Not one whose sender cannot
 * be there: whoever judges it says so. */
STAGE int is_stacks_first(void)
{
	const struct ipcache_entry *entry;
	struct work *w = work_slot();

	if (!w)
		return 0;
	w->prefix.prefix_len = 128;
	w->prefix.addr = w->p.dst;
	entry = bpf_map_lookup_elem(&weir_ipcache, &w->prefix);
	if (!entry || !entry->endpoint)
		return 0;
	w->prefix.addr = w->p.src;
	entry = bpf_map_lookup_elem(&weir_ipcache, &w->prefix);
	return entry && !entry->endpoint && !(entry->flags & IPCACHE_HOST) &&
	       !(config.tunnel_ifindex && !addr_is_zero(&entry->tunnel_endpoint));
}

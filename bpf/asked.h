/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which service a packet asks for, here or at another node. No table of services has addresses and
 * ports of other nodes, since that would be every service at every node: what a connection needs
 * to remember of one is a number that follows from it, the key of its row in weir_dsr.
 */
#pragma once
#include "ip.h"
#include "work.h"

/* In every such number, and in none of a row of weir_frontends. */
#define ASKED_ELSEWHERE 0x80000000u
#define ASKED_PROBES 2

static __always_inline const struct frontend *asked_find(__u32 number)
{
	return bpf_map_lookup_elem(&weir_dsr, &number);
}

/* The number of w->nat.asked, which gets one if it has none. 0: all that may be are taken. */
static __always_inline __u32 asked_number(const struct work *w, __u8 proto)
{
	struct frontend f = {.addr = w->nat.asked, .port = w->nat.asked_port, .proto = proto};
	__u32 i, number, hash = f.addr.w[0] ^ f.addr.w[1] ^ f.addr.w[2] ^ f.addr.w[3];
	const struct frontend *has;

	hash = (hash ^ ((__u32)f.port << 16 | proto)) * 0x9E3779B1u;
	hash = (hash ^ hash >> 15) * 0x85EBCA6Bu;
	for (i = 0; i < ASKED_PROBES; i++) {
		number = (hash + i) | ASKED_ELSEWHERE;
		has = asked_find(number);
		if (!has) {
			bpf_map_update_elem(&weir_dsr, &number, &f, BPF_NOEXIST);
			has = asked_find(number);
		}
		if (has && addr_equal(&has->addr, &f.addr) && has->port == f.port &&
		    has->proto == f.proto)
			return number;
	}
	return 0;
}

/* The same for the packet at hand, from a stack of its own. */
STAGE int asked_note(void)
{
	struct work *w = work_slot();

	return w ? asked_number(w, w->p.proto) : 0;
}

/* The NodePort that a pod asks another node for: every node knows it, and whoever is in the cluster
 * is given the same backends, whichever is asked. Where only the backends of the asked node serve
 * clients from outside, it is left to that node, for which the pod is outside. */
static __always_inline const struct service *service_elsewhere(struct work *w)
{
	struct addr any = {{0, 0, w->p.family == AF_INET ? V4_MAPPED : 0, 0}};
	const struct service *s = service_find(&any, w->p.dport, w->p.proto);
	const struct ipcache_entry *entry;

	if (!s || !(s->flags & SERVICE_NODEPORT))
		return 0;
	entry = ipcache_lookup(&w->p.dst);
	if (!entry || entry->identity != IDENTITY_REMOTE_NODE)
		return 0;
	w->nat.left = !!(s->flags & SERVICE_KEEP_CLIENT);
	return w->nat.left ? 0 : s;
}

/* The service that the packet asks for, or NULL. w->nat.frontend is what its answers come from; 0:
 * there is none, or no number is left for it. */
static __always_inline const struct service *service_asked(struct work *w)
{
	const struct service *s = service_find(&w->p.dst, w->p.dport, w->p.proto), *elsewhere;

	w->nat.frontend = s ? s->frontend : 0;
	if (w->place != PLACE_FROM_POD || (s && !(s->flags & SERVICE_ELSEWHERE)))
		return s;
	elsewhere = service_elsewhere(w);
	if (!elsewhere)
		return s;
	w->nat.frontend = asked_note();
	return elsewhere;
}

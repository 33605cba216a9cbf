/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The slow half of flow.h: judges a connection of which no entry holds. Decides who both ends are,
 * from weir_ipcache and weir_endpoints, and what their policies say; fills struct work for
 * flow_store. Never touches the packet's bytes, but to read what the fast path leaves out.
 */
#pragma once
#include "kubeproxy.h"
#include "dsr.h"
#include "nat.h"
#include "policy.h"
#include "ports.h"
#include "related.h"

static __always_inline __u32 segments_of(struct __sk_buff *skb)
{
	return skb->gso_segs ? skb->gso_segs : 1;
}

/* Epochs are read before the rows that they are about: see conntrack.h. */
static __always_inline void end_set(struct work *w, __u8 which, const struct addr *a, __u32 given)
{
	struct end *end = &w->ends[which & 1];
	const struct ipcache_entry *entry;
	const struct endpoint *ep;

	end->epoch = epoch_of(a, 0);
	w->prefix.prefix_len = 128;
	w->prefix.addr = *a;
	entry = bpf_map_lookup_elem(&weir_ipcache, &w->prefix);
	end->addr = *a;
	end->endpoint = given ? given : entry ? entry->endpoint : 0;
	end->identity = entry ? entry->identity : IDENTITY_UNKNOWN;
	end->node = entry ? entry->node : 0;
	end->host = entry && entry->flags & IPCACHE_HOST;
	end->tunnel = entry && !addr_is_zero(&entry->tunnel_endpoint);
	end->member = end->tunnel || (entry && entry->flags & IPCACHE_LOCAL_CIDR);
	if (!end->endpoint)
		return;
	end->epoch = epoch_of(a, end->endpoint);
	/* The row's identity, not the entry's: the policy's epoch follows the row. */
	ep = bpf_map_lookup_elem(&weir_endpoints, &end->endpoint);
	if (ep && ep->id)
		end->identity = ep->identity;
}

/* What policies see as the destination port of the opener's packet. */
static __always_inline __u16 policy_port(const struct packet *p, __u8 dir)
{
	if (p->kind != KIND_PLAIN)
		return p->dport; /* the type */
	if (p->echo == ECHO_REPLY && !dir)
		return p->proto == IPPROTO_ICMP ? bpf_htons(ICMP_ECHO_REPLY)
						: bpf_htons(ICMPV6_ECHO_REPLY);
	return dir ? p->sport : p->dport;
}

static __always_inline int is_failsafe(const struct work *w)
{
	__u32 want = (__u32)w->ingress << 24 | (__u32)w->p.proto << 16 | bpf_ntohs(w->dport);
	__u32 i;

	for (i = 0; i < FAILSAFES_MAX; i++)
		if (config.failsafe[i] == want)
			return 1;
	return 0;
}

/* Asks the policy of one end, if it has one here. */
static __always_inline __u8 policy_ask(struct work *w, __u8 ingress)
{
	const struct end *end = &w->ends[ingress & 1];

	w->ingress = ingress;
	if (!end->endpoint) {
		if (!config.host_firewall || !end->host || is_failsafe(w))
			return REASON_NONE;
	}
	return policy_judge();
}

/*
 * Who the packet's sender is, as the node says that sent it, which knows its own pods best. Where
 * the ipcache says another, one of the two is late: both have to be allowed.
 */
static __always_inline void sender_from_tunnel(struct work *w)
{
	struct end *sender = &w->ends[w->dir & 1];

	w->claimed = 0;
	if (!w->vni || w->vni == IDENTITY_HOST || w->vni >= IDENTITY_LOCAL)
		return;
	if (!sender->identity || (sender->identity == IDENTITY_REMOTE_NODE && is_world(w->vni)))
		sender->identity = w->vni; /* the node's address may stand for a client's */
	else if (sender->identity != w->vni)
		w->claimed = w->vni;
}

/* Asks the policies of both ends, and again for the identity that the sender is said to have. */
static __always_inline __u8 policies_ask(struct work *w)
{
	__u8 refused;

	if (w->ends[0].endpoint && w->ends[0].endpoint == w->ends[1].endpoint)
		return REASON_NONE; /* a pod that is its own backend */
	refused = policy_ask(w, 0);
	if (!refused)
		refused = policy_ask(w, 1);
	if (refused || !w->claimed)
		return refused;
	w->ends[w->dir & 1].identity = w->claimed;
	return policy_ask(w, !w->dir);
}

/* Whether the sender cannot be where the packet came from. This node's own does not come from
 * elsewhere, and what the tunnel brings for pods comes no other way. */
static __always_inline int sender_misplaced(const struct work *w)
{
	const struct end *sender = &w->ends[w->dir & 1], *receiver = &w->ends[!w->dir];

	if (w->place != PLACE_FROM_NETDEV && w->place != PLACE_FROM_OVERLAY)
		return 0;
	if (sender->endpoint || sender->host)
		return 1;
	return w->place == PLACE_FROM_NETDEV && config.tunnel_ifindex && sender->tunnel &&
	       receiver->endpoint;
}

/*
 * By which of its addresses this node sends what leaves here in its name: that which the kernel
 * would give the packet on its way out, if that is one of a device of the underlay. Before Linux
 * 6.7, which does not say, it is the underlay's whatever the device.
 */
STAGE int source_choose(struct __sk_buff *skb)
{
	const struct ipcache_entry *own;
	struct work *w = work_slot();

	if (!w)
		return 0;
	fib_fill(skb->ifindex, &w->p, &w->fib);
	w->fib.tot_len = 0; /* whether it fits is asked when its way is */
	bpf_fib_lookup(skb, &w->fib, sizeof(w->fib), FIB_SOURCE);
	w->prefix.prefix_len = 128;
	if (w->p.family == AF_INET)
		w->prefix.addr = addr_from_ipv4(w->fib.ipv4_src);
	else
		__builtin_memcpy(&w->prefix.addr, w->fib.ipv6_src, sizeof(w->prefix.addr));
	own = bpf_map_lookup_elem(&weir_ipcache, &w->prefix);
	w->nat.row = own && own->flags & IPCACHE_HOST ? own->node : 0;
	return 0;
}

/*
 * Judges the connection of w->p. Returns REASON_NONE, or why it is dropped. Whether the packet may
 * be let through by an entry that holds is found out, too: w->keep with a stamp that is the
 * entry's. known: all that matters of the packet is in w->p, which is plain, and there is no skb.
 */
static __always_inline __u8 judge_connection(struct __sk_buff *skb, int known)
{
	struct work *w = work_slot();
	__u32 opener, other;
	struct ct_entry *e;
	__u8 refused, denied;

	if (!w)
		return DROP_NO_POLICY;
	w->keep = w->reject = w->dir = w->nat.is = w->nat.known = 0;
	w->dsr = w->p.dsr;
	w->rule[0] = w->rule[1] = w->denied_by = 0;
	refused = known ? REASON_NONE : packet_complete(skb);
	if (refused)
		return refused;
	w->side = ct_key_set(&w->p, &w->key);
	came_set(w);
	w->p.how = STEP_JUDGED;
	e = 0;
	if (w->p.kind == KIND_PLAIN) {
		w->keep = w->p.echo != ECHO_REPLY;
		if (translates()) {
			refused = nat_destination();
			if (refused)
				return refused;
		}
		e = is_syn(&w->p) ? 0 : ct_find_any(&w->key);
		if (e) {
			w->keep = 1;
			w->dir = ct_dir(e, w->side) & 1;
			if (w->p.proto == IPPROTO_TCP || !w->dsr)
				w->dsr = is_dsr(e) ? e->rule[0] : 0; /* whatever a packet says */
		}
	}
	w->stack = is_forwarded(w, e);
	end_set(w, w->dir, &w->p.src, w->from);
	end_set(w, !w->dir, &w->p.dst, 0);
	if (sender_misplaced(w))
		return DROP_INVALID_SOURCE_IP;
	if (w->local)
		w->ends[((w->place == PLACE_FROM_NETDEV) ^ w->dir) & 1].host = 1;
	if (!known && w->p.kind == KIND_ERROR && w->p.fragment != FRAGMENT_LATER &&
	    icmp_related(skb))
		return REASON_NONE;
	sender_from_tunnel(w);
	/* One that is known keeps its addresses, but those that it has lost. */
	if (translates() && (w->nat.is || !e || is_translated(e)))
		refused = nat_source(w);
	if (!known && !w->nat.known && w->nat.is == CT_IS_FORWARD && w->nat.source == NAT_NODE &&
	    w->place == PLACE_FROM_POD)
		source_choose(skb);
	opener = w->ends[0].epoch;
	other = w->ends[1].epoch;
	w->stamp = stamp_of(opener, other);
	if (e && e->stamp && e->stamp == w->stamp && opener && other && !w->claimed &&
	    (!w->nat.is || w->nat.known)) {
		if (w->nat.is != CT_IS_REVERSE) {
			w->rule[0] = is_dsr(e) ? 0 : e->rule[0];
			w->rule[1] = e->rule[1];
		}
		return refused;
	}
	w->dport = policy_port(&w->p, w->dir);
	denied = policies_ask(w); /* names the policy, whatever else is wrong */
	return denied ? denied : refused;
}

/* For whoever drops what is denied: a rule has denied it once, however often it was asked. */
STAGE int flow_judge(struct __sk_buff *skb)
{
	int refused = judge_connection(skb, 0);
	struct work *w = work_slot();

	if (refused && w)
		rule_account(w->denied_by, w->segments, w->bytes);
	return refused;
}

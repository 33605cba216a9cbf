/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What one end's policy says about a connection. Reads the weir_policy maps, see maps.h.
 *
 * A peer is a set of selectors: the one of everybody, those that its identity meets, those whose
 * CIDRs have its address. A rule is looked for at each selector and each level, from the port to
 * anything; a rule that denies ends the search, any that allows is enough otherwise, and without
 * either the end's isolation decides. A row's bits say which selectors are worth a lookup.
 */
#pragma once
#include "conntrack.h"
#include "ip.h"
#include "work.h"

/* Tries w->selector at every level. 1: a rule denies. */
STAGE int policy_try(void)
{
	struct work *w = work_slot();
	const struct policy_rule *rule;
	struct policy_rule_key *key;
	__u64 bit;
	__u32 i;

	if (!w)
		return 1;
	bit = 1ULL << (w->selector & 63);
	key = &w->rule_key;
	key->row.policy_class = w->policy_class;
	key->selector = w->selector;
	key->pad = 0;
	for (i = 0; i < LEVELS; i++) {
		if (!(w->rows[i] & bit))
			continue;
		key->row.level = i + (w->ingress ? LEVELS : 0);
		key->row.proto = i == LEVEL_ANY ? 0 : w->p.proto;
		key->row.port = i == LEVEL_PORT	   ? w->dport
				: i == LEVEL_RANGE ? bpf_htons(w->range)
						   : 0;
		rule = bpf_map_lookup_elem(&weir_policy_rules, key);
		if (!rule)
			continue;
		if (rule->flags & RULE_DENY) {
			w->denied_by = rule->id;
			w->denied = rule->flags;
			return 1;
		}
		if (!w->allowed_by)
			w->allowed_by = rule->id;
	}
	return 0;
}

/* Tries the selectors of w->set and those that go on from it. 1: a rule denies, or might: a row
 * that is not there, or more of them than there may be, hide rules. */
STAGE int policy_try_set(void)
{
	struct work *w = work_slot();
	const struct policy_set *set;
	__u64 any;
	__u16 s;
	__u32 i, j, id;

	if (!w)
		return 1;
	any = w->rows[0] | w->rows[1] | w->rows[2] | w->rows[3];
	id = w->set;
	for (i = 0; i < SET_CHAIN && id; i++) {
		set = bpf_map_lookup_elem(&weir_policy_sets, &id);
		if (!set)
			return 1;
		for (j = 0; j < SET_SELECTORS && j < set->count; j++) {
			s = set->selectors[j];
			if (s & SELECTOR_OUTSIDE && !w->outside)
				continue;
			s &= SELECTORS_MAX;
			if (!(any & 1ULL << (s & 63)))
				continue;
			w->selector = s;
			if (policy_try())
				return 1;
		}
		id = set->next;
	}
	return !!id;
}

static __always_inline __u64 policy_row(struct work *w, __u8 level, __u8 proto, __u16 port)
{
	const struct policy_row *row;

	w->row_key.policy_class = w->policy_class;
	w->row_key.port = port;
	w->row_key.proto = proto;
	w->row_key.level = level + (w->ingress ? LEVELS : 0);
	row = bpf_map_lookup_elem(&weir_policy_rows, &w->row_key);
	return row ? row->selectors : 0;
}

static __always_inline void policy_rows(struct work *w)
{
	const __u32 *range;

	w->range_key.prefix_len = 64;
	w->range_key.policy_class = w->policy_class;
	w->range_key.direction = w->ingress;
	w->range_key.proto = w->p.proto;
	w->range_key.port = w->dport;
	range = bpf_map_lookup_elem(&weir_policy_ranges, &w->range_key);
	w->range = range ? *range : 0;
	w->rows[LEVEL_PORT] = policy_row(w, LEVEL_PORT, w->p.proto, w->dport);
	w->rows[LEVEL_RANGE] = 0;
	if (range)
		w->rows[LEVEL_RANGE] = policy_row(w, LEVEL_RANGE, w->p.proto, bpf_htons(w->range));
	w->rows[LEVEL_PROTO] = policy_row(w, LEVEL_PROTO, w->p.proto, 0);
	w->rows[LEVEL_ANY] = policy_row(w, LEVEL_ANY, 0, 0);
}

/* Whether any rule denies. */
static __always_inline int policy_denies(struct work *w)
{
	const __u32 *set;

	w->selector = SELECTOR_EVERYBODY;
	if (policy_try())
		return 1;
	set = bpf_map_lookup_elem(&weir_policy_peers, &w->identity);
	w->set = set ? *set : 0;
	if (w->set && policy_try_set())
		return 1;
	w->prefix.prefix_len = 128;
	w->prefix.addr = w->ends[!w->ingress].addr;
	set = bpf_map_lookup_elem(&weir_policy_cidrs, &w->prefix);
	w->set = set ? *set : 0;
	return w->set && policy_try_set();
}

static __always_inline int is_world(__u32 identity)
{
	return identity == IDENTITY_WORLD || identity == IDENTITY_WORLD_IPV4 ||
	       identity == IDENTITY_WORLD_IPV6;
}

/* Whether an end is no member of the cluster. An address out of a node's pod CIDR is one, whoever
 * has it. */
static __always_inline int is_outside(const struct end *end)
{
	return (end->identity == IDENTITY_UNKNOWN && !end->member) || is_world(end->identity);
}

/*
 * The verdict of the policy of ends[w->ingress]. Returns REASON_NONE, or the drop, with
 * w->denied_by, w->denied_at and w->reject.
 */
STAGE int policy_judge(void)
{
	struct work *w = work_slot();
	const struct policy *policy;
	__u32 endpoint, flags;

	if (!w)
		return DROP_NO_POLICY;
	endpoint = w->ends[w->ingress & 1].endpoint;
	w->denied_at = endpoint;
	w->denied_by = w->allowed_by = w->denied = 0;
	policy = bpf_map_lookup_elem(&weir_policy, &endpoint);
	if (!policy || !policy->policy_class)
		return DROP_NO_POLICY;
	w->policy_class = policy->policy_class;
	flags = policy->flags;
	w->identity = w->ends[!w->ingress].identity;
	w->outside = is_outside(&w->ends[!w->ingress]);
	policy_rows(w);
	if (w->rows[0] | w->rows[1] | w->rows[2] | w->rows[3]) {
		if (policy_denies(w)) {
			w->reject = !!(w->denied & RULE_REJECT);
			return DROP_POLICY_DENY;
		}
		if (w->allowed_by) {
			w->rule[w->ingress & 1] = w->allowed_by;
			return REASON_NONE;
		}
	}
	if (flags & (w->ingress ? POLICY_INGRESS : POLICY_EGRESS)) {
		w->reject = !!(flags & (w->ingress ? POLICY_REJECT_INGRESS : POLICY_REJECT_EGRESS));
		return DROP_POLICY;
	}
	return REASON_NONE;
}

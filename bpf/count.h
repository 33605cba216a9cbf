/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The counters of packets by place and reason, of what there was no room to tell, and of what is
 * rationed. */
#pragma once
#include "maps.h"

static __always_inline struct metric *metric_of(__u32 place, __u8 reason)
{
	__u32 key = place * REASONS + reason;

	return bpf_map_lookup_elem(&weir_metrics, &key);
}

static __always_inline void count(struct __sk_buff *skb, __u32 place, __u8 reason)
{
	struct metric *m = metric_of(place, reason);

	if (!m)
		return;
	m->packets += skb->gso_segs ? skb->gso_segs : 1;
	m->bytes += skb->len;
}

/* Whether there may be one more in this window. */
static __always_inline int budget_take(struct budget *b, __u32 window, __u32 most)
{
	if (b->window != window) {
		b->window = window;
		b->used = 0;
	}
	return b->used++ < most;
}

static __always_inline void event_lost(__u8 lost)
{
	struct metric *m = metric_of(PLACE_NONE, lost);

	if (m)
		m->packets++;
}

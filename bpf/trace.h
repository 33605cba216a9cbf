/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The one place that reports. Each packet is counted exactly once by each program it meets, under
 * the program's place and the reason of its end there.
 */
#pragma once
#include "maps.h"

static __always_inline void count(struct __sk_buff *skb, __u32 place, __u8 reason)
{
	__u32 key = place * REASONS + reason;
	struct metric *m = bpf_map_lookup_elem(&weir_metrics, &key);

	if (!m)
		return;
	m->packets += skb->gso_segs ? skb->gso_segs : 1;
	m->bytes += skb->len;
}

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Why there is an event of a packet whose connection was judged. Of packets of connections that are
 * known conntrack.h decides; trace.h says what there is to say.
 */
#pragma once
#include "conntrack.h"
#include "ports.h"
#include "work.h"

/* Whether what was judged is another verdict, or another way, than the entry had: w->next has what
 * it has by now. */
static __always_inline int is_verdict_new(const struct work *w)
{
	const struct verdict *was = &w->was;
	const struct ct_entry *is = &w->next;

	if (!was->seen && !was->stamp)
		return 1;
	if (was->out[0] != is->out[0] || was->out[1] != is->out[1] || was->way[0] != is->way[0] ||
	    was->way[1] != is->way[1])
		return 1;
	if (w->nat.is == CT_IS_REVERSE)
		return 0; /* rules are in the opener's entry */
	return was->rule[0] != is->rule[0] || was->rule[1] != is->rule[1] ||
	       (w->nat.is == CT_IS_FORWARD && !w->nat.known);
}

/*
 * Why there is an event of a packet that was judged: enum event_kind, or 0. A SYN that comes once
 * more, since nobody has answered, opens nothing.
 */
static __always_inline __u8 told_why(const struct work *w)
{
	__u8 known = w->was.flags & ~(CT_IS_FORWARD | CT_IS_REVERSE);

	if (config.monitor == MONITOR_OFF)
		return 0;
	if (is_verdict_new(w) || (is_syn(&w->p) && known))
		return EVENT_NEW;
	if (is_news(&w->key, w->was.flags, w->next.flags, w->was.seen, w->next.seen))
		return EVENT_GOING;
	return config.monitor >= MONITOR_LOW ? EVENT_PACKET : 0;
}

/* What there is to say of a packet that is judged by itself, without a connection. */
static __always_inline void told_apart(struct work *w)
{
	const struct end *receiver = &w->ends[!w->dir];

	w->flags = 0;
	w->out = receiver->endpoint ? receiver->endpoint : receiver->node;
	w->p.told = config.monitor >= MONITOR_MEDIUM ? EVENT_PACKET : 0;
}

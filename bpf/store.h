/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Writes down what was judged and routed: the connection's entry in weir_ct, or both entries of a
 * translated one.
 */
#pragma once
#include "natstore.h"

/* Writes down what was judged: the connection, unless its packets are judged one by one, and the
 * rules that allowed its opener's packet. Returns REASON_NONE, or why
 * it is dropped. */
STAGE int flow_store(void)
{
	struct work *w = work_slot();
	int refused;

	if (!w)
		return REASON_NONE;
	if (w->keep && w->nat.is == CT_IS_FORWARD && w->nat.source != NAT_DSR) {
		refused = nat_store();
		if (refused == PORT_WANTED)
			refused = nat_store_port();
		if (refused)
			return refused;
	}
	told_apart(w);
	if (w->keep && entry_store(w))
		return DROP_CT_FULL;
	if (w->nat.is == CT_IS_REVERSE) {
		w->p.src = w->nat.asked;
		packet_port_set(&w->p, 0, w->nat.asked_port);
	}
	if (w->dsr && w->dir && !dsr_answer(w->dsr, &w->p))
		return DROP_NO_BACKEND;
	if (!w->dir) {
		rule_account(w->rule[0], w->segments, w->bytes);
		rule_account(w->rule[1], w->segments, w->bytes);
	}
	return REASON_NONE;
}

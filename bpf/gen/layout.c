//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Names every type of layout.h, so that all are in this object's BTF. See main.go. */
#include "../layout.h"

struct everything {
	struct endpoint endpoint;
	struct ipcache_key ipcache_key;
	struct ipcache_entry ipcache_entry;
	struct metric metric;
	struct config config;
	enum limits limits;
	enum identity identity;
	enum place place;
	enum reason reason;
	enum ipcache_flag ipcache_flag;
	enum endpoint_flag endpoint_flag;
};

struct everything everything;

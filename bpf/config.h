/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The load-time constants of this program. The agent sets them before the object is loaded; the
 * verifier then removes the branches they exclude. There is no #ifdef for a feature anywhere.
 */
#pragma once
#include "layout.h"
#include "lib.h"

const volatile struct config config SEC(".rodata");

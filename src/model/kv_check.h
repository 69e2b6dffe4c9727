/* kv_check.h - do a partition's rows fit together?
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   checks the invariants of README.md over all rows of a view: for tests, the simulator and scrubbing. It reads
 *            the whole partition into memory: not for large ones.
 * Threading: pure. */
#ifndef CAIRN_MODEL_KV_CHECK_H
#define CAIRN_MODEL_KV_CHECK_H

#include "model/op.h"

/* ST_OK; ST_CORRUPT with the invariant that is broken; or the view's status. */
enum status kv_check(struct op_view *view, struct error *err);

#endif

/* kv.h - the key-value model: strings and hashes with expiry, as ops on rows.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    the meaning of Redis's string, bitmap, hash, key and transaction commands, deterministic and replicated.
 * Ops:        body is the command in normal form: opcode-specific fields, lengths checked (docs/formats.md, "Key-value ops").
 *             Options are parsed once, at the door (wire/resp/cmd_*.c builds the bodies through kv_build.h).
 * Rows:       head row value: (docs/formats.md, "Head rows")
 *               type u8 (1 string, 2 long string, 3 hash) | flags u8 (1 has expiry) | version u64 (ts of the last change)
 *               | [expiry_ms u64] | string: the bytes; long string: incarnation u64, length u64;
 *                 hash: incarnation u64, count u64
 *             A string above KV_INLINE_MAX is long: pieces of KV_PIECE bytes as element rows (piece number BE u32).
 *             A hash's field is an element row: field_hash48 BE | field, value = the bytes. HSCAN's cursor is field_hash48.
 *             Deleting or overwriting a collection or long string drops its head, and adds a garbage row; KV_CLEAN ops,
 *             proposed by the leader, delete the elements, a bounded number each.
 * WATCH:      compares versions; an absent key's is the partition's last removal (kv_internal.h, kv_watch_version).
 * Expiry:     by the op's timestamp: expired if expiry_ms <= hlc_ms(ts). An expired head counts as absent and is deleted by
 *             the first write that meets it, or by a KV_EXPIRE_SWEEP op that the leader proposes.
 * Limits:     value size is checked at the door; here only what must hold for every replica: lengths below 512 MiB.
 * Threading:  pure. */
#ifndef CAIRN_MODEL_KV_H
#define CAIRN_MODEL_KV_H

#include "model/op.h"

#define KV_PIECE      65536u
#define KV_INLINE_MAX 65536u
#define KV_STRING_MAX (512ull << 20)
#define KV_KEY_MAX    65535u /* bytes of a key or of a hash's field: they are in row keys */

/* See kv_build.h for the builders of bodies; the list of opcodes is there too. */

#endif

/* script.h - tests written as commands and what they printed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Format:    blocks, with an empty line between them. A block is commands, one a line, then a line `----`, then what they
 *            printed. A command is a word and arguments, `key=value` or plain, split at blanks. Lines that begin with # are
 *            comments. State that the commands change lives through the whole file.
 * Rewriting: with SCRIPT_REWRITE=1 in the environment the printed parts are replaced in the file; the diff is reviewed like
 *            code.
 * Only tests use it; it reads and writes its file by itself. */
#ifndef CAIRN_BASE_SCRIPT_H
#define CAIRN_BASE_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct script;
typedef void (*script_fn)(struct script *s, void *ctx);

/* Calls on_command(s, ctx) for each command. True: everything printed as expected, or was rewritten. Else out_diff says
 * what differed, block by block. A command that nobody asked about with script_is is an error. */
bool script_run(const char *path, script_fn on_command, void *ctx, struct buf *out_diff);

bool script_is(struct script *s, const char *command);
bool script_has(struct script *s, const char *key); /* `key` alone or `key=…` */
/* The value of key=…; def if it is absent. A value that is no number prints an error. */
uint64_t script_u64(struct script *s, const char *key, uint64_t def);
const char *script_str(struct script *s, const char *key, const char *def);
const char *script_arg(struct script *s, size_t at); /* the at-th argument that is no key=…; NULL if there is none */
void script_print(struct script *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif

/* mutation.h - planted bugs, to test the tests.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   `if (MUTATION("name")) …` marks a place where a build with CAIRN_MUTATIONS can be made wrong in one known
 * way; a test then shows that some check catches it. In every other build MUTATION is the constant false. Threading:
 * set before the threads start, read by any. */
#ifndef CAIRN_BASE_MUTATION_H
#define CAIRN_BASE_MUTATION_H

#include <stdbool.h>

/* At most one is active. NULL: none. The name is borrowed and must stay. */
void mutation_set(const char *name);
bool mutation_active(const char *name);

#ifdef CAIRN_MUTATIONS
#define MUTATION(name) mutation_active(name)
#else
#define MUTATION(name) false
#endif

#endif

/* mutation.h - planted bugs, for tests of the tests.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   `if (MUTATION("name")) …` plants a bug that a test or the simulator must find. Compiled in only with
 *            CAIRN_MUTATIONS; otherwise the condition is the constant false and nothing is left.
 * Threading: mutation_set before threads start. */
#ifndef CAIRN_BASE_MUTATION_H
#define CAIRN_BASE_MUTATION_H

#include <stdbool.h>

bool mutation_active(const char *name);
void mutation_set(const char *name); /* borrowed for good; NULL: none */

#ifdef CAIRN_MUTATIONS
#define MUTATION(n) mutation_active(n)
#else
#define MUTATION(n) false
#endif

#endif

/* mutation.c - planted bugs, for tests of the tests.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mutation.h"

#include <stddef.h>
#include <string.h>

static const char *active;

bool mutation_active(const char *name) { return active != NULL && strcmp(active, name) == 0; }

void mutation_set(const char *name) { active = name; }

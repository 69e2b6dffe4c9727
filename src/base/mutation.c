/* mutation.c - planted bugs, to test the tests.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mutation.h"

#include <stddef.h>
#include <string.h>

static const char *the_active;

void mutation_set(const char *name) { the_active = name; }

bool mutation_active(const char *name) { return the_active != NULL && strcmp(the_active, name) == 0; }

/* command.c - finds a command by its name.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A hash table of all rows, filled before main: lookups touch one or two of its slots and compare once. */
#include "wire/resp/command.h"

#define NAME_MAX_BYTES 40u   /* no command's name is longer */
#define TABLE_SLOTS    1024u /* a power of two, several times the number of commands */

static const struct command *const arrays[] = {commands_string, commands_bit, commands_key, commands_hash,
                                               commands_door};
static const struct command *table[TABLE_SLOTS];
static uint8_t lengths[TABLE_SLOTS];

/* Case is folded by setting bit 5, which leaves letters lower case; what else it maps together the comparison tells
 * apart. */
static uint32_t name_hash(const uint8_t *p, size_t n)
{
    const uint64_t fold = 0x2020202020202020u;
    uint64_t a = 0, b = 0;
    if (n >= 8) {
        a = get_u64(p);
        b = get_u64(p + n - 8); /* overlaps a in names of less than 16 bytes */
    } else if (n >= 4) {
        a = get_u32(p);
        b = get_u32(p + n - 4);
    } else {
        for (size_t i = 0; i < n; i++) a = a << 8 | p[i];
    }
    uint64_t h = ((a | fold) * 0x9e3779b97f4a7c15u) ^ (((b | fold) + n) * 0xc2b2ae3d27d4eb4fu);
    return (uint32_t)(h >> 32) ^ (uint32_t)(h >> 52);
}

__attribute__((constructor)) static void table_fill(void)
{
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_COUNT(arrays); i++) {
        for (const struct command *c = arrays[i]; c->name != NULL; c++) {
            size_t n = strlen(c->name);
            ASSERT(n > 0 && n <= NAME_MAX_BYTES && ++count < TABLE_SLOTS / 2);
            uint32_t at = name_hash((const uint8_t *)c->name, n) % TABLE_SLOTS;
            for (; table[at] != NULL; at = (at + 1) % TABLE_SLOTS) ASSERT(strcmp(table[at]->name, c->name) != 0);
            table[at] = c;
            lengths[at] = (uint8_t)n;
            /* A data command that passes the arity check has its first key. */
            int least = c->arity < 0 ? -c->arity : c->arity;
            ASSERT((c->scope != SCOPE_SLOT && c->scope != SCOPE_FANOUT) || (c->key_first > 0 && c->key_first < least));
        }
    }
}

const struct command *command_find(struct bytes name)
{
    if (name.n == 0 || name.n > NAME_MAX_BYTES) return NULL;
    for (uint32_t at = name_hash(name.p, name.n) % TABLE_SLOTS; table[at] != NULL; at = (at + 1) % TABLE_SLOTS)
        if (lengths[at] == name.n && bytes_equal_nocase(name, table[at]->name)) return table[at];
    return NULL;
}

bool command_each(size_t *at, const struct command **out)
{
    size_t i = *at;
    for (size_t a = 0; a < ARRAY_COUNT(arrays); a++) {
        for (const struct command *c = arrays[a]; c->name != NULL; c++) {
            if (i-- != 0) continue;
            ++*at;
            *out = c;
            return true;
        }
    }
    return false;
}

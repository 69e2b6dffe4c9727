/* settings.h - what can be set of a node: one table, read from a file, the environment and flags.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    each setting is one row: its name, type, range and help. "value-max" is --value-max as a flag,
 * CAIRN_VALUE_MAX in the environment, and "value-max = 64MiB" in a file. Whoever reads them applies the file first,
 * then the environment, then the flags: the later one wins. CONFIG GET and SET of Redis clients use the same rows.
 * Values:     numbers are decimal; sizes take KiB, MiB, GiB, TiB or are bytes; durations take us, ms, s, m, h and have
 * a unit; flags are yes or no. Ownership:  struct settings holds all of its texts; after settings_check its node
 * options point into it, so it must not move. Threading:  pure; the table is constant. Errors:     ST_INVALID, with a
 * text that names the setting where it was found, the value, the range and what to do. */
#ifndef CAIRN_NODE_SETTINGS_H
#define CAIRN_NODE_SETTINGS_H

#include "base/bytes.h"
#include "base/status.h"
#include "node/node.h"

#define SETTINGS_FILE_MAX (64u << 10)

struct settings {
    struct node_options node; /* first, so that a row's place holds for node options alone too */
    char dir[360], listen[272], advertise[272], join[272], config[360];
    char accept_loss[24];
    uint16_t shards; /* 0: as many as there are cores */
    bool insecure;
};

enum setting_type {
    SETTING_TEXT,
    SETTING_ADDRESS,
    SETTING_NUMBER,
    SETTING_SIZE,
    SETTING_DURATION,
    SETTING_FLAG,
    SETTING_LEVEL
};

struct setting {
    const char *name;
    const char *redis;    /* what Redis clients call it; sizes are bytes and flags are yes or no there; NULL: nothing */
    const char *argument; /* for the help: HOST:PORT */
    const char *unset;    /* for the help: what 0, or no text, stands for; NULL: print the value */
    const char *help;
    uint8_t type;          /* enum setting_type */
    bool runtime;          /* may be changed while the node runs */
    uint16_t offset, size; /* of the field in struct settings */
    uint64_t min, max;     /* numbers, bytes, nanoseconds; of a text its longest length is `size` - 1 */
};

const struct setting *setting_find(const char *name); /* NULL: unknown; Redis's names are known too */
bool setting_each(size_t *at, const struct setting **out);
/* Does the row's field lie in struct node_options? */
bool setting_of_node(const struct setting *row);

/* A number, size, duration, flag or level from its text, checked against the range. */
enum status setting_parse(const struct setting *row, const char *text, uint64_t *out, struct error *err);
/* As above for the name that Redis clients use: "512mb" is what Redis means by it. */
enum status setting_parse_redis(const struct setting *row, const char *text, uint64_t *out, struct error *err);
/* base is a struct settings, or a struct node_options for rows of the node. */
uint64_t setting_number(const struct setting *row, const void *base);
void setting_store(const struct setting *row, void *base, uint64_t value);
/* The value as people write it: "16MiB", "500ms", "yes". */
void setting_format(const struct setting *row, uint64_t value, char *out, size_t max);
/* The same of the field of a struct settings, texts included. */
void setting_show(const struct setting *row, const struct settings *s, char *out, size_t max);

void settings_default(struct settings *s);
/* `from` says in errors where it was found: "--value-max", "CAIRN_VALUE_MAX", "'cairn.conf', line 3: value-max". */
enum status settings_set(struct settings *s, const char *name, const char *value, const char *from, struct error *err);
/* Lines "name = value"; '#' begins a comment where a line or a word begins; blank lines count for nothing. Unknown
 * names and names that come twice are errors. */
enum status settings_file(struct settings *s, struct bytes text, const char *path, struct error *err);
/* Takes CAIRN_… of the rows; other variables are not looked at (a container platform sets CAIRN_PORT and the like for a
 * service of that name). environment ends with NULL. */
enum status settings_environment(struct settings *s, char *const *environment, struct error *err);
/* argv without the command: "--name value", "--name=value", "--flag". */
enum status settings_flags(struct settings *s, int argc, char *const *argv, struct error *err);
/* What only the whole tells: listening beyond loopback, an address that others can't use. Then fills in the node
 * options. */
enum status settings_check(struct settings *s, struct error *err);

/* For the other commands' options. */
bool parse_size(const char *text, uint64_t *out);        /* "64MiB" */
bool parse_duration_ns(const char *text, uint64_t *out); /* "500ms" */
bool parse_number(const char *text, uint64_t *out);
/* "127.0.0.1:7000", "[::1]:7000", "name:7000"; else ST_INVALID, and err says what is wrong with it. */
enum status check_address(const char *text, struct error *err);
/* The known word nearest to a mistyped one, NULL: none is near. next gives word after word, NULL at the end. */
const char *nearest_word(const char *word, const char *(*next)(void *ctx, size_t at), void *ctx);

#endif

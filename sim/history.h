/* history.h - what clients asked and were told, and whether it could have happened one op after another.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   records operations on small objects, and checks each object's history for linearizability (Herlihy and Wing,
 *            1990; linearize.h).
 * Objects:   a pair of cells, each absent or a number; a key with its neighbour in the same slot, or two fields of a hash, or
 *            of a long string the number at its beginning and its length.
 *            Every operation is on one object, so objects are checked apart.
 * Unknown:   an operation whose outcome is unknown may take effect at any time after its invocation, or never. One that
 *            failed ("not executed") must have had no effect: it is left out, so that an effect shows as a violation.
 * Expiry:    a cell written with a time to live may vanish at any time after, by itself, and never comes back.
 * Ownership: the history owns its operations; all of its memory is the harness's. */
#ifndef CAIRN_SIM_HISTORY_H
#define CAIRN_SIM_HISTORY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define CELL_ABSENT INT64_MIN
#define SIM_VALUE_STEP \
    1000 /* between the arguments of two writes: room for increments, so that values tell where they come from */

enum sim_op {
    SIM_READ,        /* → a */
    SIM_WRITE,       /* a = arg */
    SIM_WRITE_TTL,   /* a = arg, and may vanish */
    SIM_INCR,        /* a = a + 1 (absent counts as 0) → a */
    SIM_DELETE,      /* a = absent → 1 if it was there, else 0 */
    SIM_GETSET,      /* → a; a = arg */
    SIM_CAS,         /* WATCH, GET (→ seen), MULTI SET EXEC: if committed, a was `seen` all the while, and is arg */
    SIM_BOTH,        /* MULTI INCR a INCR b EXEC → a, b */
    SIM_READ_BOTH,   /* MGET → a, b */
    SIM_INCR_FLOAT,  /* INCRBYFLOAT: a = a + 3 → a */
    SIM_SET_NX,      /* a = arg if absent → 1 if so, else 0 */
    SIM_SET_XX,      /* a = arg if there → 1 if so, else 0 */
    SIM_SET_NX_GET,  /* → a; a = arg if absent */
    SIM_RENAME,      /* b = a, a = absent → 1; 0 if a is absent */
    SIM_COPY,        /* b = a → 1; 0 if a is absent */
    SIM_LONG_WRITE,  /* SETRANGE at 0: a = arg, b at least SIM_LONG_NUMBER → b */
    SIM_LONG_APPEND, /* b = b + SIM_LONG_CHUNK → b */
    SIM_LONG_FAR,    /* SETRANGE of a number that lies in two pieces: b at least SIM_LONG_FAR_END → b */
    SIM_LONG_DELETE, /* both absent → 1 if it was there */
    SIM_LONG_READ,   /* GETRANGE → a */
    SIM_LONG_BOTH,   /* MULTI GETRANGE STRLEN EXEC → a, b */
    SIM_CLEAR,       /* DEL of the hash: a = b = absent → 1 if any was there, else 0 */
    SIM_LONG_SET,    /* SET of SIM_LONG_WHOLE bytes: a = arg, b = so many */
    SIM_OP_COUNT
};

enum { SIM_LONG_NUMBER = 12, SIM_LONG_CHUNK = 1000, SIM_LONG_FAR_END = 65542, SIM_LONG_WHOLE = 150000 }; /* bytes */

enum sim_outcome { SIM_OPEN, SIM_OK, SIM_UNKNOWN, SIM_FAILED };

struct sim_record {
    uint32_t process, object;
    uint8_t op, outcome;
    bool hash; /* the cells are fields of a hash */
    int64_t arg;
    int64_t a, b; /* results */
    uint64_t invoke_ns, return_ns;
    uint64_t seen_ns, exec_ns; /* CAS: the watch was in place, EXEC was sent; between them nothing may have changed a */
    uint64_t ttl_ms;           /* WRITE_TTL */
};

struct history {
    struct sim_record *records;
    size_t count, cap;
    uint32_t objects;
};

void history_deinit(struct history *h);
size_t history_begin(struct history *h, const struct sim_record *r); /* returns its index; outcome is SIM_OPEN */
void history_end(struct history *h, size_t at, enum sim_outcome outcome, int64_t a, int64_t b, uint64_t now_ns);

/* What an op does to a pair of cells; false: its results do not fit this state. For tests of the checker too. */
struct sim_cells {
    int64_t a, b;
    bool may_vanish, b_may_vanish;
};
bool sim_apply(const struct sim_record *r, struct sim_cells *cells);

/* Of all histories checked with it. */
struct history_sum {
    uint64_t objects;
    uint64_t given_up;   /* no order was found in so many steps, nor that there is none */
    uint64_t steps_most; /* of one object */
};
/* Checks every object, and adds to *sum. False: prints the first object that has no linearization, its operations in order, to
 * out. */
bool history_check(const struct history *h, struct history_sum *sum, FILE *out);
/* Nothing that was written to last ttl_ms is seen later than that and slack_ns after the write was answered. Only where the
 * clocks of all nodes are right. False: prints what was seen. */
bool history_check_expiry(const struct history *h, uint64_t slack_ns, FILE *out);
/* One JSON object a line: process, operation, key, value, result, invoke and return time (ns), outcome. */
void history_write(const struct history *h, FILE *out);
const char *sim_op_name(enum sim_op op);
bool sim_op_reads(enum sim_op op); /* and changes nothing */

#endif

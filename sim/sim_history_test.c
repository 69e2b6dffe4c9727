/* sim_history_test.c - the checker passes what could have happened, and catches what could not.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/status.h"
#include "sim/history.h"

#define N CELL_ABSENT

struct row {
    uint8_t op, outcome;
    int64_t arg, a, b;
    uint64_t from, to;
};

static bool check(const struct row *rows, size_t count)
{
    struct history h = {0};
    FILE *out = fopen("/dev/null", "w");
    for (size_t i = 0; i < count; i++) {
        struct sim_record r = {
            .process = (uint32_t)i, .op = rows[i].op, .arg = rows[i].arg, .invoke_ns = rows[i].from, .a = rows[i].a};
        size_t at = history_begin(&h, &r);
        history_end(&h, at, rows[i].outcome, rows[i].a, rows[i].b, rows[i].to);
    }
    bool ok = history_check(&h, out);
    fclose(out);
    history_deinit(&h);
    return ok;
}

static void test_histories(void **state)
{
    static const struct {
        const char *name;
        bool ok;
        struct row rows[6];
    } cases[] = {
        {"read after write", true, {{SIM_WRITE, SIM_OK, 1, N, N, 1, 2}, {SIM_READ, SIM_OK, 0, 1, N, 3, 4}}},
        {"stale read", false, {{SIM_WRITE, SIM_OK, 1, N, N, 1, 2}, {SIM_READ, SIM_OK, 0, N, N, 3, 4}}},
        {"read beside a write sees either",
         true,
         {{SIM_WRITE, SIM_OK, 1, N, N, 1, 9}, {SIM_READ, SIM_OK, 0, N, N, 3, 4}, {SIM_READ, SIM_OK, 0, 1, N, 5, 6}}},
        {"but not back again",
         false,
         {{SIM_WRITE, SIM_OK, 1, N, N, 1, 9}, {SIM_READ, SIM_OK, 0, 1, N, 3, 4}, {SIM_READ, SIM_OK, 0, N, N, 5, 6}}},
        {"lost write",
         false,
         {{SIM_WRITE, SIM_OK, 1, N, N, 1, 2}, {SIM_WRITE, SIM_OK, 2, N, N, 3, 4}, {SIM_READ, SIM_OK, 0, 1, N, 5, 6}}},
        {"applied twice", false, {{SIM_INCR, SIM_OK, 0, 1, N, 1, 2}, {SIM_INCR, SIM_OK, 0, 3, N, 3, 4}}},
        {"unknown may have happened",
         true,
         {{SIM_INCR, SIM_UNKNOWN, 0, N, N, 1, 2}, {SIM_INCR, SIM_OK, 0, 2, N, 3, 4}}},
        {"unknown may not have happened",
         true,
         {{SIM_INCR, SIM_UNKNOWN, 0, N, N, 1, 2}, {SIM_INCR, SIM_OK, 0, 1, N, 3, 4}}},
        {"unknown may happen late",
         true,
         {{SIM_INCR, SIM_UNKNOWN, 0, N, N, 1, 2},
          {SIM_READ, SIM_OK, 0, N, N, 3, 4},
          {SIM_READ, SIM_OK, 0, 1, N, 5, 6}}},
        {"unknown happens once", false, {{SIM_INCR, SIM_UNKNOWN, 0, N, N, 1, 2}, {SIM_READ, SIM_OK, 0, 2, N, 3, 4}}},
        {"failed must not happen", false, {{SIM_WRITE, SIM_FAILED, 7, N, N, 1, 2}, {SIM_READ, SIM_OK, 0, 7, N, 3, 4}}},
        {"compare and set",
         true,
         {{SIM_WRITE, SIM_OK, 1, N, N, 1, 2}, {SIM_CAS, SIM_OK, 5, 1, N, 3, 4}, {SIM_READ, SIM_OK, 0, 5, N, 5, 6}}},
        {"two from one value",
         false,
         {{SIM_WRITE, SIM_OK, 1, N, N, 1, 2}, {SIM_CAS, SIM_OK, 5, 1, N, 3, 6}, {SIM_CAS, SIM_OK, 6, 1, N, 3, 6}}},
        {"transaction is whole", false, {{SIM_BOTH, SIM_OK, 0, 1, 1, 1, 4}, {SIM_READ_BOTH, SIM_OK, 0, 1, N, 2, 3}}},
        {"expired",
         true,
         {{SIM_WRITE_TTL, SIM_OK, 1, N, N, 1, 2},
          {SIM_READ, SIM_OK, 0, 1, N, 3, 4},
          {SIM_READ, SIM_OK, 0, N, N, 5, 6}}},
        {"and came back",
         false,
         {{SIM_WRITE_TTL, SIM_OK, 1, N, N, 1, 2},
          {SIM_READ, SIM_OK, 0, N, N, 3, 4},
          {SIM_READ, SIM_OK, 0, 1, N, 5, 6}}},
        {"a plain write does not expire",
         false,
         {{SIM_WRITE_TTL, SIM_OK, 1, N, N, 1, 2},
          {SIM_WRITE, SIM_OK, 2, N, N, 3, 4},
          {SIM_READ, SIM_OK, 0, N, N, 5, 6}}},
        {"a renamed cell may vanish where it went",
         true,
         {{SIM_WRITE_TTL, SIM_OK, 1, N, N, 1, 2},
          {SIM_RENAME, SIM_OK, 0, 1, N, 3, 4},
          {SIM_READ_BOTH, SIM_OK, 0, N, 1, 5, 6},
          {SIM_READ_BOTH, SIM_OK, 0, N, N, 7, 8}}},
        {"and does not come back either",
         false,
         {{SIM_WRITE_TTL, SIM_OK, 1, N, N, 1, 2},
          {SIM_RENAME, SIM_OK, 0, 1, N, 3, 4},
          {SIM_READ_BOTH, SIM_OK, 0, N, N, 5, 6},
          {SIM_READ_BOTH, SIM_OK, 0, N, 1, 7, 8}}},
        {"nothing to rename", true, {{SIM_RENAME, SIM_OK, 0, 0, N, 1, 2}, {SIM_READ_BOTH, SIM_OK, 0, N, N, 3, 4}}},
        {"a rename leaves nothing behind",
         false,
         {{SIM_WRITE, SIM_OK, 1, N, N, 1, 2},
          {SIM_RENAME, SIM_OK, 0, 1, N, 3, 4},
          {SIM_READ_BOTH, SIM_OK, 0, 1, 1, 5, 6}}},
        {"a copy does",
         true,
         {{SIM_WRITE, SIM_OK, 1, N, N, 1, 2},
          {SIM_COPY, SIM_OK, 0, 1, N, 3, 4},
          {SIM_READ_BOTH, SIM_OK, 0, 1, 1, 5, 6}}},
        {"two that were both the first",
         false,
         {{SIM_SET_NX, SIM_OK, 1, 1, N, 1, 4}, {SIM_SET_NX, SIM_OK, 2, 1, N, 1, 4}}},
        {"only if there",
         true,
         {{SIM_SET_XX, SIM_OK, 1, 0, N, 1, 2},
          {SIM_SET_NX_GET, SIM_OK, 2, N, N, 3, 4},
          {SIM_SET_XX, SIM_OK, 3, 1, N, 5, 6},
          {SIM_INCR_FLOAT, SIM_OK, 0, 6, N, 7, 8}}},
        {"appended twice",
         false,
         {{SIM_LONG_WRITE, SIM_OK, 7, N, 12, 1, 2},
          {SIM_LONG_APPEND, SIM_UNKNOWN, 0, N, N, 3, 4},
          {SIM_LONG_BOTH, SIM_OK, 0, 7, 2012, 5, 6}}},
        {"appended once",
         true,
         {{SIM_LONG_WRITE, SIM_OK, 7, N, 12, 1, 2},
          {SIM_LONG_APPEND, SIM_UNKNOWN, 0, N, N, 3, 4},
          {SIM_LONG_BOTH, SIM_OK, 0, 7, 1012, 5, 6}}},
        {"deleted",
         true,
         {{SIM_WRITE, SIM_OK, 1, N, N, 1, 2},
          {SIM_DELETE, SIM_OK, 0, 1, N, 3, 4},
          {SIM_DELETE, SIM_OK, 0, 0, N, 5, 6}}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        size_t n = 0;
        while (n < 6 && cases[i].rows[n].to != 0) n++;
        if (check(cases[i].rows, n) != cases[i].ok) fail_msg("%s", cases[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_histories)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

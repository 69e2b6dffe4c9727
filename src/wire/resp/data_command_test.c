/* data_command_test.c - what every data command and option answers, from testdata/data_command.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each line of a file is a command, " => " and its result as text. DATA_REWRITE=1 in the environment writes the results
 * anew: its diff is to be reviewed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "model/kv_check.h"
#include "model/result_text_test_util.h"
#include "wire/resp/data_script_test_util.h"

static void run_file(const char *name)
{
    struct data_script s;
    struct data d;
    struct buf out = {0}, result = {0}, text = {0}, want = {0};
    bool rewrite = getenv("DATA_REWRITE") != NULL;
    data_script_load(&s, name);
    data_init(&d, 1700000000000);
    for (size_t i = 0; i < s.count; i++) {
        struct data_line *line = &s.lines[i];
        if (line->argc == 0) {
            buf_printf(&out, "%s\n", line->source);
            continue;
        }
        d.now_ms++;
        buf_clear(&result);
        buf_clear(&text);
        data_run(&d, line->argv, line->argc, &result);
        struct reader r = reader_of(buf_view(&result));
        assert_true(result_text(&text, &r) && reader_done(&r));
        if (text.n > 400) {
            text.n = 400;
            buf_printf(&text, "...");
        }
        buf_printf(&out, "%s => %.*s\n", line->source, (int)text.n, (const char *)text.p);
        buf_clear(&want);
        buf_printf(&want, "%s", line->expected);
        if (!rewrite && !bytes_equal(buf_view(&text), buf_view(&want)))
            fail_msg("%s line %zu: %s\n  wanted %s\n  got    %.*s", name, i + 1, line->source, line->expected,
                     (int)text.n, (const char *)text.p);
    }
    struct error err = {0};
    d.view.base.ts = d.clock.last;
    if (kv_check(&d.view.base, &err) != ST_OK) fail_msg("%s", err.text);
    if (rewrite) data_script_write(name, buf_view(&out));
    data_deinit(&d);
    data_script_free(&s);
    buf_deinit(&out);
    buf_deinit(&result);
    buf_deinit(&text);
    buf_deinit(&want);
}

static void test_strings(void **state) { run_file("strings"); }
static void test_bits(void **state) { run_file("bits"); }
static void test_keys(void **state) { run_file("keys"); }
static void test_hashes(void **state) { run_file("hashes"); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_strings), cmocka_unit_test(test_bits),
                                       cmocka_unit_test(test_keys), cmocka_unit_test(test_hashes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

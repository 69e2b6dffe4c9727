/* settings_test.c - what settings accept, what they refuse, and in which words.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/diag.h"
#include "node/settings.h"

static void test_units(void **state)
{
    static const struct {
        bool (*parse)(const char *text, uint64_t *out);
        const char *text;
        bool good;
        uint64_t value;
    } cases[] = {
        {parse_size, "0", true, 0},
        {parse_size, "17", true, 17},
        {parse_size, "17b", true, 17},
        {parse_size, "64MiB", true, 64u << 20},
        {parse_size, "64mib", true, 64u << 20},
        {parse_size, "1KiB", true, 1024},
        {parse_size, "3GiB", true, 3ull << 30},
        {parse_size, "16777215TiB", true, 16777215ull << 40},
        {parse_size, "16777216TiB", false, 0}, /* 2^64 */
        {parse_size, "18446744073709551615", true, UINT64_MAX},
        {parse_size, "18446744073709551616", false, 0},
        {parse_size, "", false, 0},
        {parse_size, "MiB", false, 0},
        {parse_size, "1MB", false, 0}, /* 1000 or 1024? */
        {parse_size, "1 MiB", false, 0},
        {parse_size, "1MiBs", false, 0},
        {parse_size, "-1", false, 0},
        {parse_size, "+1", false, 0},
        {parse_size, "1.5GiB", false, 0},
        {parse_duration_ns, "500ms", true, 500 * NS_PER_MS},
        {parse_duration_ns, "5s", true, 5 * NS_PER_S},
        {parse_duration_ns, "2m", true, 120 * NS_PER_S},
        {parse_duration_ns, "1h", true, 3600 * NS_PER_S},
        {parse_duration_ns, "7us", true, 7000},
        {parse_duration_ns, "7ns", true, 7},
        {parse_duration_ns, "5", false, 0}, /* of what? */
        {parse_duration_ns, "5 s", false, 0},
        {parse_duration_ns, "6000000h", false, 0},
        {parse_number, "000", true, 0},
        {parse_number, "1k", false, 0},
        {parse_number, "0x10", false, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint64_t v = 77;
        assert_int_equal(cases[i].parse(cases[i].text, &v), cases[i].good);
        if (cases[i].good) assert_int_equal(v, cases[i].value);
    }
}

/* Every value that can be shown is read back as the same value, at both ends of its range too. */
static void test_shown_values_are_read_back(void **state)
{
    const struct setting *row;
    for (size_t at = 0; setting_each(&at, &row);) {
        if (row->type < SETTING_NUMBER) continue;
        struct settings defaults;
        settings_default(&defaults);
        uint64_t now = setting_number(row, &defaults);
        uint64_t values[] = {row->min, row->max, now < row->min ? row->min : now};
        for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
            struct settings s;
            struct error err = {0};
            char text[64], again[64];
            settings_default(&s);
            setting_format(row, values[i], text, sizeof text);
            assert_int_equal(settings_set(&s, row->name, text, row->name, &err), ST_OK);
            assert_int_equal(setting_number(row, &s), values[i]);
            setting_show(row, &s, again, sizeof again);
            assert_string_equal(again, text);
        }
    }
}

/* Defaults lie in their ranges, names and their environment's names are unique, and fields do not overlap. */
static void test_table(void **state)
{
    const struct setting *a, *b;
    struct settings s;
    struct error err = {0};
    settings_default(&s);
    assert_int_equal(settings_check(&s, &err), ST_OK);
    for (size_t i = 0; setting_each(&i, &a);) {
        assert_non_null(a->help);
        assert_true(a->type == SETTING_FLAG || a->argument != NULL);
        assert_ptr_equal(setting_find(a->name), a);
        if (a->redis != NULL) assert_ptr_equal(setting_find(a->redis), a);
        if (a->runtime) assert_true(setting_of_node(a));
        if (a->type >= SETTING_NUMBER) {
            assert_true(a->min <= a->max);
            assert_true(a->size == 8 || a->max >> (8 * a->size) == 0);
            if (a->unset == NULL) assert_in_range(setting_number(a, &s), a->min, a->max);
        }
        for (size_t k = i; setting_each(&k, &b);)
            assert_true(a->offset + a->size <= b->offset || b->offset + b->size <= a->offset);
    }
}

static void test_refusals(void **state)
{
    static const struct {
        const char *name, *value, *text;
    } cases[] = {
        {"value-max", "1TiB", "--x: 1TiB is too large: give a value from 1KiB to 512MiB"},
        {"value-max", "1", "--x: 1 is too small: give a value from 1KiB to 512MiB"},
        {"value-max", "much", "--x: 'much' is not a value for it: give a size such as 64MiB, from 1KiB to 512MiB"},
        {"request-timeout", "5", "--x: '5' is not a value for it: give a time such as 500ms or 5s, from 10ms to 10m"},
        {"shards", "0", "--x: 0 is too small: give a value from 1 to 256"},
        {"insecure", "maybe", "--x: 'maybe' is not a value for it: give yes or no"},
        {"log-level", "loud", "--x: 'loud' is not a value for it: give debug, info, warn or error"},
        {"listen", "7000", "--x: '7000' is not an address: give HOST:PORT, such as 127.0.0.1:7000"},
        {"listen", "a:70000",
         "--x: 'a:70000' is not an address: its port is a number up to 65535, such as 127.0.0.1:7000"},
        {"listen", ":7000", "--x: ':7000' is not an address: give HOST:PORT, such as 127.0.0.1:7000"},
        {"listen", "::1:7000", "--x: '::1:7000': an IPv6 address stands in brackets, such as [::1]:7000"},
        {"data", "", "--x: it has no value: give DIR"},
        {"listne", "a:1", "--x: there is no such setting. Did you mean listen?"},
        {"maxclients", "1",
         "--x: there is no such setting: 'cairn help serve' lists them"}, /* Redis's word is for Redis clients */
        {"qqqqqqqq", "1", "--x: there is no such setting: 'cairn help serve' lists them"},
        {"", "1", "--x: there is no such setting: 'cairn help serve' lists them"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct settings s, before;
        struct error err = {0};
        settings_default(&s);
        before = s;
        assert_int_equal(settings_set(&s, cases[i].name, cases[i].value, "--x", &err), ST_INVALID);
        assert_string_equal(err.text, cases[i].text);
        assert_memory_equal(&s, &before, sizeof s); /* written only on success */
    }
}

static void test_file(void **state)
{
    static const struct {
        const char *text;
        enum status status;
        const char *error; /* NULL: clients-max must be 7 */
    } cases[] = {
        {"clients-max=7", ST_OK, NULL},
        {"\n# comment\n  clients-max =\t7  # more\r\n\n", ST_OK, NULL},
        {"clients-max = 7\ndata = /srv/a#b\n", ST_OK, NULL}, /* a '#' inside of a word is part of it */
        {"clients-max", ST_INVALID, "'f', line 1: there is no '=': write name = value"},
        {"\n= 7", ST_INVALID, "'f', line 2: there is no name of a setting before '='"},
        {"clients-max = 7\nclients-max = 8", ST_INVALID,
         "'f', line 2: clients-max is set twice: remove one of the two lines"},
        {"config = g", ST_INVALID,
         "'f', line 1: config: a file can't name another one: use the flag or the environment"},
        {"client-max = 7", ST_INVALID, "'f', line 1: client-max: there is no such setting. Did you mean clients-max?"},
        {"clients-max = ", ST_INVALID,
         "'f', line 1: clients-max: '' is not a value for it: give a number, from 1 to 1000000"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct settings s;
        struct error err = {0};
        settings_default(&s);
        assert_int_equal(settings_file(&s, bytes_str(cases[i].text), "f", &err), cases[i].status);
        if (cases[i].error == NULL) assert_int_equal(s.node.clients_max, 7);
        else assert_string_equal(err.text, cases[i].error);
    }
}

static void test_file_bounds(void **state)
{
    static char text[SETTINGS_FILE_MAX + 2];
    struct settings s;
    struct error err = {0};
    settings_default(&s);
    memset(text, '\n', sizeof text);
    assert_int_equal(settings_file(&s, bytes_of(text, SETTINGS_FILE_MAX), "f", &err), ST_OK);
    assert_int_equal(settings_file(&s, bytes_of(text, SETTINGS_FILE_MAX + 1), "f", &err), ST_INVALID);
    assert_string_equal(err.text, "'f' is larger than 64 KiB: it is not a file of settings");
    assert_int_equal(settings_file(&s, BYTES_LIT("data = a\0b"), "f", &err), ST_INVALID);
    assert_string_equal(err.text, "'f', line 1: the value is too long or not text");
}

static void test_environment(void **state)
{
    char *const good[] = {
        "PATH=/bin", "CAIRN_CLIENTS_MAX=7", "CAIRN_PORT=tcp://10.0.0.1:7000", "CAIRN_CLIENTS_MAXIMUM=x", "CAIRN_",
        NULL};
    char *const bad[] = {"CAIRN_LOG_LEVEL=loud", NULL};
    struct settings s;
    struct error err = {0};
    settings_default(&s);
    assert_int_equal(settings_environment(&s, good, &err), ST_OK);
    assert_int_equal(s.node.clients_max, 7);
    assert_int_equal(settings_environment(&s, bad, &err), ST_INVALID);
    assert_string_equal(err.text, "CAIRN_LOG_LEVEL: 'loud' is not a value for it: give debug, info, warn or error");
}

static void test_flags(void **state)
{
    char *const argv[] = {"--clients-max", "7",      "--value-max=1MiB", "--insecure", "--redis-redirects=no",
                          "--listen",      "[::]:0", "--advertise",      "a:1"};
    struct settings s;
    struct error err = {0};
    settings_default(&s);
    assert_int_equal(settings_flags(&s, ARRAY_COUNT(argv), argv, &err), ST_OK);
    assert_int_equal(settings_check(&s, &err), ST_OK);
    assert_int_equal(s.node.clients_max, 7);
    assert_int_equal(s.node.value_bytes_max, 1 << 20);
    assert_true(s.insecure);
    assert_false(s.node.redirects);
    assert_string_equal(s.node.listen, "[::]:0");
    assert_string_equal(s.node.advertise, "a:1");
    assert_null(s.node.join);
    static const struct {
        char *argv[2];
        const char *text;
    } cases[] = {
        {{"7000"}, "'7000' is not expected here: options begin with --"},
        {{"-v"}, "'-v' is not expected here: options begin with --"},
        {{"--"}, "'--' is not expected here: options begin with --"},
        {{"--data"}, "--data needs a value: --data DIR"},
        {{"--dat", "x"}, "--dat: there is no such setting. Did you mean data?"},
        {{"--data="}, "--data: it has no value: give DIR"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int argc = cases[i].argv[1] != NULL ? 2 : 1;
        settings_default(&s);
        assert_int_equal(settings_flags(&s, argc, cases[i].argv, &err), ST_INVALID);
        assert_string_equal(err.text, cases[i].text);
    }
}

static void test_beyond_loopback(void **state)
{
    static const struct {
        const char *listen, *advertise;
        bool insecure, good;
    } cases[] = {
        {"127.0.0.1:7000", "", false, true},
        {"127.9.9.9:7000", "", false, true},
        {"localhost:7000", "", false, true},
        {"[::1]:7000", "", false, true},
        {"127.0.0.1.example.org:7000", "", false, false},
        {"localhost.example.org:7000", "", false, false},
        {"10.0.0.1:7000", "", false, false},
        {"10.0.0.1:7000", "", true, true},
        {"0.0.0.0:7000", "", false, false},
        {"0.0.0.0:7000", "", true, false}, /* which address are others to use? */
        {"0.0.0.0:7000", "a.example:7000", true, true},
        {"[::]:7000", "[::]:7000", true, false},
        {"10.0.0.1:7000", "a.example:0", true, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct settings s;
        struct error err = {0};
        settings_default(&s);
        snprintf(s.listen, sizeof s.listen, "%s", cases[i].listen);
        snprintf(s.advertise, sizeof s.advertise, "%s", cases[i].advertise);
        s.insecure = cases[i].insecure;
        assert_int_equal(settings_check(&s, &err) == ST_OK, cases[i].good);
        assert_int_equal(err.text[0] == 0, cases[i].good);
    }
}

static void test_redis_words(void **state)
{
    static const struct {
        const char *name, *text;
        bool good;
        uint64_t value;
    } cases[] = {
        {"proto-max-bulk-len", "512mb", true, 512u << 20}, {"proto-max-bulk-len", "1m", true, 1000000},
        {"proto-max-bulk-len", "2048", true, 2048},        {"proto-max-bulk-len", "1gb", false, 0},
        {"proto-max-bulk-len", "1MiB", false, 0},          {"maxclients", "100", true, 100},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint64_t v;
        struct error err = {0};
        const struct setting *row = setting_find(cases[i].name);
        assert_non_null(row);
        assert_int_equal(setting_parse_redis(row, cases[i].text, &v, &err) == ST_OK, cases[i].good);
        if (cases[i].good) assert_int_equal(v, cases[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_units),       cmocka_unit_test(test_shown_values_are_read_back),
        cmocka_unit_test(test_table),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_file),        cmocka_unit_test(test_file_bounds),
        cmocka_unit_test(test_environment), cmocka_unit_test(test_flags),
        cmocka_unit_test(test_redis_words), cmocka_unit_test(test_beyond_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

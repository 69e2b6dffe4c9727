/* command_test.c - the table of commands: every row is found, by any case, and is what the door relies on.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "wire/resp/cmd_door.h"
#include "wire/resp/command.h"

static void test_every_command_is_found(void **state)
{
    const struct command *c;
    size_t at = 0, n = 0;
    for (; command_each(&at, &c); n++) {
        char upper[64];
        size_t len = strlen(c->name);
        for (size_t i = 0; i < len; i++)
            upper[i] = (char)(c->name[i] >= 'a' && c->name[i] <= 'z' && i % 2 ? c->name[i] - 32 : c->name[i]);
        assert_ptr_equal(command_find(bytes_str(c->name)), c);
        assert_ptr_equal(command_find(bytes_of(upper, len)), c);
        assert_true(command_find(bytes_of(c->name, len - 1)) != c);
        upper[len] = 'x';
        assert_true(command_find(bytes_of(upper, len + 1)) != c);
    }
    assert_true(n > 100);
    assert_int_equal(at, n);
}

/* Names that the hash folds together with others are still told apart. */
static void test_no_other_name_is_found(void **state)
{
    static const char *const names[] = {"",
                                        "g",
                                        "ge",
                                        "getx",
                                        "ge\x14",
                                        "GE\x34",
                                        "client\\id",
                                        "client|",
                                        "|",
                                        "no\revict",
                                        "a very long name that no command has, and then some more"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) assert_null(command_find(bytes_str(names[i])));
}

/* What the door relies on: data commands have a builder, and their first key is there once the arity is right. */
static void test_rows(void **state)
{
    const struct command *c;
    for (size_t at = 0; command_each(&at, &c);) {
        int least = c->arity < 0 ? -c->arity : c->arity;
        assert_true(c->arity != 0);
        if (c->scope == SCOPE_DOOR) {
            assert_null(c->build);
            const struct door_handler *h = resp_door_handler(c);
            if (h->run == NULL) assert_int_equal(c->arity, -2); /* a container */
            continue;
        }
        assert_non_null(c->build);
        assert_true(((c->flags & COMMAND_WRITE) != 0) != ((c->flags & COMMAND_READONLY) != 0));
        if (c->scope == SCOPE_ALL) continue;
        assert_true(c->key_first > 0 && c->key_first < least && c->key_step > 0);
        assert_true(c->scope != SCOPE_FANOUT || (c->merge != MERGE_NONE && c->key_last == -1));
    }
}

static void test_glob(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool match;
    } rows[] = {
        {"*", "", true},         {"*", "abc", true},      {"a*c", "abbc", true},    {"a*c", "abcb", false},
        {"A?C", "abc", true},    {"a?c", "ac", false},    {"[a-c]x", "bx", true},   {"[^a-c]x", "bx", false},
        {"[^a-c]x", "dx", true}, {"\\*", "*", true},      {"\\*", "x", false},      {"", "", true},
        {"", "a", false},        {"a", "", false},        {"*a*b*", "xaybz", true}, {"*a*b*", "xbya", false},
        {"[", "[", false},       {"[a", "a", true},       {"a\\", "a\\", true},     {"**a", "ba", true},
        {"[c-a]", "b", true},    {"save*", "SAVE", true}, {"[\\]]", "]", true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (resp_glob(bytes_str(rows[i].pattern), bytes_str(rows[i].text)) != rows[i].match)
            fail_msg("pattern '%s' text '%s'", rows[i].pattern, rows[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_command_is_found),
        cmocka_unit_test(test_no_other_name_is_found),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_glob),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* settings_fuzz.c - a file of settings of any bytes is taken or refused, and what is taken can be shown and checked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "node/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings s, again;
    struct error err = {0};
    const struct setting *row;
    settings_default(&s);
    if (settings_file(&s, bytes_of(data, size), "fuzz", &err) != ST_OK) {
        ASSERT(err.status != ST_OK && err.text[0] != 0);
        return 0;
    }
    /* What it holds, set again by its own texts, is the same. */
    settings_default(&again);
    for (size_t at = 0; setting_each(&at, &row);) {
        char text[400];
        setting_show(row, &s, text, sizeof text);
        bool unset = text[0] == 0 || (row->type >= SETTING_NUMBER && setting_number(row, &s) < row->min);
        if (!unset) ASSERT(settings_set(&again, row->name, text, row->name, &err) == ST_OK);
    }
    /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-*): both were zero to the last byte of padding */
    ASSERT(memcmp(&s, &again, sizeof s) == 0);
    if (settings_check(&s, &err) != ST_OK) ASSERT(err.text[0] != 0);
    return 0;
}

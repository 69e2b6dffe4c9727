/* deb822_fuzz.c - records of any bytes, at once and in pieces.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/deb822.h"

static struct deb822_record record, again;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    struct error err = {0};
    size_t taken = 0, same = 0;
    while (deb822_next(in, true, &record, &taken, &err) == ST_OK && record.count != 0) {
        ASSERT(taken > 0 && taken <= in.n);
        for (size_t i = 0; i < record.count; i++) {
            struct bytes name = record.fields[i].name, value = record.fields[i].value;
            ASSERT(name.p >= in.p && name.p + name.n <= in.p + taken);
            ASSERT(value.p >= in.p && value.p + value.n <= in.p + taken);
        }
        /* What follows does not matter. */
        ASSERT(deb822_next(bytes_of(in.p, taken), true, &again, &same, &err) == ST_OK && same == taken &&
               again.count == record.count);
        in = bytes_of(in.p + taken, in.n - taken);
    }
    return 0;
}

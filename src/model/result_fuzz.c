/* result_fuzz.c - arbitrary bytes taken as a result.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/result.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_of(bytes_of(data, size));
    struct result v;
    uint64_t left = 1;
    size_t steps = 0;
    while (left > 0 && result_next(&r, &v)) {
        left--;
        if (v.tag == 'a' || v.tag == 't') left += v.count;
        if (v.tag == 'm' || v.tag == 'p') left += v.count * 2;
        ASSERT(v.bytes.n == 0 || (v.bytes.p >= data && v.bytes.p + v.bytes.n <= data + size));
        ASSERT(++steps <= size);
    }
    /* What the check accepts can be walked to its end. */
    if (result_check(bytes_of(data, size))) ASSERT(left == 0 && reader_done(&r));
    return 0;
}

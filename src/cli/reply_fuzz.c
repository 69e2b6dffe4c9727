/* reply_fuzz.c - replies of any bytes: whole, partial or broken, the same whether they come at once or byte by byte.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"
#include "cli/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t taken = 0, early;
    enum reply_state state = reply_scan(bytes_of(data, size), &taken);
    if (state == REPLY_WHOLE) {
        struct buf text = {0};
        ASSERT(taken > 0 && taken <= size);
        /* It needs all of its bytes, and none that follow. */
        ASSERT(reply_scan(bytes_of(data, taken), &early) == REPLY_WHOLE && early == taken);
        for (size_t n = 0; n < taken && n < 200; n++) ASSERT(reply_scan(bytes_of(data, n), &early) == REPLY_PARTIAL);
        ASSERT(reply_scan(bytes_of(data, taken - 1), &early) == REPLY_PARTIAL);
        reply_print(bytes_of(data, taken), &text);
        ASSERT(text.n != 0 && text.p[text.n - 1] == '\n');
        buf_deinit(&text);
    }
    return 0;
}

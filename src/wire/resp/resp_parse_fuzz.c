/* resp_parse_fuzz.c - any bytes, cut anywhere: the parser stays in bounds and finds the same commands as in one piece.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/status.h"
#include "wire/resp/resp_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct resp_limits limits = {.args_max = 64, .bulk_max = 4096, .command_max = 16384};

/* Parses data, of which ever more becomes visible, `step` bytes at a time. Appends what was found to out. */
static void run(const uint8_t *data, size_t size, size_t step, struct buf *out)
{
    struct resp_parser p;
    resp_parser_init(&p, &limits);
    size_t from = 0, to = 0;
    while (to < size) {
        to = MIN(size, to + step);
        for (;;) {
            uint8_t *copy = mem_copy(data + from, to - from); /* the input moves, and its end is the heap's */
            size_t used;
            enum resp_parsed r = resp_parse(&p, bytes_of(copy, to - from), &used);
            ASSERT(used <= to - from);
            from += used;
            if (r == RESP_COMMAND) {
                ASSERT(p.argc > 0 && p.argc <= limits.args_max + RESP_INLINE_MAX);
                buf_put_varint(out, p.argc);
                for (size_t i = 0; i < p.argc; i++) buf_put_lp(out, p.argv[i]);
            } else if (r == RESP_BROKEN) {
                buf_put_lp(out, bytes_str(p.error));
            } else {
                ASSERT(resp_parse_needs(&p, to - from) > 0);
            }
            mem_free(copy);
            if (r == RESP_BROKEN) goto done;
            if (r == RESP_MORE) break;
        }
    }
done:
    resp_parser_deinit(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = {0}, pieces = {0};
    if (size > 20000) return 0; /* below RESP_INLINE_MAX, so that no limit depends on the cut */
    run(data, size, size, &whole);
    run(data, size, size < 300 ? 1 : 97, &pieces);
    ASSERT(bytes_equal(buf_view(&whole), buf_view(&pieces)));
    buf_deinit(&whole);
    buf_deinit(&pieces);
    return 0;
}

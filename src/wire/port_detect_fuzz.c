/* port_detect_fuzz.c - a verdict on first bytes does not depend on how they are cut, and never changes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/status.h"
#include "wire/port_detect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum port_verdict known = DETECT_MORE;
    size_t step = size > 600 ? size / 300 : 1; /* long inputs in larger steps: this is quadratic */
    for (size_t n = 0; n <= size; n += step) {
        void *copy = mem_copy(data, n);
        enum port_verdict v = port_detect(bytes_of(copy, n));
        mem_free(copy);
        if (known != DETECT_MORE) ASSERT(v == known);
        if (n > PORT_LINE_MAX) ASSERT(v != DETECT_MORE);
        known = v;
    }
    return 0;
}

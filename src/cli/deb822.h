/* deb822.h - records of "Name: value" lines, as Debian's package lists have them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Format:    deb822(5): fields of a record are lines "Name: value"; a line that begins with a blank or a tab goes on
 * with the field before it; records are apart by empty lines; '#' begins a comment line. Threading: pure. */
#ifndef CAIRN_CLI_DEB822_H
#define CAIRN_CLI_DEB822_H

#include "base/bytes.h"
#include "base/status.h"

#define DEB822_FIELDS_MAX 256
#define DEB822_RECORD_MAX (1u << 20)

struct deb822_field {
    struct bytes name,
        value; /* borrowed; value without the blanks around it, continuation lines with their line ends */
};
struct deb822_record {
    size_t count;
    struct deb822_field fields[DEB822_FIELDS_MAX];
};

/* The first record of `in`. *out_size is what was taken, blank lines and comments before it included; no fields: there
 * is no record, only such. ST_NOT_READY: the end of the record is not there yet (never if `last`: then the end of `in`
 * ends it). ST_INVALID, ST_TOO_LARGE: the text says what and in which line of `in`. */
enum status deb822_next(struct bytes in, bool last, struct deb822_record *out, size_t *out_size, struct error *err);
/* A field by its name, in any case; an empty view without bytes: none. */
struct bytes deb822_field(const struct deb822_record *r, const char *lower_name);

#endif

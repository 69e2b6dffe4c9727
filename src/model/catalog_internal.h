/* catalog_internal.h - the encoding of catalog objects, shared by catalog.c and catalog_op.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CAIRN_MODEL_CATALOG_INTERNAL_H
#define CAIRN_MODEL_CATALOG_INTERNAL_H

#include "model/catalog.h"

enum catalog_kind {
    CATALOG_KIND_HEAD = 1,
    CATALOG_KIND_NODE,
    CATALOG_KIND_TABLE,
    CATALOG_KIND_PARTITION,
    CATALOG_KIND_SETTING,
    CATALOG_KIND_RETENTION, /* of a table; its id is the table's */
};

/* A get returns false for bytes that are not a valid object. */
void catalog_put_head(const struct catalog *c, struct buf *out);
bool catalog_get_head(struct reader *r, struct catalog *c);
void catalog_put_node(const struct catalog_node *n, struct buf *out);
bool catalog_get_node(struct reader *r, struct catalog_node *n);
void catalog_put_table(const struct catalog_table *t, struct buf *out);
bool catalog_get_table(struct reader *r, struct catalog_table *t);
/* The table's retention; get sets id, retention_ms and retention_epoch. */
void catalog_put_retention(const struct catalog_table *t, struct buf *out);
bool catalog_get_retention(struct reader *r, struct catalog_table *t);
void catalog_put_partition(const struct catalog_partition *p, struct buf *out);
bool catalog_get_partition(struct reader *r, struct catalog_partition *p);
void catalog_put_setting(const struct catalog_setting *s, struct buf *out);
bool catalog_get_setting(struct reader *r, struct catalog_setting *s);

/* Adds or replaces, by id. */
void catalog_set_node(struct catalog *c, const struct catalog_node *n);
void catalog_set_table(struct catalog *c, const struct catalog_table *t);     /* the retention stays */
bool catalog_set_retention(struct catalog *c, const struct catalog_table *t); /* false: there is no such table */
void catalog_set_partition(struct catalog *c, const struct catalog_partition *p);
void catalog_set_setting(struct catalog *c, const struct catalog_setting *s);

void catalog_row(struct buf *out, enum catalog_kind kind, struct bytes id);

#endif

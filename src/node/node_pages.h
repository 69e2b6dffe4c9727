/* node_pages.h - what the HTTP door shows of a node.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Threading: the shard that asked, with its gate open. */
#ifndef CAIRN_NODE_NODE_PAGES_H
#define CAIRN_NODE_NODE_PAGES_H

#include "node/node_report.h"

void page_status(struct shard *s, const struct node_report *r, struct buf *out);  /* node_status.c */
void page_metrics(struct shard *s, const struct node_report *r, struct buf *out); /* node_metrics.c */

#endif

/* raft_trace.h - writes what the rafts of one partition do as JSON lines, in the form that etcd's TLA+ specification of raft reads.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   a second judge, written by others, for the same runs (docs/raft-trace.md says how transitions are mapped).
 * The end:   the trace ends before the first transition that the specification has no word for; that is no failure.
 * Ownership: the harness's memory; the file is open until sim_raft_trace_free. */
#ifndef CAIRN_SIM_RAFT_TRACE_H
#define CAIRN_SIM_RAFT_TRACE_H

#include <stdio.h>

#include "consensus/raft.h"
#include "sim/cluster.h"

struct sim_raft_trace;
/* NULL: the file can't be opened. */
struct sim_raft_trace *sim_raft_trace_new(const char *path, uint64_t partition_id);
void sim_raft_trace_free(struct sim_raft_trace *t);
/* The hook: raft_options.trace with the trace as its ctx. */
void sim_raft_trace_event(void *trace, const struct raft *r, enum raft_trace_kind kind, const struct raft_message *m);
/* Begins, if the partition is at rest on `voters` equal replicas; else false: try again later. */
bool sim_raft_trace_begin(struct sim_raft_trace *t, struct sim_cluster *c, unsigned voters);
uint64_t sim_raft_trace_lines(const struct sim_raft_trace *t);
const char *sim_raft_trace_ended(const struct sim_raft_trace *t); /* why; NULL: it goes on */

#endif

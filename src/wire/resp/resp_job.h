/* resp_job.h - commands that take several requests: over slots, over partitions, over keys.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    a job issues the parts of one command, a bounded number at a time, gathers their results and writes one
 * reply. It is the barrier of its connection; when that is gone it issues no more parts and ends with the last one.
 * Outcomes:   if a part fails no more are issued. The reply says "not executed" only if no part was executed; a write
 * of which some parts were is reported as unknown, with the numbers. Consistency: parts are separate ops: a command
 * over several slots or partitions is not atomic. Threading:  the door's shard. */
#ifndef CAIRN_WIRE_RESP_RESP_JOB_H
#define CAIRN_WIRE_RESP_RESP_JOB_H

#include "wire/resp/resp_internal.h"

struct resp_job {
    struct resp_cmd *cmd;
    struct resp_door *door;
    size_t next;    /* the next part's number */
    size_t running; /* parts with the gate */
    size_t width;   /* how many may be */
    bool no_more, stop, pumping;
    size_t executed, refused, unknown; /* parts, by their outcome */
    struct error first;                /* of the first part that failed */
    struct buf error;                  /* an error result or message that is the reply; empty: none */
    /* Fills kind, slot, opcode, op_flags, body of the next part. false: there is none (now, if others are running). */
    bool (*part)(struct resp_job *j, struct request *r);
    /* A part was executed; its result is not an error. */
    void (*result)(struct resp_job *j, size_t number, struct bytes encoded);
    /* All has ended well: writes the reply. */
    void (*reply)(struct resp_job *j, struct buf *out, int proto);
    void (*free)(struct resp_job *j); /* releases what is the job's own, and the job */
};

/* Runs a job whose cmd is a barrier. The functions have been set; the rest is zero. May end it at once. */
void resp_job_start(struct resp_job *j, struct resp_cmd *cmd, size_t width);

/* The commands of SCOPE_FANOUT whose keys are in several slots; those of SCOPE_ALL. */
void resp_job_fanout(struct resp_conn *c, const struct command *command, const struct bytes *argv, size_t argc);
void resp_job_all(struct resp_conn *c, const struct command *command, const struct bytes *argv, size_t argc);
/* WAIT: the least number of replicas over the partitions this connection wrote to. */
void resp_job_wait(struct resp_conn *c, const struct command *command, uint64_t replicas, uint64_t timeout_ms);

#endif

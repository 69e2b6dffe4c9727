/* resp_internal.h - what the door's files share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A command's life:  FREE -take-> (built) -> WAITING (an earlier command of its slot is unfinished)
 *                                         -> RUNNING (with the gate) -> DONE (its reply waits for earlier ones) -> FREE
 * resp_conn.c makes all these moves. A command that is answered at once while nothing is pending never becomes one. */
#ifndef CAIRN_WIRE_RESP_RESP_INTERNAL_H
#define CAIRN_WIRE_RESP_RESP_INTERNAL_H

#include "base/list.h"
#include "session/gate.h"
#include "wire/resp/command.h"
#include "wire/resp/resp_door.h"
#include "wire/resp/resp_parse.h"
#include "wire/resp/resp_reply.h"

#define RESP_VERSION        "7.0.15" /* of Redis: whose behaviour this is */
#define SLOT_BUCKETS        256u     /* slots of one connection that are told apart */
#define CMD_KEEP            4096u    /* free commands kept */
#define BUF_KEEP            4096u    /* bytes a pooled buffer may keep */
#define SPARES_MAX          64u      /* output buffers kept */
#define SPARE_KEEP          (256u * 1024u)
#define INPUT_AHEAD         (64u * 1024u) /* bytes read while a connection can't go on */
#define GROUP_MAX           128u          /* waiting writes of one slot that are sent as one op */
#define GROUP_BYTES_MAX     (256u * 1024u)
#define CLIENT_NAME_MAX     1024u
#define JOB_PARTS_UNDER_WAY 64u

enum cmd_state { CMD_FREE, CMD_WAITING, CMD_RUNNING, CMD_DONE };

struct resp_cmd {
    struct link link;       /* conn->pending, in order of arrival */
    struct resp_cmd *group; /* RUNNING: the next of those that its request carries, in order */
    struct resp_cmd *next;  /* door's free list; the waiting queue of its bucket */
    struct resp_conn *conn; /* NULL: the connection is gone */
    struct resp_door *door;
    const struct command *command;
    struct buf reply; /* RESP, when DONE */
    size_t bytes;     /* counted in conn->pending_bytes */
    uint8_t state;    /* enum cmd_state */
    uint8_t proto;
    uint8_t bucket;
    bool write, silent, in_slot;
    struct request request;
};

/* The commands of one connection that touch the slots of one bucket. */
struct slot_bucket {
    uint16_t reads, writes;       /* RUNNING */
    struct resp_cmd *head, *tail; /* WAITING, oldest first */
};
struct slot_table {
    struct slot_bucket buckets[SLOT_BUCKETS];
    struct slot_table *next;
};

struct resp_door {
    struct resp_door_config config;
    struct gate *gate;
    struct env_loop *loop;
    struct env *env;
    struct list conns;
    size_t conn_count;
    uint64_t next_client_id;
    struct resp_cmd *cmds; /* free */
    size_t cmds_free, cmds_out, parts_out;
    struct slot_table *slot_tables; /* free, all zero */
    struct buf spares[SPARES_MAX];  /* empty output buffers */
    size_t spare_count;
    struct buf scratch; /* a result, while it is translated */
    struct buf nowhere; /* replies nobody wants (CLIENT REPLY OFF) */
    struct resp_door_stats stats;
    uint64_t started_ns;
    bool stopping;
};

struct resp_txn;
struct resp_watch {
    uint64_t version;
    size_t key_at, key_n; /* in watch_keys */
};

struct resp_conn {
    struct link link; /* door->conns */
    struct resp_door *door;
    struct env_stream *stream;
    uint64_t id, since_ns, active_ns;
    uint8_t proto;
    bool paused;  /* the stream is */
    bool stalled; /* the command at the front of the input waits until nothing is pending */
    bool stuffed; /* too much output is unsent to execute more */
    bool barrier; /* one command is under way, and nothing may pass it */
    bool starved; /* the input holds no complete command */
    bool hang_up; /* nothing more is executed; close when all replies have left */
    bool eof;     /* the client sends no more */
    bool kill;    /* close at once */
    bool dead;    /* closed; its last turn frees it */
    bool turn_queued;
    bool reply_off, reply_skip, reply_skip_next;
    bool readonly, capa_redirect;
    struct resp_parser parser;
    struct buf in; /* bytes not yet executed, from in_at */
    size_t in_at;
    struct buf out;
    struct buf *out_elsewhere; /* where the replies of commands inside EXEC go */
    struct env_task turn;
    struct list pending;
    size_t pending_count, pending_bytes;
    struct slot_table *slots; /* NULL while nothing is pending */
    const struct command *last_command;
    char *name, *lib_name, *lib_ver; /* NULL: none */

    struct resp_txn *txn; /* NULL: no MULTI */
    struct resp_watch *watches;
    size_t watch_count, watch_cap;
    struct buf watch_keys;
    uint16_t watch_slot;
    bool watch_failed; /* a WATCH could not read its versions: EXEC must not run */

    uint64_t *written; /* SLOTS bits: written since the last WAIT that was satisfied; NULL: none */
    bool wait_satisfied;
};

/* ---- resp_conn.c ---- */

/* Where the reply to the command that is being executed goes. Valid until the next reply begins. */
struct buf *resp_conn_out(struct resp_conn *c);
/* Begins a command that nothing of its connection passes; call only when nothing is pending. NULL: no room, the error
 * reply has been written. Its reply goes to cmd->reply; then resp_cmd_done. */
struct resp_cmd *resp_conn_barrier(struct resp_conn *c, const struct command *command, bool write);
void resp_cmd_done(struct resp_cmd *cmd);
/* Runs the connection at the end of the loop's turn. */
void resp_conn_wake(struct resp_conn *c);
/* true: execution may begin. false: it must wait until nothing is pending; the command comes again. */
bool resp_conn_quiet(const struct resp_conn *c);
void resp_conn_close(struct resp_conn *c); /* frees it; not from inside its own execution */
void resp_conn_set_text(char **field, struct bytes text);
void resp_conn_wrote(struct resp_conn *c, uint16_t slot); /* for WAIT */
/* Executes a door command's handler outside of the pipeline's order: inside EXEC. */
void resp_conn_run_door(struct resp_conn *c, const struct command *command, const struct bytes *argv, size_t argc);
/* true, and the reply is written: this slot is served elsewhere and the client wants to be told. */
bool resp_conn_moved(struct resp_conn *c, uint16_t slot, bool read, struct buf *out);

/* Redis's key specification applied; false: none, or argc does not fit. */
bool resp_command_keys(const struct command *command, size_t argc, size_t *out_first, size_t *out_last,
                       size_t *out_step);
/* Finds a command with its sub-command. NULL: the error is in out. */
const struct command *resp_command_lookup(const struct bytes *argv, size_t argc, struct buf *out);

/* ---- resp_door.c ---- */

void resp_door_clear_scratch(struct resp_door *d); /* and gives a large one back */
void resp_door_go_round(struct resp_door *d, struct resp_round *r);

/* ---- cmd_door.c: the commands that have no op ---- */

struct door_handler {
    void (*run)(struct resp_conn *c, const struct bytes *argv, size_t argc);
    bool barrier;
};
const struct door_handler *resp_door_handler(const struct command *command); /* command->scope is SCOPE_DOOR */

#endif

/* resp_door.c - the Redis door of one shard: its connections and pools.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp/resp_door.h"

#include "base/mem.h"
#include "table/place.h"
#include "wire/resp/resp_internal.h"

void resp_door_config_init(struct resp_door_config *c)
{
    *c = (struct resp_door_config){
        .table = TABLE_DEFAULT,
        .limits = {.args_max = RESP_ARGS_MAX, .bulk_max = 16u << 20, .command_max = 64u << 20},
        .clients_max = 10000,
        .commands_max = 65536,
        .pending_max = 1024,
        .pending_bytes_max = 32u << 20,
        .output_pause = 1u << 20,
        .output_max = 64u << 20,
        .keys_reply_max = 16u << 20,
        .txn_commands_max = 16384,
        .wait_max_ms = 24ull * 3600 * 1000,
        .client_id_first = 1,
        .client_id_step = 1,
    };
}

void resp_door_config_value_max(struct resp_door_config *c, size_t value_max)
{
    c->limits.bulk_max = value_max;
    c->limits.command_max = MAX(64u << 20, value_max + (1u << 20));
    c->output_max = MAX(64u << 20, 2 * value_max);
}

void resp_door_configure(struct resp_door *d, size_t clients_max, size_t value_max, bool redirects)
{
    size_t command_max = d->config.limits.command_max, output_max = d->config.output_max;
    d->config.clients_max = clients_max;
    d->config.redirects = redirects;
    resp_door_config_value_max(&d->config, value_max);
    /* A command that is half read, and a value stored under the larger limit, must still pass. */
    d->config.limits.command_max = MAX(d->config.limits.command_max, command_max);
    d->config.output_max = MAX(d->config.output_max, output_max);
}

struct resp_door *resp_door_new(const struct resp_door_config *config)
{
    ASSERT(config->gate != NULL && config->client_id_step > 0 && config->limits.command_max >= config->limits.bulk_max);
    ASSERT(config->output_max > config->output_pause && config->pending_max > 0 && config->pending_max <= UINT16_MAX);
    struct resp_door *d = mem_zalloc(sizeof *d);
    d->config = *config;
    d->gate = config->gate;
    d->loop = gate_loop(config->gate);
    d->env = env_loop_env(d->loop);
    d->next_client_id = config->client_id_first;
    d->started_ns = env_now_ns(d->env);
    list_init(&d->conns);
    return d;
}

void resp_door_close_all(struct resp_door *d)
{
    for (struct link *k; (k = list_first(&d->conns)) != NULL;) resp_conn_close(CONTAINER_OF(k, struct resp_conn, link));
    ASSERT(d->conn_count == 0);
}

void resp_door_stop(struct resp_door *d)
{
    d->stopping = true;
    for (struct link *k = list_first(&d->conns); k != NULL; k = list_next(&d->conns, k)) {
        struct resp_conn *c = CONTAINER_OF(k, struct resp_conn, link);
        c->hang_up = true;
        resp_conn_wake(c);
    }
}

void resp_door_free(struct resp_door *d)
{
    if (d == NULL) return;
    resp_door_close_all(d);
    ASSERT(resp_door_busy(d) == 0); /* the gate has no requests of this door any more */
    while (d->cmds != NULL) {
        struct resp_cmd *cmd = d->cmds;
        d->cmds = cmd->next;
        buf_deinit(&cmd->request.body);
        buf_deinit(&cmd->reply);
        mem_free(cmd);
    }
    while (d->slot_tables != NULL) {
        struct slot_table *t = d->slot_tables;
        d->slot_tables = t->next;
        mem_free(t);
    }
    while (d->spare_count != 0) buf_deinit(&d->spares[--d->spare_count]);
    buf_deinit(&d->scratch);
    buf_deinit(&d->nowhere);
    mem_free(d);
}

void resp_door_go_round(struct resp_door *d, struct resp_round *r)
{
    if (d->config.go_round != NULL) {
        d->config.go_round(d->config.ctx, r);
        return;
    }
    r->visit(r, d);
    r->done(r);
}

void resp_door_clear_scratch(struct resp_door *d)
{
    if (d->scratch.cap > SPARE_KEEP) buf_deinit(&d->scratch);
    buf_clear(&d->scratch);
}

size_t resp_door_clients(const struct resp_door *d) { return d->conn_count; }
size_t resp_door_busy(const struct resp_door *d) { return d->cmds_out + d->parts_out; }
void resp_door_stats(const struct resp_door *d, struct resp_door_stats *out) { *out = d->stats; }

/* resp_client.c - a connection to a Redis door.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/resp_client.h"

#include "cli/reply.h"

void command_begin(struct buf *out, size_t words) { buf_printf(out, "*%zu\r\n", words); }

void command_word(struct buf *out, struct bytes word)
{
    char head[32];
    head[0] = '$';
    size_t n = 1 + u64_to_text(word.n, head + 1);
    head[n++] = '\r';
    head[n++] = '\n';
    buf_put(out, head, n);
    buf_put_bytes(out, word);
    buf_put(out, "\r\n", 2);
}

static void fail(struct resp_client *c, const char *why)
{
    if (c->broken) return;
    c->broken = true;
    c->failed(c, why);
}

/* Hands whole replies on, returns how many bytes they had. */
static size_t take_replies(struct resp_client *c, struct bytes data)
{
    size_t at = 0, size;
    while (at < data.n && !c->broken) {
        struct bytes rest = bytes_of(data.p + at, data.n - at);
        enum reply_state state = reply_scan(rest, &size);
        if (state == REPLY_PARTIAL) break;
        if (state == REPLY_BROKEN) {
            fail(c, "what came back is not of the Redis protocol: does something else listen there?");
            break;
        }
        c->reply(c, bytes_of(rest.p, size));
        at += size;
    }
    return at;
}

static void on_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct resp_client *c = ctx;
    bool buffered = c->in.n != 0;
    if (c->broken) return;
    if (buffered) buf_put_bytes(&c->in, data);
    size_t taken = take_replies(c, buffered ? buf_view(&c->in) : data);
    if (c->broken) return;
    if (buffered) buf_consume(&c->in, taken);
    else if (taken < data.n) buf_put(&c->in, data.p + taken, data.n - taken);
    if (c->turn != NULL) c->turn(c);
}

static void on_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    struct resp_client *c = ctx;
    fail(c, st == ST_OK ? "the node closed the connection" : text);
}

static const struct env_stream_events events = {.data = on_data, .closed = on_closed};

static void on_connected(struct env_stream *s, void *ctx, enum status st)
{
    struct resp_client *c = ctx;
    if (st == ST_OK) c->connected = true;
    else fail(c, st == ST_UNAVAILABLE ? "nothing listens there, or there is no such name" : status_name(st));
}

void resp_client_open(struct resp_client *c, struct env_loop *loop, const char *address)
{
    c->stream = env_connect(loop, address, &events, c, on_connected);
}

void resp_client_flush(struct resp_client *c)
{
    if (c->out.n == 0) return;
    env_stream_write(c->stream, buf_view(&c->out));
    buf_clear(&c->out);
}

void resp_client_close(struct resp_client *c)
{
    if (c->stream != NULL) env_stream_close(c->stream);
    c->stream = NULL;
    buf_deinit(&c->in);
    buf_deinit(&c->out);
}

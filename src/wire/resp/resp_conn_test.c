/* resp_conn_test.c - connections on a fake gate and fake streams: replies, their order, barriers, limits, transactions.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "env/fake_env_test_util.h"
#include "session/fake_gate_test_util.h"
#include "wire/resp/resp_conn.h"
#include "wire/resp/resp_internal.h"

/* ---- a bed: env, gate, door ---- */

struct bed {
    struct fake_env env;
    struct gate gate;
    struct resp_door *door;
    struct resp_door_config config;
};

static void bed_init(struct bed *b, unsigned partitions)
{
    fake_env_init(&b->env);
    fake_gate_init(&b->gate, &b->env.loop, partitions);
    resp_door_config_init(&b->config);
    b->config.gate = &b->gate;
    strcpy(b->config.laddr, "127.0.0.1:7001");
    b->door = NULL;
}

static void bed_open(struct bed *b) { b->door = resp_door_new(&b->config); }

static void bed_close(struct bed *b)
{
    resp_door_close_all(b->door);
    fake_gate_answer_all(&b->gate);
    fake_settle(&b->env);
    assert_int_equal(resp_door_busy(b->door), 0);
    assert_int_equal(b->env.streams, 0);
    resp_door_free(b->door);
    fake_gate_deinit(&b->gate);
}

static struct fake_stream *client_new(struct bed *b)
{
    struct fake_stream *s = fake_stream_new(&b->env);
    resp_conn_new(b->door, &s->stream, bytes_of(NULL, 0));
    return s;
}

static struct resp_conn *conn_of(struct fake_stream *s) { return s->ctx; }
static void say(struct fake_stream *s, const char *text) { fake_receive(s, bytes_str(text)); }

/* What came back since the last look. */
static void assert_said(struct fake_stream *s, const char *expected)
{
    fake_settle(s->fake);
    buf_put_u8(&s->sent, 0);
    assert_string_equal((char *)s->sent.p, expected);
    buf_clear(&s->sent);
}

static void ask(struct fake_stream *s, const char *text, const char *expected)
{
    say(s, text);
    assert_said(s, expected);
}

/* ---- replies of the connection and server commands: as redis-server 7.0.15 sends them ---- */

static void test_replies(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"ping\r\n", "+PONG\r\n"},
        {"PING hello\r\n", "$5\r\nhello\r\n"},
        {"ping a b\r\n", "-ERR wrong number of arguments for 'ping' command\r\n"},
        {"echo hi\r\n", "$2\r\nhi\r\n"},
        {"echo\r\n", "-ERR wrong number of arguments for 'echo' command\r\n"},
        {"foo\r\n", "-ERR unknown command 'foo', with args beginning with: \r\n"},
        {"foo a b c\r\n", "-ERR unknown command 'foo', with args beginning with: 'a' 'b' 'c' \r\n"},
        {"foo \"\\r\\nx\"\r\n", "-ERR unknown command 'foo', with args beginning with: '  x' \r\n"},
        {"*1\r\n$0\r\n\r\n", "-ERR unknown command '', with args beginning with: \r\n"},
        {"subscribe x\r\n", "-ERR unknown command 'subscribe', with args beginning with: 'x' \r\n"},
        {"client|id\r\n", "-ERR unknown command 'client|id', with args beginning with: \r\n"},
        {"client\r\n", "-ERR wrong number of arguments for 'client' command\r\n"},
        {"client foo bar\r\n", "-ERR unknown subcommand 'foo'. Try CLIENT HELP.\r\n"},
        {"select 0\r\n", "+OK\r\n"},
        {"select a\r\n", "-ERR value is not an integer or out of range\r\n"},
        {"select 1\r\n", "-ERR DB index is out of range\r\n"},
        {"select 99999999999999\r\n", "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n"},
        {"auth x\r\n",
         "-ERR AUTH <password> called without any password configured for the default user. Are you sure your "
         "configuration is correct?\r\n"},
        {"auth default y\r\n", "+OK\r\n"},
        {"auth other y\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"},
        {"auth a b c\r\n", "-ERR syntax error\r\n"},
        {"hello 4\r\n", "-NOPROTO unsupported protocol version\r\n"},
        {"hello x\r\n", "-ERR Protocol version is not an integer or out of range\r\n"},
        {"hello 3 foo\r\n", "-ERR Syntax error in HELLO option 'foo'\r\n"},
        {"hello 3 auth\r\n", "-ERR Syntax error in HELLO option 'auth'\r\n"},
        {"hello 3 auth a b\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"},
        {"hello 3 setname 'a b'\r\n", "-ERR Client names cannot contain spaces, newlines or special characters.\r\n"},
        {"hello\r\n",
         "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n"
         ":1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"},
        {"client id\r\n", ":1\r\n"},
        {"client getname\r\n", "$-1\r\n"},
        {"client setname ab\r\n", "+OK\r\n"},
        {"client getname\r\n", "$2\r\nab\r\n"},
        {"client setname 'a b'\r\n", "-ERR Client names cannot contain spaces, newlines or special characters.\r\n"},
        {"client setname ''\r\n", "+OK\r\n"},
        {"client getname\r\n", "$-1\r\n"},
        {"client setinfo lib-name x\r\n", "+OK\r\n"},
        {"client setinfo lib-foo x\r\n", "-ERR Unrecognized option 'lib-foo'\r\n"},
        {"client kill 1.2.3.4:5\r\n", "-ERR No such client\r\n"},
        {"client kill id 0\r\n", "-ERR client-id should be greater than 0\r\n"},
        {"client kill id abc\r\n", "-ERR client-id should be greater than 0\r\n"},
        {"client kill type foo\r\n", "-ERR Unknown client type 'foo'\r\n"},
        {"client kill skipme maybe\r\n", "-ERR syntax error\r\n"},
        {"client kill id 999\r\n", ":0\r\n"},
        {"client kill user bob\r\n", "-ERR No such user 'bob'\r\n"},
        {"client kill foo bar\r\n", "-ERR syntax error\r\n"},
        {"client kill id\r\n", "-ERR No such client\r\n"},
        {"client list type foo\r\n", "-ERR Unknown client type 'foo'\r\n"},
        {"client list id 7 8\r\n", "$0\r\n\r\n"},
        {"client list id x\r\n", "-ERR Invalid client ID\r\n"},
        {"client list foo\r\n", "-ERR syntax error\r\n"},
        {"client list id\r\n", "-ERR syntax error\r\n"},
        {"client kill id -5\r\n", "-ERR client-id should be greater than 0\r\n"},
        {"client kill id 99 addr\r\n", "-ERR syntax error\r\n"},
        {"client kill id 99 user default addr 1.2.3.4:5 laddr 127.0.0.1:7001 type normal skipme no\r\n", ":0\r\n"},
        {"client unblock 1\r\n", "-ERR CLIENT UNBLOCK is not supported\r\n"},
        {"client pause 10\r\n", "-ERR CLIENT PAUSE is not supported\r\n"},
        {"client no-evict foo\r\n", "-ERR syntax error\r\n"},
        {"client no-evict on\r\n", "+OK\r\n"},
        {"client no-touch on\r\n", "+OK\r\n"},
        {"client tracking foo\r\n", "-ERR syntax error\r\n"},
        {"client tracking on\r\n", "-ERR CLIENT TRACKING is not supported\r\n"},
        {"client tracking off\r\n", "+OK\r\n"},
        {"client trackinginfo\r\n",
         "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n"},
        {"client getredir\r\n", ":-1\r\n"},
        {"client caching yes\r\n",
         "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or "
         "OPTOUT mode enabled\r\n"},
        {"client pause 10\r\n", "-ERR CLIENT PAUSE is not supported\r\n"},
        {"client unpause\r\n", "+OK\r\n"},
        {"client reply foo\r\n", "-ERR syntax error\r\n"},
        {"client reply on\r\n", "+OK\r\n"},
        {"command foo\r\n", "-ERR unknown subcommand 'foo'. Try COMMAND HELP.\r\n"},
        {"command info foo\r\n", "*1\r\n$-1\r\n"},
        {"command docs foo\r\n", "*0\r\n"},
        {"command getkeys get a\r\n", "*1\r\n$1\r\na\r\n"},
        {"command getkeys mset a b c d\r\n", "*2\r\n$1\r\na\r\n$1\r\nc\r\n"},
        {"command getkeys foo a b\r\n", "-ERR Invalid command specified\r\n"},
        {"command getkeys get a b\r\n", "-ERR Invalid number of arguments specified for command\r\n"},
        {"command getkeys ping a\r\n", "-ERR The command has no key arguments\r\n"},
        {"command getkeys get\r\n", "-ERR wrong number of arguments for 'command|getkeys' command\r\n"},
        {"command list foo\r\n", "-ERR syntax error\r\n"},
        {"command list filterby module x\r\n", "*0\r\n"},
        {"command list filterby pattern echo\r\n", "*1\r\n$4\r\necho\r\n"},
        {"config get save\r\n", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"},
        {"config get REQUEST-*\r\n", "*2\r\n$18\r\nrequest-timeout-ms\r\n$2\r\n42\r\n"},
        {"config get foo\r\n", "*0\r\n"},
        {"config get\r\n", "-ERR wrong number of arguments for 'config|get' command\r\n"},
        {"config set foo bar\r\n", "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'\r\n"},
        {"config set foo\r\n", "-ERR wrong number of arguments for 'config|set' command\r\n"},
        {"config set request-timeout-ms abc\r\n",
         "-ERR CONFIG SET failed (possibly related to argument 'request-timeout-ms') - "
         "argument couldn't be parsed into an integer\r\n"},
        {"config set request-timeout-ms 1 request-timeout-ms 2\r\n",
         "-ERR CONFIG SET failed (possibly related to argument 'request-timeout-ms') - duplicate parameter\r\n"},
        {"config set request-timeout-ms 9\r\n", "+OK\r\n"},
        {"config get request-timeout-ms\r\n", "*2\r\n$18\r\nrequest-timeout-ms\r\n$1\r\n9\r\n"},
        {"config rewrite\r\n", "-ERR The server is running without a config file\r\n"},
        {"config resetstat\r\n", "+OK\r\n"},
        {"config foo\r\n", "-ERR unknown subcommand 'foo'. Try CONFIG HELP.\r\n"},
        {"time\r\n", "*2\r\n$10\r\n1700000000\r\n$6\r\n123000\r\n"},
        {"info foo\r\n", "$0\r\n\r\n"},
        {"info cluster\r\n", "$30\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n"},
        {"info keyspace\r\n", "$24\r\n# Keyspace\r\ndb0:keys=1\r\n\r\n"},
        {"cluster\r\n", "-ERR wrong number of arguments for 'cluster' command\r\n"},
        {"cluster foo\r\n", "-ERR unknown subcommand 'foo'. Try CLUSTER HELP.\r\n"},
        {"cluster keyslot 123456789\r\n", ":12739\r\n"},
        {"cluster myid\r\n", "$40\r\n0000000000000000000000000000000000000001\r\n"},
        {"cluster slots\r\n",
         "*1\r\n*4\r\n:0\r\n:16383\r\n*4\r\n$8\r\n10.0.0.1\r\n:7001\r\n$"
         "40\r\n0000000000000000000000000000000000000001\r\n*0\r\n"
         "*4\r\n$8\r\n10.0.0.2\r\n:7002\r\n$40\r\n0000000000000000000000000000000000000002\r\n*0\r\n"},
        {"cluster nodes\r\n",
         "$185\r\n0000000000000000000000000000000000000001 10.0.0.1:7001@7001 myself,master - 0 0 7 connected 0-16383\n"
         "0000000000000000000000000000000000000002 10.0.0.2:7002@7002 master - 0 0 7 connected\n\r\n"},
        {"cluster replicas 0000000000000000000000000000000000000001\r\n",
         "*1\r\n$122\r\n0000000000000000000000000000000000000002 10.0.0.2:7002@7002 slave "
         "0000000000000000000000000000000000000001 0 0 7 connected\r\n"},
        {"cluster replicas xyz\r\n", "-ERR Unknown node xyz\r\n"},
        {"cluster countkeysinslot 99999\r\n", "-ERR Invalid slot\r\n"},
        {"cluster countkeysinslot 12182\r\n", ":0\r\n"},
        {"readonly\r\n", "+OK\r\n"},
        {"readwrite\r\n", "+OK\r\n"},
        {"asking\r\n", "+OK\r\n"},
        {"wait x 0\r\n", "-ERR value is not an integer or out of range\r\n"},
        {"wait 0 -1\r\n", "-ERR timeout is negative\r\n"},
        {"wait 0 x\r\n", "-ERR timeout is not an integer or out of range\r\n"},
        {"wait 0 0\r\n", ":1\r\n"},
        {"reset\r\n", "+RESET\r\n"},
        {"*0\r\n*-1\r\n\r\nping\r\n", "+PONG\r\n"},
    };
    struct bed b;
    bed_init(&b, 1);
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) ask(s, rows[i].in, rows[i].out);
    ask(s, "quit\r\n", "+OK\r\n");
    assert_true(s->closed);
    fake_stream_free(s);
    bed_close(&b);
}

static void test_protocol_error_closes(void **state)
{
    struct bed b;
    bed_init(&b, 1);
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    ask(s, "ping\r\n*1\r\n+4\r\nping\r\n", "+PONG\r\n-ERR Protocol error: expected '$', got '+'\r\n");
    assert_true(s->closed);
    fake_stream_free(s);
    s = client_new(&b);
    ask(s, "POST / HTTP/1.1\r\nping\r\n", ""); /* a browser made to talk to us */
    assert_true(s->closed);
    fake_stream_free(s);
    bed_close(&b);
}

static void test_resp3(void **state)
{
    struct bed b;
    bed_init(&b, 1);
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    ask(s, "hello 3 auth default x setname me\r\n",
        "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n$"
        "4\r\nmode\r\n"
        "$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n");
    ask(s, "get nokey\r\n", "_\r\n");
    ask(s, "client getname\r\n", "$2\r\nme\r\n");
    say(s, "hset h f v\r\nhgetall h\r\n");
    fake_gate_answer_all(&b.gate);
    assert_said(s, ":1\r\n%1\r\n$1\r\nf\r\n$1\r\nv\r\n");
    ask(s, "config get save\r\n", "%1\r\n$4\r\nsave\r\n$0\r\n\r\n");
    ask(s, "info foo\r\n", "=4\r\ntxt:\r\n");
    ask(s, "client trackinginfo\r\n",
        "%3\r\n$5\r\nflags\r\n~1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n");
    ask(s, "command info get\r\n",
        "*1\r\n*10\r\n$3\r\nget\r\n:2\r\n~2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n~3\r\n+@read\r\n+@fast\r\n+@"
        "string\r\n~0\r\n"
        "~1\r\n%3\r\n$5\r\nflags\r\n~2\r\n+RO\r\n+access\r\n$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$"
        "4\r\nspec\r\n"
        "%1\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n%3\r\n$"
        "7\r\nlastkey\r\n:0\r\n"
        "$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n~0\r\n");
    ask(s, "reset\r\nget nokey\r\n", "+RESET\r\n$-1\r\n");
    ask(s, "hello 2\r\nhello 3\r\n*1\r\n", /* a protocol change in a pipeline; an unfinished command */
        "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:"
        "1\r\n$4\r\nmode\r\n"
        "$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
        "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n$"
        "4\r\nmode\r\n"
        "$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n");
    bed_close(&b);
    fake_stream_free(s);
}

/* ---- pipelining ---- */

/* Replies leave in request order, in whatever order the gate answers. */
static void test_reply_order(void **state)
{
    struct bed b;
    bed_init(&b, 4);
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    say(s, "set a 1\r\nset b 2\r\nset c 3\r\nping\r\nset d 4\r\necho x\r\n");
    assert_said(s, "");
    assert_int_equal(b.gate.waiting_count, 4); /* different slots: all are under way */
    fake_gate_answer(&b.gate, 3, ST_OK, true);
    fake_gate_answer(&b.gate, 2, ST_OK, true);
    fake_gate_answer(&b.gate, 1, ST_OK, true);
    assert_said(s, "");
    fake_gate_answer(&b.gate, 0, ST_OK, true);
    assert_said(s, "+OK\r\n+OK\r\n+OK\r\n+PONG\r\n+OK\r\n$1\r\nx\r\n");
    bed_close(&b);
    fake_stream_free(s);
}

/* A command waits for an unfinished earlier one of its slot, unless both read. */
static void test_same_slot_waits(void **state)
{
    struct bed b;
    bed_init(&b, 1);
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    say(s, "incr {t}a\r\nget {t}b\r\nget {t}a\r\nincr {t}a\r\nget {t}a\r\nget other\r\n");
    assert_int_equal(b.gate.waiting_count, 1);
    assert_int_equal(b.gate.read_now_served, 1); /* of the other slot */
    fake_gate_answer(&b.gate, 0, ST_OK, true);
    assert_int_equal(b.gate.waiting_count, 2); /* both reads */
    fake_gate_answer(&b.gate, 1, ST_OK, true);
    assert_int_equal(b.gate.waiting_count, 1); /* the write waits for the other */
    fake_gate_answer(&b.gate, 0, ST_OK, true);
    assert_int_equal(b.gate.waiting_count, 1);
    fake_gate_answer_all(&b.gate);
    assert_said(s, ":1\r\n$-1\r\n$1\r\n1\r\n:2\r\n$1\r\n2\r\n$-1\r\n");
    bed_close(&b);
    fake_stream_free(s);
}

/* Reads are served at once when nothing of their slot is under way, else by the gate. */
static void test_read_now(void **state)
{
    struct bed b;
    bed_init(&b, 1);
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    say(s, "set k v\r\n");
    fake_gate_answer_all(&b.gate);
    assert_said(s, "+OK\r\n");
    ask(s, "get k\r\nget k\r\nmget k k\r\n", "$1\r\nv\r\n$1\r\nv\r\n*2\r\n$1\r\nv\r\n$1\r\nv\r\n");
    assert_int_equal(b.gate.submitted, 1);
    b.gate.read_now = false;
    say(s, "get k\r\n");
    assert_int_equal(b.gate.submitted, 2);
    fake_gate_answer_all(&b.gate);
    assert_said(s, "$1\r\nv\r\n");
    bed_close(&b);
    fake_stream_free(s);
}

/* Writes that wait behind one another in a slot go as one op; each gets its own reply, or all the one outcome. */
static void test_waiting_writes_are_grouped(void **state)
{
    struct bed b;
    bed_init(&b, 1);
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    say(s, "set k 1\r\nincr k\r\nset k x\r\nincr k\r\nping\r\nset k 7\r\nget k\r\nincr k\r\nincrbyfloat k 1\r\nincr "
           "k\r\n");
    assert_int_equal(b.gate.submitted, 1);
    fake_gate_answer(&b.gate, 0, ST_OK, true);
    assert_int_equal(b.gate.submitted, 2); /* incr, set, incr, set; GET ends the group */
    fake_gate_answer(&b.gate, 0, ST_OK, true);
    assert_int_equal(b.gate.submitted, 3); /* get */
    fake_gate_answer(&b.gate, 0, ST_OK, true);
    assert_int_equal(b.gate.submitted, 4); /* incr: what the leader evaluates goes alone */
    fake_gate_answer_all(&b.gate);
    assert_int_equal(b.gate.submitted, 6);
    assert_said(s,
                "+OK\r\n:2\r\n+OK\r\n-ERR value is not an integer or out of range\r\n+PONG\r\n+OK\r\n$1\r\n7\r\n:8\r\n"
                "$1\r\n9\r\n:10\r\n");
    say(s, "set k 1\r\nincr k\r\nincr k\r\n");
    fake_gate_answer(&b.gate, 0, ST_OK, true);
    fake_gate_answer(&b.gate, 0, ST_OUTCOME_UNKNOWN, true);
    assert_said(s, "+OK\r\n-UNKNOWN the outcome of this write is unknown: the test says so\r\n-UNKNOWN the outcome of "
                   "this write is "
                   "unknown: the test says so\r\n");
    say(s, "set k 1\r\nincr k\r\nincr k\r\n");
    fake_gate_answer(&b.gate, 0, ST_OK, true);
    fake_end(s, ST_IO); /* with a group under way */
    fake_settle(&b.env);
    fake_gate_answer(&b.gate, 0, ST_OK, true);
    assert_int_equal(resp_door_busy(b.door), 0);
    bed_close(&b);
    fake_stream_free(s);
}

static void random_command(struct rng *r, struct buf *out)
{
    static const char *const keys[] = {"a", "b", "{a}2", "{b}2", "c", "d"};
    const char *k = keys[rng_below(r, ARRAY_COUNT(keys))], *k2 = keys[rng_below(r, ARRAY_COUNT(keys))];
    unsigned v = (unsigned)rng_below(r, 100);
    switch (rng_below(r, 16)) {
    case 0: buf_printf(out, "set %s %u\r\n", k, v); break;
    case 1:
    case 2: buf_printf(out, "get %s\r\n", k); break;
    case 3:
    case 4: buf_printf(out, "incr %s\r\n", k); break;
    case 5: buf_printf(out, "append %s %u\r\n", k, v % 10); break;
    case 6: buf_printf(out, "mget %s %s a\r\n", k, k2); break;
    case 7: buf_printf(out, "mset %s %u %s %u\r\n", k, v, k2, v + 1); break;
    case 8: buf_printf(out, "del %s %s\r\n", k, k2); break;
    case 9: buf_printf(out, "exists %s %s %s\r\n", k, k, k2); break;
    case 10: buf_printf(out, "multi\r\nincr %s\r\nping\r\nget %s\r\nexec\r\n", k, k); break;
    case 11: buf_printf(out, "watch %s\r\nmulti\r\nset %s %u\r\nexec\r\n", k, k, v); break;
    case 12: buf_printf(out, "dbsize\r\n"); break;
    case 13: buf_printf(out, "foo\r\nping\r\n"); break;
    case 14: buf_printf(out, "multi\r\nget %s\r\nincr %s\r\nexec\r\n", k, k2); break;
    default: buf_printf(out, "incrbyfloat %s 0.5\r\n", k); break;
    }
}

static void run_session(struct bytes in, uint64_t seed, struct buf *out)
{
    struct bed b;
    struct rng r;
    bed_init(&b, seed == 0 ? 1 : 4);
    bed_open(&b);
    rng_init(&r, seed);
    struct fake_stream *s = client_new(&b);
    while (in.n != 0) {
        /* Seed 0: a command at a time, answered at once. */
        size_t n = seed != 0 ? rng_between(&r, 1, 200) : (size_t)((const uint8_t *)memchr(in.p, '\n', in.n) - in.p) + 1;
        n = MIN(n, in.n);
        b.gate.read_now = seed == 0 || rng_chance(&r, 2);
        fake_receive(s, bytes_of(in.p, n));
        in = bytes_of(in.p + n, in.n - n);
        if (seed == 0) fake_settle(&b.env);
        for (uint64_t k = seed == 0 ? UINT64_MAX : rng_below(&r, 8); k > 0 && b.gate.waiting_count != 0; k--) {
            fake_gate_answer(&b.gate, seed == 0 ? 0 : rng_below(&r, b.gate.waiting_count), ST_OK, true);
            if (seed == 0 || rng_chance(&r, 3)) fake_turn(&b.env);
            if (seed == 0) fake_settle(&b.env);
        }
    }
    for (;;) {
        fake_settle(&b.env);
        if (b.gate.waiting_count == 0) break;
        fake_gate_answer(&b.gate, seed == 0 ? 0 : rng_below(&r, b.gate.waiting_count), ST_OK, true);
    }
    buf_put_bytes(out, buf_view(&s->sent));
    bed_close(&b);
    fake_stream_free(s);
}

/* However a pipeline is cut and the gate's answers are ordered, it reads as if executed one command after the other. */
static void test_any_order_reads_as_one(void **state)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct rng r;
        struct buf in = {0}, one = {0}, any = {0};
        rng_init(&r, seed);
        for (int i = 0; i < 60; i++) random_command(&r, &in);
        run_session(buf_view(&in), 0, &one);
        run_session(buf_view(&in), seed, &any);
        buf_put_u8(&one, 0);
        buf_put_u8(&any, 0);
        assert_string_equal((char *)any.p, (char *)one.p);
        buf_deinit(&in);
        buf_deinit(&one);
        buf_deinit(&any);
    }
}

/* The same bytes, cut at every place. */
static void test_cut_everywhere(void **state)
{
    struct bytes in = BYTES_LIT(
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\nx\ry\r\nget a\r\nmulti\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\nexec\r\n"
        "mget a n\r\nclient reply skip\r\nping\r\necho \"q\"\r\n");
    const char *out = "+OK\r\n$3\r\nx\ry\r\n+OK\r\n+QUEUED\r\n*1\r\n:1\r\n*2\r\n$3\r\nx\ry\r\n$1\r\n1\r\n$1\r\nq\r\n";
    for (size_t cut = 0; cut <= in.n; cut++) {
        struct bed b;
        bed_init(&b, 2);
        bed_open(&b);
        struct fake_stream *s = client_new(&b);
        fake_receive(s, bytes_of(in.p, cut));
        if (cut % 2) fake_settle(&b.env);
        fake_receive(s, bytes_of(in.p + cut, in.n - cut));
        for (fake_settle(&b.env); b.gate.waiting_count != 0; fake_settle(&b.env))
            fake_gate_answer(&b.gate, 0, ST_OK, true);
        assert_said(s, out);
        bed_close(&b);
        fake_stream_free(s);
    }
}

/* A command over several slots waits for all before it, and those after it wait for it. */
static void test_barrier(void **state)
{
    struct bed b;
    bed_init(&b, 4);
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    say(s, "set a 1\r\nmset b 2 c 3\r\nset d 4\r\nping\r\n");
    assert_int_equal(b.gate.waiting_count, 1);
    fake_gate_answer_all(&b.gate);
    fake_settle(&b.env);
    assert_int_equal(b.gate.waiting_count, 2); /* the parts of MSET */
    fake_gate_answer(&b.gate, 1, ST_OK, true);
    fake_settle(&b.env);
    assert_int_equal(b.gate.waiting_count, 1);
    fake_gate_answer(&b.gate, 0, ST_OK, true);
    fake_settle(&b.env);
    assert_int_equal(b.gate.waiting_count, 1);
    fake_gate_answer_all(&b.gate);
    assert_said(s, "+OK\r\n+OK\r\n+OK\r\n+PONG\r\n");
    bed_close(&b);
    fake_stream_free(s);
}

/* ---- several slots, every partition ---- */

static void settle_all(struct bed *b)
{
    for (fake_settle(&b->env); b->gate.waiting_count != 0; fake_settle(&b->env))
        fake_gate_answer(&b->gate, b->gate.waiting_count - 1, ST_OK, true);
}

static void ask_all(struct bed *b, struct fake_stream *s, const char *text, const char *expected)
{
    say(s, text);
    settle_all(b);
    assert_said(s, expected);
}

static void test_fanout_and_all(void **state)
{
    for (int read_now = 0; read_now < 2; read_now++) {
        struct bed b;
        bed_init(&b, 4);
        bed_open(&b);
        b.gate.read_now = read_now;
        struct fake_stream *s = client_new(&b);
        ask_all(&b, s, "mset a 1 b 2 c 3 a 4 {a}x 5\r\n", "+OK\r\n");
        ask_all(&b, s, "mget c a nokey b a\r\n", "*5\r\n$1\r\n3\r\n$1\r\n4\r\n$-1\r\n$1\r\n2\r\n$1\r\n4\r\n");
        ask_all(&b, s, "mset a 1 b\r\n", "-ERR wrong number of arguments for 'mset' command\r\n");
        ask_all(&b, s, "msetnx a 1 b 2\r\n", "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
        ask_all(&b, s, "exists a b c a nokey\r\n", ":4\r\n");
        ask_all(&b, s, "dbsize\r\n", ":4\r\n");
        ask_all(&b, s, "cluster countkeysinslot 15495\r\n", ":2\r\n"); /* a, {a}x */
        ask_all(&b, s, "cluster getkeysinslot 15495 1\r\n", "*1\r\n$1\r\na\r\n");
        say(s, "keys *\r\n");
        settle_all(&b);
        assert_memory_equal(s->sent.p, "*4\r\n", 4);
        buf_clear(&s->sent);
        say(s, "randomkey\r\n");
        settle_all(&b);
        assert_memory_equal(s->sent.p, "$", 1);
        assert_true(memcmp(s->sent.p, "$-1", 3) != 0);
        buf_clear(&s->sent);
        ask_all(&b, s, "del a b c c nokey\r\n", ":3\r\n");
        ask_all(&b, s, "dbsize\r\n", ":1\r\n");
        ask_all(&b, s, "flushall\r\n", "+OK\r\n");
        ask_all(&b, s, "dbsize\r\nkeys *\r\nrandomkey\r\n", ":0\r\n*0\r\n$-1\r\n");
        bed_close(&b);
        fake_stream_free(s);
    }
}

/* Following SCAN's cursor finds every key once. */
static void test_scan(void **state)
{
    struct bed b;
    bed_init(&b, 4);
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    for (int i = 0; i < 100; i++) {
        char text[64];
        snprintf(text, sizeof text, "set key:%d x\r\n", i);
        ask_all(&b, s, text, "+OK\r\n");
    }
    bool seen[100] = {0};
    uint64_t cursor = 0;
    int pages = 0, found = 0;
    do {
        char text[64];
        snprintf(text, sizeof text, "scan %llu\r\n", (unsigned long long)cursor);
        say(s, text);
        settle_all(&b);
        buf_put_u8(&s->sent, 0);
        char *at = strstr((char *)s->sent.p, "\r\n$") + 2;
        cursor = strtoull(strchr(at, '\n') + 1, NULL, 10);
        for (char *k = (char *)s->sent.p; (k = strstr(k, "key:")) != NULL; k++) {
            int i = atoi(k + 4);
            assert_false(seen[i]);
            seen[i] = true;
            found++;
        }
        buf_clear(&s->sent);
        assert_true(++pages < 1000);
    } while (cursor != 0);
    assert_int_equal(found, 100);
    assert_true(pages > 4);
    bed_close(&b);
    fake_stream_free(s);
}

static void test_keys_reply_is_bounded(void **state)
{
    struct bed b;
    bed_init(&b, 2);
    b.config.keys_reply_max = 20;
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    ask_all(&b, s, "mset aaaaaaaa 1 bbbbbbbb 2 cccccccc 3\r\n", "+OK\r\n");
    ask_all(&b, s, "keys *\r\n", "-ERR the reply of KEYS would be larger than 20 bytes; use SCAN\r\n");
    bed_close(&b);
    fake_stream_free(s);
}

/* ---- outcomes ---- */

static void test_outcomes(void **state)
{
    static const struct {
        const char *command;
        enum status st;
        const char *out;
    } rows[] = {
        {"set k v\r\n", ST_OUTCOME_UNKNOWN, "-UNKNOWN the outcome of this write is unknown: the test says so\r\n"},
        {"set k v\r\n", ST_UNAVAILABLE, "-UNAVAILABLE not executed: the test says so\r\n"},
        {"set k v\r\n", ST_OVERLOADED, "-OVERLOADED not executed: the test says so\r\n"},
        {"set k v\r\n", ST_TIMEOUT, "-TIMEOUT not executed: the test says so\r\n"},
        {"set k v\r\n", ST_CORRUPT, "-UNKNOWN the outcome of this write is unknown: corrupt: the test says so\r\n"},
        {"get k\r\n", ST_UNAVAILABLE, "-UNAVAILABLE not executed: the test says so\r\n"},
        {"get k\r\n", ST_CORRUPT, "-ERR corrupt: the test says so\r\n"},
        {"multi\r\nset k v\r\nexec\r\n", ST_OUTCOME_UNKNOWN,
         "+OK\r\n+QUEUED\r\n-UNKNOWN the outcome of this write is unknown: the test says so\r\n"},
        {"multi\r\nset k v\r\nexec\r\n", ST_UNAVAILABLE,
         "+OK\r\n+QUEUED\r\n-UNAVAILABLE not executed: the test says so\r\n"},
        {"watch k\r\n", ST_UNAVAILABLE, "-UNAVAILABLE not executed: the test says so\r\n"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct bed b;
        bed_init(&b, 1);
        bed_open(&b);
        b.gate.read_now = false;
        struct fake_stream *s = client_new(&b);
        say(s, rows[i].command);
        fake_settle(&b.env);
        assert_int_equal(b.gate.waiting_count, 1);
        fake_gate_answer(&b.gate, 0, rows[i].st, false);
        assert_said(s, rows[i].out);
        bed_close(&b);
        fake_stream_free(s);
    }
}

/* A write over several slots says "not executed" only if no part was. */
static void test_partial_outcomes(void **state)
{
    static const struct {
        enum status first, second;
        const char *out;
    } rows[] = {
        {ST_UNAVAILABLE, ST_UNAVAILABLE, "-UNAVAILABLE not executed: the test says so\r\n"},
        {ST_OK, ST_UNAVAILABLE,
         "-UNKNOWN the outcome of this write is unknown: of its parts 1 were executed, 1 were not, 0 are unknown, the "
         "others were "
         "not begun: the test says so\r\n"},
        {ST_UNAVAILABLE, ST_OUTCOME_UNKNOWN,
         "-UNKNOWN the outcome of this write is unknown: of its parts 0 were executed, 1 were not, 1 are unknown, the "
         "others were "
         "not begun: the test says so\r\n"},
        {ST_OK, ST_OK, "+OK\r\n"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct bed b;
        bed_init(&b, 1);
        bed_open(&b);
        struct fake_stream *s = client_new(&b);
        say(s, "mset a 1 b 2\r\n");
        assert_int_equal(b.gate.waiting_count, 2);
        fake_gate_answer(&b.gate, 0, rows[i].first, rows[i].first == ST_OK);
        fake_gate_answer(&b.gate, 0, rows[i].second, rows[i].second == ST_OK);
        assert_said(s, rows[i].out);
        bed_close(&b);
        fake_stream_free(s);
    }
}

/* ---- transactions ---- */

static void test_multi(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"multi\r\nmulti\r\nwatch a\r\nget\r\nexec\r\nexec\r\ndiscard\r\n",
         "+OK\r\n-ERR MULTI calls can not be nested\r\n-ERR WATCH inside MULTI is not allowed\r\n-ERR wrong number of "
         "arguments for "
         "'get' command\r\n-EXECABORT Transaction discarded because of previous errors.\r\n-ERR EXEC without "
         "MULTI\r\n-ERR DISCARD "
         "without MULTI\r\n"},
        {"multi\r\nfoo\r\nset a\r\ndiscard\r\n",
         "+OK\r\n-ERR unknown command 'foo', with args beginning with: \r\n-ERR wrong number of arguments for 'set' "
         "command\r\n+OK\r\n"},
        {"multi\r\nexec\r\n", "+OK\r\n*0\r\n"},
        {"multi\r\nping\r\ntime\r\nunwatch\r\nexec\r\n",
         "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+PONG\r\n*2\r\n$10\r\n1700000000\r\n$6\r\n123000\r\n+OK\r\n"},
        {"multi\r\nset a 1\r\necho x\r\nincr a\r\nget a\r\nexec\r\nget a\r\n",
         "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*4\r\n+OK\r\n$1\r\nx\r\n:2\r\n$1\r\n2\r\n$1\r\n2\r\n"},
        {"multi\r\nset a 1 2\r\nincr a\r\nexec\r\n", "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n-ERR syntax error\r\n:3\r\n"},
        {"multi\r\nset a x\r\nincr a\r\nset a 5\r\nexec\r\n", "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n-"
                                                              "ERR value is not an integer or out of range\r\n+OK\r\n"},
        {"multi\r\nset a 1\r\nset b 2\r\nexec\r\nget a\r\nexec\r\n",
         "+OK\r\n+QUEUED\r\n+QUEUED\r\n-CROSSSLOT Keys in request don't hash to the same slot\r\n$1\r\n5\r\n-ERR EXEC "
         "without "
         "MULTI\r\n"},
        {"multi\r\nmset a 1 b 2\r\nexec\r\n",
         "+OK\r\n-CROSSSLOT Keys in request don't hash to the same slot\r\n-EXECABORT Transaction "
         "discarded because of previous errors.\r\n"},
        {"multi\r\ndbsize\r\nexec\r\n",
         "+OK\r\n-ERR Command not allowed inside a transaction\r\n-EXECABORT Transaction discarded "
         "because of previous errors.\r\n"},
        {"multi\r\nmset a 1 {a}b 2\r\nincrbyfloat a 0.5\r\nmget a {a}b\r\nexec\r\n",
         "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n$3\r\n1.5\r\n*2\r\n$3\r\n1.5\r\n$1\r\n2\r\n"},
        {"watch a b\r\nwatch a\r\nwatch b\r\nunwatch\r\n",
         "-CROSSSLOT Keys in request don't hash to the same slot\r\n+OK\r\n-CROSSSLOT Keys in request don't hash to "
         "the same "
         "slot\r\n+OK\r\n"},
        {"watch a nokey\r\nmulti\r\nexec\r\n",
         "-CROSSSLOT Keys in request don't hash to the same slot\r\n+OK\r\n-EXECABORT Transaction "
         "discarded because of previous errors.\r\n"},
        {"watch a\r\nmulti\r\nset b 1\r\nexec\r\n",
         "+OK\r\n+OK\r\n+QUEUED\r\n-CROSSSLOT Keys in request don't hash to the same slot\r\n"},
        {"watch a\r\nset a 9\r\nmulti\r\nget a\r\nexec\r\nmulti\r\nget a\r\nexec\r\n",
         "+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*-1\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\n9\r\n"},
        {"watch a\r\nset a 8\r\nunwatch\r\nmulti\r\nget a\r\nexec\r\n",
         "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\n8\r\n"},
        {"watch a\r\nset a 7\r\nmulti\r\ndiscard\r\nmulti\r\nget a\r\nexec\r\n",
         "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\n7\r\n"},
        {"watch a {a}n\r\nmulti\r\nping\r\nexec\r\n", "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n"},
        {"watch {a}n\r\nset {a}n 1\r\nmulti\r\nping\r\nexec\r\n", "+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*-1\r\n"},
        {"multi\r\nping\r\nreset\r\nexec\r\n", "+OK\r\n+QUEUED\r\n+RESET\r\n-ERR EXEC without MULTI\r\n"},
        {"multi\r\nset a 1\r\nexec\r\nmulti\r\nincr a\r\nexec\r\nget a\r\n",
         "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:2\r\n$1\r\n2\r\n"},
    };
    struct bed b;
    bed_init(&b, 4);
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) ask_all(&b, s, rows[i].in, rows[i].out);
    ask(s, "multi\r\nquit\r\n", "+OK\r\n+OK\r\n");
    assert_true(s->closed);
    bed_close(&b);
    fake_stream_free(s);
}

/* Another client's write between WATCH and EXEC, or before MULTI's op is applied, aborts it. */
static void test_watch_others(void **state)
{
    struct bed b;
    bed_init(&b, 1);
    bed_open(&b);
    struct fake_stream *s = client_new(&b), *other = client_new(&b);
    ask_all(&b, s, "watch k\r\nmulti\r\nset k mine\r\n", "+OK\r\n+OK\r\n+QUEUED\r\n");
    say(s, "exec\r\n");
    say(other, "set k theirs\r\n");
    assert_int_equal(b.gate.waiting_count, 2);
    fake_gate_answer(&b.gate, 1, ST_OK, true); /* theirs is first in the log */
    fake_gate_answer(&b.gate, 0, ST_OK, true);
    assert_said(s, "*-1\r\n");
    assert_said(other, "+OK\r\n");
    ask_all(&b, s, "get k\r\n", "$6\r\ntheirs\r\n");
    bed_close(&b);
    fake_stream_free(s);
    fake_stream_free(other);
}

/* An EXEC after a WATCH whose versions could not be read is refused: nothing would guard it. */
static void test_failed_watch(void **state)
{
    struct bed b;
    bed_init(&b, 1);
    bed_open(&b);
    b.gate.read_now = false;
    struct fake_stream *s = client_new(&b);
    say(s, "watch k\r\n");
    fake_gate_answer(&b.gate, 0, ST_UNAVAILABLE, false);
    ask_all(&b, s, "watch k\r\nmulti\r\nset k 1\r\nexec\r\nget k\r\n",
            "-UNAVAILABLE not executed: the test says so\r\n+OK\r\n+OK\r\n+QUEUED\r\n-EXECABORT Transaction discarded "
            "because of "
            "previous errors.\r\n$-1\r\n");
    ask_all(&b, s, "multi\r\nset k 1\r\nexec\r\n", "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    bed_close(&b);
    fake_stream_free(s);
}

/* ---- WAIT ---- */

static void test_wait(void **state)
{
    struct bed b;
    bed_init(&b, 4);
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    ask_all(&b, s, "wait 2 100\r\n", ":1\r\n"); /* nothing written: all other replicas hold it */
    assert_int_equal(b.gate.submitted, 0);
    ask_all(&b, s, "set a 1\r\nset {a}2 1\r\nset b 1\r\n", "+OK\r\n+OK\r\n+OK\r\n");
    size_t before = b.gate.submitted;
    b.gate.wait_answer = 0;
    ask_all(&b, s, "wait 1 100\r\n", ":0\r\n");
    assert_int_equal(b.gate.submitted - before, 2); /* one a partition: a's and b's */
    before = b.gate.submitted;
    b.gate.wait_answer = 5;
    ask_all(&b, s, "wait 1 100\r\n", ":1\r\n"); /* never more than there are */
    assert_int_equal(b.gate.submitted - before, 2);
    ask_all(&b, s, "set b 2\r\n", "+OK\r\n");
    before = b.gate.submitted;
    say(s, "wait 1 0\r\nping\r\n");
    fake_settle(&b.env);
    assert_int_equal(b.gate.submitted - before, 1); /* only what was written since */
    struct request *r = CONTAINER_OF(list_first(&b.gate.waiting), struct request, link);
    assert_int_equal(r->kind, REQUEST_WAIT);
    assert_int_equal(r->wait_count, 1);
    assert_true(r->timeout_ns == b.config.wait_max_ms * NS_PER_MS);
    fake_gate_answer_all(&b.gate);
    assert_said(s, ":1\r\n+PONG\r\n");
    bed_close(&b);
    fake_stream_free(s);
}

/* ---- redirects ---- */

static void test_moved(void **state)
{
    struct bed b;
    bed_init(&b, 4);
    bed_open(&b);
    b.gate.leads = false;
    struct fake_stream *s = client_new(&b);
    ask_all(&b, s, "set a 1\r\n", "+OK\r\n"); /* forwarded by the gate */
    ask(s, "client capa redirect\r\n", "+OK\r\n");
    ask(s, "set a 1\r\n", "-MOVED 15495 10.0.0.2:7002\r\n");
    ask(s, "get a\r\n", "-MOVED 15495 10.0.0.2:7002\r\n");
    ask(s, "watch a\r\n", "-MOVED 15495 10.0.0.2:7002\r\n");
    ask(s, "multi\r\nget a\r\nexec\r\n", "+OK\r\n+QUEUED\r\n-MOVED 15495 10.0.0.2:7002\r\n");
    ask(s, "readonly\r\nget a\r\nset a 2\r\nreadwrite\r\nget a\r\n",
        "+OK\r\n$1\r\n1\r\n-MOVED 15495 10.0.0.2:7002\r\n+OK\r\n-MOVED 15495 10.0.0.2:7002\r\n");
    b.gate.leads = true;
    ask(s, "get a\r\n", "$1\r\n1\r\n");
    bed_close(&b);
    fake_stream_free(s);
}

/* ---- CLIENT REPLY ---- */

static void test_client_reply(void **state)
{
    struct bed b;
    bed_init(&b, 1);
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    ask(s, "client reply off\r\nping\r\nclient reply skip\r\nping\r\nping\r\nclient reply on\r\nping\r\n",
        "+OK\r\n+PONG\r\n");
    ask(s, "client reply skip\r\nping\r\nping\r\n", "+PONG\r\n");
    ask_all(&b, s, "client reply skip\r\nset a 1\r\nget a\r\n", "$1\r\n1\r\n");
    ask_all(
        &b, s,
        "client reply off\r\nset a 2\r\nmset a 3 b 4\r\nfoo\r\nmulti\r\nincr a\r\nexec\r\nclient reply on\r\nget a\r\n",
        "+OK\r\n$1\r\n4\r\n");
    bed_close(&b);
    fake_stream_free(s);
}

/* ---- limits ---- */

/* More commands than may be under way: no more are executed, and reading stops once enough waits. */
static void test_pending_bound(void **state)
{
    struct bed b;
    struct buf in = {0};
    bed_init(&b, 1);
    b.config.pending_max = 10;
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    for (int i = 0; i < 20000; i++) buf_printf(&in, "set key:%d x\r\n", i);
    fake_receive(s, buf_view(&in));
    assert_int_equal(conn_of(s)->pending_count, 10);
    assert_true(s->paused);
    assert_true(conn_of(s)->in.n <= 2 * 65536);
    while (b.gate.waiting_count != 0) {
        assert_true(b.gate.waiting_count <= 10);
        fake_gate_answer(&b.gate, 0, ST_OK, true);
        fake_settle(&b.env);
        if (!s->paused) fake_receive(s, bytes_of(NULL, 0));
    }
    assert_int_equal(s->sent.n, 20000 * 5);
    buf_deinit(&in);
    bed_close(&b);
    fake_stream_free(s);
}

static void test_pending_bytes_bound(void **state)
{
    struct bed b;
    bed_init(&b, 1);
    b.config.pending_bytes_max = 100000;
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    char *big = mem_alloc(40001);
    memset(big, 'x', 40000);
    big[40000] = 0;
    say(s, "set first 1\r\n");
    for (int i = 0; i < 10; i++) { /* replies that wait behind it count too */
        struct buf in = {0};
        buf_printf(&in, "*2\r\n$4\r\nECHO\r\n$40000\r\n%s\r\n", big);
        fake_receive(s, buf_view(&in));
        buf_deinit(&in);
    }
    assert_true(conn_of(s)->pending_bytes < 150000);
    for (int i = 0; i < 30 && b.gate.waiting_count != 0; i++) settle_all(&b);
    for (int i = 0; i < 10; i++) {
        fake_receive(s, bytes_of(NULL, 0));
        settle_all(&b);
    }
    assert_int_equal(s->sent.n, 5 + 10 * (40000 + 10));
    mem_free(big);
    bed_close(&b);
    fake_stream_free(s);
}

/* A reader that does not read: nothing more is executed for it, and beyond the limit it is cut off. */
static void test_slow_reader(void **state)
{
    struct bed b;
    bed_init(&b, 1);
    b.config.output_pause = 20000;
    b.config.output_max = 100000;
    b.config.limits.bulk_max = 10000;
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    struct buf in = {0};
    buf_printf(&in, "set k %0*d\r\n", 5000, 7);
    fake_receive(s, buf_view(&in));
    fake_gate_answer_all(&b.gate);
    assert_said(s, "+OK\r\n");
    buf_clear(&in);
    for (int i = 0; i < 10000; i++) buf_printf(&in, "get k\r\n");
    s->room = 1000;
    fake_receive(s, buf_view(&in));
    fake_settle(&b.env);
    assert_false(s->closed);
    assert_true(s->paused);
    assert_true(s->queued.n < 20000 + 5100);
    size_t served = b.gate.read_now_served;
    assert_true(served < 12);
    fake_settle(&b.env);
    assert_int_equal(b.gate.read_now_served, served); /* stands still */
    size_t total = 0;
    for (int i = 0; i < 100000 && total < 10000 * 5009ul; i++) { /* now it reads */
        fake_drain(s, 65536);
        fake_settle(&b.env);
        fake_receive(s, bytes_of(NULL, 0));
        total += s->sent.n;
        buf_clear(&s->sent);
    }
    assert_int_equal(total, 10000 * 5009);
    buf_deinit(&in);

    s->room = 0;
    struct buf keys = {0};
    buf_printf(&keys, "mget");
    for (int i = 0; i < 30; i++) buf_printf(&keys, " k");
    buf_printf(&keys, "\r\n");
    fake_receive(s, buf_view(&keys)); /* one reply above the limit */
    fake_settle(&b.env);
    assert_true(s->closed);
    struct resp_door_stats stats;
    resp_door_stats(b.door, &stats);
    assert_int_equal(stats.slow_closed, 1);
    buf_deinit(&keys);
    bed_close(&b);
    fake_stream_free(s);
}

/* A large argument that comes in small pieces is kept once, and executed when complete. */
static void test_large_bulk_in_pieces(void **state)
{
    struct bed b;
    size_t n = 8u << 20;
    bed_init(&b, 1);
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    struct buf piece = {0};
    char head[64];
    snprintf(head, sizeof head, "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$%zu\r\n", n);
    say(s, head);
    memset(buf_extend(&piece, 1024), 'v', 1024);
    for (size_t i = 0; i < n; i += 1024) {
        fake_receive(s, buf_view(&piece));
        assert_false(s->paused);
    }
    assert_int_equal(b.gate.waiting_count, 0);
    assert_true(conn_of(s)->in.cap <= n + 100 + 1024); /* no more than it needs */
    say(s, "\r\nping\r\n");
    assert_int_equal(b.gate.waiting_count, 1);
    fake_gate_answer_all(&b.gate);
    assert_said(s, "+OK\r\n+PONG\r\n");
    assert_int_equal(conn_of(s)->in.cap, 0); /* given back */
    buf_deinit(&piece);
    bed_close(&b);
    fake_stream_free(s);
}

static void test_clients_max_and_stop(void **state)
{
    struct bed b;
    bed_init(&b, 1);
    b.config.clients_max = 2;
    bed_open(&b);
    struct fake_stream *s = client_new(&b), *t = client_new(&b), *refused = fake_stream_new(&b.env);
    assert_null(resp_conn_new(b.door, &refused->stream, BYTES_LIT("ping\r\n")));
    assert_said(refused, "-ERR max number of clients reached\r\n");
    assert_true(refused->closed);
    say(s, "set a 1\r\n");
    resp_door_stop(b.door);
    fake_settle(&b.env);
    assert_true(t->closed);
    assert_false(s->closed); /* its command is under way */
    fake_gate_answer_all(&b.gate);
    assert_said(s, "+OK\r\n");
    assert_true(s->closed);
    assert_int_equal(resp_door_clients(b.door), 0);
    fake_stream_free(refused);
    refused = fake_stream_new(&b.env);
    assert_null(resp_conn_new(b.door, &refused->stream, BYTES_LIT("ping\r\n")));
    assert_said(refused, "-UNAVAILABLE not executed: this node is shutting down\r\n");
    bed_close(&b);
    fake_stream_free(s);
    fake_stream_free(t);
    fake_stream_free(refused);
}

/* ---- ends ---- */

/* A connection that goes with commands under way, waiting, and in a job: all come back later and are freed. */
static void test_close_under_way(void **state)
{
    static const char *const inputs[] = {
        "set a 1\r\nincr a\r\nget a\r\nset b 2\r\nping\r\nmget a b\r\n",
        "mset a 1 b 2 c 3\r\nping\r\n",
        "watch a\r\n",
        "multi\r\nset a 1\r\nexec\r\n",
        "set a 1\r\nset b 2\r\nwait 1 0\r\n",
        "dbsize\r\n",
        "flushall\r\n",
        "*3\r\n$3\r\nSET\r\n$1000\r\nab",
    };
    for (size_t i = 0; i < ARRAY_COUNT(inputs); i++) {
        for (int how = 0; how < 3; how++) {
            struct bed b;
            bed_init(&b, 4);
            b.gate.read_now = false;
            bed_open(&b);
            struct fake_stream *s = client_new(&b);
            say(s, inputs[i]);
            if (how == 0) fake_settle(&b.env);
            if (how == 1 && b.gate.waiting_count > 1) fake_gate_answer(&b.gate, 1, ST_OK, true);
            if (how == 2) resp_door_close_all(b.door);
            else fake_end(s, ST_IO);
            fake_settle(&b.env);
            assert_true(s->closed);
            assert_int_equal(resp_door_clients(b.door), 0);
            settle_all(&b);
            assert_int_equal(resp_door_busy(b.door), 0);
            bed_close(&b);
            fake_stream_free(s);
        }
    }
}

/* A client that sends, shuts its sending half down, and waits for the replies gets them. */
static void test_half_close(void **state)
{
    struct bed b;
    bed_init(&b, 1);
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    say(s, "set a 1\r\nmset a 2 b 3\r\nget a\r\n");
    fake_end(s, ST_OK);
    fake_settle(&b.env);
    assert_false(s->closed);
    settle_all(&b);
    assert_said(s, "+OK\r\n+OK\r\n$1\r\n2\r\n");
    assert_true(s->closed);
    fake_stream_free(s);
    s = client_new(&b); /* but a WAIT is not kept for a client that left */
    ask_all(&b, s, "set a 1\r\n", "+OK\r\n");
    say(s, "wait 1 0\r\n");
    assert_int_equal(b.gate.waiting_count, 1);
    fake_end(s, ST_OK);
    fake_settle(&b.env);
    assert_true(s->closed);
    bed_close(&b);
    fake_stream_free(s);
}

static void test_client_list_and_kill(void **state)
{
    struct bed b;
    bed_init(&b, 1);
    bed_open(&b);
    struct fake_stream *s = client_new(&b), *t = client_new(&b);
    ask(t, "client setname two\r\n", "+OK\r\n");
    say(t, "set a 1\r\n");
    b.env.now_ns += 5 * NS_PER_S;
    ask(s, "client list id 2\r\n",
        "$189\r\nid=2 addr=127.0.0.1:43210 laddr=127.0.0.1:7001 name=two age=5 idle=5 flags=N db=0 sub=0 psub=0 ssub=0 "
        "multi=-1 "
        "watch=0 pending=1 qbuf=0 omem=0 events=r cmd=set user=default redir=-1 resp=2\n\r\n");
    ask(s, "client kill id 2\r\n", ":1\r\n");
    assert_true(t->closed);
    fake_gate_answer_all(&b.gate);
    ask(s, "client kill type normal skipme no\r\n", ":1\r\n");
    assert_true(s->closed);
    bed_close(&b);
    fake_stream_free(s);
    fake_stream_free(t);
}

/* A node of two shards: rounds go over both doors, and come back when the test lets them. */
struct doors {
    struct resp_door *all[2];
    struct resp_round *under_way;
};

static void hold_round(void *ctx, struct resp_round *r)
{
    struct doors *d = ctx;
    assert_null(d->under_way);
    d->under_way = r;
}

static void end_round(struct doors *d)
{
    struct resp_round *r = d->under_way;
    assert_non_null(r);
    d->under_way = NULL;
    for (size_t i = 0; i < 2; i++) r->visit(r, d->all[i]);
    r->done(r);
}

static const char *said(struct fake_stream *s)
{
    fake_settle(s->fake);
    buf_put_u8(&s->sent, 0);
    s->sent.n = 0;
    return (const char *)s->sent.p;
}

static void test_client_commands_see_all_shards(void **state)
{
    struct bed b;
    struct doors doors = {0};
    bed_init(&b, 1);
    b.config.go_round = hold_round;
    b.config.ctx = &doors;
    b.config.client_id_step = 2;
    bed_open(&b);
    doors.all[0] = b.door;
    struct resp_door_config other = b.config;
    other.client_id_first = 2;
    doors.all[1] = resp_door_new(&other);
    struct fake_stream *s = client_new(&b), *t = fake_stream_new(&b.env), *u = fake_stream_new(&b.env);
    resp_conn_new(doors.all[1], &t->stream, bytes_of(NULL, 0)); /* id 2 */
    resp_conn_new(doors.all[1], &u->stream, bytes_of(NULL, 0)); /* id 4 */

    say(s, "client list\r\nping\r\n");
    assert_said(s, ""); /* nothing passes it */
    end_round(&doors);
    const char *text = said(s);
    assert_non_null(strstr(text, "id=1 "));
    assert_non_null(strstr(text, "id=2 "));
    assert_non_null(strstr(text, "id=4 "));
    assert_non_null(strstr(text, "\r\n+PONG\r\n"));
    say(s, "client list id 4 77 1\r\n");
    end_round(&doors);
    text = said(s);
    assert_non_null(strstr(text, "id=1 "));
    assert_null(strstr(text, "id=2 "));
    assert_non_null(strstr(text, "id=4 "));
    say(s, "client list type replica\r\n");
    end_round(&doors);
    assert_said(s, "$0\r\n\r\n");

    say(s, "client kill id 4\r\n");
    end_round(&doors);
    assert_said(s, ":1\r\n");
    assert_true(u->closed);
    assert_false(t->closed);
    say(s, "client kill laddr 1.1.1.1:1\r\n");
    end_round(&doors);
    assert_said(s, ":0\r\n");
    say(s, "client kill type pubsub\r\n");
    end_round(&doors);
    assert_said(s, ":0\r\n");
    say(s, "client kill 127.0.0.1:43210\r\n"); /* all have that address here: one goes */
    end_round(&doors);
    assert_said(s, "+OK\r\n");
    assert_true(s->closed);
    assert_false(t->closed);

    struct fake_stream *v = client_new(&b); /* one that is gone before its round is back */
    say(v, "client kill user default\r\n");
    fake_end(v, ST_CLOSED);
    fake_settle(&b.env);
    end_round(&doors);
    fake_settle(&b.env);
    assert_true(t->closed);

    struct fake_stream *w = client_new(&b);
    ask(w, "multi\r\nclient list\r\nexec\r\n",
        "+OK\r\n-ERR Command not allowed inside a transaction\r\n-EXECABORT Transaction discarded because of previous errors.\r\n");
    resp_door_free(doors.all[1]);
    bed_close(&b);
    struct fake_stream *all[] = {s, t, u, v, w};
    for (size_t i = 0; i < ARRAY_COUNT(all); i++) fake_stream_free(all[i]);
}

/* No room for another command under way: refused at once, nothing lost. */
static void test_overloaded(void **state)
{
    struct bed b;
    bed_init(&b, 1);
    b.config.commands_max = 2;
    bed_open(&b);
    struct fake_stream *s = client_new(&b);
    say(s, "set a 1\r\nset b 2\r\nset c 3\r\nping\r\n");
    assert_int_equal(b.gate.waiting_count, 2);
    fake_gate_answer_all(&b.gate);
    assert_said(s, "+OK\r\n+OK\r\n-OVERLOADED not executed: too many commands under way\r\n+PONG\r\n");
    bed_close(&b);
    fake_stream_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_protocol_error_closes),
        cmocka_unit_test(test_resp3),
        cmocka_unit_test(test_reply_order),
        cmocka_unit_test(test_same_slot_waits),
        cmocka_unit_test(test_read_now),
        cmocka_unit_test(test_waiting_writes_are_grouped),
        cmocka_unit_test(test_any_order_reads_as_one),
        cmocka_unit_test(test_cut_everywhere),
        cmocka_unit_test(test_barrier),
        cmocka_unit_test(test_fanout_and_all),
        cmocka_unit_test(test_scan),
        cmocka_unit_test(test_keys_reply_is_bounded),
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_partial_outcomes),
        cmocka_unit_test(test_multi),
        cmocka_unit_test(test_watch_others),
        cmocka_unit_test(test_failed_watch),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_moved),
        cmocka_unit_test(test_client_reply),
        cmocka_unit_test(test_pending_bound),
        cmocka_unit_test(test_pending_bytes_bound),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_large_bulk_in_pieces),
        cmocka_unit_test(test_clients_max_and_stop),
        cmocka_unit_test(test_close_under_way),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_client_list_and_kill),
        cmocka_unit_test(test_client_commands_see_all_shards),
        cmocka_unit_test(test_overloaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

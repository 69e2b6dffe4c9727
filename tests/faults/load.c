/* load.c - clients of a real cluster while it is being broken, and a judge of what they were told.
 * SPDX-License-Identifier: Apache-2.0
 *
 * faults_load --address A,B,C [--clients N] [--seconds N] [--think-ms N] [--timeout-ms N] [--writers] [--history FILE]
 *
 * Half of the clients stay with one node whatever happens to it, as a client in the wrong half of a cut network does;
 * the others go to the next node when theirs fails. Each has one command under way. With --writers all go on to the
 * next node, and each writes one key after the other, staying with a key until a write of it succeeded: for measuring
 * gaps.
 *
 * SIGUSR1 prints what happened since the last one; SIGTERM, or the end of --seconds, ends the load. Then everything is
 * read back, and three things are checked:
 *   1. the history of every object (read, write, incr, delete, getset, compare-and-set, two keys at once) is
 * linearizable;
 *   2. every key whose one write was acknowledged is there, with its value;
 *   3. no key is there whose one write was answered "not executed".
 * Ends with 0 if all holds, 1 if not, 2 if it could not be found out. All times are of the one clock of this process.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/status.h"
#include "sim/history.h"

#define CLIENTS_MAX     256
#define ADDRESSES_MAX   16
#define OBJECTS_LIVE    32  /* in use at a time */
#define OBJECT_OPS      150 /* then another takes its place: the search is short, and few unknowns come together */
#define OBJECTS_MAX     (1u << 20)
#define INSERTS_MAX     (1u << 22)
#define READ_BACK_BATCH 20
#define READ_BACK_NS    (90 * NS_PER_S)
#define ERRORS_SHOWN    5

enum { MULTI_CELLS = 2 };

struct reply {
    char type; /* + - : $ * as in RESP; _ is nil */
    int64_t number;
    const char *text; /* of an error: its line */
    size_t text_bytes;
};

enum phase { AWAY, CONNECTING, READY, BUSY };
enum kind { OBJECT_OP, INSERT, READ_BACK_INSERTS };

struct client {
    unsigned index, at; /* at: which address */
    bool pinned;
    int fd;
    enum phase phase;
    uint64_t due_ns; /* AWAY: when to connect; READY: when to send; CONNECTING, BUSY: when to give up */
    uint64_t write_ok_ns, gap_ns;
    struct buf in;
    enum kind kind;
    struct sim_record op;
    size_t record; /* in the history */
    uint32_t insert;
    unsigned missing; /* replies to come */
    bool second;      /* of a compare-and-set: the transaction is sent */
    bool retry;       /* --writers: the key again */
    int64_t seen;
    char error[160]; /* first error among the replies of this command */
    struct reply last[READ_BACK_BATCH];
    size_t last_count;
};

static struct {
    struct sockaddr_in addresses[ADDRESSES_MAX];
    unsigned address_count, client_count;
    uint64_t seconds, think_ns, timeout_ns;
    bool writers;
    const char *history;
} options = {.client_count = 16, .seconds = 3600, .think_ns = 4 * NS_PER_MS, .timeout_ns = NS_PER_S};

static struct client clients[CLIENTS_MAX];
static struct history history;
static uint32_t live[OBJECTS_LIVE], live_ops[OBJECTS_LIVE], objects;
static uint8_t *inserts; /* enum sim_outcome of each */
static uint32_t insert_count;
static int64_t next_value; /* multiples of SIM_VALUE_STEP: the checker tells writes apart by them */
static uint64_t random_state = 88172645463325252u;
static uint64_t start_ns, write_ok_ns, gap_ns, gap_at_ns, worst_gap_ns, worst_client_gap_ns;
static struct {
    uint64_t ok, writes, failed, unknown;
} total, window;
static unsigned errors_shown;
static volatile sig_atomic_t stop_asked, window_asked;
/* reading back */
static bool reading_back;
static uint32_t back_object, back_insert;
static struct {
    uint32_t from, count;
} again[CLIENTS_MAX]; /* batches that failed; objects have count 0 */
static unsigned again_count;
static uint64_t lost, ghosts;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t draw(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

/* ---- gaps ---- */

static uint64_t in_ms(uint64_t ns) { return ns / NS_PER_MS; }

static void widest(uint64_t *gap, uint64_t since, uint64_t now)
{
    if (now > since && now - since > *gap) *gap = now - since;
}

static void on_write_ok(struct client *c, uint64_t now)
{
    if (now - write_ok_ns > gap_ns) gap_at_ns = now;
    widest(&gap_ns, write_ok_ns, now);
    widest(&worst_gap_ns, write_ok_ns, now);
    write_ok_ns = now;
    if (!c->pinned) {
        widest(&c->gap_ns, c->write_ok_ns, now);
        widest(&worst_client_gap_ns, c->write_ok_ns, now);
    }
    c->write_ok_ns = now;
    total.writes++;
    window.writes++;
}

/* Gaps that have not ended count as far as they have come. */
static void print_window(void)
{
    uint64_t now = now_ns(), client_gap = 0;
    widest(&gap_ns, write_ok_ns, now);
    for (unsigned i = 0; i < options.client_count; i++) {
        if (clients[i].pinned) continue;
        widest(&clients[i].gap_ns, clients[i].write_ok_ns, now);
        if (clients[i].gap_ns > client_gap) client_gap = clients[i].gap_ns;
        clients[i].gap_ns = 0;
    }
    printf("window gap_ms=%" PRIu64 " client_gap_ms=%" PRIu64 " writes=%" PRIu64 " failed=%" PRIu64 " unknown=%" PRIu64
           "\n",
           in_ms(gap_ns), in_ms(client_gap), window.writes, window.failed, window.unknown);
    gap_ns = 0;
    memset(&window, 0, sizeof window);
}

/* ---- commands ---- */

static void put(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct buf *out, const char *format, ...)
{
    char line[200], *word, *rest = line;
    const char *words[8];
    size_t count = 0;
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    while ((word = strsep(&rest, " ")) != NULL) words[count++] = word;
    char text[300];
    size_t n = (size_t)snprintf(text, sizeof text, "*%zu\r\n", count);
    for (size_t i = 0; i < count; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    memcpy(buf_extend(out, n), text, n);
}

static void put_object_op(struct client *c, struct buf *out)
{
    const struct sim_record *r = &c->op;
    uint32_t o = r->object;
    c->missing = 1;
    switch ((enum sim_op)r->op) {
    case SIM_READ: put(out, "GET r{%u}a", o); break;
    case SIM_WRITE: put(out, "SET r{%u}a %" PRId64, o, r->arg); break;
    case SIM_INCR: put(out, "INCR r{%u}a", o); break;
    case SIM_DELETE: put(out, "DEL r{%u}a", o); break;
    case SIM_GETSET: put(out, "GETSET r{%u}a %" PRId64, o, r->arg); break;
    case SIM_READ_BOTH: put(out, "MGET r{%u}a r{%u}b", o, o); break;
    case SIM_BOTH:
        put(out, "MULTI");
        put(out, "INCR r{%u}a", o);
        put(out, "INCR r{%u}b", o);
        put(out, "EXEC");
        c->missing = 4;
        break;
    case SIM_CAS:
        if (!c->second) {
            put(out, "WATCH r{%u}a", o);
            put(out, "GET r{%u}a", o);
            c->missing = 2;
        } else {
            put(out, "MULTI");
            put(out, "SET r{%u}a %" PRId64, o, r->arg);
            put(out, "EXEC");
            c->missing = 3;
        }
        break;
    default: ASSERT(false);
    }
}

static void pick_object(struct client *c)
{
    size_t slot = options.writers ? c->index % OBJECTS_LIVE : draw(OBJECTS_LIVE);
    if (!c->retry && live_ops[slot]++ >= OBJECT_OPS && objects < OBJECTS_MAX) {
        live[slot] = objects++;
        live_ops[slot] = 1;
    }
    c->op = (struct sim_record){.process = c->index, .object = live[slot], .arg = next_value += SIM_VALUE_STEP};
    if (options.writers) {
        c->op.op = draw(10) == 0 && !c->retry ? SIM_READ : SIM_WRITE;
        return;
    }
    static const uint8_t mix[] = {SIM_READ, SIM_READ, SIM_READ, SIM_WRITE,  SIM_WRITE,  SIM_INCR,
                                  SIM_INCR, SIM_BOTH, SIM_CAS,  SIM_GETSET, SIM_DELETE, SIM_READ_BOTH};
    c->op.op = mix[draw(sizeof mix)];
}

/* The next thing to read back; false: nothing is left to begin. */
static bool pick_read_back(struct client *c)
{
    uint32_t from, count;
    if (again_count > 0) {
        from = again[--again_count].from;
        count = again[again_count].count;
    } else if (back_object < objects) {
        from = back_object++;
        count = 0;
    } else if (back_insert < insert_count) {
        from = back_insert;
        count = MIN((uint32_t)READ_BACK_BATCH, insert_count - from);
        back_insert += count;
    } else {
        return false;
    }
    c->kind = count == 0 ? OBJECT_OP : READ_BACK_INSERTS;
    c->insert = from;
    c->op = (struct sim_record){.process = c->index, .object = count == 0 ? from : count, .op = SIM_READ_BOTH};
    return true;
}

static void put_insert_reads(struct client *c, struct buf *out)
{
    for (uint32_t i = 0; i < c->op.object; i++) put(out, "GET u%u", c->insert + i);
    c->missing = c->op.object;
}

/* ---- connections ---- */

static void close_fd(struct client *c)
{
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->in.n = 0;
}

static void leave(struct client *c, uint64_t now)
{
    close_fd(c);
    c->phase = AWAY;
    if (!c->pinned || reading_back) c->at = (c->at + 1) % options.address_count;
    c->due_ns = now + 10 * NS_PER_MS;
}

static void end_op(struct client *c, enum sim_outcome outcome, int64_t a, int64_t b, uint64_t now)
{
    bool read = c->op.op == SIM_READ || c->op.op == SIM_READ_BOTH;
    if (c->kind == INSERT) inserts[c->insert] = (uint8_t)outcome;
    if (c->kind == OBJECT_OP) {
        if (outcome == SIM_UNKNOWN && (read || (c->op.op == SIM_CAS && !c->second))) outcome = SIM_FAILED;
        if (outcome == SIM_UNKNOWN && c->op.op == SIM_CAS) a = c->seen;
        history_end(&history, c->record, outcome, a, b, now);
    }
    if (reading_back && outcome != SIM_OK) { /* again, later */
        again[again_count].from = c->insert;
        again[again_count++].count = c->kind == OBJECT_OP ? 0 : c->op.object;
    }
    if (!reading_back) {
        total.ok += outcome == SIM_OK, total.failed += outcome == SIM_FAILED, total.unknown += outcome == SIM_UNKNOWN;
        window.ok += outcome == SIM_OK, window.failed += outcome == SIM_FAILED,
            window.unknown += outcome == SIM_UNKNOWN;
        if (outcome == SIM_OK && (c->kind == INSERT || !read)) on_write_ok(c, now);
        c->retry = outcome != SIM_OK;
    }
    c->phase = READY;
    c->due_ns = now + (reading_back ? 0 : options.think_ns / 2 + draw(options.think_ns + 1));
}

static void broken(struct client *c, uint64_t now)
{
    if (c->phase == BUSY) end_op(c, SIM_UNKNOWN, 0, 0, now);
    leave(c, now);
}

static void go(struct client *c, uint64_t now)
{
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ASSERT(c->fd >= 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    c->phase = CONNECTING;
    c->due_ns = now + options.timeout_ns;
    const struct sockaddr_in *to = &options.addresses[c->at];
    if (connect(c->fd, (const struct sockaddr *)to, sizeof *to) != 0 && errno != EINPROGRESS) leave(c, now);
}

/* Commands are far smaller than a socket's buffer, so they go at once or not at all. */
static void transmit(struct client *c, struct buf *out, uint64_t now)
{
    c->phase = BUSY;
    c->due_ns = now + options.timeout_ns * (c->pinned ? 5 : 1);
    c->error[0] = 0;
    c->last_count = 0;
    if (send(c->fd, out->p, out->n, MSG_NOSIGNAL) != (ssize_t)out->n) broken(c, now);
    buf_deinit(out);
}

static void begin(struct client *c, uint64_t now)
{
    struct buf out = {0};
    c->second = false;
    if (reading_back) {
        if (!pick_read_back(c)) {
            c->due_ns = UINT64_MAX;
            return;
        }
    } else if (!options.writers && draw(5) < 2 && insert_count < INSERTS_MAX) {
        c->kind = INSERT;
        c->op = (struct sim_record){.op = SIM_WRITE};
        c->insert = insert_count++;
        inserts[c->insert] = SIM_OPEN;
    } else {
        c->kind = OBJECT_OP;
        pick_object(c);
    }
    if (c->kind == INSERT) {
        put(&out, "SET u%u %u", c->insert, c->insert ^ 0x5a5a);
        c->missing = 1;
    } else if (c->kind == READ_BACK_INSERTS) {
        put_insert_reads(c, &out);
    } else {
        c->op.invoke_ns = now_ns();
        c->record = history_begin(&history, &c->op);
        put_object_op(c, &out);
    }
    transmit(c, &out, now);
}

/* ---- replies ---- */

/* One value from b: its length, 0: not all is here. Of an array only its header. */
static size_t cut(const char *p, size_t n, struct reply *out)
{
    const char *end = memmem(p, n, "\r\n", 2);
    if (end == NULL) return 0;
    size_t line = (size_t)(end - p) + 2;
    char digits[32] = {0};
    memcpy(digits, p + 1, MIN(line - 3, sizeof digits - 1));
    *out = (struct reply){.type = p[0], .number = strtoll(digits, NULL, 10), .text = p + 1, .text_bytes = line - 3};
    if (p[0] == '_' || ((p[0] == '$' || p[0] == '*') && out->number < 0)) {
        out->type = '_';
        out->number = CELL_ABSENT;
    } else if (p[0] == '$') {
        size_t bytes = (size_t)out->number;
        if (n < line + bytes + 2) return 0;
        memset(digits, 0, sizeof digits);
        memcpy(digits, p + line, MIN(bytes, sizeof digits - 1));
        out->number = strtoll(digits, NULL, 10);
        line += bytes + 2;
    }
    return line;
}

/* A whole reply: its parts (an array's elements) to c->last. */
static size_t cut_reply(struct client *c, const char *p, size_t n)
{
    struct reply r;
    size_t used = cut(p, n, &r);
    if (used == 0) return 0;
    size_t parts = r.type == '*' ? (size_t)r.number : 0;
    struct reply elements[MULTI_CELLS];
    for (size_t i = 0; i < parts; i++) {
        struct reply e;
        size_t more = cut(p + used, n - used, &e);
        if (more == 0) return 0;
        used += more;
        if (i < MULTI_CELLS) elements[i] = e;
        if (e.type == '-') r = e;
    }
    if (r.type == '-' && c->error[0] == 0) snprintf(c->error, sizeof c->error, "%.*s", (int)r.text_bytes, r.text);
    if (c->kind == READ_BACK_INSERTS) {
        ASSERT(c->last_count < READ_BACK_BATCH);
        c->last[c->last_count++] = r;
    } else if (parts > 0) {
        c->last_count = MIN(parts, (size_t)MULTI_CELLS);
        memcpy(c->last, elements, c->last_count * sizeof elements[0]);
    } else {
        c->last_count = 1;
        c->last[0] = r;
    }
    return used;
}

static enum sim_outcome outcome_of_error(const struct client *c)
{
    if (strncmp(c->error, "UNKNOWN", 7) == 0) return SIM_UNKNOWN;
    if (strstr(c->error, "not executed") != NULL || strncmp(c->error, "EXECABORT", 9) == 0) return SIM_FAILED;
    if (errors_shown++ < ERRORS_SHOWN) printf("unexpected error: -%s\n", c->error);
    return SIM_UNKNOWN;
}

static void check_inserts(struct client *c)
{
    for (uint32_t i = 0; i < c->op.object; i++) {
        uint32_t key = c->insert + i;
        bool there = c->last[i].type == '$';
        if (there && c->last[i].number != (int64_t)(key ^ 0x5a5a)) {
            printf("u%u is %" PRId64 ", which nobody wrote\n", key, c->last[i].number);
            lost++;
        } else if (!there && inserts[key] == SIM_OK) {
            if (lost++ < ERRORS_SHOWN) printf("LOST: the acknowledged write of u%u is gone\n", key);
        } else if (there && inserts[key] == SIM_FAILED) {
            if (ghosts++ < ERRORS_SHOWN) printf("u%u is there, but its write was answered 'not executed'\n", key);
        }
    }
}

static void on_replies(struct client *c, uint64_t now)
{
    if (c->error[0] != 0) {
        enum sim_outcome outcome = outcome_of_error(c);
        end_op(c, outcome, 0, 0, now);
        leave(c, now); /* a WATCH or MULTI may be open; and the next node may be better off */
        return;
    }
    if (c->kind == READ_BACK_INSERTS) {
        check_inserts(c);
        end_op(c, SIM_OK, 0, 0, now);
        return;
    }
    int64_t a = c->last[0].number, b = c->last_count > 1 ? c->last[1].number : 0;
    if (c->kind == OBJECT_OP && c->op.op == SIM_CAS) {
        if (!c->second) {
            struct buf out = {0};
            c->second = true;
            c->seen = a;
            put_object_op(c, &out);
            transmit(c, &out, now);
            return;
        }
        end_op(c, c->last[0].type == '_' ? SIM_FAILED : SIM_OK, c->seen, 0, now);
        return;
    }
    end_op(c, SIM_OK, a, b, now);
}

static void on_readable(struct client *c, uint64_t now)
{
    char *room = (char *)buf_extend(&c->in, 65536);
    ssize_t n = recv(c->fd, room, 65536, 0);
    c->in.n -= 65536 - (size_t)MAX(n, (ssize_t)0);
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN) return;
        broken(c, now);
        return;
    }
    size_t used = 0, one;
    while (c->phase == BUSY && c->missing > 0 && (one = cut_reply(c, (char *)c->in.p + used, c->in.n - used)) > 0) {
        used += one;
        c->missing--;
        if (c->missing == 0 && c->phase == BUSY) {
            on_replies(c, now_ns());
            if (c->fd < 0) return;
        }
    }
    memmove(c->in.p, c->in.p + used, c->in.n - used);
    c->in.n -= used;
}

/* ---- the loop ---- */

static void turn(void)
{
    struct pollfd polls[CLIENTS_MAX];
    uint64_t now = now_ns(), next = now + 50 * NS_PER_MS;
    for (unsigned i = 0; i < options.client_count; i++) {
        struct client *c = &clients[i];
        if (c->due_ns <= now) {
            if (c->phase == AWAY) go(c, now);
            else if (c->phase == READY && !(stop_asked && !reading_back)) begin(c, now);
            else if (c->phase != READY) broken(c, now);
        }
        if (c->due_ns < next) next = c->due_ns;
        polls[i] = (struct pollfd){.fd = c->phase == AWAY ? -1 : c->fd,
                                   .events = c->phase == CONNECTING ? POLLOUT : POLLIN};
    }
    int wait_ms = next > now ? (int)((next - now) / NS_PER_MS) + 1 : 0;
    if (poll(polls, options.client_count, wait_ms) <= 0) return;
    now = now_ns();
    for (unsigned i = 0; i < options.client_count; i++) {
        struct client *c = &clients[i];
        if (polls[i].revents == 0 || c->fd != polls[i].fd) continue;
        if (c->phase == CONNECTING) {
            int error = 0;
            getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
            if (error != 0) {
                leave(c, now);
            } else {
                c->phase = READY;
                c->due_ns = now;
            }
        } else {
            on_readable(c, now);
        }
    }
}

static bool busy(void)
{
    for (unsigned i = 0; i < options.client_count; i++)
        if (clients[i].phase == BUSY) return true;
    return false;
}

static bool read_back(void)
{
    uint64_t until = now_ns() + READ_BACK_NS;
    reading_back = true;
    for (unsigned i = 0; i < options.client_count; i++)
        if (clients[i].phase == READY) clients[i].due_ns = 0;
    for (;;) {
        turn();
        bool left = again_count > 0 || back_object < objects || back_insert < insert_count;
        if (!left && !busy()) return true;
        if (now_ns() > until) return false;
        if (left)
            for (unsigned i = 0; i < options.client_count; i++)
                if (clients[i].phase == READY && clients[i].due_ns == UINT64_MAX) clients[i].due_ns = 0;
    }
}

static void on_signal(int sig)
{
    if (sig == SIGUSR1) window_asked = 1;
    else stop_asked = 1;
}

static bool parse_addresses(char *list)
{
    for (char *word; (word = strsep(&list, ",")) != NULL;) {
        struct sockaddr_in *to = &options.addresses[options.address_count];
        char *colon = strrchr(word, ':');
        if (colon == NULL || options.address_count == ADDRESSES_MAX) return false;
        *colon = 0;
        to->sin_family = AF_INET;
        to->sin_port = htons((uint16_t)atoi(colon + 1));
        if (inet_pton(AF_INET, word, &to->sin_addr) != 1) return false;
        options.address_count++;
    }
    return options.address_count > 0;
}

static bool parse_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--writers") == 0) {
            options.writers = true;
            continue;
        }
        if (++i == argc) return false;
        uint64_t number = strtoull(argv[i], NULL, 10);
        if (strcmp(name, "--address") == 0 && parse_addresses(argv[i])) continue;
        if (strcmp(name, "--clients") == 0 && number >= 1 && number <= CLIENTS_MAX)
            options.client_count = (unsigned)number;
        else if (strcmp(name, "--seconds") == 0) options.seconds = number;
        else if (strcmp(name, "--think-ms") == 0) options.think_ns = number * NS_PER_MS;
        else if (strcmp(name, "--timeout-ms") == 0) options.timeout_ns = number * NS_PER_MS;
        else if (strcmp(name, "--history") == 0) options.history = argv[i];
        else return false;
    }
    return options.address_count > 0;
}

static void run_load(void)
{
    start_ns = write_ok_ns = now_ns();
    for (unsigned i = 0; i < options.client_count; i++)
        clients[i] = (struct client){.index = i,
                                     .at = i % options.address_count,
                                     .fd = -1,
                                     .write_ok_ns = start_ns,
                                     .pinned = !options.writers && (i / options.address_count) % 2 == 1};
    for (; objects < OBJECTS_LIVE; objects++) live[objects] = objects;
    while (!stop_asked && now_ns() - start_ns < options.seconds * NS_PER_S) {
        turn();
        if (window_asked) {
            window_asked = 0;
            print_window();
        }
    }
    widest(&worst_gap_ns, write_ok_ns, now_ns());
    stop_asked = 1;
    while (busy()) turn(); /* each ends by its timeout */
}

static int judge(bool all_read)
{
    uint64_t acknowledged = 0;
    for (uint32_t i = 0; i < insert_count; i++) acknowledged += inserts[i] == SIM_OK;
    struct history_sum sum = {0};
    bool linear = history_check(&history, &sum, stdout) && sum.given_up == 0;
    if (options.history != NULL) {
        FILE *out = fopen(options.history, "w");
        if (out != NULL) {
            history_write(&history, out);
            fclose(out);
        }
    }
    printf("load: %" PRIu64 " ok (%" PRIu64 " writes), %" PRIu64 " not executed, %" PRIu64
           " unknown; longest gap in writes %" PRIu64 " ms, of one client %" PRIu64 " ms\n",
           total.ok, total.writes, total.failed, total.unknown, in_ms(worst_gap_ns), in_ms(worst_client_gap_ns));
    printf("check: %zu operations on %u objects %s; %" PRIu64 " acknowledged inserts, %" PRIu64 " lost, %" PRIu64
           " there though 'not executed'%s\n",
           history.count, objects, linear ? "linearizable" : "NOT LINEARIZABLE", acknowledged, lost, ghosts,
           all_read ? "" : "; NOT ALL COULD BE READ BACK");
    if (!linear || lost > 0 || ghosts > 0 || errors_shown > 0) return 1;
    return all_read ? 0 : 2;
}

int main(int argc, char **argv)
{
    if (!parse_options(argc, argv)) {
        fprintf(stderr,
                "faults_load: usage: --address A:P,B:P [--clients N] [--seconds N] [--think-ms N] [--timeout-ms N] "
                "[--writers] [--history FILE]\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    random_state ^= now_ns();
    inserts = mem_zalloc(INSERTS_MAX);
    run_load();
    bool all_read = read_back();
    int code = judge(all_read);
    for (unsigned i = 0; i < options.client_count; i++) {
        close_fd(&clients[i]);
        buf_deinit(&clients[i].in);
    }
    history_deinit(&history);
    mem_free(inserts);
    return code;
}

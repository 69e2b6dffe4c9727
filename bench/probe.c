/* probe.c - what bench/compare.sh needs beside the load generators. One file, no library.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   probe ready resp|etcd PORT LOG COMMAND …   starts a server and writes one key until that is acknowledged. Prints
 *                                              milliseconds since the start, and the process, which goes on
 *   probe leaders HOST:PORT                    CLUSTER SLOTS: each leader and how many slots it leads, most first
 *   probe gap [--writers N] [--seconds S] [--size N] [--wait N] [--led-by HOST:PORT] HOST:PORT …
 *                                              writes all the time, and prints the longest time without an
 *                                              acknowledged write as JSON. A writer whose request fails, or takes
 *                                              longer than 500 ms, goes to the next address. --led-by: only to keys of
 *                                              slots that this node leads at the start
 *   probe fsync FILE SECONDS                   4 KiB overwrites of a written file, each with fdatasync: median in us */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SLOTS          16384
#define NODES_MAX      16
#define WRITERS_MAX    256
#define TIMEOUT_MS     500
#define READY_MAX_NS   60000000000u
#define SAMPLES_MAX    200000
#define FSYNC_FILE_MAX (8 << 20)

static void die(const char *what, const char *which)
{
    fprintf(stderr, "probe: %s %s: %s\n", what, which, errno != 0 ? strerror(errno) : "no such answer");
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_us(unsigned us)
{
    struct timespec t = {us / 1000000, (long)(us % 1000000) * 1000};
    nanosleep(&t, NULL);
}

static void *need(void *p)
{
    if (p == NULL) die("memory", "");
    return p;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* ---- a blocking connection ---- */

struct conn {
    int fd;
    size_t at, n;
    char in[8192];
};

static bool conn_open(struct conn *c, const char *address)
{
    char host[64];
    const char *colon = strrchr(address, ':');
    struct sockaddr_in to = {.sin_family = AF_INET};
    struct timeval limit = {.tv_usec = TIMEOUT_MS * 1000};
    int one = 1;
    c->at = c->n = 0;
    c->fd = -1;
    if (colon == NULL || (size_t)(colon - address) >= sizeof host) return false;
    snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    to.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &to.sin_addr) != 1) return false;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) return false;
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) == 0) return true;
    close(c->fd);
    c->fd = -1;
    return false;
}

static void conn_close(struct conn *c)
{
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static bool conn_send(struct conn *c, const char *data, size_t n)
{
    for (size_t sent = 0; sent < n;) {
        ssize_t k = send(c->fd, data + sent, n - sent, MSG_NOSIGNAL);
        if (k <= 0) return false;
        sent += (size_t)k;
    }
    return true;
}

/* One line without its end. */
static bool conn_line(struct conn *c, char *out, size_t size)
{
    size_t k = 0;
    for (;;) {
        if (c->at == c->n) {
            ssize_t got = recv(c->fd, c->in, sizeof c->in, 0);
            if (got <= 0) return false;
            c->at = 0;
            c->n = (size_t)got;
        }
        char ch = c->in[c->at++];
        if (ch == '\n') break;
        if (ch != '\r' && k + 1 < size) out[k++] = ch;
    }
    out[k] = 0;
    return true;
}

/* ---- ready ---- */

static bool acknowledged(const char *address, bool etcd)
{
    static const char put[] = "{\"key\":\"cmVhZHk=\",\"value\":\"MQ==\"}";
    struct conn c;
    char text[300], line[300];
    bool good = false;
    if (!conn_open(&c, address)) return false;
    int n = etcd
                ? snprintf(text, sizeof text,
                           "POST /v3/kv/put HTTP/1.1\r\nHost: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                           address, sizeof put - 1, put)
                : snprintf(text, sizeof text, "SET ready 1\r\n");
    if (conn_send(&c, text, (size_t)n) && conn_line(&c, line, sizeof line))
        good = strcmp(line, etcd ? "HTTP/1.1 200 OK" : "+OK") == 0;
    conn_close(&c);
    return good;
}

static int ready(int argc, char **argv)
{
    if (argc < 4) return 2;
    char address[64];
    bool etcd = strcmp(argv[0], "etcd") == 0;
    snprintf(address, sizeof address, "127.0.0.1:%s", argv[1]);
    uint64_t start = now_ns();
    pid_t pid = fork();
    if (pid < 0) die("fork", "");
    if (pid == 0) {
        int log = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
        dup2(nothing, 0);
        dup2(log, 1);
        dup2(log, 2);
        execvp(argv[3], argv + 3);
        _exit(127);
    }
    while (!acknowledged(address, etcd)) {
        if (now_ns() - start > READY_MAX_NS) {
            printf("- %d\n", (int)pid);
            return 1;
        }
        sleep_us(500);
    }
    printf("%.1f %d\n", (double)(now_ns() - start) / 1e6, (int)pid);
    return 0;
}

/* ---- CLUSTER SLOTS ---- */

struct map {
    char leaders[NODES_MAX][80];
    unsigned led[NODES_MAX];
    size_t count;
    uint8_t of[SLOTS]; /* index of the leader */
};

/* One element: the number in its line, and for a string its body. Elements of an array follow it. */
static bool element(struct conn *c, char *type, long *n, char *text, size_t size)
{
    char line[300];
    if (!conn_line(c, line, sizeof line) || line[0] == '-') return false;
    *type = line[0];
    *n = atol(line + 1);
    return *type != '$' || conn_line(c, text, size);
}

static bool skip(struct conn *c)
{
    char type, text[300];
    long n;
    if (!element(c, &type, &n, text, sizeof text)) return false;
    for (long i = 0; type == '*' && i < n; i++)
        if (!skip(c)) return false;
    return true;
}

static void map_add(struct map *m, const char *leader, long first, long last)
{
    size_t i = 0;
    while (i < m->count && strcmp(m->leaders[i], leader) != 0) i++;
    if (i == NODES_MAX || first < 0 || last < first || last >= SLOTS) die("CLUSTER SLOTS", leader);
    if (i == m->count) snprintf(m->leaders[m->count++], sizeof m->leaders[0], "%s", leader);
    m->led[i] += (unsigned)(last - first + 1);
    memset(m->of + first, (int)i, (size_t)(last - first + 1));
}

static void map_ask(struct map *m, const char *address)
{
    struct conn c;
    char type, host[64], leader[80];
    long ranges, parts, nodes, first, last, port;
    bool good = conn_open(&c, address) && conn_send(&c, "CLUSTER SLOTS\r\n", 15) &&
                element(&c, &type, &ranges, host, sizeof host) && type == '*';
    for (long i = 0; good && i < ranges; i++) {
        good = element(&c, &type, &parts, host, sizeof host) && element(&c, &type, &first, host, sizeof host) &&
               element(&c, &type, &last, host, sizeof host) && element(&c, &type, &nodes, host, sizeof host) &&
               element(&c, &type, &port, host, sizeof host) && type == '$' && element(&c, &type, &port, leader, 8) &&
               type == ':';
        for (long k = 2; good && k < nodes; k++) good = skip(&c);
        for (long k = 3; good && k < parts; k++) good = skip(&c);
        if (!good) break;
        snprintf(leader, sizeof leader, "%.60s:%ld", host, port);
        map_add(m, leader, first, last);
    }
    if (!good || m->count == 0) die("CLUSTER SLOTS of", address);
    conn_close(&c);
}

static int leaders(int argc, char **argv)
{
    static struct map m;
    if (argc != 1) return 2;
    map_ask(&m, argv[0]);
    for (;;) {
        size_t most = 0;
        for (size_t i = 1; i < m.count; i++)
            if (m.led[i] > m.led[most]) most = i;
        if (m.led[most] == 0) return 0;
        printf("%s %u\n", m.leaders[most], m.led[most]);
        m.led[most] = 0;
    }
}

/* CRC16/XMODEM, as Redis Cluster uses it for slots. */
static unsigned slot_of(const char *key, size_t n)
{
    unsigned crc = 0;
    for (size_t i = 0; i < n; i++) {
        crc ^= (unsigned)(uint8_t)key[i] << 8;
        for (int b = 0; b < 8; b++) crc = (crc & 0x8000) != 0 ? ((crc << 1) ^ 0x1021) & 0xffff : crc << 1;
    }
    return crc % SLOTS;
}

/* ---- gap ---- */

static struct {
    unsigned writers, size, wait;
    double seconds;
    const char *led_by;
    char **addresses;
    size_t address_count;
    struct map map;
    size_t wanted; /* index of led_by in map */
    uint64_t start, end;
} gap_options = {.writers = 16, .size = 256, .seconds = 10};

struct writer {
    pthread_t thread;
    unsigned number;
    uint64_t *times; /* of acknowledged writes, ns since the start */
    size_t count, room;
    uint64_t errors;
};

static size_t choose_key(uint64_t *rng, char *out, size_t size)
{
    for (;;) {
        *rng ^= *rng << 13;
        *rng ^= *rng >> 7;
        *rng ^= *rng << 17;
        size_t n = (size_t)snprintf(out, size, "bench:%012" PRIu64, *rng % 100000);
        if (gap_options.led_by == NULL || gap_options.map.of[slot_of(out, n)] == gap_options.wanted) return n;
    }
}

static bool write_once(struct conn *c, uint64_t *rng, const char *value, char *text, size_t size)
{
    char key[64], line[300];
    size_t k = choose_key(rng, key, sizeof key);
    int n = snprintf(text, size, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%u\r\n%s\r\n", k, key, gap_options.size, value);
    if (gap_options.wait != 0)
        n += snprintf(text + n, size - (size_t)n, "WAIT %u %d\r\n", gap_options.wait, TIMEOUT_MS);
    if (!conn_send(c, text, (size_t)n) || !conn_line(c, line, sizeof line) || strcmp(line, "+OK") != 0) return false;
    if (gap_options.wait == 0) return true;
    return conn_line(c, line, sizeof line) && line[0] == ':' && (unsigned)atoi(line + 1) >= gap_options.wait;
}

static void *run_writer(void *arg)
{
    struct writer *w = arg;
    struct conn c = {.fd = -1};
    uint64_t rng = (w->number + 1) * 0x9e3779b97f4a7c15u;
    size_t at = w->number, text_size = gap_options.size + 300;
    char *value = need(calloc(1, gap_options.size + 1)), *text = need(malloc(text_size));
    memset(value, 'v', gap_options.size);
    while (now_ns() < gap_options.end) {
        const char *address = gap_options.addresses[at % gap_options.address_count];
        if ((c.fd >= 0 || conn_open(&c, address)) && write_once(&c, &rng, value, text, text_size)) {
            if (w->count == w->room) {
                w->room = w->room == 0 ? 4096 : 2 * w->room;
                w->times = need(realloc(w->times, w->room * sizeof *w->times));
            }
            w->times[w->count++] = now_ns() - gap_options.start;
            continue;
        }
        conn_close(&c);
        w->errors++;
        at++;
        sleep_us(2000);
    }
    conn_close(&c);
    free(value);
    free(text);
    return NULL;
}

static void gap_report(struct writer *writers)
{
    size_t count = 0;
    uint64_t errors = 0, longest = 0, at = 0;
    for (unsigned i = 0; i < gap_options.writers; i++) count += writers[i].count, errors += writers[i].errors;
    uint64_t *all = need(malloc((count + 1) * sizeof *all)), *to = all;
    for (unsigned i = 0; i < gap_options.writers; i++) {
        if (writers[i].count != 0) memcpy(to, writers[i].times, writers[i].count * sizeof *to);
        to += writers[i].count;
        free(writers[i].times);
    }
    qsort(all, count, sizeof *all, by_value);
    all[count++] = gap_options.end - gap_options.start; /* what never went on counts too */
    for (size_t i = 1; i < count; i++)
        if (all[i] > all[i - 1] && all[i] - all[i - 1] > longest) longest = all[i] - all[i - 1], at = all[i - 1];
    printf("{\"gap_ms\":%.1f,\"at_s\":%.2f,\"writes\":%zu,\"errors\":%" PRIu64 ",\"recovered\":%s}\n",
           (double)longest / 1e6, (double)at / 1e9, count - 1, errors,
           at + longest < gap_options.end - gap_options.start ? "true" : "false");
    free(all);
}

static int gap(int argc, char **argv)
{
    static struct writer writers[WRITERS_MAX];
    int i = 0;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--writers") == 0) gap_options.writers = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--seconds") == 0) gap_options.seconds = atof(argv[i + 1]);
        else if (strcmp(argv[i], "--size") == 0) gap_options.size = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--wait") == 0) gap_options.wait = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--led-by") == 0) gap_options.led_by = argv[i + 1];
        else return 2;
    }
    gap_options.addresses = argv + i;
    gap_options.address_count = (size_t)(argc - i);
    if (gap_options.address_count == 0 || gap_options.writers == 0 || gap_options.writers > WRITERS_MAX) return 2;
    if (gap_options.led_by != NULL) {
        struct map *m = &gap_options.map;
        map_ask(m, gap_options.led_by);
        while (gap_options.wanted < m->count && strcmp(m->leaders[gap_options.wanted], gap_options.led_by) != 0)
            gap_options.wanted++;
        if (gap_options.wanted == m->count) die("no slot is led by", gap_options.led_by);
    }
    gap_options.start = now_ns();
    gap_options.end = gap_options.start + (uint64_t)(gap_options.seconds * 1e9);
    for (unsigned k = 0; k < gap_options.writers; k++) {
        writers[k].number = k;
        if (pthread_create(&writers[k].thread, NULL, run_writer, &writers[k]) != 0) die("thread", "");
    }
    for (unsigned k = 0; k < gap_options.writers; k++) pthread_join(writers[k].thread, NULL);
    gap_report(writers);
    return 0;
}

/* ---- fsync ---- */

static int fsync_probe(int argc, char **argv)
{
    static uint64_t samples[SAMPLES_MAX];
    static char page[4096];
    size_t count = 0;
    if (argc != 2) return 2;
    int fd = open(argv[0], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) die("open", argv[0]);
    for (off_t at = 0; at < FSYNC_FILE_MAX; at += (off_t)sizeof page)
        if (pwrite(fd, page, sizeof page, at) != (ssize_t)sizeof page) die("write", argv[0]);
    if (fsync(fd) != 0) die("fsync", argv[0]);
    uint64_t end = now_ns() + (uint64_t)(atof(argv[1]) * 1e9), before = now_ns();
    for (off_t at = 0; before < end && count < SAMPLES_MAX; at = (at + (off_t)sizeof page) % FSYNC_FILE_MAX) {
        page[0]++;
        if (pwrite(fd, page, sizeof page, at) != (ssize_t)sizeof page || fdatasync(fd) != 0) die("write", argv[0]);
        uint64_t after = now_ns();
        samples[count++] = after - before;
        before = after;
    }
    close(fd);
    unlink(argv[0]);
    if (count == 0) return 1;
    qsort(samples, count, sizeof *samples, by_value);
    size_t median = count / 2;
    printf("%.0f\n", (double)samples[median] / 1e3);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {{"ready", ready}, {"leaders", leaders}, {"gap", gap}, {"fsync", fsync_probe}};
    int code = 2;
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0) code = commands[i].run(argc - 2, argv + 2);
    if (code == 2) fprintf(stderr, "probe: the head of bench/probe.c says how it is used\n");
    return code;
}

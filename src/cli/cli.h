/* cli.h - what the commands of the binary share: the table of commands, options, and how they speak to people.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    a command is one row of the table in cairn_main.c and one file. It gets its arguments (argv[0] is its own
 * name) and returns the exit code. What it prints for people and scripts goes to stdout, errors go to stderr, each one
 * line. Threading:  the main thread, unless a command starts its own. */
#ifndef CAIRN_CLI_CLI_H
#define CAIRN_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "env/env.h"

enum exit_code { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

#define DEFAULT_ADDRESS "127.0.0.1:7000"

struct cli_command {
    const char *name;
    const char *arguments; /* for the help, e.g. "[--json] [--address HOST:PORT]" */
    const char *summary;   /* one line */
    const char *about;     /* further lines of its help; may be NULL */
    int (*run)(int argc, char **argv);
    void (*more)(void); /* prints the rest of its help; may be NULL */
};

enum cli_option_type {
    CLI_TEXT,
    CLI_ADDRESS /* HOST:PORT */,
    CLI_NUMBER,
    CLI_SIZE,
    CLI_DURATION /* ns */,
    CLI_FLAG /* a bool */
};

struct cli_option {
    const char *name; /* "clients" is --clients N or --clients=N */
    enum cli_option_type type;
    void *out; /* const char *, uint64_t or bool */
    const char *argument, *help;
    uint64_t min, max; /* of numbers; max 0: no bound */
};

/* Takes the options off argv[1] …; the other arguments are moved to the front of argv (behind argv[0]) and counted.
 * Arguments after "--" are never options. At most args_max of them are allowed. false: an error was printed: return
 * EXIT_USAGE. */
bool cli_options(const struct cli_option *options, size_t count, int *argc, char **argv, int args_max);
void cli_options_help(const struct cli_option *options, size_t count);

/* Prints "cairn: text" to stderr, one line. */
void cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A number as people write it: 1234567 is "1,234,567". */
const char *cli_thousands(uint64_t n, char out[32]);
/* Bytes as "1.2 GiB", nanoseconds as "1.2 ms". */
const char *cli_bytes(uint64_t n, char out[32]);
const char *cli_time(uint64_t ns, char out[32]);
unsigned cli_cores(void); /* that this process may use */

/* One HTTP request, waited for. Returns the status code, 0 if there was no answer (err says why). The caller deinits
 * out. */
int cli_http(const char *address, const char *method, const char *path, uint64_t timeout_ns, struct buf *out,
             struct error *err);

int serve_main(int argc, char **argv);
void serve_help(void);
int local_main(int argc, char **argv);
void local_help(void);
int status_main(int argc, char **argv);
void status_help(void);
int node_main(int argc, char **argv);
void node_help(void);
int table_main(int argc, char **argv);
void table_help(void);
int checkpoint_main(int argc, char **argv);
void checkpoint_help(void);
int restore_main(int argc, char **argv);
void restore_help(void);
int bench_main(int argc, char **argv);
void bench_help(void);
int load_main(int argc, char **argv);
void load_help(void);
int query_main(int argc, char **argv);
void query_help(void);
int version_main(int argc, char **argv);

#endif

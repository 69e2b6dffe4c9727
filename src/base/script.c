/* script.c - tests written as commands and what they printed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/script.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/status.h"

enum { ARGS_MAX = 32 };

struct script {
    char *args[ARGS_MAX];
    size_t count;
    bool known;
    struct buf printed;
};

bool script_is(struct script *s, const char *command)
{
    if (strcmp(s->args[0], command) != 0) return false;
    s->known = true;
    return true;
}

static const char *find(struct script *s, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 1; i < s->count; i++)
        if (strncmp(s->args[i], key, n) == 0 && (s->args[i][n] == '=' || s->args[i][n] == 0)) return s->args[i] + n;
    return NULL;
}

bool script_has(struct script *s, const char *key) { return find(s, key) != NULL; }

const char *script_str(struct script *s, const char *key, const char *def)
{
    const char *v = find(s, key);
    return v != NULL && *v == '=' ? v + 1 : def;
}

uint64_t script_u64(struct script *s, const char *key, uint64_t def)
{
    const char *v = script_str(s, key, NULL);
    uint64_t n = def;
    if (v != NULL && !bytes_to_u64(bytes_str(v), &n)) script_print(s, "error: %s=%s is no number\n", key, v);
    return n;
}

const char *script_arg(struct script *s, size_t at)
{
    for (size_t i = 1; i < s->count; i++)
        if (strchr(s->args[i], '=') == NULL && at-- == 0) return s->args[i];
    return NULL;
}

void script_print(struct script *s, const char *fmt, ...)
{
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    buf_put(&s->printed, line, strlen(line));
}

static bool read_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) return false;
    char piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;) buf_put(out, piece, n);
    fclose(f);
    return true;
}

static void run_line(struct script *s, struct bytes line, script_fn on_command, void *ctx)
{
    char *text = mem_alloc(line.n + 1);
    memcpy(text, line.p, line.n);
    text[line.n] = 0;
    s->count = 0;
    s->known = false;
    for (char *save, *w = strtok_r(text, " \t", &save); w != NULL; w = strtok_r(NULL, " \t", &save)) {
        ASSERT(s->count < ARGS_MAX);
        s->args[s->count++] = w;
    }
    if (s->count > 0 && s->args[0][0] != '#') {
        on_command(s, ctx);
        if (!s->known) script_print(s, "error: unknown command %s\n", s->args[0]);
    }
    mem_free(text);
}

static struct bytes next_line(struct bytes *rest)
{
    const uint8_t *nl = rest->n != 0 ? memchr(rest->p, '\n', rest->n) : NULL;
    size_t n = nl != NULL ? (size_t)(nl - rest->p) : rest->n;
    struct bytes line = bytes_of(rest->p, n);
    size_t skip = nl != NULL ? n + 1 : n;
    *rest = bytes_of(rest->p + skip, rest->n - skip);
    return line;
}

bool script_run(const char *path, script_fn on_command, void *ctx, struct buf *out_diff)
{
    struct buf file = {0}, rewritten = {0}, expected = {0};
    struct script s = {0};
    bool ok = true;
    if (!read_file(path, &file)) {
        buf_printf(out_diff, "can't read %s\n", path);
        return false;
    }
    struct bytes rest = buf_view(&file);
    for (unsigned line_number = 1; rest.n > 0; line_number++) {
        struct bytes line = next_line(&rest);
        buf_put_bytes(&rewritten, line);
        buf_put_u8(&rewritten, '\n');
        if (!bytes_equal(line, BYTES_LIT("----"))) {
            run_line(&s, line, on_command, ctx);
            continue;
        }
        unsigned at = line_number;
        buf_clear(&expected);
        bool blank = false;
        while (rest.n > 0 && !blank) {
            line = next_line(&rest);
            line_number++;
            blank = line.n == 0;
            if (!blank) {
                buf_put_bytes(&expected, line);
                buf_put_u8(&expected, '\n');
            }
        }
        if (!bytes_equal(buf_view(&expected), buf_view(&s.printed))) {
            ok = false;
            buf_printf(out_diff, "%s:%u expected:\n%.*s-- but it printed:\n%.*s", path, at, (int)expected.n,
                       (const char *)expected.p, (int)s.printed.n, (const char *)s.printed.p);
        }
        buf_put_bytes(&rewritten, buf_view(&s.printed));
        if (blank) buf_put_u8(&rewritten, '\n');
        buf_clear(&s.printed);
    }
    const char *rewrite = getenv("SCRIPT_REWRITE");
    if (!ok && rewrite != NULL && strcmp(rewrite, "1") == 0) {
        FILE *f = fopen(path, "wb");
        ASSERT(f != NULL && fwrite(rewritten.p, 1, rewritten.n, f) == rewritten.n && fclose(f) == 0);
        buf_clear(out_diff);
        ok = true;
    }
    buf_deinit(&s.printed);
    buf_deinit(&file);
    buf_deinit(&rewritten);
    buf_deinit(&expected);
    return ok;
}

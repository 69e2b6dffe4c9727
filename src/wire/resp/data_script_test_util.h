/* data_script_test_util.h - the files of testdata/data_command.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CAIRN_WIRE_RESP_DATA_SCRIPT_TEST_UTIL_H
#define CAIRN_WIRE_RESP_DATA_SCRIPT_TEST_UTIL_H

#include <stdio.h>

#include "wire/resp/data_test_util.h"

struct data_line {
    char *source;         /* the command as written, or the whole line if it is none */
    const char *expected; /* "" if there is none yet */
    bool differs;         /* from Redis, deliberately */
    struct buf words;
    struct bytes argv[DATA_ARGS_MAX];
    size_t argc; /* 0: a comment */
};

struct data_script {
    struct data_line *lines;
    size_t count;
};

static inline void data_script_load(struct data_script *s, const char *name)
{
    char path[128];
    static char line[8192];
    snprintf(path, sizeof path, "testdata/data_command/%s.txt", name);
    FILE *f = fopen(path, "r");
    ASSERT(f != NULL);
    *s = (struct data_script){0};
    while (fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = 0;
        s->lines = mem_realloc(s->lines, (s->count + 1) * sizeof *s->lines);
        struct data_line *l = &s->lines[s->count++];
        memset(l, 0, sizeof *l);
        l->source = mem_strdup(line);
        l->expected = "";
        if (line[0] == '#' || line[0] == 0) continue;
        char *arrow = strstr(l->source, " => ");
        if (arrow != NULL) {
            *arrow = 0;
            l->expected = arrow + 4;
        }
        l->differs = l->source[0] == '!';
    }
    fclose(f);
    for (size_t i = 0; i < s->count; i++) { /* now that the lines do not move */
        struct data_line *l = &s->lines[i];
        if (l->source[0] != '#' && l->source[0] != 0) l->argc = data_split(l->source + l->differs, &l->words, l->argv);
    }
}

static inline void data_script_write(const char *name, struct bytes text)
{
    char path[128];
    snprintf(path, sizeof path, "testdata/data_command/%s.txt", name);
    FILE *f = fopen(path, "w");
    ASSERT(f != NULL);
    fwrite(text.p, 1, text.n, f);
    fclose(f);
}

static inline void data_script_free(struct data_script *s)
{
    for (size_t i = 0; i < s->count; i++) {
        mem_free(s->lines[i].source);
        buf_deinit(&s->lines[i].words);
    }
    mem_free(s->lines);
}

#endif

/* fuzz_main.c - runs a fuzz target over the files of its corpus, and over mutations of them with a fixed seed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for libFuzzer's main where the compiler has none, so that every build replays what fuzzing found. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t rng = 0x9e3779b97f4a7c15u;

static uint64_t next(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

static void mutate_and_run(const uint8_t *data, size_t size)
{
    for (int round = 0; round < 200; round++) {
        size_t n = size + next() % 9;
        uint8_t *copy = calloc(1, n + 1);
        memcpy(copy, data, size);
        for (uint64_t i = next() % 5 + 1; i > 0 && n > 0; i--) copy[next() % n] = (uint8_t)next();
        LLVMFuzzerTestOneInput(copy, next() % 4 ? n : next() % (n + 1));
        free(copy);
    }
}

int main(int argc, char **argv)
{
    size_t files = 0;
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    DIR *dir = argc > 1 ? opendir(argv[1]) : NULL;
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        char path[4096];
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], e->d_name);
        FILE *f = fopen(path, "rb");
        if (f == NULL) continue;
        uint8_t *data = malloc(1 << 20);
        size_t size = fread(data, 1, 1 << 20, f);
        fclose(f);
        LLVMFuzzerTestOneInput(data, size);
        mutate_and_run(data, size);
        free(data);
        files++;
    }
    if (dir != NULL) closedir(dir);
    if (files == 0) mutate_and_run((const uint8_t *)"seed", 4);
    printf("%zu corpus files, with mutations: no fault\n", files);
    return 0;
}

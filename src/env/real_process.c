/* real_process.c - what the process uses of the machine, as the kernel counts it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "env/real_internal.h"

/* The second number of /proc/self/statm is the resident pages. */
static uint64_t resident_bytes(void)
{
    char text[128];
    unsigned long long total = 0, resident = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel wrote them */
    if (sscanf(text, "%llu %llu", &total, &resident) != 2) return 0;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t time_ns(struct timeval t) { return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_usec * NS_PER_US; }

void real_process_stats(struct env *env, struct env_process_stats *out)
{
    struct rusage usage;
    struct rlimit files;
    *out = (struct env_process_stats){.pid = (uint64_t)getpid(), .resident_bytes = resident_bytes()};
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        out->cpu_user_ns = time_ns(usage.ru_utime);
        out->cpu_system_ns = time_ns(usage.ru_stime);
        out->resident_peak_bytes = (uint64_t)usage.ru_maxrss * 1024;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) out->files_max = files.rlim_cur;
    long pages = sysconf(_SC_PHYS_PAGES);
    if (pages > 0) out->machine_bytes = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

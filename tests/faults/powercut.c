/* powercut.c - cuts the power of one file system: nothing that is not on disk by now will be, and all that follows
 * fails. SPDX-License-Identifier: Apache-2.0
 *
 * faults_powercut DIRECTORY: the ioctl that file systems have for this very test (ext4, xfs, f2fs), without flushing
 * the journal. After it the file system is unmounted and mounted again, as a machine that starts would. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FS_IOC_SHUTDOWN     _IOR('X', 125, uint32_t)
#define SHUTDOWN_NOLOGFLUSH 2u

int main(int argc, char **argv)
{
    uint32_t how = SHUTDOWN_NOLOGFLUSH;
    int fd = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY) : -1;
    if (fd < 0 || ioctl(fd, FS_IOC_SHUTDOWN, &how) != 0) {
        fprintf(stderr, "faults_powercut: '%s': %s\n", argc == 2 ? argv[1] : "usage: DIRECTORY", strerror(errno));
        return 1;
    }
    close(fd);
    return 0;
}

/* Writes down what really is on the disk: after each fsync, the file's size before it, when it began
   (CLOCK_MONOTONIC) and the file's path, a line each, into the file that CHAOS_DISK names. What a
   file has beyond that is in the kernel's cache alone, and a power failure takes it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int noted(long call, int file) {
    char link[40], path[4096], line[4200];
    struct stat before;
    struct timespec began;
    int known = fstat(file, &before) == 0 && S_ISREG(before.st_mode);
    clock_gettime(CLOCK_MONOTONIC, &began);
    int result = syscall(call, file);
    const char *book = getenv("CHAOS_DISK");
    if (result || !known || !book) return result;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return result;
    path[length] = 0;
    int size = snprintf(line, sizeof line, "%lld %lld.%06ld %s\n", (long long)before.st_size,
                        (long long)began.tv_sec, began.tv_nsec / 1000, path);
    int out = open(book, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (out >= 0) { if (write(out, line, size) != size) abort(); close(out); }
    return result;
}
int fsync(int file) { return noted(SYS_fsync, file); }
int fdatasync(int file) { return noted(SYS_fdatasync, file); }

/*
 * The simulator is linked so that whoever asks the operating system for time or randomness asks here instead: time
 * stands still (only log lines carry it), randomness is refused, because a run that used it could not be repeated.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h> /* also struct timespec */

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
time_t __wrap_time(time_t *now);
ssize_t __wrap_getrandom(void *bytes, size_t len, unsigned flags);
int __wrap_rand(void);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now) {
    (void)clock;
    memset(now, 0, sizeof *now);
    return 0;
}

time_t __wrap_time(time_t *now) {
    if (now != NULL) {
        *now = 0;
    }
    return 0;
}

static void refuse(const char *what) {
    fprintf(stderr, "simulator: %s was called; all randomness must come from the seed\n", what);
    abort();
}

ssize_t __wrap_getrandom(void *bytes, size_t len, unsigned flags) {
    (void)bytes;
    (void)len;
    (void)flags;
    refuse("getrandom");
    return -1;
}

int __wrap_rand(void) {
    refuse("rand");
    return 0;
}

/*
 * Random bytes are had from the kernel by the half kilobyte, because ids are small and a system call is not; what has
 * been handed out is cleared.
 *
 * A process can be frozen in two ways: the machine sleeps (CLOCK_BOOTTIME goes on), or its virtual machine is paused
 * (only the wall clock is put right afterwards). So elapsed time is what the clock that advanced most says, from one
 * question to the next; a wall clock set back takes nothing away.
 */
#include "storage/runtime/system.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static int64_t clock_ns(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * ST_SECOND + ts.tv_nsec;
}

int64_t st_system_mono_ns(void *self) {
    (void)self;
    return clock_ns(CLOCK_MONOTONIC);
}

int64_t st_system_wall_ms(void *self) {
    (void)self;
    return clock_ns(CLOCK_REALTIME) / ST_MS;
}

int64_t st_system_elapsed_ns(void) {
    static _Thread_local int64_t elapsed, boot_before, wall_before;
    const int64_t boot = clock_ns(CLOCK_BOOTTIME), wall = clock_ns(CLOCK_REALTIME);
    if (wall_before != 0) {
        const int64_t by_boot = boot - boot_before, by_wall = wall - wall_before;
        elapsed += by_wall > by_boot ? by_wall : by_boot;
    }
    boot_before = boot;
    wall_before = wall;
    return elapsed;
}

static void must_random(uint8_t *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = getrandom(bytes, len, 0);
        if (n < 0 && errno != EINTR) {
            perror("getrandom");
            abort(); /* ids that repeat would lose data */
        }
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
}

void st_system_random(void *self, void *bytes, size_t len) {
    struct st_system *system = self;
    if (len > ST_SYSTEM_RANDOM_MAX) {
        must_random(bytes, len);
        return;
    }
    if (system->random_left < len) {
        must_random(system->random, ST_SYSTEM_RANDOM_MAX);
        system->random_left = ST_SYSTEM_RANDOM_MAX;
    }
    system->random_left -= len;
    memcpy(bytes, system->random + system->random_left, len);
    memset(system->random + system->random_left, 0, len);
}

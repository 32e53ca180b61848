/* A loop on a clock that the test moves, for tests and fuzz targets of this layer. */
#ifndef REST_TESTS_VIRTUAL_LOOP_H
#define REST_TESTS_VIRTUAL_LOOP_H

#include "storage/runtime/loop.h"

#define VIRTUAL_WALL_MS INT64_C(1700000000000)

struct virtual_clock {
    int64_t now_ns;
    uint64_t random;
};

static int64_t virtual_mono(void *self) {
    return ((struct virtual_clock *)self)->now_ns;
}

static int64_t virtual_wall(void *self) {
    return VIRTUAL_WALL_MS + ((struct virtual_clock *)self)->now_ns / ST_MS;
}

static void virtual_random(void *self, void *bytes, size_t len) {
    struct virtual_clock *clock = self;
    for (size_t i = 0; i < len; i++) {
        clock->random = clock->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(clock->random >> 56);
    }
}

static struct st_loop *virtual_loop_new(struct virtual_clock *clock) {
    *clock = (struct virtual_clock){.now_ns = ST_SECOND, .random = 1};
    struct st_env env = {
        .now_mono_ns = virtual_mono, .now_wall_ms = virtual_wall, .random = virtual_random, .self = clock};
    return st_loop_new(&env);
}

/* Runs until *done, or until nothing is planned before the clock has moved by most_ns. True when *done. */
static bool virtual_run(struct st_loop *loop, struct virtual_clock *clock, const bool *done, int64_t most_ns) {
    int64_t end_ns = clock->now_ns + most_ns;
    while (!*done) {
        int64_t due = st_loop_due(loop);
        if (due > end_ns) {
            clock->now_ns = end_ns;
            return false;
        }
        clock->now_ns = due > clock->now_ns ? due : clock->now_ns;
        st_loop_run_due(loop);
    }
    return true;
}

#endif

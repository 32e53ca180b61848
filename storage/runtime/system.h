/* The operating system's clocks and randomness, as the drivers of real loops hand them to struct st_env. */
#ifndef ST_SYSTEM_H
#define ST_SYSTEM_H

#include "storage/runtime/loop.h"

#define ST_SYSTEM_RANDOM_MAX 512

/* A driver's struct begins with it, so that `self` of st_env is both. All zero at first. Not to be used on both sides
 * of a fork: they would draw the same. */
struct st_system {
    size_t random_left;
    uint8_t random[ST_SYSTEM_RANDOM_MAX];
};

int64_t st_system_mono_ns(void *self);
int64_t st_system_wall_ms(void *self);
void st_system_random(void *self, void *bytes, size_t len);

/* How much time has passed outside, counted from some moment of the past: also while the process or the machine was
 * frozen, when the monotonic clock may stand still. For how old something has become, never for order: it may run
 * fast, or stand still, when the clock is set. */
int64_t st_system_elapsed_ns(void);

#endif

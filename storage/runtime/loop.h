/*
 * The small seam: time, randomness, timers and deferred calls. Everything above it is single-threaded per loop and
 * never asks the operating system for any of these, so that the simulator owns them.
 *
 * loop.c holds the timers and the queue of deferred calls; a driver supplies clocks, randomness and the waiting:
 * loop_libevent.c for the gateway, loop_poll.c for the Lambda, the simulator for its virtual processes.
 */
#ifndef ST_LOOP_H
#define ST_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ST_NEVER INT64_MAX

struct st_loop;
struct st_watch;

/* What a driver supplies. `self` is the driver's own. */
struct st_env {
    int64_t (*now_mono_ns)(void *self); /* never runs backwards, may stand still (frozen process) */
    int64_t (*now_wall_ms)(void *self); /* Unix time; for record timestamps and logs only, decides nothing */
    void (*random)(void *self, void *bytes, size_t len);
    /* The loop now wants to run at this time at the latest (ST_NEVER: only when something happens). May be NULL for
     * a driver that asks st_loop_due itself. */
    void (*wake_at)(void *self, int64_t mono_ns);
    /* The descriptor watch->fd is wanted for these events from now on (watch.h); 0: no more. watch->events are those
     * wanted till now. False: no memory. NULL for a driver without descriptors. */
    bool (*watch)(void *self, struct st_watch *watch, unsigned events);
    void *self;
};

/* Embedded in its owner's struct. fn runs once per start, from the loop, with the timer stopped. */
struct st_timer {
    void (*fn)(struct st_timer *timer);
    int64_t due_ns;
    uint64_t order;    /* ties run in the order of their start */
    size_t heap_index; /* 0: stopped; else position + 1 */
};

/* A call to be made soon, from the loop, never inline. Embedded in its owner's struct. */
struct st_task {
    void (*fn)(struct st_task *task);
    struct st_task *next;
    bool queued;
};

struct st_loop *st_loop_new(const struct st_env *env);
/* Timers and tasks still queued are forgotten, not run. */
void st_loop_free(struct st_loop *loop);

int64_t st_now_ns(struct st_loop *loop);      /* monotonic */
int64_t st_now_wall_ms(struct st_loop *loop); /* Unix, milliseconds */
void st_random(struct st_loop *loop, void *bytes, size_t len);
uint64_t st_random_u64(struct st_loop *loop);

/* (Re)starts the timer to run after delay_ns (>= 0). */
void st_timer_start(struct st_loop *loop, struct st_timer *timer, int64_t delay_ns);
void st_timer_stop(struct st_loop *loop, struct st_timer *timer);
/* Queues the call; a task that is queued already stays where it is. */
void st_defer(struct st_loop *loop, struct st_task *task);
void st_defer_cancel(struct st_loop *loop, struct st_task *task);

/* For drivers: runs what is due now (tasks first, then timers); tasks queued meanwhile run in the next call. */
void st_loop_run_due(struct st_loop *loop);
/* When it next wants to run: 0 with tasks queued, ST_NEVER with nothing. */
int64_t st_loop_due(struct st_loop *loop);
/* What the loop was made with. */
const struct st_env *st_loop_env(const struct st_loop *loop);

#define ST_MS INT64_C(1000000) /* nanoseconds */
#define ST_SECOND (1000 * ST_MS)

/* The struct that embeds `member`. */
#define ST_OWNER(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#endif

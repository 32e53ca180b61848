/*
 * Timers lie in a binary heap ordered by (due time, order of start), deferred calls in a list. Both are intrusive, so
 * that starting and stopping allocates nothing but the heap's own array.
 *
 * The driver is told about a new wish to run only when it is earlier than what it was told last, and once at the end
 * of each run: a loop that is busy running does not wake itself. Being woken too early is harmless, so stopping a
 * timer tells nobody.
 *
 * One run takes the tasks that were queued when it began, then the timers that were started before it and are due at
 * one reading of the clock. What these queue or start with no delay waits for the next run, so a task that defers
 * itself for ever cannot keep the driver from looking at its sockets.
 */
#include "storage/runtime/loop.h"

#include <stdio.h>
#include <stdlib.h>

struct st_loop {
    struct st_env env;
    struct st_timer **heap;
    size_t timers, room;
    uint64_t next_order;
    struct st_task *first, **last;  /* queued for the next run */
    struct st_task *running;        /* what is left of this run */
    int64_t told_ns;                /* what the driver knows; ST_NEVER when it may sleep */
    bool in_run;
};

#define HEAP_ROOM_AT_FIRST 64

struct st_loop *st_loop_new(const struct st_env *env) {
    struct st_loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL) {
        return NULL;
    }
    loop->heap = malloc(HEAP_ROOM_AT_FIRST * sizeof(struct st_timer *));
    if (loop->heap == NULL) {
        free(loop);
        return NULL;
    }
    loop->room = HEAP_ROOM_AT_FIRST;
    loop->env = *env;
    loop->last = &loop->first;
    loop->told_ns = ST_NEVER;
    return loop;
}

static void forget_tasks(struct st_task *task) {
    while (task != NULL) {
        struct st_task *next = task->next;
        task->queued = false;
        task->next = NULL;
        task = next;
    }
}

void st_loop_free(struct st_loop *loop) {
    if (loop == NULL) {
        return;
    }
    for (size_t i = 0; i < loop->timers; i++) {
        loop->heap[i]->heap_index = 0;
    }
    forget_tasks(loop->running);
    forget_tasks(loop->first);
    free(loop->heap);
    free(loop);
}

const struct st_env *st_loop_env(const struct st_loop *loop) {
    return &loop->env;
}

int64_t st_now_ns(struct st_loop *loop) {
    return loop->env.now_mono_ns(loop->env.self);
}

int64_t st_now_wall_ms(struct st_loop *loop) {
    return loop->env.now_wall_ms(loop->env.self);
}

void st_random(struct st_loop *loop, void *bytes, size_t len) {
    loop->env.random(loop->env.self, bytes, len);
}

uint64_t st_random_u64(struct st_loop *loop) {
    uint64_t value;
    st_random(loop, &value, sizeof value);
    return value;
}

/* ---- the heap ---- */

static bool before(const struct st_timer *a, const struct st_timer *b) {
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void place(struct st_loop *loop, struct st_timer *timer, size_t at) {
    loop->heap[at] = timer;
    timer->heap_index = at + 1;
}

static void sift_up(struct st_loop *loop, struct st_timer *timer, size_t at) {
    while (at > 0 && before(timer, loop->heap[(at - 1) / 2])) {
        place(loop, loop->heap[(at - 1) / 2], at);
        at = (at - 1) / 2;
    }
    place(loop, timer, at);
}

static void sift_down(struct st_loop *loop, struct st_timer *timer, size_t at) {
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < loop->timers && before(loop->heap[child + 1], loop->heap[child])) {
            child++;
        }
        if (child >= loop->timers || before(timer, loop->heap[child])) {
            break;
        }
        place(loop, loop->heap[child], at);
        at = child;
    }
    place(loop, timer, at);
}

static void heap_grow(struct st_loop *loop) {
    struct st_timer **grown = realloc(loop->heap, 2 * loop->room * sizeof(struct st_timer *));
    if (grown == NULL) {
        fputs("out of memory for timers\n", stderr);
        abort(); /* a lost timer would be a request that hangs for ever */
    }
    loop->heap = grown;
    loop->room *= 2;
}

static void tell(struct st_loop *loop, int64_t due_ns) {
    loop->told_ns = due_ns;
    if (loop->env.wake_at != NULL) {
        loop->env.wake_at(loop->env.self, due_ns);
    }
}

static void tell_if_earlier(struct st_loop *loop, int64_t due_ns) {
    if (!loop->in_run && due_ns < loop->told_ns) {
        tell(loop, due_ns);
    }
}

void st_timer_start(struct st_loop *loop, struct st_timer *timer, int64_t delay_ns) {
    st_timer_stop(loop, timer);
    if (loop->timers == loop->room) {
        heap_grow(loop);
    }
    int64_t now = st_now_ns(loop);
    if (delay_ns < 0) {
        delay_ns = 0;
    }
    timer->due_ns = delay_ns < ST_NEVER - 1 - now ? now + delay_ns : ST_NEVER - 1;
    timer->order = loop->next_order++;
    sift_up(loop, timer, loop->timers++);
    tell_if_earlier(loop, timer->due_ns);
}

void st_timer_stop(struct st_loop *loop, struct st_timer *timer) {
    if (timer->heap_index == 0) {
        return;
    }
    size_t at = timer->heap_index - 1;
    timer->heap_index = 0;
    struct st_timer *moved = loop->heap[--loop->timers];
    if (moved == timer) {
        return;
    }
    if (at > 0 && before(moved, loop->heap[(at - 1) / 2])) {
        sift_up(loop, moved, at);
    } else {
        sift_down(loop, moved, at);
    }
}

/* ---- tasks ---- */

void st_defer(struct st_loop *loop, struct st_task *task) {
    if (task->queued) {
        return;
    }
    task->queued = true;
    task->next = NULL;
    *loop->last = task;
    loop->last = &task->next;
    tell_if_earlier(loop, 0);
}

void st_defer_cancel(struct st_loop *loop, struct st_task *task) {
    if (!task->queued) {
        return;
    }
    struct st_task **link = &loop->running;
    while (*link != NULL && *link != task) {
        link = &(*link)->next;
    }
    if (*link == NULL) {
        link = &loop->first;
        while (*link != task) {
            link = &(*link)->next;
        }
        if (loop->last == &task->next) {
            loop->last = link;
        }
    }
    *link = task->next;
    task->next = NULL;
    task->queued = false;
}

/* ---- running ---- */

void st_loop_run_due(struct st_loop *loop) {
    loop->in_run = true;
    uint64_t order_end = loop->next_order;
    loop->running = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    while (loop->running != NULL) {
        struct st_task *task = loop->running;
        loop->running = task->next;
        task->next = NULL;
        task->queued = false;
        task->fn(task);
    }
    int64_t now = loop->timers > 0 ? st_now_ns(loop) : 0;
    while (loop->timers > 0 && loop->heap[0]->due_ns <= now && loop->heap[0]->order < order_end) {
        struct st_timer *timer = loop->heap[0];
        st_timer_stop(loop, timer);
        timer->fn(timer);
    }
    loop->in_run = false;
    tell(loop, st_loop_due(loop));
}

int64_t st_loop_due(struct st_loop *loop) {
    if (loop->first != NULL || loop->running != NULL) {
        return 0;
    }
    return loop->timers > 0 ? loop->heap[0]->due_ns : ST_NEVER;
}

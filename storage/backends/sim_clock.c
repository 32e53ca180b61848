/*
 * The generator is SplitMix64 (Steele, Lea, Flood 2014): one word of state, every seed gives a full period, and a
 * stream begins at a hash of seed and concern. It need not be unpredictable, only cheap and the same everywhere.
 */
#include "storage/backends/sim_clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t value) {
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

struct st_dice st_dice_of(uint64_t seed, const char *concern) {
    uint64_t state = mix(seed + 1);
    for (const char *c = concern; *c != '\0'; c++) {
        state = mix(state ^ (uint8_t)*c);
    }
    return (struct st_dice){state};
}

uint64_t st_dice_u64(struct st_dice *dice) {
    dice->state += UINT64_C(0x9e3779b97f4a7c15);
    return mix(dice->state);
}

uint64_t st_dice_below(struct st_dice *dice, uint64_t limit) {
    return limit == 0 ? 0 : st_dice_u64(dice) % limit;
}

int64_t st_dice_between(struct st_dice *dice, int64_t least, int64_t most) {
    return least + (int64_t)st_dice_below(dice, (uint64_t)(most - least) + 1);
}

int64_t st_dice_spread(struct st_dice *dice, int64_t least, int64_t most) {
    unsigned doublings = 0;
    while (doublings < 62 && (least << doublings) < most / 2) {
        doublings++;
    }
    int64_t from = least << st_dice_below(dice, doublings + 1);
    int64_t to = from <= most / 2 ? from * 2 : most;
    return to <= from ? from : st_dice_between(dice, from, to);
}

bool st_dice_chance(struct st_dice *dice, uint32_t ppm) {
    return st_dice_below(dice, 1000000) < ppm;
}

void st_sim_clock_init(struct st_sim_clock *clock, uint64_t seed) {
    *clock = (struct st_sim_clock){.ties = st_dice_of(seed, "ties"), .trace_hash = mix(seed)};
}

void st_sim_clock_release(struct st_sim_clock *clock) {
    free(clock->heap);
    *clock = (struct st_sim_clock){0};
}

/* ---- the heap ---- */

static bool before(const struct st_sim_event *a, const struct st_sim_event *b) {
    if (a->at_ns != b->at_ns) {
        return a->at_ns < b->at_ns;
    }
    return a->tie != b->tie ? a->tie < b->tie : a->order < b->order;
}

static void place(struct st_sim_clock *clock, struct st_sim_event *event, size_t at) {
    clock->heap[at] = event;
    event->heap_index = at + 1;
}

static void sift_up(struct st_sim_clock *clock, struct st_sim_event *event, size_t at) {
    while (at > 0 && before(event, clock->heap[(at - 1) / 2])) {
        place(clock, clock->heap[(at - 1) / 2], at);
        at = (at - 1) / 2;
    }
    place(clock, event, at);
}

static void sift_down(struct st_sim_clock *clock, struct st_sim_event *event, size_t at) {
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < clock->count && before(clock->heap[child + 1], clock->heap[child])) {
            child++;
        }
        if (child >= clock->count || before(event, clock->heap[child])) {
            break;
        }
        place(clock, clock->heap[child], at);
        at = child;
    }
    place(clock, event, at);
}

void st_sim_at(struct st_sim_clock *clock, struct st_sim_event *event, int64_t at_ns) {
    st_sim_cancel(clock, event);
    if (clock->count == clock->room) {
        clock->room = clock->room == 0 ? 256 : 2 * clock->room;
        clock->heap = realloc(clock->heap, clock->room * sizeof(struct st_sim_event *));
        if (clock->heap == NULL) {
            fputs("simulator: out of memory\n", stderr);
            abort();
        }
    }
    event->at_ns = at_ns > clock->now_ns ? at_ns : clock->now_ns;
    event->tie = st_dice_u64(&clock->ties);
    event->order = clock->order++;
    sift_up(clock, event, clock->count++);
}

void st_sim_cancel(struct st_sim_clock *clock, struct st_sim_event *event) {
    if (event->heap_index == 0) {
        return;
    }
    size_t at = event->heap_index - 1;
    event->heap_index = 0;
    struct st_sim_event *moved = clock->heap[--clock->count];
    if (moved == event) {
        return;
    }
    if (at > 0 && before(moved, clock->heap[(at - 1) / 2])) {
        sift_up(clock, moved, at);
    } else {
        sift_down(clock, moved, at);
    }
}

int64_t st_sim_due(const struct st_sim_clock *clock) {
    return clock->count > 0 ? clock->heap[0]->at_ns : INT64_MAX;
}

void st_sim_step(struct st_sim_clock *clock) {
    struct st_sim_event *event = clock->heap[0];
    clock->now_ns = event->at_ns;
    st_sim_cancel(clock, event);
    event->fn(event);
}

void st_sim_trace(struct st_sim_clock *clock, const char *what, uint64_t who, uint64_t a, uint64_t b) {
    uint64_t hash = mix(clock->trace_hash ^ (uint64_t)clock->now_ns);
    for (const char *c = what; *c != '\0'; c++) {
        hash = hash * 31 + (uint8_t)*c;
    }
    hash = mix(hash ^ who);
    hash = mix(hash ^ a);
    clock->trace_hash = mix(hash ^ b);
    if (clock->verbose) {
        printf("%14.6f  %-28s %3" PRIu64 " %" PRIu64 " %" PRIu64 "\n", (double)clock->now_ns / 1e9, what, who, a,
               b);
    }
}

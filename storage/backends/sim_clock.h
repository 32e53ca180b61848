/*
 * Virtual time and seeded randomness for simulations.
 *
 * One heap of events ordered by (virtual nanosecond, tie drawn from the seed): which of two events of one instant
 * comes first is a decision of the seed too. Every concern has its own random stream, all made from one seed, so
 * that one draw more for one concern does not shift all others.
 */
#ifndef ST_SIM_CLOCK_H
#define ST_SIM_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct st_dice {
    uint64_t state;
};

struct st_dice st_dice_of(uint64_t seed, const char *concern);
uint64_t st_dice_u64(struct st_dice *dice);
/* 0 .. limit - 1; 0 for limit 0. */
uint64_t st_dice_below(struct st_dice *dice, uint64_t limit);
/* least .. most, both included. */
int64_t st_dice_between(struct st_dice *dice, int64_t least, int64_t most);
/* The same, but every order of magnitude is equally likely; least > 0. */
int64_t st_dice_spread(struct st_dice *dice, int64_t least, int64_t most);
/* True for `ppm` of a million. */
bool st_dice_chance(struct st_dice *dice, uint32_t ppm);

/* Embedded in its owner's struct. fn runs once, with the event off the heap. */
struct st_sim_event {
    void (*fn)(struct st_sim_event *event);
    int64_t at_ns;
    uint64_t tie, order;
    size_t heap_index; /* 0: not planned; else position + 1 */
};

struct st_sim_clock {
    int64_t now_ns;
    struct st_sim_event **heap;
    size_t count, room;
    uint64_t order;
    struct st_dice ties;
    uint64_t trace_hash; /* of everything traced so far: two runs of a seed must agree */
    bool verbose;        /* print the trace */
};

void st_sim_clock_init(struct st_sim_clock *clock, uint64_t seed);
void st_sim_clock_release(struct st_sim_clock *clock);
/* (Re)plans the event; an instant that has passed means now. */
void st_sim_at(struct st_sim_clock *clock, struct st_sim_event *event, int64_t at_ns);
void st_sim_cancel(struct st_sim_clock *clock, struct st_sim_event *event);
/* When the next event is due; INT64_MAX: nothing is planned. */
int64_t st_sim_due(const struct st_sim_clock *clock);
/* Moves time to the next event and runs it. There must be one. */
void st_sim_step(struct st_sim_clock *clock);

/* Puts one line into the trace: what happened, to whom, and two figures. */
void st_sim_trace(struct st_sim_clock *clock, const char *what, uint64_t who, uint64_t a, uint64_t b);

#endif

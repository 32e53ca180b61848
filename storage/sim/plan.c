#include "storage/sim/plan.h"

#define HOUR (3600 * ST_SECOND)

/* Zero for half of the seeds, rare for a quarter, frequent for a quarter. */
static uint32_t rate(struct st_dice *dice, uint32_t most) {
    switch (st_dice_below(dice, 4)) {
    case 0:
        return (uint32_t)st_dice_spread(dice, most / 200 + 1, most / 10 + 2);
    case 1:
        return (uint32_t)st_dice_between(dice, most / 10, most);
    }
    return 0;
}

#define PICK(dice, ...)                                                                                            \
    ((const int64_t[]){__VA_ARGS__})[st_dice_below(dice, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))]

static void draw_class(struct st_dice *dice, struct st_sim_faults *faults) {
    faults->refused = rate(dice, 250000);
    faults->lost_request = rate(dice, 80000);
    faults->lost_answer = rate(dice, 120000);
    faults->failed = rate(dice, 250000);
    faults->late = rate(dice, 80000);
    faults->slow = rate(dice, 100000);
    faults->latency_least_ns = st_dice_spread(dice, ST_MS / 20, 2 * ST_MS);
    faults->latency_most_ns = faults->latency_least_ns * st_dice_between(dice, 2, 20);
    faults->timeout_ns = st_dice_spread(dice, 20 * ST_MS, 2 * ST_SECOND);
    faults->late_most_ns = PICK(dice, ST_SECOND, 10 * ST_SECOND, 15 * 60 * ST_SECOND);
    faults->slow_most_ns = st_dice_spread(dice, 10 * ST_MS, 3 * ST_SECOND);
}

static void draw_store(struct st_dice *dice, struct sim_plan *plan) {
    plan->store = st_sim_options_quiet();
    struct st_store_profile *profile = &plan->store.profile;
    profile->inline_limit = (uint32_t)PICK(dice, 0, 0, 300, 2000, 16384);
    profile->inline_bytes_per_s = (uint32_t)PICK(dice, 0, 0, 20000);
    profile->pacing_ms = (uint32_t)PICK(dice, 0, 0, 5, 50);
    profile->flush_limit = (uint32_t)PICK(dice, 1500, 20000, 256 * 1024);
    profile->uploads_in_flight = (uint32_t)st_dice_between(dice, 1, 4);
    profile->object_head_room = (uint32_t)PICK(dice, 0, 64, 4096);
    profile->object_align = (uint32_t)PICK(dice, 1, 512, 4096);
    profile->poll_most_ns = PICK(dice, 50 * ST_MS, ST_SECOND);
    plan->store.guarded = st_dice_below(dice, 2) == 0;
    plan->store.gone_first = st_dice_below(dice, 2) == 0;
    plan->store.hints = st_dice_below(dice, 2) == 0;
    plan->store.nameless = rate(dice, 200000);
    /* A trimmed slot may be revived by a late put, unless the grace outlives it; below an hour nothing is promised.
     */
    plan->store.trim_grace_ms = PICK(dice, 100 * 60 * 1000, 150 * 60 * 1000, 24 * 3600 * 1000);
    for (unsigned i = 0; i < ST_SIM_POOL; i++) {
        draw_class(dice, &plan->store.faults[i]);
    }
    profile->gathers_frames = st_dice_below(dice, 2) == 0;
    profile->whole_object_max = (uint32_t)PICK(dice, 0, 2000, 100000);
}

static void draw_engine(struct st_dice *dice, struct sim_plan *plan) {
    plan->engine = st_engine_options_default();
    plan->engine.cache_bytes = (size_t)PICK(dice, 4096, 64 * 1024, 4 * 1024 * 1024);
    plan->engine.flush_bytes_max = (size_t)PICK(dice, 40 * 1024, 1024 * 1024);
    plan->engine.hold_bytes_max = (size_t)PICK(dice, 2048, 256 * 1024);
    plan->engine.checkpoint_entries = (uint32_t)PICK(dice, 3, 8, 25, 100, 1024);
    plan->engine.checkpoint_bytes = (uint32_t)PICK(dice, 4096, 64 * 1024, 4 * 1024 * 1024);
    plan->engine.trim_grace_ms = plan->store.trim_grace_ms;
}

/* Half of the seeds are about who slept while the journal was trimmed: nothing inline holds back the trim,
 * checkpoints are frequent, nights outlast the grace, and a put looks only at its own slot. */
static void draw_sleepers(struct st_dice *dice, struct sim_plan *plan) {
    if (st_dice_below(dice, 2) != 0) {
        return;
    }
    plan->nodes = (unsigned)st_dice_between(dice, 2, SIM_GATEWAYS_MAX);
    plan->periods = 4;
    plan->period_ns = st_dice_between(dice, 1, 4) * ST_SECOND;
    plan->night_ns = PICK(dice, 2 * HOUR, 3 * HOUR);
    plan->frozen_by_night = true;
    plan->clocks_off = true;
    plan->think_most_ns = st_dice_spread(dice, 2 * ST_MS, 30 * ST_MS);
    plan->store.profile.inline_limit = 0;
    plan->store.trim_grace_ms = plan->engine.trim_grace_ms = 100 * 60 * 1000;
    plan->store.guarded = st_dice_below(dice, 4) == 0;
    plan->engine.checkpoint_entries = (uint32_t)PICK(dice, 3, 8, 20);
    plan->store.faults[ST_SIM_JOURNAL_PUT].lost_answer = (uint32_t)PICK(dice, 0, 100000, 400000);
    plan->store.faults[ST_SIM_JOURNAL_PUT].timeout_ns = 500 * ST_MS;
}

static void draw_topics(struct st_dice *dice, struct sim_plan *plan) {
    plan->names = (unsigned)st_dice_between(dice, 1, SIM_NAMES_MAX);
    for (unsigned i = 0; i < plan->names; i++) {
        plan->topics[i] = (struct sim_plan_topic){
            .partitions = (int32_t)st_dice_between(dice, 1, SIM_PARTITIONS_MAX),
            .first_offset = st_dice_between(dice, 0, 1),
            .log_append_time = st_dice_below(dice, 4) == 0,
            .doomed = i > 0 && st_dice_below(dice, 3) == 0,
        };
    }
}

/* Half of the seeds are about contention: some processes with one request at a time, a pool, and a window so short that
 * requests outlive it. Drawn apart, so that the others are as they were without it. */
static void draw_pool(uint64_t seed, struct sim_plan *plan) {
    struct st_dice own = st_dice_of(seed, "pool"), *dice = &own;
    if (st_dice_below(dice, 2) != 0) {
        return;
    }
    plan->lambdas = (unsigned)st_dice_between(dice, 2, SIM_NODES_MAX - SIM_GATEWAYS_MAX);
    plan->nodes += plan->lambdas;
    plan->lambda_think_ns = st_dice_spread(dice, 10000, 20 * ST_MS);
    plan->store.profile.pool_after = (uint32_t)PICK(dice, 1, 2, 2, 3);
    plan->engine.pool_window = (uint32_t)PICK(dice, 4, 8, 16, 64, 1024);
    draw_class(dice, &plan->store.faults[ST_SIM_POOL]);
    if (st_dice_below(dice, 2) == 0) { /* large ones would race only */
        plan->store.profile.inline_limit = 16384;
    }
    plan->engine.pool_slots = (uint32_t)PICK(dice, 2, 2, 3, 8, 64); /* many: what was decided is read again */
}

/* Half of the seeds know idempotency keys, which the short life lets go in a night. Drawn apart, too. */
static void draw_keys(uint64_t seed, struct sim_plan *plan) {
    struct st_dice own = st_dice_of(seed, "keys"), *dice = &own;
    if (st_dice_below(dice, 2) == 0) {
        plan->keyed = (unsigned)st_dice_between(dice, 1, 3);
        plan->engine.key_life_ms = PICK(dice, 2 * HOUR / ST_MS, 24 * HOUR / ST_MS);
    }
}

struct sim_plan sim_plan_draw(uint64_t seed) {
    struct st_dice dice = st_dice_of(seed, "plan");
    struct sim_plan plan = {
        .nodes = (unsigned)st_dice_between(&dice, 1, SIM_GATEWAYS_MAX),
        .producers = (unsigned)st_dice_between(&dice, 2, 5),
        .readers = (unsigned)st_dice_between(&dice, 0, 3),
        .crash = rate(&dice, 30000),
        .pause = rate(&dice, 20000),
        .down_most_ns = st_dice_spread(&dice, ST_MS, 3 * ST_SECOND),
        .pause_most_ns = st_dice_spread(&dice, 10 * ST_MS, 10 * ST_SECOND),
        .clocks_off = st_dice_below(&dice, 2) == 0,
        .outages = st_dice_below(&dice, 4) == 0 ? 1 : 0,
        .periods = (unsigned)st_dice_between(&dice, 1, 4),
        .period_ns = st_dice_between(&dice, 2, 6) * ST_SECOND,
        .night_ns = PICK(&dice, HOUR / 2, 2 * HOUR, 3 * HOUR),
        .frozen_by_night = st_dice_below(&dice, 3) != 0,
        .batches = (unsigned)st_dice_between(&dice, 8, 80),
        .think_most_ns = st_dice_spread(&dice, 2 * ST_MS, 300 * ST_MS),
        .record_most = (uint32_t)st_dice_spread(&dice, 40, 3000),
        .timeout_least_ns = 200 * ST_MS,
        .timeout_most_ns = PICK(&dice, ST_SECOND, 5 * ST_SECOND, 30 * ST_SECOND),
    };
    draw_store(&dice, &plan);
    draw_engine(&dice, &plan);
    draw_topics(&dice, &plan);
    draw_sleepers(&dice, &plan);
    draw_pool(seed, &plan);
    draw_keys(seed, &plan);
    return plan;
}

void sim_plan_heal(struct st_sim_options *store) {
    struct st_sim_options quiet = st_sim_options_quiet();
    for (unsigned i = 0; i < ST_SIM_CLASSES; i++) {
        store->faults[i] = quiet.faults[i];
    }
    store->nameless = 0;
}

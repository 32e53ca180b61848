/* The sim backend, faults off, under the contract that holds for every backend: once as a store that guards slots
 * below its checkpoint, once as a table that looks only at the slot itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/backends/sim.h"
#include "storage/tests/store_contract.h"

struct world {
    struct st_sim_clock clock;
    struct st_loop *loop;
    struct st_sim *sim;
    struct st_dice random;
};

static int64_t now_mono(void *self) {
    return ((struct world *)self)->clock.now_ns;
}

static int64_t now_wall(void *self) {
    return now_mono(self) / ST_MS;
}

static void random_bytes(void *self, void *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)bytes)[i] = (uint8_t)st_dice_u64(&((struct world *)self)->random);
    }
}

static void *make_with(bool guarded) {
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    st_sim_clock_init(&world->clock, 1);
    world->random = st_dice_of(1, "contract");
    struct st_env env = {.now_mono_ns = now_mono, .now_wall_ms = now_wall, .random = random_bytes, .self = world};
    world->loop = st_loop_new(&env);
    assert_non_null(world->loop);
    struct st_sim_options options = st_sim_options_quiet();
    options.watched = false; /* the suite trims and advances as it likes */
    options.guarded = guarded;
    options.profile.pool_after = 2; /* so that the suite looks at the pool */
    struct st_sim_watch watch = {0};
    world->sim = st_sim_new(&world->clock, 1, &options, &watch);
    return world;
}

static void *make_guarded(void) {
    return make_with(true);
}

static void *make_table(void) {
    return make_with(false);
}

static void destroy(void *arg) {
    struct world *world = arg;
    st_sim_free(world->sim);
    st_loop_free(world->loop);
    st_sim_clock_release(&world->clock);
    free(world);
}

static struct st_store *open_store(void *arg) {
    struct world *world = arg;
    return st_sim_store_new(world->sim, world->loop, 0);
}

static void pump(void *arg) {
    struct world *world = arg;
    if (st_loop_due(world->loop) <= world->clock.now_ns) {
        st_loop_run_due(world->loop);
    } else if (st_sim_due(&world->clock) != INT64_MAX) {
        st_sim_step(&world->clock);
    }
}

int main(void) {
    static const struct store_contract guarded = {.name = "sim, guarded",
                                                  .make = make_guarded,
                                                  .destroy = destroy,
                                                  .open = open_store,
                                                  .pump = pump,
                                                  .hints = true};
    static const struct store_contract table = {.name = "sim, a table",
                                                .make = make_table,
                                                .destroy = destroy,
                                                .open = open_store,
                                                .pump = pump,
                                                .hints = true,
                                                .revives = true};
    return store_contract_run(&guarded) + store_contract_run(&table);
}

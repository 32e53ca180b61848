/* The memory backend under the contract that holds for every backend. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <event2/event.h>

#include "storage/backends/memory.h"
#include "storage/runtime/loop_libevent.h"
#include "storage/tests/store_contract.h"

struct world {
    struct event_base *base;
    struct st_loop *loop;
    struct st_store *keeper; /* holds the data while no other handle is open */
};

static void *make(void) {
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->base = event_base_new();
    world->loop = st_loop_libevent_new(world->base);
    world->keeper = st_store_memory_new(world->loop);
    assert_non_null(world->keeper);
    return world;
}

static void pump(void *arg) {
    struct world *world = arg;
    event_base_loop(world->base, EVLOOP_NONBLOCK);
}

static void keeper_closed(void *arg) {
    *(struct st_store **)arg = NULL;
}

static void destroy(void *arg) {
    struct world *world = arg;
    world->keeper->ops->close(world->keeper, keeper_closed, &world->keeper);
    while (world->keeper != NULL) {
        pump(world);
    }
    st_loop_libevent_free(world->loop);
    event_base_free(world->base);
    free(world);
}

static struct st_store *open_store(void *arg) {
    struct world *world = arg;
    return st_store_memory_share(world->keeper);
}

int main(void) {
    static const struct store_contract contract = {
        .name = "memory", .make = make, .destroy = destroy, .open = open_store, .pump = pump, .hints = true};
    return store_contract_run(&contract);
}

/* The local backend under the contract that holds for every backend. What is its own is in test_local_*.c. */
#include "storage/tests/local_fixture.h"
#include "storage/tests/store_contract.h"

struct world {
    struct event_base *base;
    struct st_loop *loop;
    char directory[SCRATCH_PATH_MAX];
};

static void *make(void) {
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->base = event_base_new();
    world->loop = st_loop_libevent_new(world->base);
    scratch_make(world->directory);
    return world;
}

static void pump(void *arg) {
    struct world *world = arg;
    struct timeval soon = {.tv_usec = 1000};
    event_base_loopexit(world->base, &soon);
    event_base_loop(world->base, EVLOOP_ONCE);
}

static void destroy(void *arg) {
    struct world *world = arg;
    st_loop_libevent_free(world->loop);
    event_base_free(world->base);
    scratch_remove(world->directory);
    free(world);
}

static struct st_store *open_store(void *arg) {
    struct world *world = arg;
    char message[200];
    struct st_store *store = st_store_local_open(world->loop, world->directory, message, sizeof message);
    if (store == NULL) {
        fail_msg("%s", message);
    }
    return store;
}

int main(void) {
    static const struct store_contract contract = {
        .name = "local", .make = make, .destroy = destroy, .open = open_store, .pump = pump, .hints = true};
    return store_contract_run(&contract);
}

/* Two processes on one memory store, each with an HTTP door, and the Kafka door's view of the first one's engine. */
#ifndef REST_TESTS_WORLD_H
#define REST_TESTS_WORLD_H

#include "storage/backends/memory.h"

#include "door.h"

struct node {
    struct door door; /* first: its clock and loop are those of the first node */
    struct st_store *store;
    struct st_engine *engine;
};

struct world {
    struct node nodes[2];
};

static bool flag;

static inline void opened(void *arg, enum st_error error) {
    (void)arg;
    assert_int_equal(error, ST_OK);
    flag = true;
}

static inline void closed(void *arg) {
    (void)arg;
    flag = true;
}

static inline void wait_for_flag(struct world *world) {
    struct door *first = &world->nodes[0].door;
    assert_true(virtual_run(first->loop, &first->clock, &flag, 60 * ST_SECOND));
    flag = false;
}

static inline void node_open(struct world *world, struct node *node) {
    struct st_engine_options engine_options = st_engine_options_default();
    node->engine = st_engine_new(node->door.loop, node->store, &engine_options);
    assert_non_null(node->engine);
    st_engine_open(node->engine, opened, NULL);
    wait_for_flag(world);
    struct rest_options options = rest_options_default();
    node->door.rest = rest_new(node->door.loop, node->engine, &options);
    assert_non_null(node->door.rest);
}

static inline void node_close(struct world *world, struct node *node) {
    st_engine_close(node->engine, closed, NULL);
    wait_for_flag(world);
    st_engine_free(node->engine);
    rest_free(node->door.rest);
}

/* Runs the loop of both nodes on the first one's clock until this call is answered. */
static inline int ask(struct world *world, size_t n, const char *method, const char *target, const char *body) {
    struct door *door = &world->nodes[n].door, *first = &world->nodes[0].door;
    door_begin(door, method, target, kp_slice_cstr(body));
    assert_true(virtual_run(first->loop, &first->clock, &door->answered, 60 * ST_SECOND));
    return door->status;
}

static inline int setup(void **state) {
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    flag = false;
    struct door *first = &world->nodes[0].door;
    first->loop = virtual_loop_new(&first->clock);
    world->nodes[1].door.loop = first->loop;
    world->nodes[0].store = st_store_memory_new(first->loop);
    world->nodes[1].store = st_store_memory_share(world->nodes[0].store);
    node_open(world, &world->nodes[0]);
    node_open(world, &world->nodes[1]);
    *state = world;
    return 0;
}

static inline int teardown(void **state) {
    struct world *world = *state;
    for (size_t i = 0; i < 2; i++) {
        struct node *node = &world->nodes[i];
        node_close(world, node);
        node->store->ops->close(node->store, closed, NULL);
        wait_for_flag(world);
        free(node->door.body);
    }
    st_loop_free(world->nodes[0].door.loop);
    free(world);
    assert_int_equal(kp_blob_stats().live_bytes, 0);
    return 0;
}

static inline const char *answer_of(const struct world *world, size_t n) {
    return world->nodes[n].door.body;
}

/* ---- as the Kafka door uses the engine ---- */

static inline void kafka_created(struct st_topic_create *create) {
    assert_int_equal(create->error, ST_OK);
    flag = true;
}

static inline void kafka_create(struct world *world, const char *name, int64_t first_offset,
                                const struct st_config *config) {
    struct st_topic_create create = {.name = kp_slice_cstr(name),
                                     .partitions = 3,
                                     .first_offset = first_offset,
                                     .configs = config,
                                     .config_count = config != NULL,
                                     .done = kafka_created};
    st_topic_create(world->nodes[0].engine, &create);
    wait_for_flag(world);
}

static inline void synced(struct st_sync *sync) {
    assert_int_equal(sync->error, ST_OK);
    flag = true;
}

static inline void kafka_deleted(struct st_topic_delete *op) {
    assert_int_equal(op->error, ST_OK);
    flag = true;
}

static inline void kafka_delete(struct world *world, const char *name) {
    struct st_sync sync = {.done = synced};
    st_sync(world->nodes[0].engine, &sync);
    wait_for_flag(world);
    struct st_topic_delete op = {.done = kafka_deleted};
    op.id = st_topic_by_name(world->nodes[0].engine, kp_slice_cstr(name))->id;
    st_topic_delete(world->nodes[0].engine, &op);
    wait_for_flag(world);
}

static inline void kafka_appended(struct st_append *op) {
    assert_int_equal(op->parts[0].error, ST_OK);
    flag = true;
}

/* Appends the batch, which is given up. */
static inline int64_t kafka_produce(struct world *world, const char *name, struct kp_blob *blob) {
    struct st_append_part part = {.partition = 0, .blob = blob};
    const char *reason;
    part.topic_id = st_topic_by_name(world->nodes[0].engine, kp_slice_cstr(name))->id;
    assert_int_equal(kp_batch_check(kp_slice_of(blob->data, blob->size), &part.batch, &reason), KP_ERROR_NONE);
    struct st_append op = {.parts = &part, .count = 1, .timeout_ms = 1000, .done = kafka_appended};
    st_append(world->nodes[0].engine, &op);
    wait_for_flag(world);
    kp_blob_unref(blob);
    return part.base_offset;
}

static inline struct kp_blob *batch_of(const struct kp_new_record *records, int32_t count) {
    struct kp_blob *blob = kp_batch_build(records, count);
    assert_non_null(blob);
    return blob;
}

#endif

/*
 * An engine on the memory backend under virtual time, with a gate between the two that can hold an operation back or
 * answer it itself. Two engines may share one store: each has a fixture of its own on the same loop.
 */
#ifndef ENGINE_FIXTURE_H
#define ENGINE_FIXTURE_H

#include "storage/backends/memory.h"
#include "storage/engine_state.h"
#include "storage/runtime/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

/* ---- time and chance ---- */

struct clock {
    int64_t now_ns, wall_ms; /* wall_ms: what the wall, and so the store, is ahead of now_ns */
    uint64_t random;
};

static inline int64_t clock_mono(void *self) {
    return ((struct clock *)self)->now_ns;
}

static inline int64_t clock_wall(void *self) {
    struct clock *clock = self;
    return 1700000000000 + clock->wall_ms + clock->now_ns / ST_MS;
}

static inline void clock_random(void *self, void *bytes, size_t len) {
    struct clock *clock = self;
    for (size_t i = 0; i < len; i++) {
        clock->random = clock->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(clock->random >> 33);
    }
}

/* ---- the gate ---- */

struct gate {
    struct st_store store; /* what the engine sees; ops is `gated` */
    struct st_store_ops gated;
    struct st_store *inner;
    struct st_loop *loop; /* of who delays operations */
    bool hold_put, hold_read, hold_object_get, hold_checkpoint_get, hold_pool_put;
    struct st_journal_put *put; /* held back */
    struct st_journal_read *read;
    struct st_object_get *object_get;
    struct st_checkpoint_ref *checkpoint_get;
    struct st_pool_put *pool_put;
};

static inline struct gate *gate_of(struct st_store *store) {
    return ST_OWNER(store, struct gate, store);
}

#define GATE_FORWARD(name, type) \
    static inline void gate_##name(struct st_store *store, struct type *op) { \
        struct st_store *inner = gate_of(store)->inner; \
        inner->ops->name(inner, op); \
    }
#define GATE_HOLD(name, type, slot) \
    static inline void gate_##name(struct st_store *store, struct type *op) { \
        struct gate *gate = gate_of(store); \
        if (gate->hold_##slot && gate->slot == NULL) { \
            gate->slot = op; \
        } else { \
            gate->inner->ops->name(gate->inner, op); \
        } \
    } \
    /* Lets what was held go on to the store. */ \
    static inline void gate_release_##slot(struct gate *gate) { \
        struct type *op = gate->slot; \
        assert_non_null(op); \
        gate->hold_##slot = false; \
        gate->slot = NULL; \
        gate->inner->ops->name(gate->inner, op); \
    } \
    /* Answers what was held, and goes on holding. */ \
    static inline void gate_answer_##slot(struct gate *gate, enum st_error error, int64_t date_ms) { \
        struct type *op = gate->slot; \
        assert_non_null(op); \
        gate->slot = NULL; \
        op->error = error; \
        op->date_ms = date_ms; \
        op->done(op); \
    }
GATE_FORWARD(identify, st_identify)
GATE_FORWARD(object_put, st_object_put)
GATE_FORWARD(object_delete, st_object_delete)
GATE_FORWARD(journal_trim, st_journal_trim)
GATE_FORWARD(checkpoint_advance, st_checkpoint_ref)
GATE_FORWARD(pool_read, st_pool_read)
GATE_HOLD(pool_put, st_pool_put, pool_put)
GATE_HOLD(object_get, st_object_get, object_get)
GATE_HOLD(journal_put, st_journal_put, put)
GATE_HOLD(journal_read, st_journal_read, read)
GATE_HOLD(checkpoint_get, st_checkpoint_ref, checkpoint_get)

static inline bool gate_object_name(struct st_store *store, enum st_object_kind kind, uint32_t journal, uint64_t begun,
                                    size_t len, char name[ST_OBJECT_NAME_MAX]) {
    struct st_store *inner = gate_of(store)->inner;
    return inner->ops->object_name(inner, kind, journal, begun, len, name);
}

static inline void gate_init(struct gate *gate, struct st_store *inner) {
    *gate = (struct gate){.inner = inner};
    gate->gated = *inner->ops;
    gate->gated.identify = gate_identify;
    gate->gated.object_name = gate_object_name;
    gate->gated.object_put = gate_object_put;
    gate->gated.object_get = gate_object_get;
    gate->gated.object_delete = gate_object_delete;
    gate->gated.journal_put = gate_journal_put;
    gate->gated.journal_read = gate_journal_read;
    gate->gated.journal_trim = gate_journal_trim;
    gate->gated.checkpoint_get = gate_checkpoint_get;
    gate->gated.checkpoint_advance = gate_checkpoint_advance;
    gate->gated.pool_put = gate_pool_put;
    gate->gated.pool_read = gate_pool_read;
    gate->store = (struct st_store){.ops = &gate->gated, .profile = inner->profile};
}

/* ---- the engine ---- */

struct fixture {
    struct clock *clock;
    struct st_loop *loop;
    struct gate gate;
    struct st_engine *engine;
    struct st_engine_options options;
    int opened, closed;
};

/* Runs until nothing is due for `ms` of virtual time. */
static inline void run_ms(struct fixture *fixture, int64_t ms) {
    struct clock *clock = fixture->clock;
    int64_t end = clock->now_ns + ms * ST_MS;
    for (int64_t due; (due = st_loop_due(fixture->loop)) <= end;) {
        clock->now_ns = due > clock->now_ns ? due : clock->now_ns;
        st_loop_run_due(fixture->loop);
    }
    clock->now_ns = end;
}

static inline void fixture_opened(void *arg, enum st_error error) {
    assert_int_equal(error, ST_OK);
    ((struct fixture *)arg)->opened++;
}

static inline void fixture_closed(void *arg) {
    ((struct fixture *)arg)->closed++;
}

static inline void fixture_open_on(struct fixture *fixture, struct clock *clock, struct st_loop *loop,
                                   struct st_store *inner, const struct st_engine_options *options) {
    *fixture = (struct fixture){.clock = clock, .loop = loop, .options = *options};
    gate_init(&fixture->gate, inner);
    fixture->engine = st_engine_new(loop, &fixture->gate.store, &fixture->options);
    st_engine_open(fixture->engine, fixture_opened, fixture);
    run_ms(fixture, 10);
    assert_int_equal(fixture->opened, 1);
}

static inline void fixture_open(struct fixture *fixture, struct clock *clock, const struct st_engine_options *options) {
    *clock = (struct clock){.now_ns = 0};
    struct st_env env = {
        .now_mono_ns = clock_mono, .now_wall_ms = clock_wall, .random = clock_random, .self = clock};
    struct st_loop *loop = st_loop_new(&env);
    fixture_open_on(fixture, clock, loop, st_store_memory_new(loop), options);
}

/* Closes engine and store; the loop with the last of them. */
static inline void fixture_close(struct fixture *fixture, bool last) {
    st_engine_close(fixture->engine, fixture_closed, fixture);
    run_ms(fixture, 60000);
    assert_int_equal(fixture->closed, 1);
    st_engine_free(fixture->engine);
    fixture->gate.inner->ops->close(fixture->gate.inner, fixture_closed, fixture);
    run_ms(fixture, 10);
    assert_int_equal(fixture->closed, 2);
    if (last) {
        st_loop_free(fixture->loop);
    }
}

/* ---- calls ---- */

struct appending {
    struct st_append append;
    struct st_append_part part;
    int done;
};

static inline void appending_done(struct st_append *op) {
    ST_OWNER(op, struct appending, append)->done++;
}

/* A batch of one record whose value is `len` letters. */
static inline struct kp_blob *letters(size_t len, int64_t timestamp_ms) {
    uint8_t *value = malloc(len + 1);
    assert_non_null(value);
    memset(value, 'x', len);
    struct kp_new_record record = {.timestamp_ms = timestamp_ms, .value = kp_slice_of(value, len)};
    struct kp_blob *batch = kp_batch_build(&record, 1);
    assert_non_null(batch);
    free(value);
    return batch;
}

/* An append of the batch, whose reference it takes, that is not begun yet. */
static inline void append_prepare(struct appending *call, const struct kp_uuid *id, int32_t partition,
                                  struct kp_blob *batch, int64_t timeout_ms) {
    *call = (struct appending){.part = {.topic_id = *id, .partition = partition, .blob = batch}};
    assert_int_equal(kp_batch_peek(kp_slice_of(batch->data, batch->size), &call->part.batch), KP_ERROR_NONE);
    call->append = (struct st_append){
        .parts = &call->part, .count = 1, .timeout_ms = timeout_ms, .done = appending_done};
}

static inline void append_start(struct fixture *fixture, struct appending *call) {
    struct kp_blob *batch = call->part.blob;
    st_append(fixture->engine, &call->append);
    kp_blob_unref(batch);
}

static inline void append_begin(struct fixture *fixture, struct appending *call, const struct kp_uuid *id,
                                struct kp_blob *batch, int64_t timeout_ms) {
    append_prepare(call, id, 0, batch, timeout_ms);
    append_start(fixture, call);
}

static inline int64_t append_now(struct fixture *fixture, const struct kp_uuid *id, size_t len, int64_t timestamp_ms) {
    struct appending call;
    append_begin(fixture, &call, id, letters(len, timestamp_ms), 30000);
    run_ms(fixture, 10);
    assert_int_equal(call.done, 1);
    assert_int_equal(call.part.error, ST_OK);
    return call.part.base_offset;
}

struct creating {
    struct st_topic_create op;
    int done;
};

static inline void creating_done(struct st_topic_create *op) {
    ST_OWNER(op, struct creating, op)->done++;
}

static inline struct kp_uuid create_now(struct fixture *fixture, const char *name, int32_t partitions) {
    struct creating call = {.op = {.name = kp_slice_cstr(name), .partitions = partitions, .done = creating_done}};
    st_topic_create(fixture->engine, &call.op);
    run_ms(fixture, 10);
    assert_int_equal(call.done, 1);
    assert_int_equal(call.op.error, ST_OK);
    return call.op.id;
}

struct reading {
    struct st_read read;
    struct st_read_part part;
    int done;
};

static inline void reading_done(struct st_read *op) {
    ST_OWNER(op, struct reading, read)->done++;
}

static inline void read_begin(struct fixture *fixture, struct reading *call, const struct kp_uuid *id, int64_t offset,
                              size_t max_bytes) {
    *call = (struct reading){.part = {.topic_id = *id, .offset = offset, .max_bytes = max_bytes}};
    call->read = (struct st_read){.parts = &call->part, .count = 1, .max_bytes = max_bytes, .done = reading_done};
    st_read(fixture->engine, &call->read);
}

struct syncing {
    struct st_sync sync;
    int done;
};

static inline void syncing_done(struct st_sync *sync) {
    ST_OWNER(sync, struct syncing, sync)->done++;
}

static inline void sync_begin(struct fixture *fixture, struct syncing *call) {
    *call = (struct syncing){.sync = {.done = syncing_done}};
    st_sync(fixture->engine, &call->sync);
}

#endif

/*
 * Memory that runs out. Every allocation of a scenario (open, create, append small and large, read back, find by time,
 * checkpoint, open again) fails once, each in a run of its own, then from there on all of a stretch. Nothing crashes,
 * nothing leaks, every operation is answered, and what was acknowledged is there when memory is.
 *
 * The allocator is wrapped by the linker (storage/CMakeLists.txt). What the memory backend allocates to begin an
 * operation is spared: it stands for a store elsewhere.
 */
#include "engine_fixture.h"

#include "storage/runtime/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- the allocator ---- */

static struct {
    bool armed;
    long calls;         /* while armed */
    long from, to;      /* these fail */
    long failed;
} memory;

static bool fails(void) {
    if (!memory.armed) {
        return false;
    }
    long call = ++memory.calls;
    bool failing = call >= memory.from && call < memory.to;
    memory.failed += failing;
    return failing;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *at, size_t size);
int __real_posix_memalign(void **at, size_t align, size_t size);
void *__real_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *at, size_t size);
int __wrap_posix_memalign(void **at, size_t align, size_t size);
void *__wrap_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *at, size_t size) {
    return fails() ? NULL : __real_realloc(at, size);
}

int __wrap_posix_memalign(void **at, size_t align, size_t size) {
    return fails() ? ENOMEM : __real_posix_memalign(at, align, size);
}

void *__wrap_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset) {
    return fails() ? MAP_FAILED : __real_mmap(at, len, protection, flags, fd, offset);
}

/* ---- a store that has memory when an operation begins ---- */

#define SPARED(name, type) \
    static void spared_##name(struct st_store *store, struct type *op) { \
        struct st_store *inner = gate_of(store)->inner; \
        bool armed = memory.armed; \
        memory.armed = false; \
        inner->ops->name(inner, op); \
        memory.armed = armed; \
    }
SPARED(identify, st_identify)
SPARED(object_put, st_object_put)
SPARED(object_get, st_object_get)
SPARED(object_delete, st_object_delete)
SPARED(journal_put, st_journal_put)
SPARED(journal_read, st_journal_read)
SPARED(journal_trim, st_journal_trim)
SPARED(checkpoint_get, st_checkpoint_ref)
SPARED(checkpoint_advance, st_checkpoint_ref)
SPARED(pool_put, st_pool_put)
SPARED(pool_read, st_pool_read)

static void spare(struct gate *gate) {
    gate->gated.identify = spared_identify;
    gate->gated.object_put = spared_object_put;
    gate->gated.object_get = spared_object_get;
    gate->gated.object_delete = spared_object_delete;
    gate->gated.journal_put = spared_journal_put;
    gate->gated.journal_read = spared_journal_read;
    gate->gated.journal_trim = spared_journal_trim;
    gate->gated.checkpoint_get = spared_checkpoint_get;
    gate->gated.checkpoint_advance = spared_checkpoint_advance;
    gate->gated.pool_put = spared_pool_put;
    gate->gated.pool_read = spared_pool_read;
}

/* ---- the scenario ---- */

enum { STEPS = 12, WARM = 70, LARGE = 20000 };

static struct clock virtual_clock;
static struct fixture fixture;

static void opened_somehow(void *arg, enum st_error error) {
    fixture.opened = error == ST_OK ? 1 : 2;
    (void)arg;
}

/* True when it is open. */
static bool open_engine(void) {
    fixture.opened = 0;
    fixture.closed = 0;
    fixture.engine = st_engine_new(fixture.loop, &fixture.gate.store, &fixture.options);
    if (fixture.engine == NULL) {
        return false;
    }
    st_engine_open(fixture.engine, opened_somehow, NULL);
    run_ms(&fixture, 60000);
    assert_int_not_equal(fixture.opened, 0);
    return fixture.opened == 1;
}

static void close_engine(void) {
    if (fixture.engine == NULL) {
        return;
    }
    if (fixture.opened == 1) {
        st_engine_close(fixture.engine, fixture_closed, &fixture);
        run_ms(&fixture, 60000);
        assert_int_equal(fixture.closed, 1);
    }
    st_engine_free(fixture.engine);
    fixture.engine = NULL;
    run_ms(&fixture, 100000);
}

/* A store with room in all of its tables, and a topic. */
static struct kp_uuid warm_up(void) {
    struct st_engine_options options = st_engine_options_default();
    options.checkpoint_entries = 5;
    options.cache_bytes = 50000;
    fixture_open(&fixture, &virtual_clock, &options);
    struct kp_uuid id = create_now(&fixture, "t", 1);
    for (int i = 0; i < WARM; i++) {
        append_now(&fixture, &id, LARGE, 1000);
    }
    close_engine();
    spare(&fixture.gate);
    return id;
}

struct outcome {
    int64_t acknowledged[STEPS]; /* offset, -1: not acknowledged */
    bool surely_not[STEPS];
};

static struct kp_blob *prepared[STEPS];
static bool by_the_pool; /* every commit goes there, as if others waited */

static void append_step(const struct kp_uuid *id, int step, struct outcome *outcome) {
    struct appending call;
    fixture.engine->journal.pool.others_ns = by_the_pool ? virtual_clock.now_ns : 0;
    append_begin(&fixture, &call, id, prepared[step], 5000);
    prepared[step] = NULL;
    run_ms(&fixture, 10000);
    assert_int_equal(call.done, 1);
    bool ok = call.part.error == ST_OK;
    outcome->acknowledged[step] = ok ? call.part.base_offset : -1;
    outcome->surely_not[step] = !ok && call.part.error != ST_UNKNOWN;
    assert_true(ok || call.part.error == ST_NO_MEMORY || call.part.error == ST_REFUSED ||
                call.part.error == ST_UNKNOWN);
}

static void read_step(const struct kp_uuid *id, int64_t offset) {
    struct reading call;
    read_begin(&fixture, &call, id, offset, 30000);
    run_ms(&fixture, 10000);
    assert_int_equal(call.done, 1);
    assert_int_not_equal(call.part.error, ST_DAMAGED); /* memory is out, nothing is broken */
    kp_chain_release(&call.part.chain);
}

struct finding {
    struct st_find_time op;
    int done;
};

static void finding_done(struct st_find_time *op) {
    ST_OWNER(op, struct finding, op)->done++;
}

static void small_steps(const struct kp_uuid *id) {
    struct finding find = {.op = {.topic_id = *id, .greatest = true, .done = finding_done}};
    st_find_time(fixture.engine, &find.op);
    struct creating create = {.op = {.name = KP_SLICE_LIT("other"), .partitions = 3, .done = creating_done}};
    st_topic_create(fixture.engine, &create.op);
    run_ms(&fixture, 40000);
    assert_int_equal(find.done, 1);
    assert_int_not_equal(find.op.error, ST_DAMAGED);
    assert_int_equal(create.done, 1);
}

static void scenario(const struct kp_uuid *id, struct outcome *outcome) {
    for (int i = 0; i < STEPS; i++) {
        outcome->acknowledged[i] = -1;
        outcome->surely_not[i] = true;
    }
    memory.armed = true;
    if (open_engine()) {
        for (int i = 0; i < STEPS; i++) {
            append_step(id, i, outcome);
        }
        read_step(id, 0);
        read_step(id, WARM);
        small_steps(id);
    }
    memory.armed = memory.to != INT64_MAX; /* what is stored and finds no memory to be applied holds up the end */
    close_engine();
    memory.armed = false;
}

/* With memory again: each acknowledged value lies at its offset, and what was refused nowhere. */
static void check_outcome(const struct kp_uuid *id, const struct outcome *outcome) {
    assert_true(open_engine());
    int64_t end = st_fold_partition(fixture.engine->journal.fold, id, 0)->end;
    int known = 0;
    for (int64_t offset = WARM; offset < end; offset++) {
        struct reading call;
        read_begin(&fixture, &call, id, offset, 100);
        run_ms(&fixture, 10);
        assert_int_equal(call.done, 1);
        assert_int_equal(call.part.error, ST_OK);
        struct kp_batch batch;
        assert_int_equal(kp_batch_peek(call.part.chain.pieces[0].bytes, &batch), KP_ERROR_NONE);
        int step = (int)(batch.max_timestamp_ms - 5000);
        assert_in_range(step, 0, STEPS - 1);
        assert_false(outcome->surely_not[step]);
        known += outcome->acknowledged[step] == offset;
        kp_chain_release(&call.part.chain);
    }
    for (int i = 0; i < STEPS; i++) {
        known -= outcome->acknowledged[i] >= 0;
    }
    assert_int_equal(known, 0);
    close_engine();
}

/* One run in which the calls [from, to) fail. Returns how many allocations the scenario made. */
static long torture(long from, long to) {
    struct kp_uuid id = warm_up();
    struct outcome outcome;
    for (int i = 0; i < STEPS; i++) { /* small ones, large ones, and the largest that are not pooled by size */
        prepared[i] = letters(i % 3 == 0 ? 100 : i % 3 == 1 ? LARGE : 300000, 5000 + i);
    }
    memory.calls = memory.failed = 0;
    memory.from = from;
    memory.to = to;
    scenario(&id, &outcome);
    for (int i = 0; i < STEPS; i++) {
        kp_blob_unref(prepared[i]);
    }
    check_outcome(&id, &outcome);
    fixture.gate.inner->ops->close(fixture.gate.inner, fixture_closed, &fixture);
    run_ms(&fixture, 10);
    st_loop_free(fixture.loop);
    kp_blob_pool_limit(0); /* the next run begins without spare buffers */
    kp_blob_pool_limit(32 << 20);
    assert_int_equal(kp_blob_stats().live_bytes, 0);
    return memory.calls;
}

static void without_failures_everything_is_stored(void **state) {
    (void)state;
    assert_true(torture(0, 0) > 100);
    assert_int_equal(memory.failed, 0);
}

static void any_single_allocation_may_fail(void **state) {
    (void)state;
    long calls = torture(0, 0);
    for (long k = 1; k <= calls; k++) {
        torture(k, k + 1);
    }
}

static void any_single_allocation_may_fail_while_requests_go_through_the_pool(void **state) {
    (void)state;
    by_the_pool = true;
    uint64_t before = st_metrics.pool_puts_total;
    long calls = torture(0, 0);
    assert_true(st_metrics.pool_puts_total - before >= STEPS);
    for (long k = 1; k <= calls; k++) {
        torture(k, k + 1);
    }
    for (long k = 1; k <= calls; k += 7) {
        torture(k, k + 40);
    }
    by_the_pool = false;
}

static void memory_may_be_out_for_a_while_and_come_back(void **state) {
    (void)state;
    long calls = torture(0, 0);
    for (long k = 1; k <= calls; k += 7) {
        torture(k, k + 40);
    }
}

static void memory_may_stay_out(void **state) {
    (void)state;
    long calls = torture(0, 0);
    for (long k = 1; k <= calls; k += 5) {
        torture(k, INT64_MAX);
    }
}

int main(void) {
    st_log_level(ST_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_failures_everything_is_stored),
        cmocka_unit_test(any_single_allocation_may_fail),
        cmocka_unit_test(any_single_allocation_may_fail_while_requests_go_through_the_pool),
        cmocka_unit_test(memory_may_be_out_for_a_while_and_come_back),
        cmocka_unit_test(memory_may_stay_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

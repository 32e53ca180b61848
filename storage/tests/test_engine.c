/* The engine on the memory backend: what both doors rely on. */
#include "protocol/bytes/be.h"
#include "storage/backends/memory.h"
#include "storage/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* ---- a loop driven by hand ---- */

struct bench {
    int64_t now_ns;
    uint64_t random;
    struct st_loop *loop;
    struct st_store *store;
    struct st_engine *engine;
    struct st_engine_options options;
    int answers;
};

static int64_t bench_mono(void *self) {
    return ((struct bench *)self)->now_ns;
}

static int64_t bench_wall(void *self) {
    return 1700000000000 + ((struct bench *)self)->now_ns / ST_MS;
}

static void bench_random(void *self, void *bytes, size_t len) {
    struct bench *bench = self;
    for (size_t i = 0; i < len; i++) {
        bench->random = bench->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(bench->random >> 33);
    }
}

/* Runs until nothing is due for `ms` of virtual time. */
static void run_ms(struct bench *bench, int64_t ms) {
    int64_t end = bench->now_ns + ms * ST_MS;
    for (;;) {
        int64_t due = st_loop_due(bench->loop);
        if (due > end) {
            break;
        }
        bench->now_ns = due > bench->now_ns ? due : bench->now_ns;
        st_loop_run_due(bench->loop);
    }
    bench->now_ns = end;
}

static void opened(void *arg, enum st_error error) {
    assert_int_equal(error, ST_OK);
    ((struct bench *)arg)->answers++;
}

static int bench_start_with(void **state, const struct st_engine_options *options) {
    struct bench *bench = calloc(1, sizeof *bench);
    struct st_env env = {.now_mono_ns = bench_mono, .now_wall_ms = bench_wall, .random = bench_random, .self = bench};
    bench->loop = st_loop_new(&env);
    bench->store = st_store_memory_new(bench->loop);
    bench->options = *options;
    bench->engine = st_engine_new(bench->loop, bench->store, options);
    st_engine_open(bench->engine, opened, bench);
    run_ms(bench, 10);
    *state = bench;
    return bench->answers == 1 ? 0 : -1;
}

static int bench_start(void **state) {
    struct st_engine_options options = st_engine_options_default();
    return bench_start_with(state, &options);
}

/* A checkpoint every eight entries, and next to no cache, so that old rows and runs are read back. */
static int bench_start_small(void **state) {
    struct st_engine_options options = st_engine_options_default();
    options.checkpoint_entries = 8;
    options.cache_bytes = 1;
    options.trim_grace_ms = 1000;
    return bench_start_with(state, &options);
}

static void closed(void *arg) {
    ((struct bench *)arg)->answers = -1;
}

static int bench_stop(void **state) {
    struct bench *bench = *state;
    st_engine_close(bench->engine, closed, bench);
    run_ms(bench, 10000);
    assert_int_equal(bench->answers, -1);
    st_engine_free(bench->engine);
    bench->answers = 0;
    bench->store->ops->close(bench->store, closed, bench);
    run_ms(bench, 10);
    assert_int_equal(bench->answers, -1);
    st_loop_free(bench->loop);
    free(bench);
    return 0;
}

/* Closes the engine and opens another on the same data. */
static void restart(struct bench *bench) {
    struct st_store *next = st_store_memory_share(bench->store);
    st_engine_close(bench->engine, closed, bench);
    run_ms(bench, 10000);
    assert_int_equal(bench->answers, -1);
    st_engine_free(bench->engine);
    bench->store->ops->close(bench->store, closed, bench);
    run_ms(bench, 10);
    bench->store = next;
    bench->answers = 0;
    bench->engine = st_engine_new(bench->loop, bench->store, &bench->options);
    st_engine_open(bench->engine, opened, bench);
    run_ms(bench, 10);
    assert_int_equal(bench->answers, 1);
}

/* ---- calls that run to their end ---- */

struct called {
    struct st_topic_create create;
    struct st_append append;
    struct st_append_part part;
    struct st_read read;
    struct st_read_part read_part;
    struct st_producer_id producer_id;
    struct st_find_time find;
    int done;
};

static void create_done(struct st_topic_create *op) {
    ST_OWNER(op, struct called, create)->done++;
}

static enum st_error create_topic(struct bench *bench, const char *name, int partitions, struct kp_uuid *id) {
    struct called call = {.create = {.name = kp_slice_cstr(name), .partitions = partitions, .done = create_done}};
    st_topic_create(bench->engine, &call.create);
    assert_int_equal(call.done, 0);
    run_ms(bench, 10);
    assert_int_equal(call.done, 1);
    *id = call.create.id;
    return call.create.error;
}

static struct kp_blob *batch_of(const char *value, int64_t timestamp_ms) {
    struct kp_new_record record = {.timestamp_ms = timestamp_ms, .value = kp_slice_cstr(value)};
    return kp_batch_build(&record, 1);
}

static void append_done(struct st_append *op) {
    ST_OWNER(op, struct called, append)->done++;
}

static void call_append(struct bench *bench, struct called *call, const struct kp_uuid *id, struct kp_blob *batch,
                        int64_t producer_id, int32_t sequence) {
    *call = (struct called){.part = {.topic_id = *id, .blob = batch}};
    assert_int_equal(kp_batch_peek(kp_slice_of(batch->data, batch->size), &call->part.batch), KP_ERROR_NONE);
    call->part.batch.producer_id = producer_id;
    call->part.batch.producer_epoch = producer_id >= 0 ? 0 : -1;
    call->part.batch.base_sequence = sequence;
    call->append = (struct st_append){.parts = &call->part, .count = 1, .timeout_ms = 30000, .done = append_done};
    st_append(bench->engine, &call->append);
    kp_blob_unref(batch);
}

static int64_t append(struct bench *bench, const struct kp_uuid *id, const char *value) {
    struct called call;
    call_append(bench, &call, id, batch_of(value, 1000), -1, -1);
    assert_int_equal(call.done, 0);
    run_ms(bench, 10);
    assert_int_equal(call.done, 1);
    assert_int_equal(call.part.error, ST_OK);
    return call.part.base_offset;
}

static void read_done(struct st_read *op) {
    ST_OWNER(op, struct called, read)->done++;
}

static void call_read(struct bench *bench, struct called *call, const struct kp_uuid *id, int64_t offset) {
    *call = (struct called){.read_part = {.topic_id = *id, .offset = offset, .max_bytes = 1 << 20}};
    call->read = (struct st_read){.parts = &call->read_part, .count = 1, .max_bytes = 1 << 20, .done = read_done};
    st_read(bench->engine, &call->read);
    run_ms(bench, 10);
    assert_int_equal(call->done, 1);
}

/* The value of the record at this offset, as a string in a static buffer. */
static const char *value_at(struct bench *bench, const struct kp_uuid *id, int64_t offset) {
    static char text[256];
    struct called call;
    call_read(bench, &call, id, offset);
    assert_int_equal(call.read_part.error, ST_OK);
    assert_true(call.read_part.chain.count > 0);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_record_reader reader;
    struct kp_record record;
    assert_int_equal(kp_records_open(&reader, call.read_part.chain.pieces[0].bytes, &arena, 1 << 20), KP_ERROR_NONE);
    do {
        assert_int_equal(kp_records_next(&reader, &record), 1);
    } while (record.offset < offset);
    assert_int_equal(record.offset, offset);
    snprintf(text, sizeof text, "%.*s", KP_SLICE_ARG(record.value));
    kp_arena_release(&arena);
    kp_chain_release(&call.read_part.chain);
    return text;
}

/* ---- tests ---- */

static void a_record_comes_back_at_its_offset(void **state) {
    struct bench *bench = *state;
    struct kp_uuid id;
    assert_int_equal(create_topic(bench, "events", 1, &id), ST_OK);
    assert_int_equal(append(bench, &id, "one"), 0);
    assert_int_equal(append(bench, &id, "two"), 1);
    assert_string_equal(value_at(bench, &id, 0), "one");
    assert_string_equal(value_at(bench, &id, 1), "two");
}

static void a_topic_exists_once(void **state) {
    struct bench *bench = *state;
    struct kp_uuid first, second;
    assert_int_equal(create_topic(bench, "events", 3, &first), ST_OK);
    assert_int_equal(create_topic(bench, "events", 5, &second), ST_TOPIC_EXISTS);
    assert_true(kp_uuid_equal(&first, &second));
    assert_int_equal(create_topic(bench, "bad name", 5, &second), ST_BAD_TOPIC_NAME);
    assert_int_equal(st_topic_by_name(bench->engine, KP_SLICE_LIT("events"))->partition_count, 3);
}

static void two_creates_in_one_entry_make_one_topic(void **state) {
    struct bench *bench = *state;
    struct called calls[2];
    for (int i = 0; i < 2; i++) {
        calls[i] = (struct called){.create = {.name = KP_SLICE_LIT("t"), .partitions = 1 + i, .done = create_done}};
        st_topic_create(bench->engine, &calls[i].create);
    }
    run_ms(bench, 10);
    assert_int_equal(calls[0].create.error, ST_OK);
    assert_int_equal(calls[1].create.error, ST_TOPIC_EXISTS);
    assert_true(kp_uuid_equal(&calls[0].create.id, &calls[1].create.id));
    assert_int_equal(st_topic_by_name(bench->engine, KP_SLICE_LIT("t"))->partition_count, 1);
}

static void requests_of_one_turn_share_an_entry(void **state) {
    struct bench *bench = *state;
    struct kp_uuid id;
    create_topic(bench, "events", 1, &id);
    uint64_t before, after;
    st_engine_state_hash(bench->engine, &before);
    struct called calls[10];
    for (int i = 0; i < 10; i++) {
        call_append(bench, &calls[i], &id, batch_of("x", 1000), -1, -1);
    }
    run_ms(bench, 10);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(calls[i].part.base_offset, i);
    }
    st_engine_state_hash(bench->engine, &after);
    assert_int_equal(after, before + 1);
}

static void a_duplicate_answers_the_original_offset(void **state) {
    struct bench *bench = *state;
    struct kp_uuid id;
    create_topic(bench, "events", 1, &id);
    append(bench, &id, "before");
    struct called first, again;
    call_append(bench, &first, &id, batch_of("x", 1000), 7, 0);
    call_append(bench, &again, &id, batch_of("x", 1000), 7, 0);
    run_ms(bench, 10);
    assert_int_equal(first.part.base_offset, 1);
    assert_int_equal(again.part.error, ST_OK);
    assert_int_equal(again.part.base_offset, 1);
    append(bench, &id, "after");
    call_append(bench, &again, &id, batch_of("x", 1000), 7, 0);
    run_ms(bench, 10);
    assert_int_equal(again.part.base_offset, 1);
}

static void an_early_batch_waits_for_its_predecessor(void **state) {
    struct bench *bench = *state;
    struct kp_uuid id;
    create_topic(bench, "events", 1, &id);
    struct called zero, one, two;
    call_append(bench, &zero, &id, batch_of("0", 1000), 7, 0);
    run_ms(bench, 10);
    call_append(bench, &two, &id, batch_of("2", 1000), 7, 2);
    run_ms(bench, 100);
    assert_int_equal(two.done, 0);
    call_append(bench, &one, &id, batch_of("1", 1000), 7, 1);
    run_ms(bench, 100);
    assert_int_equal(one.part.base_offset, 1);
    assert_int_equal(two.done, 1);
    assert_int_equal(two.part.base_offset, 2);
}

static void an_early_batch_is_refused_after_two_seconds(void **state) {
    struct bench *bench = *state;
    struct kp_uuid id;
    create_topic(bench, "events", 1, &id);
    struct called zero, two;
    call_append(bench, &zero, &id, batch_of("0", 1000), 7, 0);
    run_ms(bench, 10);
    call_append(bench, &two, &id, batch_of("2", 1000), 7, 2);
    run_ms(bench, 1900);
    assert_int_equal(two.done, 0);
    run_ms(bench, 200);
    assert_int_equal(two.done, 1);
    assert_int_equal(two.part.error, ST_BAD_SEQUENCE);
}

static void an_unknown_producer_is_accepted_after_two_seconds(void **state) {
    struct bench *bench = *state;
    struct kp_uuid id;
    create_topic(bench, "events", 1, &id);
    struct called five;
    call_append(bench, &five, &id, batch_of("5", 1000), 7, 5);
    run_ms(bench, 1900);
    assert_int_equal(five.done, 0);
    run_ms(bench, 200);
    assert_int_equal(five.part.error, ST_OK);
    assert_int_equal(five.part.base_offset, 0);
}

static void large_flushes_go_through_objects_and_small_ones_do_not(void **state) {
    struct bench *bench = *state;
    struct kp_uuid id;
    create_topic(bench, "events", 1, &id);
    char *large = malloc(300001);
    memset(large, 'x', 300000);
    large[300000] = 0;
    assert_int_equal(append(bench, &id, large), 0);
    assert_int_equal(append(bench, &id, "small"), 1);
    struct called call;
    call_read(bench, &call, &id, 0);
    assert_true(call.read_part.chain.bytes > 300000);
    assert_int_equal(call.read_part.view.end, 2);
    kp_chain_release(&call.read_part.chain);
    assert_string_equal(value_at(bench, &id, 1), "small");
    free(large);
}

static void producer_find(struct st_producer_id *op) {
    ST_OWNER(op, struct called, producer_id)->done++;
}

static void producer_ids_are_unique(void **state) {
    struct bench *bench = *state;
    int64_t last = -1;
    for (int i = 0; i < 2500; i++) {
        struct called call = {.producer_id = {.done = producer_find}};
        st_producer_id(bench->engine, &call.producer_id);
        run_ms(bench, 1);
        assert_int_equal(call.done, 1);
        assert_true(call.producer_id.id > last);
        last = call.producer_id.id;
    }
}

static void find_done(struct st_find_time *op) {
    ST_OWNER(op, struct called, find)->done++;
}

static int64_t find_time(struct bench *bench, const struct kp_uuid *id, int64_t timestamp_ms, bool greatest) {
    struct called call = {
        .find = {.topic_id = *id, .timestamp_ms = timestamp_ms, .greatest = greatest, .done = find_done}};
    st_find_time(bench->engine, &call.find);
    run_ms(bench, 10);
    assert_int_equal(call.done, 1);
    assert_int_equal(call.find.error, ST_OK);
    return call.find.offset;
}

static void offsets_are_found_by_time(void **state) {
    struct bench *bench = *state;
    struct kp_uuid id;
    create_topic(bench, "events", 1, &id);
    assert_int_equal(find_time(bench, &id, 0, false), -1);
    static const int64_t times[] = {100, 300, 200, 500, 400};
    for (int i = 0; i < 5; i++) {
        struct called call;
        call_append(bench, &call, &id, batch_of("x", times[i]), -1, -1);
        run_ms(bench, 10);
    }
    assert_int_equal(find_time(bench, &id, 0, false), 0);
    assert_int_equal(find_time(bench, &id, 101, false), 1);
    assert_int_equal(find_time(bench, &id, 300, false), 1);
    assert_int_equal(find_time(bench, &id, 301, false), 3);
    assert_int_equal(find_time(bench, &id, 501, false), -1);
    assert_int_equal(find_time(bench, &id, 0, true), 3);
}

/* Of one record, but its header says that a later time stands in it. */
static struct kp_blob *liar_of(const char *value, int64_t timestamp_ms, int64_t claimed_ms) {
    struct kp_blob *batch = batch_of(value, timestamp_ms);
    kp_be_store64(batch->data + 35, (uint64_t)claimed_ms);
    return batch;
}

static void a_batch_that_claims_a_time_ends_the_search_and_one_is_opened_in_a_pass(void **state) {
    struct bench *bench = *state;
    struct kp_uuid id;
    struct called appends[3], finds[3];
    create_topic(bench, "events", 1, &id);
    call_append(bench, &appends[0], &id, liar_of("x", 100, 500), -1, -1);
    call_append(bench, &appends[1], &id, liar_of("x", 100, 500), -1, -1);
    call_append(bench, &appends[2], &id, batch_of("x", 500), -1, -1);
    run_ms(bench, 10);
    for (int i = 0; i < 3; i++) {
        finds[i] = (struct called){.find = {.topic_id = id, .timestamp_ms = 400, .done = find_done}};
        st_find_time(bench->engine, &finds[i].find);
    }
    for (int done = 0, before = 0; done < 3; before = done) {
        st_loop_run_due(bench->loop);
        done = finds[0].done + finds[1].done + finds[2].done;
        assert_true(done - before <= 1);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(finds[i].find.error, ST_OK);
        assert_int_equal(finds[i].find.offset, 0);
        assert_int_equal(finds[i].find.timestamp_ms, 500);
    }
}

static void everything_is_there_after_checkpoints_and_a_restart(void **state) {
    struct bench *bench = *state;
    struct kp_uuid a, b;
    create_topic(bench, "a", 1, &a);
    create_topic(bench, "b", 3, &b);
    char *large = malloc(20001);
    memset(large, 'x', 20000);
    large[20000] = 0;
    char text[16];
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "a%d", i);
        assert_int_equal(append(bench, &a, text), i);
        assert_int_equal(append(bench, &b, i % 10 == 0 ? large : "b"), i);
    }
    uint64_t slot, slot_after;
    uint64_t hash = st_engine_state_hash(bench->engine, &slot);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 100; i++) {
            snprintf(text, sizeof text, "a%d", i);
            assert_string_equal(value_at(bench, &a, i), text);
        }
        struct called call;
        for (int i = 0; i < 100; i += 10) {
            call_read(bench, &call, &b, i);
            assert_true(call.read_part.chain.bytes > 20000);
            kp_chain_release(&call.read_part.chain);
        }
        assert_int_equal(find_time(bench, &a, 1000, false), 0);
        restart(bench);
        assert_int_equal(st_engine_state_hash(bench->engine, &slot_after), hash);
        assert_int_equal(slot_after, slot);
    }
    struct called again;
    call_append(bench, &again, &a, batch_of("x", 1000), 7, 0);
    run_ms(bench, 10);
    restart(bench);
    call_append(bench, &again, &a, batch_of("x", 1000), 7, 0);
    run_ms(bench, 10);
    assert_int_equal(again.part.base_offset, 100);
    free(large);
}

static void journal_read_done(struct st_journal_read *op) {
    assert_int_equal(op->error, ST_OK);
}

static void entries_without_inline_bytes_are_trimmed_after_the_grace(void **state) {
    struct bench *bench = *state;
    struct kp_uuid id;
    create_topic(bench, "a", 1, &id);
    char *large = malloc(20001);
    memset(large, 'x', 20000);
    large[20000] = 0;
    for (int i = 0; i < 50; i++) {
        append(bench, &id, large);
        run_ms(bench, 100);
    }
    run_ms(bench, 120000);
    struct st_journal_read first = {.from = 1, .max_bytes = 1, .done = journal_read_done};
    bench->store->ops->journal_read(bench->store, &first);
    run_ms(bench, 10);
    assert_true(first.count >= 1);
    assert_true(first.entries[0].slot > 10);
    free(first.entries);
    kp_blob_unref(first.blob);
    assert_int_equal(append(bench, &id, "after"), 50);
    restart(bench);
    assert_string_equal(value_at(bench, &id, 50), "after");
    free(large);
}

int main(void) {
#define SMALL_TEST(name) cmocka_unit_test_setup_teardown(name, bench_start_small, bench_stop)
#define ENGINE_TEST(name) cmocka_unit_test_setup_teardown(name, bench_start, bench_stop)
    const struct CMUnitTest tests[] = {
        ENGINE_TEST(a_record_comes_back_at_its_offset),
        ENGINE_TEST(a_topic_exists_once),
        ENGINE_TEST(two_creates_in_one_entry_make_one_topic),
        ENGINE_TEST(requests_of_one_turn_share_an_entry),
        ENGINE_TEST(a_duplicate_answers_the_original_offset),
        ENGINE_TEST(an_early_batch_waits_for_its_predecessor),
        ENGINE_TEST(an_early_batch_is_refused_after_two_seconds),
        ENGINE_TEST(an_unknown_producer_is_accepted_after_two_seconds),
        ENGINE_TEST(large_flushes_go_through_objects_and_small_ones_do_not),
        ENGINE_TEST(producer_ids_are_unique),
        ENGINE_TEST(offsets_are_found_by_time),
        ENGINE_TEST(a_batch_that_claims_a_time_ends_the_search_and_one_is_opened_in_a_pass),
        SMALL_TEST(a_record_comes_back_at_its_offset),
        SMALL_TEST(everything_is_there_after_checkpoints_and_a_restart),
        SMALL_TEST(entries_without_inline_bytes_are_trimmed_after_the_grace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Record bytes are copied once between socket and store, and not at all between cache and socket: counted, for flushes
 * that ride in their entry and for flushes that go into objects, once sizes have settled.
 */
#include "engine_fixture.h"

enum { SMALL = 1000, LARGE = 100 * 1000, ROUNDS = 200 };

static struct clock virtual_clock;
static struct fixture fixture;

static int start(void **state) {
    (void)state;
    struct st_engine_options options = st_engine_options_default();
    fixture_open(&fixture, &virtual_clock, &options);
    return 0;
}

static int stop(void **state) {
    (void)state;
    fixture_close(&fixture, true);
    return 0;
}

struct counts {
    uint64_t produce, grown;
};

static struct counts counts_now(void) {
    return (struct counts){st_metrics.produce_copied_bytes_total, kp_blob_stats().grow_copied_bytes};
}

/* Appends `batches` of a kind in each of many turns of the loop; returns the bytes of all. */
static uint64_t produce(const struct kp_uuid *id, size_t value_len, int batches) {
    static struct appending calls[16];
    uint64_t bytes = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < batches; i++) {
            append_begin(&fixture, &calls[i], id, letters(value_len, 1000), 30000);
            bytes += calls[i].part.batch.bytes.len;
        }
        run_ms(&fixture, 10);
        for (int i = 0; i < batches; i++) {
            assert_int_equal(calls[i].part.error, ST_OK);
        }
    }
    return bytes;
}

static void assert_copied_once(size_t value_len, int batches, bool objects) {
    struct kp_uuid id = create_now(&fixture, "t", 1);
    produce(&id, value_len, batches); /* sizes settle */
    uint64_t puts = st_metrics.object_puts_total;
    struct counts before = counts_now();
    uint64_t bytes = produce(&id, value_len, batches);
    struct counts after = counts_now();
    assert_int_equal(after.produce - before.produce, bytes);
    assert_int_equal(after.grown, before.grown);
    assert_true(st_metrics.object_puts_total - puts >= (objects ? ROUNDS : 0)); /* it was the way that is meant */
    assert_true(objects || st_metrics.object_puts_total == puts);
}

static void bytes_that_ride_in_the_entry_are_copied_once(void **state) {
    (void)state;
    assert_true(10 * (SMALL + 200) < fixture.gate.store.profile.inline_limit);
    assert_copied_once(SMALL, 10, false);
}

static void bytes_that_go_into_objects_are_copied_once(void **state) {
    (void)state;
    assert_true(LARGE > fixture.gate.store.profile.inline_limit);
    assert_copied_once(LARGE, 10, true);
}

static void bytes_of_a_flush_that_outgrows_the_entry_are_copied_once(void **state) {
    (void)state;
    size_t limit = fixture.gate.store.profile.inline_limit;
    assert_copied_once(limit * 2 / 3, 3, true); /* the first is inline until the second comes */
}

/* Every piece must lie in a blob of the cache; nothing is loaded and nothing copied. */
static void assert_read_from_cache(const struct kp_uuid *id, int64_t end) {
    struct counts before = counts_now();
    uint64_t gets = st_metrics.object_gets_total, reads = st_metrics.journal_reads_total;
    for (int64_t offset = 0; offset < end;) {
        struct reading call;
        read_begin(&fixture, &call, id, offset, 1 << 20);
        run_ms(&fixture, 1);
        assert_int_equal(call.done, 1);
        assert_int_equal(call.part.error, ST_OK);
        assert_true(call.part.chain.count > 0);
        for (size_t i = 0; i < call.part.chain.count; i++) {
            const struct kp_piece *piece = &call.part.chain.pieces[i];
            struct kp_batch first;
            assert_int_equal(kp_batch_peek(piece->bytes, &first), KP_ERROR_NONE);
            struct st_partition *partition = st_fold_partition(fixture.engine->journal.fold, id, 0);
            const struct st_row *row = st_partition_row(partition, first.base_offset);
            struct st_run *run = st_cache_find(&fixture.engine->cache, row->slot, row->position);
            assert_non_null(run);
            assert_ptr_equal(piece->blob, run->owner->blob);
            assert_true(piece->bytes.ptr >= run->bytes.ptr);
            assert_true(piece->bytes.ptr + piece->bytes.len <= run->bytes.ptr + run->bytes.len);
            assert_int_equal(first.base_offset, offset);
            for (size_t at = 0; at < piece->bytes.len; at += first.bytes.len, offset++) {
                kp_batch_peek(kp_slice_of(piece->bytes.ptr + at, piece->bytes.len - at), &first);
            }
        }
        kp_chain_release(&call.part.chain);
    }
    struct counts after = counts_now();
    assert_int_equal(after.produce, before.produce);
    assert_int_equal(after.grown, before.grown);
    assert_int_equal(st_metrics.object_gets_total, gets);
    assert_int_equal(st_metrics.journal_reads_total, reads);
}

static void bytes_are_served_from_where_they_were_gathered(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    for (int i = 0; i < 20; i++) {
        append_now(&fixture, &id, i % 2 == 0 ? SMALL : LARGE, 1000);
    }
    assert_read_from_cache(&id, 20);
}

/* What was read back once lies in the cache like what was produced. */
static void bytes_that_were_read_back_are_served_from_the_cache(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    for (int i = 0; i < 20; i++) {
        append_now(&fixture, &id, i % 2 == 0 ? SMALL : LARGE, 1000);
    }
    st_cache_release(&fixture.engine->cache);
    st_cache_init(&fixture.engine->cache, fixture.options.cache_bytes);
    struct reading call;
    read_begin(&fixture, &call, &id, 0, 10 << 20);
    run_ms(&fixture, 10);
    assert_int_equal(call.done, 1);
    assert_true(call.part.chain.bytes > 10 * (SMALL + LARGE));
    kp_chain_release(&call.part.chain);
    assert_read_from_cache(&id, 20);
}

int main(void) {
#define COPY_TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        COPY_TEST(bytes_that_ride_in_the_entry_are_copied_once),
        COPY_TEST(bytes_that_go_into_objects_are_copied_once),
        COPY_TEST(bytes_of_a_flush_that_outgrows_the_entry_are_copied_once),
        COPY_TEST(bytes_are_served_from_where_they_were_gathered),
        COPY_TEST(bytes_that_were_read_back_are_served_from_the_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

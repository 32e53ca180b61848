/* The cache of record bytes: what it counts, what it evicts, and that bytes are patched when they enter. */
#include "engine_fixture.h"

#include "protocol/bytes/be.h"

enum { KIB = 1024 };

static struct st_cached_blob *add_blob(struct st_cache *cache, size_t size, bool cold) {
    struct kp_blob *blob = kp_blob_new(size);
    assert_non_null(blob);
    memset(blob->data, 0, size);
    struct st_cached_blob *owner = st_cache_add_blob(cache, blob, cold);
    assert_non_null(owner);
    kp_blob_unref(blob); /* the cache has its own reference */
    return owner;
}

/* One blob with one run that covers it. */
static void add(struct st_cache *cache, uint64_t slot, size_t size, bool cold) {
    struct st_cached_blob *owner = add_blob(cache, size, cold);
    assert_true(st_cache_add_run(cache, owner, slot, 0, kp_slice_of(owner->blob->data, size)));
}

static bool has(struct st_cache *cache, uint64_t slot) {
    return st_cache_find(cache, slot, 0) != NULL;
}

/* ---- finding ---- */

static void runs_are_found_by_slot_and_position(void **state) {
    (void)state;
    struct st_cache cache;
    st_cache_init(&cache, 64 * KIB);
    assert_null(st_cache_find(&cache, 1, 0)); /* before there is a table */
    struct st_cached_blob *owner = add_blob(&cache, 1000, false);
    st_cache_add_run(&cache, owner, 7, 0, kp_slice_of(owner->blob->data, 100));
    st_cache_add_run(&cache, owner, 7, 100, kp_slice_of(owner->blob->data + 100, 900));
    assert_int_equal(st_cache_find(&cache, 7, 0)->bytes.len, 100);
    assert_int_equal(st_cache_find(&cache, 7, 100)->bytes.len, 900);
    assert_null(st_cache_find(&cache, 7, 50));
    assert_null(st_cache_find(&cache, 8, 0));
    st_cache_release(&cache);
}

static void a_run_that_is_there_stays(void **state) {
    (void)state;
    struct st_cache cache;
    st_cache_init(&cache, 64 * KIB);
    add(&cache, 1, 100, false);
    const uint8_t *first = st_cache_find(&cache, 1, 0)->bytes.ptr;
    add(&cache, 1, 100, true);
    assert_ptr_equal(st_cache_find(&cache, 1, 0)->bytes.ptr, first);
    assert_int_equal(cache.run_count, 1);
    st_cache_release(&cache);
}

static void tens_of_thousands_of_runs_are_found(void **state) {
    (void)state;
    enum { RUNS = 30000 };
    struct st_cache cache;
    st_cache_init(&cache, 64 * 1024 * KIB);
    struct st_cached_blob *owner = add_blob(&cache, RUNS, false);
    for (uint32_t i = 0; i < RUNS; i++) {
        assert_true(st_cache_add_run(&cache, owner, i / 3, i % 3, kp_slice_of(owner->blob->data + i, 1)));
    }
    for (uint32_t i = 0; i < RUNS; i++) {
        assert_ptr_equal(st_cache_find(&cache, i / 3, i % 3)->bytes.ptr, owner->blob->data + i);
    }
    assert_true(cache.bucket_count >= RUNS); /* chains stay short */
    st_cache_release(&cache);
}

/* ---- limits ---- */

static void the_least_recently_used_goes_first(void **state) {
    (void)state;
    struct st_cache cache;
    st_cache_init(&cache, 40 * KIB);
    for (uint64_t slot = 1; slot <= 4; slot++) {
        add(&cache, slot, 8 * KIB, false);
    }
    assert_true(has(&cache, 1)); /* used: now the newest */
    add(&cache, 5, 8 * KIB, false);
    st_cache_trim(&cache);
    assert_false(has(&cache, 2));
    assert_true(has(&cache, 1) && has(&cache, 3) && has(&cache, 4) && has(&cache, 5));
    st_cache_release(&cache);
}

static void what_is_counted_is_at_least_the_memory_that_is_held(void **state) {
    (void)state;
    struct st_cache cache;
    uint64_t before = kp_blob_stats().live_bytes;
    st_cache_init(&cache, 256 * KIB);
    for (uint64_t slot = 1; slot <= 1000; slot++) {
        add(&cache, slot, 1 + slot * 37 % 20000, slot % 3 == 0);
        st_cache_trim(&cache);
        uint64_t held = kp_blob_stats().live_bytes - before;
        assert_true(cache.tail.bytes + cache.cold.bytes <= 256 * KIB);
        assert_true(held <= cache.tail.bytes + cache.cold.bytes);
    }
    assert_int_equal(st_metrics.cache_bytes, cache.tail.bytes + cache.cold.bytes);
    st_cache_release(&cache);
    assert_int_equal(kp_blob_stats().live_bytes, before);
}

/* Ranges of several slabs are read at a time, and come as they please. */
static void slabs_that_are_filled_side_by_side_are_counted_once_each(void **state) {
    (void)state;
    enum { SLABS = 6, ROUNDS = 20 };
    struct st_cache cache;
    struct kp_blob *slabs[SLABS];
    st_cache_init(&cache, 64 * 1024 * KIB);
    for (size_t i = 0; i < SLABS; i++) {
        slabs[i] = kp_blob_new(2048 * KIB);
        assert_non_null(slabs[i]);
    }
    for (uint64_t slot = 0; slot < SLABS * ROUNDS; slot++) {
        struct kp_blob *slab = slabs[slot % SLABS];
        struct st_cached_blob *owner = st_cache_add_blob(&cache, slab, true);
        assert_true(st_cache_add_run(&cache, owner, slot, 0, kp_slice_of(slab->data + slot * KIB, KIB)));
    }
    assert_in_range(cache.cold.bytes, SLABS * 2048 * KIB, SLABS * 2100 * KIB);
    for (size_t i = 0; i < SLABS; i++) {
        kp_blob_unref(slabs[i]);
    }
    st_cache_release(&cache);
}

static void a_slab_is_counted_once_and_goes_as_a_whole(void **state) {
    (void)state;
    struct st_cache cache;
    st_cache_init(&cache, 4096 * KIB);
    struct kp_blob *slab = kp_blob_new(2048 * KIB);
    assert_non_null(slab);
    for (uint64_t slot = 1; slot <= 10; slot++) { /* ten flushes in one slab */
        struct st_cached_blob *owner = st_cache_add_blob(&cache, slab, false);
        assert_true(st_cache_add_run(&cache, owner, slot, 0, kp_slice_of(slab->data + slot * KIB, KIB)));
    }
    kp_blob_unref(slab);
    assert_true(cache.tail.bytes < 2100 * KIB);
    assert_true(has(&cache, 1) && has(&cache, 10));
    add(&cache, 11, 1500 * KIB, false);
    add(&cache, 12, 1500 * KIB, false);
    st_cache_trim(&cache);
    for (uint64_t slot = 1; slot <= 10; slot++) {
        assert_false(has(&cache, slot));
    }
    assert_true(has(&cache, 11) && has(&cache, 12));
    st_cache_release(&cache);
}

static void one_larger_than_the_limit_does_not_stay(void **state) {
    (void)state;
    struct st_cache cache;
    st_cache_init(&cache, 16 * KIB);
    add(&cache, 1, 64 * KIB, false);
    assert_true(has(&cache, 1));
    st_cache_trim(&cache);
    assert_false(has(&cache, 1));
    assert_int_equal(cache.tail.bytes, 0);
    assert_int_equal(cache.run_count, 0);
    st_cache_release(&cache);
}

static void who_goes_through_history_takes_half_of_the_room_at_most(void **state) {
    (void)state;
    struct st_cache cache;
    st_cache_init(&cache, 80 * KIB);
    for (uint64_t slot = 1; slot <= 4; slot++) {
        add(&cache, slot, 8 * KIB, false);
    }
    for (uint64_t slot = 100; slot < 200; slot++) {
        add(&cache, slot, 8 * KIB, true);
        st_cache_trim(&cache);
        assert_true(cache.cold.bytes <= 40 * KIB);
    }
    assert_true(has(&cache, 1) && has(&cache, 2) && has(&cache, 3) && has(&cache, 4));
    assert_true(has(&cache, 199));
    assert_false(has(&cache, 100));
    for (uint64_t slot = 5; slot <= 9; slot++) { /* without readers of history the tail may take all */
        add(&cache, slot, 8 * KIB, false);
        st_cache_trim(&cache);
    }
    assert_true(cache.tail.bytes + cache.cold.bytes <= 80 * KIB);
    assert_true(has(&cache, 9));
    st_cache_release(&cache);
}

static void what_a_reader_of_history_left_makes_room_for_the_tail(void **state) {
    (void)state;
    struct st_cache cache;
    st_cache_init(&cache, 80 * KIB);
    for (uint64_t slot = 100; slot < 110; slot++) {
        add(&cache, slot, 8 * KIB, true);
        st_cache_trim(&cache);
    }
    assert_int_equal(cache.cold.bytes / (8 * KIB), 4);
    for (uint64_t slot = 1; slot <= 9; slot++) {
        add(&cache, slot, 8 * KIB, false);
        st_cache_trim(&cache);
    }
    for (uint64_t slot = 1; slot <= 9; slot++) {
        assert_true(has(&cache, slot));
    }
    assert_int_equal(cache.cold.bytes, 0);
    st_cache_release(&cache);
}

static void a_blob_that_somebody_still_sends_outlives_its_eviction(void **state) {
    (void)state;
    struct st_cache cache;
    st_cache_init(&cache, 16 * KIB);
    add(&cache, 1, 8 * KIB, false);
    struct st_run *run = st_cache_find(&cache, 1, 0);
    struct kp_blob *sent = kp_blob_ref(run->owner->blob);
    sent->data[5] = 42;
    cache.limit = 0;
    st_cache_trim(&cache);
    assert_false(has(&cache, 1));
    assert_int_equal(sent->data[5], 42);
    assert_int_equal(sent->refs, 1);
    kp_blob_unref(sent);
    st_cache_release(&cache);
}

/* ---- patching ---- */

/* A run of three batches of two records each, as producers sent them: base offset 0. */
static struct kp_blob *run_of_three(struct st_row *row) {
    struct kp_new_record records[2] = {{.timestamp_ms = 10, .value = KP_SLICE_LIT("a")},
                                       {.timestamp_ms = 20, .value = KP_SLICE_LIT("b")}};
    struct kp_blob *batch = kp_batch_build(records, 2);
    assert_non_null(batch);
    struct kp_blob *run = kp_blob_new(3 * batch->size);
    assert_non_null(run);
    for (size_t i = 0; i < 3; i++) {
        memcpy(run->data + i * batch->size, batch->data, batch->size);
    }
    *row = (struct st_row){.base = 100, .end = 106, .slot = 1, .len = (uint32_t)run->size, .max_timestamp_ms = 20};
    kp_blob_unref(batch);
    return run;
}

static void batches_get_their_offsets_and_keep_their_crc(void **state) {
    (void)state;
    struct st_row row;
    struct kp_blob *run = run_of_three(&row);
    size_t len = run->size / 3;
    assert_true(st_run_patch(run->data, &row));
    for (size_t i = 0; i < 3; i++) {
        struct kp_batch batch;
        const char *reason = NULL;
        struct kp_slice bytes = kp_slice_of(run->data + i * len, len);
        assert_int_equal(kp_batch_check(bytes, &batch, &reason), KP_ERROR_NONE);
        assert_int_equal(batch.base_offset, 100 + 2 * i);
        assert_int_equal(batch.leader_epoch, -1);
        assert_int_equal(batch.max_timestamp_ms, 20);
    }
    assert_true(st_run_patch(run->data, &row)); /* again: no harm */
    kp_blob_unref(run);
}

static void batches_of_append_time_get_the_time_of_their_row(void **state) {
    (void)state;
    struct st_row row;
    struct kp_blob *run = run_of_three(&row);
    row.flags = ST_APPEND_TIME;
    row.max_timestamp_ms = 777;
    assert_true(st_run_patch(run->data, &row));
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_record_reader reader;
    struct kp_record record;
    assert_int_equal(kp_records_open(&reader, kp_slice_of(run->data, run->size / 3), &arena, 1 << 20), KP_ERROR_NONE);
    while (kp_records_next(&reader, &record) == 1) {
        assert_int_equal(record.timestamp_ms, 777);
    }
    kp_arena_release(&arena);
    kp_blob_unref(run);
}

static void bytes_that_do_not_fit_their_row_are_not_served(void **state) {
    (void)state;
    struct st_row row;
    struct kp_blob *run = run_of_three(&row);
    struct st_row longer = row, shorter = row, cut = row;
    longer.end++;
    shorter.end--;
    cut.len--;
    assert_false(st_run_patch(run->data, &longer));
    assert_false(st_run_patch(run->data, &shorter));
    assert_false(st_run_patch(run->data, &cut));
    kp_be_store32(run->data + 23, 0x80000000u); /* a negative last offset */
    assert_false(st_run_patch(run->data, &row));
    kp_be_store32(run->data + 23, 0x7fffffffu);
    row.base = INT64_MAX - 10;
    row.end = INT64_MAX;
    assert_false(st_run_patch(run->data, &row)); /* an offset that would pass the greatest */
    kp_blob_unref(run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_found_by_slot_and_position),
        cmocka_unit_test(a_run_that_is_there_stays),
        cmocka_unit_test(tens_of_thousands_of_runs_are_found),
        cmocka_unit_test(the_least_recently_used_goes_first),
        cmocka_unit_test(what_is_counted_is_at_least_the_memory_that_is_held),
        cmocka_unit_test(a_slab_is_counted_once_and_goes_as_a_whole),
        cmocka_unit_test(slabs_that_are_filled_side_by_side_are_counted_once_each),
        cmocka_unit_test(one_larger_than_the_limit_does_not_stay),
        cmocka_unit_test(who_goes_through_history_takes_half_of_the_room_at_most),
        cmocka_unit_test(what_a_reader_of_history_left_makes_room_for_the_tail),
        cmocka_unit_test(a_blob_that_somebody_still_sends_outlives_its_eviction),
        cmocka_unit_test(batches_get_their_offsets_and_keep_their_crc),
        cmocka_unit_test(batches_of_append_time_get_the_time_of_their_row),
        cmocka_unit_test(bytes_that_do_not_fit_their_row_are_not_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

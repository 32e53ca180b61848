/* Requests on their way through flushes: what is gathered, held, given up, and left behind when the engine ends. */
#include "engine_fixture.h"

static struct clock virtual_clock;
static struct fixture fixture;

static int start_with(const struct st_engine_options *options) {
    fixture_open(&fixture, &virtual_clock, options);
    return 0;
}

static int start(void **state) {
    (void)state;
    struct st_engine_options options = st_engine_options_default();
    return start_with(&options);
}

/* No cache to speak of: everything is read back. */
static int start_small(void **state) {
    (void)state;
    struct st_engine_options options = st_engine_options_default();
    options.cache_bytes = 1;
    return start_with(&options);
}

static int stop(void **state) {
    (void)state;
    fixture_close(&fixture, true);
    return 0;
}

/* Forgets the engine at once, as a crash does, and lets the store end. */
static int crash(void **state) {
    (void)state;
    st_engine_free(fixture.engine);
    run_ms(&fixture, 100000);
    fixture.gate.inner->ops->close(fixture.gate.inner, fixture_closed, &fixture);
    run_ms(&fixture, 10);
    assert_int_equal(fixture.closed, 1);
    st_loop_free(fixture.loop);
    return 0;
}

static void append_of_producer(struct appending *call, const struct kp_uuid *id, size_t len, int64_t producer_id,
                               int32_t sequence) {
    append_prepare(call, id, 0, letters(len, 1000), 30000);
    call->part.batch.producer_id = producer_id;
    call->part.batch.producer_epoch = 0;
    call->part.batch.base_sequence = sequence;
    append_start(&fixture, call);
}

/* ---- answers ---- */

static void an_append_of_nothing_is_answered_from_the_loop(void **state) {
    (void)state;
    struct appending call = {.append = {.timeout_ms = 30000, .done = appending_done}};
    st_append(fixture.engine, &call.append);
    assert_int_equal(call.done, 0);
    run_ms(&fixture, 1);
    assert_int_equal(call.done, 1);
}

static void what_timed_out_before_its_put_left_is_refused_and_never_stored(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    struct appending first, second;
    fixture.gate.hold_put = true;
    append_begin(&fixture, &first, &id, letters(100, 1000), 10000);
    run_ms(&fixture, 10);
    append_begin(&fixture, &second, &id, letters(100, 1000), 1000); /* waits behind the first */
    run_ms(&fixture, 2000);
    assert_int_equal(second.done, 1);
    assert_int_equal(second.part.error, ST_REFUSED);
    assert_int_equal(first.done, 0);
    gate_release_put(&fixture.gate);
    run_ms(&fixture, 100);
    assert_int_equal(first.part.error, ST_OK);
    assert_int_equal(append_now(&fixture, &id, 100, 1000), 1);
}

static void what_timed_out_while_its_put_is_under_way_is_unknown(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    struct appending call;
    fixture.gate.hold_put = true;
    append_begin(&fixture, &call, &id, letters(100, 1000), 1000);
    run_ms(&fixture, 2000);
    assert_int_equal(call.done, 1);
    assert_int_equal(call.part.error, ST_UNKNOWN);
    gate_release_put(&fixture.gate);
    run_ms(&fixture, 100);
    assert_int_equal(append_now(&fixture, &id, 100, 1000), 1); /* it was stored all the same */
}

static void a_request_refused_with_a_put_that_had_no_effect_is_not_sent_again(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    struct appending gives_up, waits;
    fixture.gate.hold_put = true;
    append_begin(&fixture, &gives_up, &id, letters(100, 1000), 1000);
    append_begin(&fixture, &waits, &id, letters(200, 1000), 30000);
    run_ms(&fixture, 10);
    gate_answer_put(&fixture.gate, ST_REFUSED, clock_wall(&virtual_clock));
    for (int i = 0; i < 300 && gives_up.done == 0; i++) { /* refused again and again until the first has given up */
        run_ms(&fixture, 10);
        if (fixture.gate.put != NULL && gives_up.done == 0) {
            gate_answer_put(&fixture.gate, ST_REFUSED, clock_wall(&virtual_clock));
        }
    }
    assert_int_equal(gives_up.part.error, ST_REFUSED);
    fixture.gate.hold_put = false;
    if (fixture.gate.put != NULL) {
        gate_release_put(&fixture.gate);
    }
    run_ms(&fixture, 5000);
    assert_int_equal(waits.part.error, ST_OK);
    assert_int_equal(waits.part.base_offset, 0);
    assert_int_equal(append_now(&fixture, &id, 100, 1000), 1);
}

/* ---- limits ---- */

static void a_store_takes_no_more_partitions_than_every_process_has_memory_for(void **state) {
    (void)state;
    char name[16];
    for (int i = 0; i < ST_FOLD_PARTITIONS_MAX / ST_PARTITIONS_MAX - 1; i++) {
        snprintf(name, sizeof name, "t%d", i);
        create_now(&fixture, name, ST_PARTITIONS_MAX);
    }
    struct creating calls[3]; /* in one entry: the first takes what is left but one, the last finds room */
    int32_t sizes[] = {ST_PARTITIONS_MAX - 1, 2, 1};
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        calls[i] = (struct creating){
            .op = {.name = kp_slice_cstr(names[i]), .partitions = sizes[i], .done = creating_done}};
        st_topic_create(fixture.engine, &calls[i].op);
    }
    run_ms(&fixture, 10);
    assert_int_equal(calls[0].op.error, ST_OK);
    assert_int_equal(calls[1].op.error, ST_BAD_PARTITIONS);
    assert_int_equal(calls[2].op.error, ST_OK);
}

static void held_batches_are_bounded_in_number(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    static struct appending calls[ST_HELD_MOST + 10];
    for (int i = 0; i < ST_HELD_MOST + 10; i++) {
        append_of_producer(&calls[i], &id, 10, 1000 + i, 5);
    }
    run_ms(&fixture, 100);
    int refused = 0;
    for (int i = 0; i < ST_HELD_MOST + 10; i++) {
        refused += calls[i].done;
        assert_true(calls[i].done == 0 || calls[i].part.error == ST_REFUSED);
    }
    assert_int_equal(refused, 10);
    run_ms(&fixture, 5000); /* the hold is over: producers nobody knows are accepted */
    for (int i = 0; i < ST_HELD_MOST; i++) {
        assert_int_equal(calls[i].part.error, ST_OK);
    }
}

static void a_held_batch_keeps_its_own_bytes_and_not_the_flush_that_it_came_in(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    static struct appending large, early[20], zero;
    append_of_producer(&zero, &id, 10, 7, 0);
    run_ms(&fixture, 10);
    uint64_t before = 0;
    for (int i = 0; i < 20; i++) {
        append_begin(&fixture, &large, &id, letters(3000 * 1000, 1000), 30000);
        append_of_producer(&early[i], &id, 10, 100 + i, 3);
        run_ms(&fixture, 10);
        st_cache_release(&fixture.engine->cache);
        st_cache_init(&fixture.engine->cache, fixture.options.cache_bytes);
        before = i == 2 ? kp_blob_stats().live_bytes : before;
    }
    assert_true(kp_blob_stats().live_bytes <= before + (1 << 20)); /* not another slab with each */
    run_ms(&fixture, 5000);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(early[i].part.error, ST_OK);
    }
}

/* ---- pacing ---- */

enum { PACE_MS = 100, BUDGET = 500 * 1024 };

static void pace(void) {
    fixture.gate.store.profile.pacing_ms = PACE_MS;
    fixture.gate.store.profile.inline_bytes_per_s = BUDGET;
    fixture.gate.store.profile.uploads_in_flight = 4;
}

/* An append begun now; whether it was answered within `ms`. */
static bool appended_within(struct appending *call, const struct kp_uuid *id, size_t len, int64_t ms) {
    append_begin(&fixture, call, id, letters(len, 1000), 30000);
    run_ms(&fixture, ms);
    assert_true(call->done == 0 || call->part.error == ST_OK);
    return call->done == 1;
}

static void a_flush_with_an_object_waits_for_the_rest_of_its_interval_and_after_a_pause_not_at_all(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    static struct appending calls[4];
    pace();
    assert_true(appended_within(&calls[0], &id, 30000, 1));
    assert_false(appended_within(&calls[1], &id, 30000, 20));
    assert_false(appended_within(&calls[2], &id, 100, PACE_MS - 25)); /* it is not alone */
    run_ms(&fixture, 10);
    assert_int_equal(calls[1].done, 1);
    assert_int_equal(calls[2].done, 1);
    run_ms(&fixture, 2 * PACE_MS);
    assert_true(appended_within(&calls[3], &id, 30000, 1));
}

static void producers_that_wait_for_their_answers_wait_for_half_of_the_interval(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    static struct appending calls[2];
    pace();
    assert_true(appended_within(&calls[0], &id, 30000, 1));
    for (int round = 0; round < 10; round++) {
        assert_false(appended_within(&calls[0], &id, 30000, 5));
        assert_false(appended_within(&calls[1], &id, 30000, PACE_MS / 2 - 15));
        run_ms(&fixture, 10); /* just as long as half of the interval, all together */
        assert_int_equal(calls[0].done, 1);
        assert_int_equal(calls[1].done, 1);
    }
}

static void a_flush_without_an_object_does_not_wait_while_the_budget_lasts(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    static struct appending call;
    pace();
    append_now(&fixture, &id, 30000, 1000);
    for (int i = 0; i < 200; i++) { /* 100 a second of 200 bytes */
        assert_true(appended_within(&call, &id, 200, 1));
        run_ms(&fixture, 9);
    }
}

static void a_budget_that_was_nearly_spent_comes_back_with_time(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    static struct appending call;
    pace();
    for (int burst = 0; burst < 2; burst++) { /* 98 kB, and after a tenth of a second 70 more */
        for (int i = 0; i < 7 - 2 * burst; i++) {
            assert_true(appended_within(&call, &id, 14000, 0));
        }
        run_ms(&fixture, 100);
    }
}

static void above_the_budget_small_requests_gather_into_objects_at_the_pace(void **state) {
    (void)state;
    enum { EACH = 1000, WARM_UP = 500, COUNT = 2500 };
    struct kp_uuid id = create_now(&fixture, "t", 1);
    static struct appending calls[COUNT];
    pace();
    uint64_t commits = 0, puts = 0;
    for (int i = 0; i < COUNT; i++) { /* 1,000 a second */
        append_begin(&fixture, &calls[i], &id, letters(EACH, 1000), 30000);
        run_ms(&fixture, 1);
        commits = i < WARM_UP ? st_metrics.commits_total : commits;
        puts = i < WARM_UP ? st_metrics.object_puts_total : puts;
    }
    commits = st_metrics.commits_total - commits;
    assert_in_range(commits, 18, 21);
    assert_in_range(st_metrics.object_puts_total - puts, commits, commits + 2); /* a checkpoint may be among them */
    run_ms(&fixture, PACE_MS);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(calls[i].done, 1);
        assert_int_equal(calls[i].part.base_offset, i);
    }
    assert_true(appended_within(&calls[0], &id, EACH, PACE_MS));
    run_ms(&fixture, 1000); /* quiet again: at once again */
    assert_true(appended_within(&calls[0], &id, EACH, 1));
    assert_true(appended_within(&calls[0], &id, EACH, 1));
}

static void a_full_flush_does_not_wait_for_the_pace(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    static struct appending calls[6];
    pace();
    fixture.gate.store.profile.flush_limit = 100000;
    for (int i = 0; i < 6; i++) {
        append_begin(&fixture, &calls[i], &id, letters(60000, 1000), 30000);
    }
    run_ms(&fixture, 1);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(calls[i].done, 1);
    }
    assert_int_equal(calls[5].done, 0);
    run_ms(&fixture, PACE_MS);
    assert_int_equal(calls[5].done, 1);
}

static struct st_object_put *slow_puts[8];
static size_t slow_count;

static void keep_put(struct st_store *store, struct st_object_put *op) {
    (void)store;
    assert_true(slow_count < 8);
    slow_puts[slow_count++] = op;
}

static void paced_uploads_overlap_up_to_their_number(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    static struct appending calls[6];
    pace();
    slow_count = 0;
    fixture.gate.gated.object_put = keep_put;
    for (size_t i = 0; i < 6; i++) {
        assert_false(appended_within(&calls[i], &id, 30000, PACE_MS));
        assert_int_equal(slow_count, i < 4 ? i + 1 : 4);
    }
    for (size_t i = 4; i > 0; i--) { /* answered backwards: committed in order all the same */
        fixture.gate.inner->ops->object_put(fixture.gate.inner, slow_puts[i - 1]);
    }
    fixture.gate.gated.object_put = gate_object_put;
    run_ms(&fixture, 2 * PACE_MS);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(calls[i].done, 1);
        assert_int_equal(calls[i].part.base_offset, i);
    }
}

static void appends_do_not_wait_before_all_uploads_have_work(void **state) {
    (void)state;
    const struct st_engine_options options = st_engine_options_default();
    assert_int_equal(fixture.engine->options.flush_bytes_max, 32 << 20);
    fixture.gate.store.profile.flush_limit = 8 << 20;
    fixture.gate.store.profile.uploads_in_flight = 8;
    struct st_engine *engine = st_engine_new(fixture.loop, &fixture.gate.store, &options);
    assert_int_equal(engine->options.flush_bytes_max, 64 << 20);
    st_engine_free(engine);
}

static void count_relief(void *arg) {
    (*(int *)arg)++;
}

static void who_waits_is_told_when_there_is_room_however_small_the_limit(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    static struct appending call;
    int told = 0;
    fixture.engine->options.flush_bytes_max = 1;
    fixture.gate.hold_put = true;
    append_begin(&fixture, &call, &id, letters(100, 1000), 30000);
    run_ms(&fixture, 10);
    assert_true(st_append_congested(fixture.engine));
    st_append_on_relief(fixture.engine, count_relief, &told);
    assert_int_equal(told, 0);
    gate_release_put(&fixture.gate);
    run_ms(&fixture, 10);
    assert_false(st_append_congested(fixture.engine));
    assert_int_equal(told, 1);
    st_append_on_relief(fixture.engine, NULL, NULL);
}

static void a_request_that_fills_a_flush_alone_does_not_wait_for_the_pace(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    static struct appending calls[2];
    pace();
    fixture.gate.store.profile.flush_limit = 100000;
    assert_true(appended_within(&calls[0], &id, 30000, 1));
    assert_true(appended_within(&calls[1], &id, 120000, 1));
}

static void an_engine_closes_with_a_flush_that_waits_for_its_pace(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    static struct appending first, second;
    pace();
    assert_true(appended_within(&first, &id, 30000, 1));
    assert_false(appended_within(&second, &id, 30000, 1)); /* the fixture closes now */
}

/* ---- reading back ---- */

static void more_readers_than_loads_all_get_their_records(void **state) {
    (void)state;
    enum { RUNS = 150 };
    struct kp_uuid id = create_now(&fixture, "t", 1);
    for (int i = 0; i < RUNS; i++) {
        append_now(&fixture, &id, 20000, 1000);
    }
    static struct reading calls[RUNS];
    for (int i = 0; i < RUNS; i++) {
        read_begin(&fixture, &calls[i], &id, i, 100);
    }
    run_ms(&fixture, 1000);
    for (int i = 0; i < RUNS; i++) {
        assert_int_equal(calls[i].done, 1);
        assert_int_equal(calls[i].part.error, ST_OK);
        assert_true(calls[i].part.chain.bytes > 20000);
        kp_chain_release(&calls[i].part.chain);
    }
}

struct finding {
    struct st_find_time op;
    int done;
};

static void finding_done(struct st_find_time *op) {
    ST_OWNER(op, struct finding, op)->done++;
}

static void the_greatest_time_is_found_although_a_greater_comes_meanwhile(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    append_now(&fixture, &id, 20000, 500);
    append_now(&fixture, &id, 20000, 400);
    fixture.gate.hold_object_get = true;
    struct finding call = {.op = {.topic_id = id, .greatest = true, .done = finding_done}};
    st_find_time(fixture.engine, &call.op);
    run_ms(&fixture, 10);
    assert_int_equal(call.done, 0);
    append_now(&fixture, &id, 20000, 900);
    gate_release_object_get(&fixture.gate);
    run_ms(&fixture, 10);
    assert_int_equal(call.done, 1);
    assert_int_equal(call.op.error, ST_OK);
    assert_true(call.op.offset == 0 || call.op.offset == 2);
}

/* ---- the end of an engine ---- */

static void a_crash_with_answers_pending_leaves_nothing_behind(void **state) {
    (void)state;
    static struct appending waiting, held, due;
    static struct creating wrong, gathered;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    fixture.gate.hold_put = true;
    append_begin(&fixture, &waiting, &id, letters(100, 1000), 30000);
    append_of_producer(&held, &id, 10, 7, 5);
    append_begin(&fixture, &due, &id, letters(100, 1000), 50);
    run_ms(&fixture, 49);
    wrong.op = (struct st_topic_create){.name = KP_SLICE_LIT("no good"), .partitions = 1, .done = creating_done};
    gathered.op = (struct st_topic_create){.name = KP_SLICE_LIT("good"), .partitions = 1, .done = creating_done};
    st_topic_create(fixture.engine, &wrong.op);
    st_topic_create(fixture.engine, &gathered.op);
    virtual_clock.now_ns += 2 * ST_MS;
    st_loop_run_due(fixture.loop); /* `due` has its answer now, and nobody was told yet */
    fixture.gate.hold_put = false;
    if (fixture.gate.put != NULL) {
        gate_release_put(&fixture.gate);
    }
    run_ms(&fixture, 0);
    st_topic_create(fixture.engine, &wrong.op); /* its answer is due when the engine is gone */
    int answered = wrong.done;
    st_engine_free(fixture.engine);
    fixture.engine = NULL;
    run_ms(&fixture, 60000);
    assert_int_equal(wrong.done, answered);
}

static void small_commits_lie_together_in_the_cache(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&fixture, "t", 1);
    static struct appending call;
    uint64_t before = kp_blob_stats().live_bytes;
    for (int i = 0; i < 1000; i++) {
        append_begin(&fixture, &call, &id, letters(100, 1000), 30000);
        run_ms(&fixture, 10);
        assert_int_equal(call.part.error, ST_OK);
    }
    assert_int_equal(fixture.engine->cache.run_count, 1000);
    assert_ptr_equal(fixture.engine->cache.tail.newest, fixture.engine->cache.tail.oldest);
    assert_true(fixture.engine->cache.tail.bytes < 1 << 20);
    assert_true(kp_blob_stats().live_bytes - before < 2 << 20); /* the memory store has the entries besides */
}

static void history_of_small_commits_is_read_by_the_page(void **state) {
    (void)state;
    enum { COMMITS = 600, READERS = 40 };
    struct kp_uuid id = create_now(&fixture, "t", 1);
    for (int i = 0; i < COMMITS; i++) {
        append_now(&fixture, &id, 2000, 1000);
    }
    st_cache_release(&fixture.engine->cache);
    st_cache_init(&fixture.engine->cache, fixture.options.cache_bytes);
    uint64_t before = st_metrics.journal_reads_total;
    static struct reading calls[READERS];
    for (int i = 0; i < READERS; i++) {
        read_begin(&fixture, &calls[i], &id, i * (COMMITS / READERS), 30000);
    }
    run_ms(&fixture, 1000);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(calls[i].done, 1);
        assert_int_equal(calls[i].part.error, ST_OK);
        assert_true(calls[i].part.chain.bytes > 2000);
        kp_chain_release(&calls[i].part.chain);
    }
    /* 1.2 MB in pages of half a megabyte; not one for each of 600 rows. */
    assert_in_range(st_metrics.journal_reads_total - before, 1, 16);
}

int main(void) {
#define FLUSH_TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
#define SMALL_TEST(name) cmocka_unit_test_setup_teardown(name, start_small, stop)
    const struct CMUnitTest tests[] = {
        FLUSH_TEST(an_append_of_nothing_is_answered_from_the_loop),
        FLUSH_TEST(small_commits_lie_together_in_the_cache),
        FLUSH_TEST(history_of_small_commits_is_read_by_the_page),
        FLUSH_TEST(what_timed_out_before_its_put_left_is_refused_and_never_stored),
        FLUSH_TEST(what_timed_out_while_its_put_is_under_way_is_unknown),
        FLUSH_TEST(a_request_refused_with_a_put_that_had_no_effect_is_not_sent_again),
        FLUSH_TEST(a_store_takes_no_more_partitions_than_every_process_has_memory_for),
        FLUSH_TEST(held_batches_are_bounded_in_number),
        FLUSH_TEST(a_held_batch_keeps_its_own_bytes_and_not_the_flush_that_it_came_in),
        FLUSH_TEST(producers_that_wait_for_their_answers_wait_for_half_of_the_interval),
        FLUSH_TEST(a_flush_with_an_object_waits_for_the_rest_of_its_interval_and_after_a_pause_not_at_all),
        FLUSH_TEST(a_flush_without_an_object_does_not_wait_while_the_budget_lasts),
        FLUSH_TEST(a_budget_that_was_nearly_spent_comes_back_with_time),
        FLUSH_TEST(above_the_budget_small_requests_gather_into_objects_at_the_pace),
        FLUSH_TEST(a_full_flush_does_not_wait_for_the_pace),
        FLUSH_TEST(paced_uploads_overlap_up_to_their_number),
        FLUSH_TEST(appends_do_not_wait_before_all_uploads_have_work),
        FLUSH_TEST(who_waits_is_told_when_there_is_room_however_small_the_limit),
        FLUSH_TEST(a_request_that_fills_a_flush_alone_does_not_wait_for_the_pace),
        FLUSH_TEST(an_engine_closes_with_a_flush_that_waits_for_its_pace),
        SMALL_TEST(more_readers_than_loads_all_get_their_records),
        SMALL_TEST(the_greatest_time_is_found_although_a_greater_comes_meanwhile),
        cmocka_unit_test_setup_teardown(a_crash_with_answers_pending_leaves_nothing_behind, start, crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

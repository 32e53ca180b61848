/*
 * Requests by way of the pool: two engines on one store, each told that others wait, so that its commits go there; and
 * requests that the test puts into the pool itself, as writers that are gone.
 */
#include "engine_fixture.h"

static struct clock virtual_clock;
static struct fixture mine, others;
static struct kp_uuid topic, doomed;

static int start_window(uint32_t window) {
    struct st_engine_options options = st_engine_options_default();
    options.pool_window = window;
    fixture_open(&mine, &virtual_clock, &options);
    fixture_open_on(&others, &virtual_clock, mine.loop, st_store_memory_share(mine.gate.inner), &options);
    topic = create_now(&mine, "t", 1);
    doomed = create_now(&mine, "doomed", 1);
    struct syncing sync;
    sync_begin(&others, &sync);
    run_ms(&others, 10);
    return 0;
}

static int start(void **state) {
    (void)state;
    return start_window(0);
}

static int start_short(void **state) {
    (void)state;
    return start_window(3);
}

static int stop(void **state) {
    (void)state;
    fixture_close(&others, false);
    fixture_close(&mine, true);
    return 0;
}

static void contend(struct fixture *fixture) {
    fixture->engine->journal.pool.others_ns = virtual_clock.now_ns;
}

static uint64_t slot_of(const struct fixture *fixture) {
    return fixture->engine->journal.fold->slot;
}

static int64_t end_now(const struct kp_uuid *id) {
    struct syncing sync;
    sync_begin(&mine, &sync);
    run_ms(&mine, 10);
    assert_int_equal(sync.sync.error, ST_OK);
    return st_fold_partition(mine.engine->journal.fold, id, 0)->end;
}

static void begin(struct fixture *fixture, struct appending *call, int64_t timeout_ms) {
    append_begin(fixture, call, &topic, letters(100, 1000), timeout_ms);
}

/* ---- the pool itself ---- */

static size_t undecided;

static void read_done(struct st_pool_read *op) {
    assert_int_equal(op->error, ST_OK);
    undecided = 0;
    for (size_t i = 0; i < op->count; i++) {
        struct st_pooled request;
        undecided += st_pooled_read(op->bodies[i], &request) &&
                     st_fold_pooled(mine.engine->journal.fold, &request.id, request.begun) == NULL;
    }
    free(op->bodies);
    kp_blob_unref(op->blob);
}

/* Requests in the pool that no entry has decided, as far as `mine` knows. */
static size_t waiting(void) {
    static struct st_pool_read op;
    op = (struct st_pool_read){.last = 200, .max_bytes = 1 << 20, .done = read_done};
    mine.gate.inner->ops->pool_read(mine.gate.inner, &op);
    run_ms(&mine, 1);
    return undecided;
}

static void put_done(struct st_pool_put *op) {
    assert_int_equal(op->error, ST_OK);
}

static void pool_now(const struct kp_uuid *id, uint64_t begun, struct kp_slice body) {
    static struct st_pool_put op;
    op = (struct st_pool_put){
        .begun = begun, .id = *id, .body = body, .expires_ms = 3600 * 1000, .done = put_done};
    mine.gate.inner->ops->pool_put(mine.gate.inner, &op);
    run_ms(&mine, 1);
}

/* The request of a writer that is gone: one batch of one record, of producer 9 if the sequence is not negative; its
 * bytes in an object that nobody looks for, or in the request. Returns its id. */
static struct kp_uuid ghost(uint8_t number, int32_t sequence, const char *object) {
    struct kp_uuid id;
    memset(id.bytes, number, sizeof id.bytes);
    struct kp_blob *batch = letters(50, 1000);
    struct st_pooled request = {
        .id = id,
        .begun = slot_of(&mine),
        .object_name = kp_slice_cstr(object),
        .object_len = object[0] != 0 ? batch->size : 0,
        .count = 1,
    };
    struct st_pooled_append append = {
        .topic_id = topic,
        .count = 1,
        .flags = sequence >= 0 ? ST_POOLED_PRODUCER : 0,
        .len = (uint32_t)batch->size,
        .max_timestamp_ms = 1000,
        .producer_id = 9,
        .epoch = 0,
        .first_sequence = sequence,
    };
    struct st_pack out;
    st_pack_init(&out, ST_POOL_BODY_MAX);
    st_pooled_begin(&out, &request);
    st_pooled_write(&out, &append);
    st_pack_bytes(&out, batch->data, object[0] != 0 ? 0 : batch->size);
    st_pooled_end(&out);
    assert_false(out.failed);
    pool_now(&id, request.begun, kp_slice_of(out.data, out.len));
    st_pack_release(&out);
    kp_blob_unref(batch);
    return id;
}

static bool decided(const struct kp_uuid *id) {
    return st_fold_pooled(mine.engine->journal.fold, id, 0) != NULL;
}

/* ---- what becomes of requests ---- */

static void two_requests_share_an_entry(void **state) {
    (void)state;
    struct appending a, b;
    uint64_t slot = slot_of(&mine);
    contend(&mine);
    contend(&others);
    begin(&mine, &a, 30000);
    begin(&others, &b, 30000);
    run_ms(&mine, 200);
    assert_int_equal(a.part.error, ST_OK);
    assert_int_equal(b.part.error, ST_OK);
    assert_int_equal(a.part.base_offset + b.part.base_offset, 1);
    assert_int_equal(end_now(&topic), 2);
    assert_int_equal(slot_of(&mine), slot + 1);
    assert_int_equal(mine.engine->journal.fold->pooled_count, 2);
    assert_int_equal(waiting(), 0);
    for (int64_t offset = 0; offset < 2; offset++) { /* both can be read by both, whoever wrote the entry */
        struct reading reads[2];
        read_begin(&mine, &reads[0], &topic, offset, 1000);
        read_begin(&others, &reads[1], &topic, offset, 1000);
        run_ms(&mine, 100);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(reads[i].part.error, ST_OK);
            struct kp_batch batch;
            const char *reason = NULL;
            struct kp_slice bytes = reads[i].part.chain.pieces[0].bytes;
            assert_int_equal(kp_batch_peek(bytes, &batch), KP_ERROR_NONE);
            assert_int_equal(kp_batch_check(kp_slice_of(bytes.ptr, batch.bytes.len), &batch, &reason), KP_ERROR_NONE);
            kp_chain_release(&reads[i].part.chain);
        }
    }
}

static void who_has_seen_nobody_for_a_while_races_again(void **state) {
    (void)state;
    struct appending call;
    uint64_t puts = st_metrics.pool_puts_total;
    contend(&mine);
    begin(&mine, &call, 30000);
    run_ms(&mine, 200);
    assert_int_equal(call.part.error, ST_OK);
    assert_int_equal(st_metrics.pool_puts_total, puts + 1);
    run_ms(&mine, 500);
    begin(&mine, &call, 30000);
    run_ms(&mine, 200);
    assert_int_equal(call.part.error, ST_OK);
    assert_int_equal(st_metrics.pool_puts_total, puts + 1);
}

static void deleted_done(struct st_topic_delete *op) {
    assert_int_equal(op->error, ST_OK);
}

static void a_part_is_refused_by_the_entry_and_the_others_stand(void **state) {
    (void)state;
    struct kp_blob *batch = letters(100, 1000);
    struct st_append_part parts[2] = {{.topic_id = doomed, .blob = batch}, {.topic_id = topic, .blob = batch}};
    struct appending call = {0};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kp_batch_peek(kp_slice_of(batch->data, batch->size), &parts[i].batch), KP_ERROR_NONE);
    }
    call.append = (struct st_append){.parts = parts, .count = 2, .timeout_ms = 30000, .done = appending_done};
    contend(&mine);
    mine.gate.hold_pool_put = true;
    st_append(mine.engine, &call.append);
    run_ms(&mine, 5);
    assert_non_null(mine.gate.pool_put); /* decided against a fold in which both topics stand */
    static struct st_topic_delete delete;
    delete = (struct st_topic_delete){.id = doomed, .done = deleted_done};
    st_topic_delete(others.engine, &delete);
    run_ms(&mine, 100);
    gate_release_pool_put(&mine.gate);
    run_ms(&mine, 200);
    assert_int_equal(call.done, 1);
    assert_int_equal(parts[0].error, ST_NO_TOPIC_ID);
    assert_int_equal(parts[1].error, ST_OK);
    assert_int_equal(parts[1].base_offset, 0);
    kp_blob_unref(batch);
}

static void at_its_deadline_a_request_in_the_pool_is_unknown(void **state) {
    (void)state;
    struct appending call;
    contend(&mine);
    mine.gate.hold_pool_put = true;
    begin(&mine, &call, 1000);
    run_ms(&mine, 2000);
    assert_int_equal(call.part.error, ST_UNKNOWN);
    gate_release_pool_put(&mine.gate);
    run_ms(&mine, 200);
    assert_int_equal(end_now(&topic), 1); /* it was stored all the same */
}

static void a_request_that_the_pool_refuses_races_on(void **state) {
    (void)state;
    struct appending call;
    contend(&mine);
    mine.gate.hold_pool_put = true;
    begin(&mine, &call, 30000);
    run_ms(&mine, 10);
    gate_answer_pool_put(&mine.gate, ST_REFUSED, clock_wall(&virtual_clock));
    run_ms(&mine, 100);
    assert_int_equal(call.part.error, ST_OK);
    assert_int_equal(mine.engine->journal.fold->pooled_count, 0);
}

static void a_request_whose_put_is_unknown_is_committed_by_its_own_writer(void **state) {
    (void)state;
    struct appending call;
    contend(&mine);
    mine.gate.hold_pool_put = true;
    begin(&mine, &call, 30000);
    run_ms(&mine, 10);
    gate_answer_pool_put(&mine.gate, ST_UNKNOWN, 0); /* and it never arrives */
    run_ms(&mine, 100);
    assert_int_equal(call.part.error, ST_OK);
    assert_int_equal(mine.engine->journal.fold->pooled_count, 1);
}

static void a_request_that_outlived_its_window_was_surely_never_stored(void **state) {
    (void)state;
    struct appending call;
    contend(&mine);
    mine.gate.hold_pool_put = true;
    begin(&mine, &call, 30000);
    run_ms(&mine, 10);
    struct st_pool_put *late = mine.gate.pool_put;
    for (int i = 0; i < 3; i++) {
        append_now(&others, &topic, 100, 1000);
    }
    run_ms(&mine, 100); /* it watches the journal meanwhile */
    assert_int_equal(call.done, 1);
    assert_int_equal(call.part.error, ST_REFUSED);
    assert_ptr_equal(mine.gate.pool_put, late);
    gate_release_pool_put(&mine.gate);
    run_ms(&mine, 10);
    assert_int_equal(waiting(), 1);
    contend(&others);
    append_now(&others, &topic, 100, 1000); /* finds it in the pool, too late for ever */
    run_ms(&mine, 100);
    assert_int_equal(end_now(&topic), 4);
    assert_int_equal(waiting(), 1);
}

static void who_is_far_behind_puts_nothing_before_it_has_caught_up(void **state) {
    (void)state;
    for (int i = 0; i < 200; i++) { /* three pages */
        append_now(&others, &topic, 15000, 1000);
    }
    uint64_t lost = st_metrics.slots_lost_total, puts = st_metrics.pool_puts_total;
    assert_int_equal(append_now(&mine, &topic, 100, 1000), 200);
    assert_int_equal(st_metrics.slots_lost_total, lost + 1);
    assert_int_equal(st_metrics.pool_puts_total, puts);
}

static void begin_keyed(struct fixture *fixture, struct appending *call, const char *key, uint64_t hash) {
    append_prepare(call, &topic, 0, letters(100, 1000), 30000);
    call->append.key = kp_slice_cstr(key);
    call->append.key_hash[0] = hash;
    call->append.key_hash[1] = 7;
    call->append.key_begun_ms = clock_wall(&virtual_clock);
    append_start(fixture, call);
}

static void requests_with_idempotency_keys_meet_in_an_entry(void **state) {
    (void)state;
    struct appending a, b, c;
    uint64_t slot = slot_of(&mine);
    contend(&mine);
    contend(&others);
    begin_keyed(&mine, &a, "k", 1);
    begin_keyed(&others, &b, "k", 1); /* the same request, sent twice */
    run_ms(&mine, 300);
    assert_int_equal(a.part.error, ST_OK);
    assert_int_equal(b.part.error, ST_OK);
    assert_int_equal(a.part.base_offset, 0);
    assert_int_equal(b.part.base_offset, 0);
    assert_int_equal(end_now(&topic), 1);
    assert_int_equal(slot_of(&mine), slot + 1);
    contend(&mine);
    contend(&others);
    begin_keyed(&mine, &a, "k", 2);     /* another request under a key that stands */
    begin_keyed(&others, &b, "k", 1);   /* the same again */
    run_ms(&mine, 300);
    assert_int_equal(a.part.error, ST_KEY_REUSED);
    assert_int_equal(b.part.error, ST_OK);
    assert_int_equal(b.part.base_offset, 0);
    contend(&others);
    begin_keyed(&others, &c, "other", 1);
    run_ms(&mine, 300);
    assert_int_equal(c.part.base_offset, 1);
    assert_int_equal(end_now(&topic), 2);
}

/* ---- what is left by writers that are gone ---- */

static void whoever_comes_next_commits_it_too(void **state) {
    (void)state;
    struct kp_uuid id = ghost(1, -1, "");
    append_now(&mine, &topic, 100, 1000); /* uncontended: does not look */
    assert_false(decided(&id));
    contend(&mine);
    struct appending call;
    begin(&mine, &call, 30000);
    run_ms(&mine, 200);
    assert_int_equal(call.part.error, ST_OK);
    assert_true(decided(&id));
    assert_int_equal(end_now(&topic), 3);
    assert_int_equal(waiting(), 0);
}

static void an_early_batch_is_left_until_its_predecessor_stands(void **state) {
    (void)state;
    struct appending call;
    struct kp_uuid second = ghost(1, 1, ""), first = ghost(2, 0, ""); /* looked at in the order of their ids */
    contend(&mine);
    begin(&mine, &call, 30000);
    run_ms(&mine, 200);
    assert_int_equal(call.part.error, ST_OK);
    assert_false(decided(&second));
    assert_true(decided(&first));
    assert_int_equal(waiting(), 1);
    contend(&mine);
    begin(&mine, &call, 30000);
    run_ms(&mine, 200);
    assert_true(decided(&second));
    assert_int_equal(end_now(&topic), 4);
}

static void a_batch_that_stands_already_is_answered_with_its_place(void **state) {
    (void)state;
    struct appending call;
    ghost(1, 0, "");
    ghost(2, 0, ""); /* the same batch, sent twice */
    contend(&mine);
    begin(&mine, &call, 30000);
    run_ms(&mine, 200);
    assert_int_equal(mine.engine->journal.fold->pooled_count, 3);
    assert_int_equal(end_now(&topic), 2);
}

static void a_request_with_an_object_stands_in_an_entry_of_its_own(void **state) {
    (void)state;
    struct appending call;
    struct kp_uuid large = ghost(1, -1, "ingest/0/large"), small = ghost(2, -1, "");
    contend(&mine);
    begin(&mine, &call, 30000);
    run_ms(&mine, 200);
    assert_int_equal(call.part.error, ST_OK);
    assert_true(decided(&small));
    assert_false(decided(&large));
    assert_int_equal(waiting(), 1);
}

static void a_damaged_request_disturbs_nobody(void **state) {
    (void)state;
    struct appending call;
    struct kp_uuid id = {{7}};
    pool_now(&id, slot_of(&mine), KP_SLICE_LIT("no request at all, but as long as one might be"));
    contend(&mine);
    begin(&mine, &call, 30000);
    run_ms(&mine, 200);
    assert_int_equal(call.part.error, ST_OK);
    assert_int_equal(end_now(&topic), 1);
}

int main(void) {
#define COMBINE_TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        COMBINE_TEST(two_requests_share_an_entry),
        COMBINE_TEST(who_has_seen_nobody_for_a_while_races_again),
        COMBINE_TEST(a_part_is_refused_by_the_entry_and_the_others_stand),
        COMBINE_TEST(at_its_deadline_a_request_in_the_pool_is_unknown),
        COMBINE_TEST(a_request_that_the_pool_refuses_races_on),
        COMBINE_TEST(a_request_whose_put_is_unknown_is_committed_by_its_own_writer),
        COMBINE_TEST(who_is_far_behind_puts_nothing_before_it_has_caught_up),
        COMBINE_TEST(requests_with_idempotency_keys_meet_in_an_entry),
        COMBINE_TEST(whoever_comes_next_commits_it_too),
        COMBINE_TEST(an_early_batch_is_left_until_its_predecessor_stands),
        COMBINE_TEST(a_batch_that_stands_already_is_answered_with_its_place),
        COMBINE_TEST(a_request_with_an_object_stands_in_an_entry_of_its_own),
        COMBINE_TEST(a_damaged_request_disturbs_nobody),
        cmocka_unit_test_setup_teardown(a_request_that_outlived_its_window_was_surely_never_stored, start_short, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

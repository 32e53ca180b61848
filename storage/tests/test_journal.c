/* Commit and sync where an answer comes late, or never, or after the journal went on without this process. */
#include "engine_fixture.h"

#include "storage/runtime/log.h"

static struct clock virtual_clock;
static struct fixture mine, others;

/* Two engines on one store; checkpoints and trims come quickly. */
static int start(void **state) {
    (void)state;
    struct st_engine_options options = st_engine_options_default();
    options.checkpoint_entries = 4;
    options.trim_grace_ms = 1000;
    fixture_open(&mine, &virtual_clock, &options);
    fixture_open_on(&others, &virtual_clock, mine.loop, st_store_memory_share(mine.gate.inner), &options);
    return 0;
}

static int stop(void **state) {
    (void)state;
    fixture_close(&others, false);
    fixture_close(&mine, true);
    return 0;
}

/* The other process writes objects until what stands far below is trimmed. */
static void others_go_on_and_trim(const struct kp_uuid *id) {
    for (int i = 0; i < 20; i++) {
        append_now(&others, id, 50000, 1000);
    }
    run_ms(&others, 100000);
    append_now(&others, id, 50000, 1000); /* tells what time it is */
    run_ms(&others, 100000);
}

static void an_ok_that_comes_after_the_fold_was_loaded_past_its_slot_is_not_believed(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&mine, "t", 1);
    struct syncing sync;
    sync_begin(&others, &sync);
    run_ms(&others, 10);
    struct appending call;
    mine.gate.hold_put = true;
    append_begin(&mine, &call, &id, letters(100, 1000), 3600 * 1000);
    run_ms(&mine, 10);
    assert_non_null(mine.gate.put);
    others_go_on_and_trim(&id);
    sync_begin(&mine, &sync);
    run_ms(&mine, 10);
    assert_int_equal(sync.sync.error, ST_OK);
    assert_true(mine.engine->journal.fold->slot > mine.gate.put->slot + 10);
    /* A store that does not ask whether a slot lies above the checkpoint takes the late put into a trimmed one. */
    mine.gate.hold_put = false;
    assert_int_equal(mine.engine->journal.owner, ST_SLOT_OPEN);
    gate_answer_put(&mine.gate, ST_OK, clock_wall(&virtual_clock));
    run_ms(&mine, 10);
    assert_int_equal(call.done, 1);
    assert_int_equal(call.part.error, ST_UNKNOWN);
}

static void a_sync_is_not_answered_by_a_read_that_was_sent_before_it(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&mine, "t", 1);
    struct syncing first, second;
    run_ms(&mine, 10);
    mine.gate.hold_read = true;
    sync_begin(&mine, &first);
    assert_non_null(mine.gate.read);
    struct syncing fresh;
    sync_begin(&others, &fresh);
    run_ms(&others, 10);
    sync_begin(&mine, &second);
    mine.gate.hold_checkpoint_get = true;
    st_engine_reload(mine.engine);
    gate_answer_checkpoint_get(&mine.gate, ST_UNKNOWN, 0); /* one try fails, the next succeeds */
    mine.gate.hold_checkpoint_get = false;
    run_ms(&mine, 5000);
    append_now(&others, &id, 100, 1000); /* after `second` was asked for: still it may be seen or not */
    assert_int_equal(second.done, 0);
    struct st_journal_read *old = mine.gate.read;
    old->entries = NULL; /* the old read looked before anything was there */
    old->count = 0;
    old->blob = NULL;
    old->at_end = true;
    gate_answer_read(&mine.gate, ST_OK, clock_wall(&virtual_clock));
    assert_int_equal(first.done, 1);
    assert_int_equal(second.done, 0); /* a new read is on its way for it */
    if (mine.gate.read != NULL) {
        gate_release_read(&mine.gate);
    }
    mine.gate.hold_read = false;
    run_ms(&mine, 100);
    assert_int_equal(second.done, 1);
    assert_int_equal(second.sync.error, ST_OK);
    assert_int_equal(st_fold_partition(mine.engine->journal.fold, &id, 0)->end, 1);
}

struct deleting {
    struct st_topic_delete op;
};

static void deleting_done(struct st_topic_delete *op) {
    assert_int_equal(op->error, ST_OK);
}

/* Puts bytes that are no entry into the next slot, past the engines. */
static void journal_put_done(struct st_journal_put *op) {
    assert_int_equal(op->error, ST_OK);
}

static void damage_next_slot(void) {
    static struct st_journal_put op;
    op = (struct st_journal_put){
        .slot = mine.engine->journal.fold->slot + 1, .body = KP_SLICE_LIT("damaged"), .done = journal_put_done};
    mine.gate.inner->ops->journal_put(mine.gate.inner, &op);
    run_ms(&mine, 1);
}

static void a_journal_with_a_damaged_entry_stops_and_does_not_spin(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&mine, "t", 1);
    append_now(&mine, &id, 100, 1000);
    damage_next_slot();
    unsigned long stopped = st_log_count(ST_EVENT_journal_stopped);
    uint64_t reads = st_metrics.journal_reads_total;
    struct appending call, later;
    append_begin(&mine, &call, &id, letters(100, 1000), 5000);
    run_ms(&mine, 10);
    append_begin(&mine, &later, &id, letters(100, 1000), 5000);
    run_ms(&mine, 20000);
    assert_int_equal(call.done, 1);
    assert_int_equal(call.part.error, ST_UNKNOWN); /* whose the slot is cannot be told */
    assert_int_equal(later.part.error, ST_REFUSED);
    assert_int_equal(st_log_count(ST_EVENT_journal_stopped), stopped + 1);
    assert_true(st_metrics.journal_reads_total < reads + 5);
    struct syncing sync;
    sync_begin(&mine, &sync);
    run_ms(&mine, 10);
    assert_int_equal(sync.sync.error, ST_UNREADABLE);
    struct reading read; /* what was there before is still served */
    read_begin(&mine, &read, &id, 0, 1000);
    run_ms(&mine, 10);
    assert_int_equal(read.part.error, ST_OK);
    assert_int_equal(read.part.view.end, 1);
    kp_chain_release(&read.part.chain);
}

static void entries_above_a_fold_that_lags_are_not_trimmed_by_its_process(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&mine, "t", 1);
    for (int i = 0; i < 6; i++) { /* rows in objects: nothing of these slots is held back */
        append_now(&mine, &id, 50000, 1000);
    }
    struct syncing sync;
    sync_begin(&others, &sync);
    run_ms(&others, 10);
    uint64_t known = mine.engine->journal.fold->slot;
    for (int i = 0; i < 20; i++) { /* bytes in the entries, which `mine` does not know of */
        append_now(&others, &id, 100, 1000);
    }
    assert_int_equal(mine.engine->journal.fold->slot, known);
    run_ms(&mine, 5000); /* the grace */
    mine.engine->journal.fold->entries_since_checkpoint = 100; /* it asks for the newest checkpoint: far above */
    mine.gate.hold_read = true;
    st_checkpoints_consider(mine.engine);
    run_ms(&mine, 300000);
    mine.gate.hold_read = false;
    assert_int_equal(mine.engine->journal.fold->slot, known);
    st_cache_release(&others.engine->cache);
    st_cache_init(&others.engine->cache, 1);
    for (int64_t offset = 0; offset < 26; offset++) {
        struct reading read;
        read_begin(&others, &read, &id, offset, 1000);
        run_ms(&others, 10);
        assert_int_equal(read.done, 1);
        assert_int_equal(read.part.error, ST_OK);
        assert_true(read.part.chain.bytes > 100);
        kp_chain_release(&read.part.chain);
    }
}

static void bytes_that_are_gone_with_their_topic_are_no_damage(void **state) {
    (void)state;
    struct kp_uuid gone = create_now(&mine, "gone", 1), stays = create_now(&mine, "stays", 1);
    append_now(&mine, &gone, 100, 1000);
    struct syncing sync;
    sync_begin(&others, &sync);
    run_ms(&others, 10);
    struct deleting call = {.op = {.id = gone, .done = deleting_done}};
    st_topic_delete(others.engine, &call.op);
    run_ms(&others, 10);
    assert_int_equal(call.op.error, ST_OK);
    others_go_on_and_trim(&stays);
    st_cache_release(&mine.engine->cache);
    st_cache_init(&mine.engine->cache, mine.options.cache_bytes);
    struct reading read; /* this process has not heard of any of it */
    read_begin(&mine, &read, &gone, 0, 1000);
    run_ms(&mine, 100);
    assert_int_equal(read.done, 1);
    assert_int_equal(read.part.error, ST_NO_TOPIC_ID);
    kp_chain_release(&read.part.chain);
}

/* ---- news ---- */

static int fired;

static void on_fired(struct st_waiter *waiter) {
    (void)waiter;
    fired++;
}

static void a_hint_that_comes_during_a_read_is_followed_by_another_read(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&mine, "t", 1);
    struct syncing sync;
    sync_begin(&others, &sync);
    run_ms(&others, 10);
    struct st_waiter waiter = {.topic_id = id, .fn = on_fired};
    fired = 0;
    st_wait_start(mine.engine, &waiter);
    run_ms(&mine, 20000); /* nothing comes: it looks once a second now */
    mine.gate.hold_read = true;
    mine.gate.store.changed(mine.gate.store.changed_arg);
    struct st_journal_read *early = mine.gate.read;
    assert_non_null(early);
    append_now(&others, &id, 100, 1000);
    mine.gate.store.changed(mine.gate.store.changed_arg); /* the news, while a read that looked before is under way */
    early->at_end = true;
    gate_answer_read(&mine.gate, ST_OK, clock_wall(&virtual_clock));
    assert_int_equal(fired, 0);
    mine.gate.hold_read = false;
    if (mine.gate.read != NULL) {
        gate_release_read(&mine.gate);
    }
    run_ms(&mine, 5);
    assert_int_equal(fired, 1);
    st_wait_stop(mine.engine, &waiter);
}

static void on_fired_wait_again(struct st_waiter *waiter) {
    fired++;
    if (fired < 100) {
        st_wait_start(mine.engine, waiter);
    }
}

static void who_waits_for_a_deleted_topic_again_and_again_does_not_stop_the_loop(void **state) {
    (void)state;
    struct st_waiter first = {.fn = on_fired_wait_again}, second = {.fn = on_fired};
    fired = 0;
    st_wait_start(mine.engine, &first);
    st_wait_start(mine.engine, &second);
    st_loop_run_due(mine.loop);
    assert_int_equal(fired, 2);
    run_ms(&mine, 1);
    assert_int_equal(fired, 100);
}

static void delete_done(struct st_topic_delete *op) {
    assert_int_equal(op->error, ST_OK);
}

static void delete_by_others(const struct kp_uuid *id) {
    static struct st_topic_delete op;
    op = (struct st_topic_delete){.id = *id, .done = delete_done};
    st_topic_delete(others.engine, &op);
    run_ms(&others, 100);
}

static void a_topic_that_another_process_deleted_can_be_made_at_once(void **state) {
    (void)state;
    struct kp_uuid old = create_now(&mine, "t", 1);
    struct syncing sync;
    sync_begin(&others, &sync);
    run_ms(&others, 10);
    delete_by_others(&old);
    assert_non_null(st_topic_by_name(mine.engine, KP_SLICE_LIT("t"))); /* as far as this process knows */
    struct creating call = {.op = {.name = KP_SLICE_LIT("t"), .partitions = 1, .done = creating_done}};
    st_topic_create(mine.engine, &call.op);
    run_ms(&mine, 100);
    assert_int_equal(call.done, 1);
    assert_int_equal(call.op.error, ST_OK);
    assert_false(kp_uuid_equal(&call.op.id, &old));
    st_topic_create(mine.engine, &call.op);
    run_ms(&mine, 100);
    assert_int_equal(call.op.error, ST_TOPIC_EXISTS);
}

static void a_topic_that_another_process_made_can_be_deleted_at_once(void **state) {
    (void)state;
    struct kp_uuid id = create_now(&others, "t", 1);
    static struct st_topic_delete op;
    op = (struct st_topic_delete){.id = id, .done = delete_done};
    st_topic_delete(mine.engine, &op);
    run_ms(&mine, 100);
    assert_int_equal(mine.engine->journal.fold->topic_count, 0);
}

/* First it exists, and the slot is lost to who deletes it: the second time it is made, and is a topic of its own. */
static void a_topic_made_at_the_second_try_does_not_take_the_id_of_the_first(void **state) {
    (void)state;
    struct kp_uuid old = create_now(&mine, "t", 1);
    create_now(&mine, "other", 1);
    struct syncing sync;
    sync_begin(&others, &sync);
    run_ms(&others, 10);
    struct creating calls[2] = {
        {.op = {.name = KP_SLICE_LIT("t"), .partitions = 1, .done = creating_done}},
        {.op = {.name = KP_SLICE_LIT("third"), .partitions = 1, .done = creating_done}},
    };
    mine.gate.hold_put = true;
    st_topic_create(mine.engine, &calls[0].op);
    st_topic_create(mine.engine, &calls[1].op); /* so that there is an entry to put */
    run_ms(&mine, 10);
    assert_non_null(mine.gate.put);
    delete_by_others(&old);
    gate_release_put(&mine.gate);
    run_ms(&mine, 100);
    assert_int_equal(calls[0].op.error, ST_OK);
    assert_int_equal(calls[1].op.error, ST_OK);
    assert_false(kp_uuid_equal(&calls[0].op.id, &old));
}

int main(void) {
#define JOURNAL_TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        JOURNAL_TEST(an_ok_that_comes_after_the_fold_was_loaded_past_its_slot_is_not_believed),
        JOURNAL_TEST(a_sync_is_not_answered_by_a_read_that_was_sent_before_it),
        JOURNAL_TEST(a_journal_with_a_damaged_entry_stops_and_does_not_spin),
        JOURNAL_TEST(entries_above_a_fold_that_lags_are_not_trimmed_by_its_process),
        JOURNAL_TEST(bytes_that_are_gone_with_their_topic_are_no_damage),
        JOURNAL_TEST(a_hint_that_comes_during_a_read_is_followed_by_another_read),
        JOURNAL_TEST(who_waits_for_a_deleted_topic_again_and_again_does_not_stop_the_loop),
        JOURNAL_TEST(a_topic_that_another_process_deleted_can_be_made_at_once),
        JOURNAL_TEST(a_topic_that_another_process_made_can_be_deleted_at_once),
        JOURNAL_TEST(a_topic_made_at_the_second_try_does_not_take_the_id_of_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Batches of partitions that come mixed lie together, and each partition's in the order in which they came. */
#include "engine_fixture.h"

enum { TOPICS = 2, PARTITIONS = 2, EACH = 5, COUNT = TOPICS * PARTITIONS * EACH };

static struct clock virtual_clock;
static struct fixture fixture;
static struct kp_uuid ids[TOPICS];
static struct appending calls[COUNT];

static int start(void **state) {
    (void)state;
    struct st_engine_options options = st_engine_options_default();
    fixture_open(&fixture, &virtual_clock, &options);
    ids[0] = create_now(&fixture, "a", PARTITIONS);
    ids[1] = create_now(&fixture, "b", PARTITIONS);
    return 0;
}

static int stop(void **state) {
    (void)state;
    fixture_close(&fixture, true);
    return 0;
}

static void append_to(struct appending *call, const struct kp_uuid *id, int32_t partition, size_t len) {
    append_prepare(call, id, partition, letters(len, 1000), 30000);
    append_start(&fixture, call);
}

/* In turn to every partition of every topic, in one turn of the loop; the sizes tell them apart. */
static void append_mixed(size_t len) {
    for (size_t i = 0; i < COUNT; i++) {
        append_to(&calls[i], &ids[i / PARTITIONS % TOPICS], (int32_t)(i % PARTITIONS), len + i);
    }
    run_ms(&fixture, 100);
}

static void assert_in_order(void) {
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(calls[i].done, 1);
        assert_int_equal(calls[i].part.error, ST_OK);
        assert_int_equal(calls[i].part.base_offset, i / (PARTITIONS * TOPICS));
    }
}

static struct st_partition *partition(size_t topic, int32_t number) {
    return st_fold_partition(fixture.engine->journal.fold, &ids[topic], number);
}

static void assert_rows_each(size_t count) {
    for (size_t topic = 0; topic < TOPICS; topic++) {
        for (int32_t number = 0; number < PARTITIONS; number++) {
            assert_int_equal(partition(topic, number)->row_count, count);
        }
    }
}

/* What is read back is what was sent: the sizes are those of the calls, in their order. */
static void assert_read_back(size_t len) {
    for (size_t first = 0; first < TOPICS * PARTITIONS; first++) {
        struct reading call;
        read_begin(&fixture, &call, &ids[first / PARTITIONS], 0, 1 << 24);
        call.part.partition = (int32_t)(first % PARTITIONS);
        run_ms(&fixture, 100);
        assert_int_equal(call.done, 1);
        assert_int_equal(call.part.chain.count, 1);
        struct kp_slice bytes = call.part.chain.pieces[0].bytes;
        for (size_t i = first; i < COUNT; i += TOPICS * PARTITIONS) {
            struct kp_batch batch;
            assert_int_equal(kp_batch_peek(bytes, &batch), KP_ERROR_NONE);
            assert_int_equal(batch.bytes.len, calls[i].part.batch.bytes.len);
            assert_in_range(batch.bytes.len, len + i, len + i + 100);
            bytes = kp_slice_of(bytes.ptr + batch.bytes.len, bytes.len - batch.bytes.len);
        }
        assert_int_equal(bytes.len, 0);
        kp_chain_release(&call.part.chain);
    }
}

static void a_partition_has_one_place_in_an_entry(void **state) {
    (void)state;
    append_mixed(100);
    assert_in_order();
    assert_rows_each(1);
    assert_read_back(100);
}

static void a_partition_has_one_place_in_an_object_of_frames_that_were_gathered(void **state) {
    (void)state;
    fixture.gate.store.profile.gathers_frames = true;
    uint64_t puts = st_metrics.object_puts_total, copied = st_metrics.produce_copied_bytes_total;
    append_mixed(3000);
    assert_int_equal(st_metrics.object_puts_total, puts + 1);
    uint64_t sent = 0;
    for (size_t i = 0; i < COUNT; i++) {
        sent += calls[i].part.batch.bytes.len;
    }
    assert_int_equal(st_metrics.produce_copied_bytes_total - copied, sent); /* once */
    assert_in_order();
    assert_rows_each(1);
    assert_read_back(3000);
}

static void an_object_that_takes_bytes_as_they_come_has_a_place_for_each(void **state) {
    (void)state;
    uint64_t puts = st_metrics.object_puts_total;
    append_mixed(3000);
    assert_int_equal(st_metrics.object_puts_total, puts + 1);
    assert_in_order();
    assert_rows_each(EACH);
}

static void a_full_flush_of_gathered_frames_is_cut_into_objects(void **state) {
    (void)state;
    fixture.gate.store.profile.gathers_frames = true;
    fixture.gate.store.profile.flush_limit = 20000;
    uint64_t puts = st_metrics.object_puts_total;
    append_mixed(3000);
    assert_in_range(st_metrics.object_puts_total - puts, COUNT * 3000 / 20000, COUNT);
    assert_in_order();
}

static void deleted(struct st_topic_delete *op) {
    assert_int_equal(op->error, ST_OK);
}

static void what_changes_topics_keeps_its_place(void **state) {
    (void)state;
    struct st_topic_delete delete = {.id = ids[0], .done = deleted};
    append_to(&calls[0], &ids[1], 0, 10);
    append_to(&calls[1], &ids[0], 0, 10);
    st_topic_delete(fixture.engine, &delete);
    append_to(&calls[2], &ids[1], 0, 10);
    append_to(&calls[3], &ids[0], 0, 10);
    run_ms(&fixture, 1000);
    assert_int_equal(calls[0].part.base_offset, 0);
    assert_int_equal(calls[1].part.error, ST_OK); /* before the topic went */
    assert_int_equal(calls[2].part.base_offset, 1);
    assert_int_equal(calls[3].part.error, ST_REFUSED);
}

static void a_keyed_append_keeps_its_place(void **state) {
    (void)state;
    append_to(&calls[0], &ids[1], 1, 10);
    append_prepare(&calls[1], &ids[0], 1, letters(10, 1000), 30000);
    calls[1].append.key = KP_SLICE_LIT("k");
    calls[1].append.key_begun_ms = st_store_time(fixture.engine);
    append_start(&fixture, &calls[1]);
    append_to(&calls[2], &ids[0], 1, 10);
    append_to(&calls[3], &ids[0], 0, 10);
    run_ms(&fixture, 1000);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(calls[i].part.error, ST_OK);
    }
    assert_int_equal(calls[1].part.base_offset, 0);
    assert_int_equal(calls[2].part.base_offset, 1);
}

int main(void) {
#define ORDER_TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        ORDER_TEST(a_partition_has_one_place_in_an_entry),
        ORDER_TEST(a_partition_has_one_place_in_an_object_of_frames_that_were_gathered),
        ORDER_TEST(an_object_that_takes_bytes_as_they_come_has_a_place_for_each),
        ORDER_TEST(a_full_flush_of_gathered_frames_is_cut_into_objects),
        ORDER_TEST(what_changes_topics_keeps_its_place),
        ORDER_TEST(a_keyed_append_keeps_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

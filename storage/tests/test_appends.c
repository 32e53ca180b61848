/* Appended batches, byte by byte, and what cannot be one. */
#include "format_fixture.h"

#define ID_1 "01010101010101010101010101010101"
#define ID_2 "02020202020202020202020202020202"
#define INLINE ST_APPEND_INLINE

/* The facts of these batches. */
static struct kp_slice written(const struct st_fact_append *batches, size_t count) {
    static uint8_t bytes[4096];
    struct st_pack facts;
    struct st_append_writer appends;
    st_pack_init(&facts, sizeof bytes);
    st_append_writer_init(&appends, sizeof bytes);
    for (size_t i = 0; i < count; i++) {
        st_append_writer_add(&appends, &batches[i], &facts);
    }
    st_append_writer_end(&appends, &facts);
    struct kp_slice all = packed(&facts);
    memcpy(bytes, all.ptr, all.len);
    st_pack_release(&facts);
    st_append_writer_release(&appends);
    return kp_slice_of(bytes, all.len);
}

static void assert_same(const struct st_fact_append *a, const struct st_fact_append *b) {
    assert_true(kp_uuid_equal(&a->topic_id, &b->topic_id));
    assert_int_equal(a->partition, b->partition);
    assert_true(a->base == b->base);
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->len, b->len);
    assert_true(a->max_timestamp_ms == b->max_timestamp_ms);
    assert_true(a->producer_id == b->producer_id);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->first_sequence, b->first_sequence);
}

/* Writes the batches and reads the same ones back. Returns the number of facts. */
static size_t assert_round_trip(const struct st_fact_append *batches, size_t count) {
    struct st_unpack in = st_unpack_of(written(batches, count));
    struct st_fact fact;
    size_t facts = 0, read = 0;
    while (st_unpack_left(&in) > 0) {
        assert_true(st_fact_read(&in, &fact));
        assert_int_equal(fact.type, ST_FACT_appends);
        facts++;
        struct st_append_reader reader = st_append_reader(&fact.u.appends);
        struct st_fact_append back;
        while (st_append_next(&reader, &back)) {
            assert_true(read < count);
            assert_same(&back, &batches[read++]);
        }
    }
    assert_int_equal(read, count);
    return facts;
}

static void a_batch_says_where_its_records_lie(void **state) {
    (void)state;
    struct st_fact_append batch = batch_of(1, 2, 200, 5, INLINE, 7);
    batch.max_timestamp_ms = 1000;
    assert_golden(written(&batch, 1), "0c 1a 01 07 08 " ID_1 " 02 c801 05 64 d00f");
    assert_int_equal(assert_round_trip(&batch, 1), 1);
}

static void a_producer_s_batch_carries_id_epoch_and_sequence(void **state) {
    (void)state;
    struct st_fact_append batch = producer_batch(1, 0, 1, 0, 1000, 2, INT32_MAX);
    batch.max_timestamp_ms = 1000;
    assert_golden(written(&batch, 1), "0c 21 01 00 0a " ID_1 " 00 00 e807 02 ffffffff07 01 64 d00f");
    assert_int_equal(assert_round_trip(&batch, 1), 1);
}

static void batches_of_one_partition_share_a_run_and_runs_of_one_topic_its_name(void **state) {
    (void)state;
    struct st_fact_append batches[] = {batch_of(1, 0, 10, 1, 0, 0),  batch_of(1, 0, 11, 2, 0, 100),
                                       batch_of(1, 0, 13, 1, 0, 200), batch_of(1, 1, 5, 1, 0, 300),
                                       batch_of(2, 1, 6, 1, 0, 400)};
    static const int64_t times[] = {1000, 1001, 999, 999, 1000};
    for (size_t i = 0; i < 5; i++) {
        batches[i].max_timestamp_ms = times[i];
    }
    assert_golden(written(batches, 5), "0c 3d 00 00 "
                                       "08 " ID_1 " 00 0a 01 64 d00f 02 64 02 01 64 03 00 "
                                       "00 01 05 01 64 00 00 "
                                       "08 " ID_2 " 01 06 01 64 02");
    assert_int_equal(assert_round_trip(batches, 5), 1);
}

static void a_run_is_of_one_producer_whose_sequences_go_on(void **state) {
    (void)state;
    struct st_fact_append batches[] = {
        producer_batch(1, 0, 3, 0, 9, 1, INT32_MAX - 2),
        producer_batch(1, 3, 2, 100, 9, 1, 0), /* goes on behind the wrap */
        producer_batch(1, 5, 1, 200, 9, 1, 3), /* does not */
        producer_batch(1, 6, 1, 300, 8, 1, 4), /* another one */
        producer_batch(1, 7, 1, 400, 8, 2, 5), /* another epoch */
        batch_of(1, 0, 8, 1, INLINE, 500),     /* none */
        batch_of(1, 0, 9, 1, INLINE | ST_APPEND_TIME, 600),
    };
    assert_int_equal(assert_round_trip(batches, 7), 1);
    struct kp_slice two = written(batches, 2), three = written(batches, 3);
    size_t two_len = two.len;
    assert_golden(written(batches, 2), "0c 23 01 00 0a " ID_1 " 00 00 09 01 fdffffff07 03 64 d00f 02 64 06");
    assert_int_equal(three.len - two_len, 1 + 1 + 1 + 1 + 3 + 3); /* 0, flags, partition, base, producer, batch */
}

static void bytes_that_do_not_follow_begin_a_fact(void **state) {
    (void)state;
    struct st_fact_append batches[] = {batch_of(1, 0, 0, 1, 0, 0), batch_of(1, 0, 1, 1, 0, 101),
                                       batch_of(1, 0, 2, 1, INLINE, 201)};
    assert_int_equal(assert_round_trip(batches, 3), 3);
}

static void times_may_be_any(void **state) {
    (void)state;
    struct st_fact_append batches[] = {batch_of(1, 0, 0, 1, 0, 0), batch_of(1, 0, 1, 1, 0, 100),
                                       batch_of(1, 0, 2, 1, 0, 200)};
    batches[0].max_timestamp_ms = INT64_MIN;
    batches[1].max_timestamp_ms = INT64_MAX;
    batches[2].max_timestamp_ms = -1;
    assert_int_equal(assert_round_trip(batches, 3), 1);
}

/* A hundred records of 1 KiB over 4 topics of 4 partitions, each sent by itself, leave room in a kilobyte for the rest
 * of the entry. */
static void a_hundred_small_batches_fit_in_a_kilobyte(void **state) {
    (void)state;
    static struct st_fact_append batches[112];
    for (uint32_t i = 0; i < 112; i++) {
        batches[i] = batch_of((uint8_t)(i / 28), (int32_t)(i / 7 % 4), 1000000 + i % 7, 1, 0, i * 1100);
        batches[i].len = 1100;
        batches[i].max_timestamp_ms = INT64_C(1700000000000) + i % 7 * 16;
    }
    assert_int_equal(assert_round_trip(batches, 112), 1);
    assert_in_range(written(batches, 112).len, 500, 800);
}

/* ---- what cannot be ---- */

static bool reads(const char *hex) {
    static uint8_t bytes[2048];
    struct st_fact fact;
    struct st_unpack in = st_unpack_of(kp_slice_of(bytes, from_hex(hex, bytes, sizeof bytes)));
    return st_fact_read(&in, &fact) && st_unpack_left(&in) == 0;
}

static void batches_that_cannot_be_do_not_decode(void **state) {
    (void)state;
    assert_true(reads("0c 18 00 00 08 " ID_1 " 00 00 01 64 00"));
    assert_false(reads("0c 18 02 00 08 " ID_1 " 00 00 01 64 00"));          /* a flag of the future */
    assert_false(reads("0c 18 00 00 18 " ID_1 " 00 00 01 64 00"));          /* ... of a run */
    assert_false(reads("0c 18 00 00 09 " ID_1 " 00 00 01 64 00"));          /* inline is said by the fact */
    assert_false(reads("0c 18 00 00 08 " ID_1 " 00 00 00 64 00"));          /* no records */
    assert_false(reads("0c 18 00 00 08 " ID_1 " 00 00 01 3c 00"));          /* shorter than a batch */
    assert_false(reads("0c 19 00 00 08 " ID_1 " 904e 00 01 64 00"));        /* partition 10,000 */
    /* base 2^63 - 2 and one record end at 2^63 - 1; two records would pass it */
    assert_true(reads("0c 20 00 00 08 " ID_1 " 00 feffffffffffffff7f 01 64 00"));
    assert_false(reads("0c 20 00 00 08 " ID_1 " 00 feffffffffffffff7f 02 64 00"));
    assert_false(reads("0c 1c 00 ffffffff0f 08 " ID_1 " 00 00 01 64 00"));  /* position + length */
    assert_true(reads("0c 1c 00 00 08 " ID_1 " 00 00 01 8080808001 00"));   /* 256 MiB, and a byte more */
    assert_false(reads("0c 1c 00 00 08 " ID_1 " 00 00 01 8180808001 00"));
}

static void runs_that_cannot_be_do_not_decode(void **state) {
    (void)state;
    assert_false(reads("0c 02 00 00"));                                        /* no batches */
    assert_false(reads("0c 08 00 00 00 00 00 01 64 00"));                      /* the first run names no topic */
    assert_false(reads("0c 15 00 00 08 " ID_1 " 00 00"));                      /* a run of no batches */
    assert_false(reads("0c 19 00 00 08 " ID_1 " 00 00 01 64 00 00"));          /* a run ends and none begins */
    assert_true(reads("0c 1f 00 00 08 " ID_1 " 00 00 01 64 00 00 00 00 01 01 64 00"));
    assert_false(reads("0c 1d 00 00 08 " ID_1 " 00 00 01 64 00 00 00 00 01 01")); /* cut short */
    assert_false(reads("0c 1c 00 00 0a " ID_1 " 00 00 09 808002 00 01 64 00"));   /* epoch 32,768 */
}

static void a_full_writer_fails(void **state) {
    (void)state;
    struct st_fact_append batches[] = {batch_of(1, 0, 0, 1, 0, 0), batch_of(2, 0, 0, 1, 0, 100)};
    for (size_t limit = 0; limit < 60; limit++) {
        struct st_pack facts;
        struct st_append_writer appends;
        st_pack_init(&facts, 1024);
        st_append_writer_init(&appends, limit);
        st_append_writer_add(&appends, &batches[0], &facts);
        st_append_writer_add(&appends, &batches[1], &facts);
        st_append_writer_end(&appends, &facts);
        assert_true(facts.failed == (limit < 46));
        st_append_writer_release(&appends);
        st_pack_release(&facts);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_says_where_its_records_lie),
        cmocka_unit_test(a_producer_s_batch_carries_id_epoch_and_sequence),
        cmocka_unit_test(batches_of_one_partition_share_a_run_and_runs_of_one_topic_its_name),
        cmocka_unit_test(a_run_is_of_one_producer_whose_sequences_go_on),
        cmocka_unit_test(bytes_that_do_not_follow_begin_a_fact),
        cmocka_unit_test(times_may_be_any),
        cmocka_unit_test(a_hundred_small_batches_fit_in_a_kilobyte),
        cmocka_unit_test(batches_that_cannot_be_do_not_decode),
        cmocka_unit_test(runs_that_cannot_be_do_not_decode),
        cmocka_unit_test(a_full_writer_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

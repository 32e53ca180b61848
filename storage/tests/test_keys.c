/* Idempotency keys as facts and as state of the fold: byte by byte, which facts fit, what a checkpoint keeps. */
#include "format_fixture.h"

#define ID_1 "01010101010101010101010101010101"
#define INLINE ST_APPEND_INLINE

/* Of topic `id`, its records in partition 0 at [base, base + 1). The fact's places are good until the next call. */
static struct st_fact key_of(uint8_t id, const char *name, int64_t base, int64_t time_ms) {
    static struct st_pack packs[8];
    static size_t next;
    struct st_pack *places = &packs[next++ % 8];
    st_pack_release(places);
    st_pack_init(places, 64);
    st_fact_place_write(places, 0, base, 1);
    return (struct st_fact){.type = ST_FACT_key,
                            .u.key = {.topic_id = id_of(id),
                                      .name = kp_slice_cstr(name),
                                      .hash = {1, 2},
                                      .time_ms = time_ms,
                                      .place_count = 1,
                                      .places = packed(places)}};
}

static struct st_fact forgotten(int64_t time_ms) {
    return (struct st_fact){.type = ST_FACT_forgotten, .u.forgotten = time_ms};
}

static const struct st_key *find(const struct st_fold *fold, uint8_t id, const char *name) {
    struct kp_uuid topic = id_of(id);
    return st_keys_find(&fold->keys, &topic, kp_slice_cstr(name));
}

/* Topics 1 and 2, ten records in each. */
static struct st_fold *two_topics(void) {
    struct st_fold *fold = st_fold_new();
    assert_int_equal(APPLY(fold, 200, topic_created(1, "a", 1), topic_created(2, "b", 2),
                           append_of(1, 0, 0, 10, INLINE, 0), append_of(2, 0, 0, 10, INLINE, 100)), ST_APPLY_OK);
    return fold;
}

static void keys_and_their_end_have_these_bytes(void **state) {
    (void)state;
    static const char golden[] = "0a 29 " ID_1 " 02 6b31 0000000000000001 0000000000000002 9003 01 00 0e 01";
    struct st_fact key = key_of(1, "k1", 7, 200), end = forgotten(200);
    struct st_pack out;
    st_pack_init(&out, 4096);
    st_fact_write(&out, &key);
    assert_golden(packed(&out), golden);
    struct st_unpack in = st_unpack_of(packed(&out));
    struct st_fact back;
    assert_true(st_fact_read(&in, &back));
    assert_true(kp_slice_equal(back.u.key.name, KP_SLICE_LIT("k1")));
    assert_int_equal(back.u.key.hash[1], 2);
    assert_int_equal(back.u.key.time_ms, 200);
    out.len = 0;
    st_fact_write(&out, &end);
    assert_golden(packed(&out), "0b 02 9003");
    st_pack_release(&out);
}

static bool reads(const char *hex) {
    uint8_t bytes[512];
    struct st_unpack in = st_unpack_of(kp_slice_of(bytes, from_hex(hex, bytes, sizeof bytes)));
    struct st_fact fact;
    return st_fact_read(&in, &fact) && st_unpack_left(&in) == 0;
}

static void keys_that_cannot_be_do_not_decode(void **state) {
    (void)state;
#define HASHES " 0000000000000001 0000000000000002 9003 "
    assert_true(reads("0a 28 " ID_1 " 01 6b" HASHES "01 00 0e 01"));
    assert_false(reads("0a 27 " ID_1 " 00" HASHES "01 00 0e 01"));    /* no name */
    assert_false(reads("0a 25 " ID_1 " 01 6b" HASHES "00"));          /* no place */
    assert_false(reads("0a 28 " ID_1 " 01 6b" HASHES "01 00 01 01")); /* a negative offset */
    assert_false(reads("0a 28 " ID_1 " 01 6b" HASHES "01 00 0e 00")); /* no records */
    assert_false(reads("0a 2b " ID_1 " 01 6b" HASHES "02 00 0e 01 00 0e 01")); /* one partition twice */
    assert_true(reads("0a 2b " ID_1 " 01 6b" HASHES "02 00 0e 01 01 0e 01"));
    assert_false(reads("0a 28 " ID_1 " 01 6b" HASHES "02 00 0e 01"));
}

static void a_key_stands_until_it_is_forgotten(void **state) {
    (void)state;
    struct st_fold *fold = two_topics();
    assert_int_equal(APPLY(fold, 100, append_of(1, 0, 10, 1, INLINE, 0), key_of(1, "k", 10, 100)), ST_APPLY_OK);
    const struct st_key *key = find(fold, 1, "k");
    assert_non_null(key);
    assert_int_equal(key->places[0].base, 10);
    assert_null(find(fold, 2, "k"));
    assert_int_equal(APPLY(fold, 0, key_of(2, "k", 3, 200), key_of(1, "j", 4, 150)), ST_APPLY_OK);
    assert_int_equal(fold->keys.oldest_ms, 100);
    assert_int_equal(APPLY(fold, 0, forgotten(150)), ST_APPLY_OK);
    assert_null(find(fold, 1, "k"));
    assert_null(find(fold, 1, "j"));
    assert_non_null(find(fold, 2, "k"));
    assert_int_equal(fold->keys.oldest_ms, 200);
    assert_int_equal(APPLY(fold, 0, forgotten(200), key_of(2, "k", 5, 300)), ST_APPLY_OK); /* anew, in one entry */
    assert_int_equal(find(fold, 2, "k")->places[0].base, 5);
    st_fold_free(fold);
}

static void keys_that_do_not_fit_leave_the_fold_as_it_was(void **state) {
    (void)state;
    struct st_fold *fold = two_topics();
    assert_int_equal(APPLY(fold, 0, key_of(1, "k", 0, 100)), ST_APPLY_OK);
    uint64_t hash = st_fold_hash(fold);
    assert_int_equal(APPLY(fold, 0, key_of(1, "k", 0, 200)), ST_APPLY_MISFIT);              /* it stands */
    assert_int_equal(APPLY(fold, 0, key_of(3, "k", 0, 200)), ST_APPLY_MISFIT);              /* no such topic */
    assert_int_equal(APPLY(fold, 0, key_of(1, "j", 10, 200)), ST_APPLY_MISFIT);             /* beyond the end */
    assert_int_equal(APPLY(fold, 0, key_of(1, "j", 0, 1), key_of(1, "j", 1, 1)), ST_APPLY_MISFIT);
    assert_int_equal(APPLY(fold, 0, key_of(1, "j", 0, 1), forgotten(0)), ST_APPLY_MISFIT);  /* out of order */
    assert_int_equal(APPLY(fold, 0, forgotten(99), key_of(1, "k", 0, 200)), ST_APPLY_MISFIT);
    assert_true(st_fold_hash(fold) == hash);
    assert_int_equal(fold->keys.count, 1);
    st_fold_free(fold);
}

static void keys_go_with_their_topic(void **state) {
    (void)state;
    struct st_fold *fold = two_topics();
    struct st_fact gone = {.type = ST_FACT_topic_deleted, .u.topic_id = id_of(1)};
    assert_int_equal(APPLY(fold, 0, key_of(1, "k", 0, 100), key_of(2, "k", 0, 300)), ST_APPLY_OK);
    assert_int_equal(APPLY(fold, 0, key_of(1, "j", 0, 100), gone), ST_APPLY_OK);
    assert_int_equal(fold->keys.count, 1);
    assert_non_null(find(fold, 2, "k"));
    assert_int_equal(fold->keys.oldest_ms, 300);
    st_fold_free(fold);
}

/* However they came, equal keys are equal bytes; and a checkpoint gives them back. */
static void keys_are_in_canonical_form(void **state) {
    (void)state;
    struct st_fold *one = two_topics(), *two = two_topics(), *copy;
    assert_int_equal(APPLY(one, 0, key_of(2, "b", 0, 1), key_of(1, "b", 1, 2), key_of(1, "a", 2, 3)), ST_APPLY_OK);
    assert_int_equal(APPLY(two, 0, key_of(1, "a", 2, 3), key_of(2, "b", 0, 1), key_of(1, "b", 1, 2)), ST_APPLY_OK);
    assert_true(st_fold_hash(one) == st_fold_hash(two));
    copy = st_fold_copy_heads(one);
    assert_true(st_fold_hash(one) == st_fold_hash(copy));
    struct st_checkpoint_writer writer;
    struct st_pack heads;
    assert_true(st_checkpoint_writer_init(&writer));
    st_pack_init(&heads, 4096);
    st_fold_write_heads(one, &heads);
    assert_true(st_checkpoint_write_end(&writer, 2, packed(&heads), st_heads_hash(packed(&heads))));
    struct kp_slice bytes = packed(&writer.out);
    struct st_checkpoint_footer footer;
    assert_true(st_checkpoint_read_footer(
        kp_slice_of(bytes.ptr + bytes.len - ST_CHECKPOINT_FOOTER, ST_CHECKPOINT_FOOTER), bytes.len, &footer));
    struct st_fold *back =
        st_checkpoint_read_heads(kp_slice_of(bytes.ptr + footer.heads_at, footer.heads_len), &footer);
    assert_non_null(back);
    assert_true(st_fold_hash(one) == st_fold_hash(back));
    assert_int_equal(find(back, 1, "b")->places[0].base, 1);
    assert_int_equal(back->keys.oldest_ms, 1);
    st_pack_release(&heads);
    st_checkpoint_writer_release(&writer);
    st_fold_free(one);
    st_fold_free(two);
    st_fold_free(copy);
    st_fold_free(back);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_their_end_have_these_bytes),
        cmocka_unit_test(keys_that_cannot_be_do_not_decode),
        cmocka_unit_test(a_key_stands_until_it_is_forgotten),
        cmocka_unit_test(keys_that_do_not_fit_leave_the_fold_as_it_was),
        cmocka_unit_test(keys_go_with_their_topic),
        cmocka_unit_test(keys_are_in_canonical_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

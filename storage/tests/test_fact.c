/* Facts, byte by byte: a number or a field that moves would make every store unreadable. */
#include "format_fixture.h"

#define ID_1 "01010101010101010101010101010101"

static void assert_fact(const struct st_fact *fact, const char *hex) {
    struct st_pack out;
    st_pack_init(&out, 4096);
    st_fact_write(&out, fact);
    assert_golden(packed(&out), hex);
    st_pack_release(&out);
}

/* Reads one fact that must be the whole of the bytes. */
static bool read_fact(const char *hex, struct st_fact *fact) {
    static uint8_t bytes[2048];
    struct st_unpack in = st_unpack_of(kp_slice_of(bytes, from_hex(hex, bytes, sizeof bytes)));
    return st_fact_read(&in, fact) && st_unpack_left(&in) == 0;
}

static void level_and_producer_ids(void **state) {
    (void)state;
    assert_fact(&(struct st_fact){.type = ST_FACT_level, .u.level = 1}, "01 01 01");
    assert_fact(&(struct st_fact){.type = ST_FACT_producer_ids, .u.producer_ids = 1000}, "04 02 e807");
    struct st_fact fact;
    assert_true(read_fact("01 01 01", &fact));
    assert_int_equal(fact.type, ST_FACT_level);
    assert_int_equal(fact.u.level, 1);
    assert_true(read_fact("04 02 e807", &fact));
    assert_int_equal(fact.type, ST_FACT_producer_ids);
    assert_int_equal(fact.u.producer_ids, 1000);
    assert_false(read_fact("04 05 8080808010", &fact)); /* more than a block can be */
}

static void outcomes_of_pooled_requests(void **state) {
    (void)state;
    assert_fact(&(struct st_fact){.type = ST_FACT_pooled, .u.begun = 1000}, "07 02 e807");
    assert_fact(&(struct st_fact){.type = ST_FACT_refused, .u.refused = ST_BAD_SEQUENCE}, "08 01 05");
    struct st_fact twice = {.type = ST_FACT_duplicate, .u.duplicate = {.base = 7, .append_time_ms = -1}};
    assert_fact(&twice, "09 02 0e01");
    struct st_fact fact;
    assert_true(read_fact("07 02 e807", &fact));
    assert_int_equal(fact.u.begun, 1000);
    assert_true(read_fact("08 01 05", &fact));
    assert_int_equal(fact.u.refused, ST_BAD_SEQUENCE);
    assert_true(read_fact("08 01 7f", &fact)); /* of a newer release: surely not stored */
    assert_int_equal(fact.u.refused, ST_REFUSED);
    assert_false(read_fact("08 01 00", &fact));
    assert_true(read_fact("09 02 0e01", &fact));
    assert_int_equal(fact.u.duplicate.base, 7);
    assert_int_equal(fact.u.duplicate.append_time_ms, -1);
    assert_false(read_fact("09 02 0101", &fact)); /* at a negative offset */
}

static void topics_are_created_with_name_partitions_first_offset_and_configs(void **state) {
    (void)state;
    static const char golden[] = "02 1b " ID_1 " 02 6162 03 02 01 01 61 02 6263";
    struct st_fact fact = topic_created(1, "ab", 3);
    fact.u.topic.first_offset = 1;
    fact.u.topic.config_count = 1;
    fact.u.topic.configs = KP_SLICE_LIT("\001a\002bc");
    assert_fact(&fact, golden);
    struct st_fact back;
    assert_true(read_fact(golden, &back));
    assert_int_equal(back.type, ST_FACT_topic_created);
    assert_true(kp_uuid_equal(&back.u.topic.id, &fact.u.topic.id));
    assert_true(kp_slice_equal(back.u.topic.name, KP_SLICE_LIT("ab")));
    assert_int_equal(back.u.topic.partitions, 3);
    assert_int_equal(back.u.topic.first_offset, 1);
    struct st_unpack in = st_unpack_of(back.u.topic.configs);
    struct st_config config;
    assert_true(st_fact_config_next(&in, &config));
    assert_true(kp_slice_equal(config.name, KP_SLICE_LIT("a")));
    assert_true(kp_slice_equal(config.value, KP_SLICE_LIT("bc")));
    assert_false(st_fact_config_next(&in, &config));
}

static void topics_that_cannot_be_do_not_decode(void **state) {
    (void)state;
    struct st_fact fact;
    assert_true(read_fact("02 16 " ID_1 " 02 6162 03 00 00", &fact));
    assert_false(read_fact("02 16 " ID_1 " 02 6162 00 00 00", &fact));         /* no partitions */
    assert_true(read_fact("02 17 " ID_1 " 02 6162 904e 00 00", &fact));        /* 10,000 */
    assert_false(read_fact("02 17 " ID_1 " 02 6162 914e 00 00", &fact));       /* 10,001 */
    assert_false(read_fact("02 16 " ID_1 " 02 6162 03 01 00", &fact));         /* first offset -1 */
    assert_false(read_fact("02 16 " ID_1 " 02 2e2e 03 00 00", &fact));         /* ".." */
    assert_false(read_fact("02 16 " ID_1 " 02 6120 03 00 00", &fact));         /* a blank in the name */
    assert_false(read_fact("02 16 " ID_1 " 02 6162 03 00 01", &fact));         /* a config that is not there */
    assert_false(read_fact("02 17 " ID_1 " 02 6162 03 00 8101", &fact));       /* 129 configs */
}

static void topics_are_deleted_by_id(void **state) {
    (void)state;
    assert_fact(&(struct st_fact){.type = ST_FACT_topic_deleted, .u.topic_id = id_of(1)}, "03 10 " ID_1);
    struct st_fact fact;
    assert_true(read_fact("03 10 " ID_1, &fact));
    assert_int_equal(fact.type, ST_FACT_topic_deleted);
    assert_int_equal(fact.u.topic_id.bytes[15], 1);
}

static void objects_have_a_name_and_a_length(void **state) {
    (void)state;
    struct st_fact fact = object_of("obj", 300);
    assert_fact(&fact, "05 06 03 6f626a ac02");
    assert_true(read_fact("05 06 03 6f626a ac02", &fact));
    assert_true(kp_slice_equal(fact.u.object.name, KP_SLICE_LIT("obj")));
    assert_int_equal(fact.u.object.len, 300);
    assert_false(read_fact("05 03 00 ac02", &fact));        /* no name */
    assert_false(read_fact("05 06 03 6f006a ac02", &fact)); /* a name with a NUL, which the store would cut */
}

static void unknown_types_and_longer_bodies_do_not_decode(void **state) {
    (void)state;
    struct st_fact fact;
    assert_false(read_fact("7f 01 00", &fact));
    assert_false(read_fact("00 01 00", &fact));
    assert_false(read_fact("01 02 01 00", &fact));         /* a level with something behind it */
    assert_false(read_fact("01 05 01", &fact));            /* cut short */
    assert_false(read_fact("8180808010 01 01", &fact));    /* type 2^32 + 1 is not type 1 */
}

static void a_full_writer_fails_in_the_middle_of_a_fact(void **state) {
    (void)state;
    for (size_t limit = 0; limit < 40; limit++) {
        struct st_pack out;
        st_pack_init(&out, limit);
        struct st_fact fact = append_of(1, 2, 200, 5, ST_APPEND_INLINE, 7);
        st_fact_write(&out, &fact);
        assert_true(out.failed || out.len == 28);
        assert_true(out.len <= limit);
        st_pack_release(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(level_and_producer_ids),
        cmocka_unit_test(outcomes_of_pooled_requests),
        cmocka_unit_test(topics_are_created_with_name_partitions_first_offset_and_configs),
        cmocka_unit_test(topics_that_cannot_be_do_not_decode),
        cmocka_unit_test(topics_are_deleted_by_id),
        cmocka_unit_test(objects_have_a_name_and_a_length),
        cmocka_unit_test(unknown_types_and_longer_bodies_do_not_decode),
        cmocka_unit_test(a_full_writer_fails_in_the_middle_of_a_fact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

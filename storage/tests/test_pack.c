/* The integers and strings that every stored format is made of. */
#include "format_fixture.h"

static void fixed_integers_are_big_endian(void **state) {
    (void)state;
    struct st_pack out;
    st_pack_init(&out, 64);
    st_pack_fixed(&out, 0xab, 1);
    st_pack_fixed(&out, 0x0102, 2);
    st_pack_fixed(&out, 0x01020304, 4);
    st_pack_fixed(&out, UINT64_MAX - 1, 8);
    assert_golden(packed(&out), "ab 0102 01020304 fffffffffffffffe");
    struct st_unpack in = st_unpack_of(packed(&out));
    assert_int_equal(st_unpack_fixed(&in, 1), 0xab);
    assert_int_equal(st_unpack_fixed(&in, 2), 0x0102);
    assert_int_equal(st_unpack_fixed(&in, 4), 0x01020304);
    assert_true(st_unpack_fixed(&in, 8) == UINT64_MAX - 1);
    assert_int_equal(st_unpack_left(&in), 0);
    assert_false(in.failed);
    st_pack_release(&out);
}

static void varints_are_seven_bits_a_byte_least_first(void **state) {
    (void)state;
    struct st_pack out;
    st_pack_init(&out, 64);
    static const uint64_t values[] = {0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < 7; i++) {
        st_pack_u(&out, values[i]);
    }
    assert_golden(packed(&out), "00 01 7f 8001 ac02 ffffffff0f ffffffffffffffffff01");
    struct st_unpack in = st_unpack_of(packed(&out));
    for (size_t i = 0; i < 7; i++) {
        assert_true(st_unpack_u(&in) == values[i]);
    }
    st_pack_release(&out);
}

static void signed_varints_are_zigzagged(void **state) {
    (void)state;
    struct st_pack out;
    st_pack_init(&out, 64);
    static const int64_t values[] = {0, -1, 1, -64, 64, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < 7; i++) {
        st_pack_i(&out, values[i]);
    }
    assert_golden(packed(&out), "00 01 02 7f 8001 feffffffffffffffff01 ffffffffffffffffff01");
    struct st_unpack in = st_unpack_of(packed(&out));
    for (size_t i = 0; i < 7; i++) {
        assert_true(st_unpack_i(&in) == values[i]);
    }
    st_pack_release(&out);
}

static void a_varint_beyond_64_bits_or_cut_short_fails(void **state) {
    (void)state;
    static const char *const bad[] = {"", "80", "ffffffffffffffffff02", "ffffffffffffffffffff01"};
    for (size_t i = 0; i < 4; i++) {
        uint8_t bytes[16];
        struct st_unpack in = st_unpack_of(kp_slice_of(bytes, from_hex(bad[i], bytes, sizeof bytes)));
        assert_int_equal(st_unpack_u(&in), 0);
        assert_true(in.failed);
    }
}

static void a_value_above_its_bound_fails_for_good(void **state) {
    (void)state;
    static const uint8_t bytes[] = {5, 6, 1};
    struct st_unpack in = st_unpack_of(kp_slice_of(bytes, sizeof bytes));
    assert_int_equal(st_unpack_upto(&in, 5), 5);
    assert_int_equal(st_unpack_upto(&in, 5), 0);
    assert_true(in.failed);
    assert_int_equal(st_unpack_u(&in), 0); /* a failed reader stays failed */
}

static void a_string_longer_than_what_is_left_fails(void **state) {
    (void)state;
    static const uint8_t bytes[] = {3, 'a', 'b'};
    struct st_unpack in = st_unpack_of(kp_slice_of(bytes, sizeof bytes));
    assert_null(st_unpack_slice(&in).ptr);
    assert_true(in.failed);
}

static void a_writer_stops_at_its_limit_and_stays_failed(void **state) {
    (void)state;
    struct st_pack out;
    st_pack_init(&out, 4);
    st_pack_bytes(&out, "abc", 3);
    assert_false(out.failed);
    st_pack_bytes(&out, "de", 2);
    assert_true(out.failed);
    assert_int_equal(out.len, 3);
    st_pack_bytes(&out, "d", 1);
    assert_int_equal(out.len, 3);
    st_pack_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_integers_are_big_endian),
        cmocka_unit_test(varints_are_seven_bits_a_byte_least_first),
        cmocka_unit_test(signed_varints_are_zigzagged),
        cmocka_unit_test(a_varint_beyond_64_bits_or_cut_short_fails),
        cmocka_unit_test(a_value_above_its_bound_fails_for_good),
        cmocka_unit_test(a_string_longer_than_what_is_left_fails),
        cmocka_unit_test(a_writer_stops_at_its_limit_and_stays_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

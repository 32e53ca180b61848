/* Requests of the pool as bytes. */
#include "format_fixture.h"

#include "storage/journal/pooled.h"

#define ID_1 "01010101010101010101010101010101"
#define ID_2 "02020202020202020202020202020202"

static const struct st_pooled_append plain = {
    .topic_id = {{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    .partition = 2,
    .count = 5,
    .position = 0,
    .len = 100,
    .max_timestamp_ms = 1000,
    .producer_id = -1,
    .epoch = -1,
    .first_sequence = -1,
};

static void write_request(struct st_pack *out, const char *object, size_t inline_len) {
    struct st_pooled_append numbered = plain;
    numbered.flags = ST_POOLED_PRODUCER | ST_POOLED_HELD;
    numbered.position = 100;
    numbered.producer_id = 9;
    numbered.epoch = 1;
    numbered.first_sequence = 300;
    struct st_pooled request = {
        .id = id_of(2),
        .begun = 77,
        .object_name = kp_slice_cstr(object),
        .object_len = object[0] != 0 ? 200 : 0,
        .count = 2,
    };
    static const uint8_t zeros[400];
    st_pack_init(out, 4096);
    st_pooled_begin(out, &request);
    st_pooled_write(out, &plain);
    st_pooled_write(out, &numbered);
    st_pack_bytes(out, zeros, inline_len);
    st_pooled_end(out);
}

static void a_request_has_these_bytes_and_reads_back(void **state) {
    (void)state;
    struct st_pack out;
    write_request(&out, "o", 0);
    assert_golden(packed(&out), "01 " ID_2 " 000000000000004d 01 6f c801 02"
                                " " ID_1 " 02 05 00 00 64 d00f"
                                " " ID_1 " 02 05 03 64 64 d00f 09 01 ac02"
                                " 7a82d202");
    struct st_pooled request;
    assert_true(st_pooled_read(packed(&out), &request));
    struct kp_uuid id = id_of(2);
    assert_true(kp_uuid_equal(&request.id, &id));
    assert_int_equal(request.begun, 77);
    assert_true(kp_slice_equal(request.object_name, KP_SLICE_LIT("o")));
    assert_int_equal(request.object_len, 200);
    assert_int_equal(request.count, 2);
    struct st_unpack in = st_unpack_of(request.appends);
    struct st_pooled_append append;
    assert_true(st_pooled_next(&in, &append));
    assert_int_equal(append.partition, 2);
    assert_int_equal(append.count, 5);
    assert_int_equal(append.len, 100);
    assert_int_equal(append.max_timestamp_ms, 1000);
    assert_int_equal(append.producer_id, -1);
    assert_true(st_pooled_next(&in, &append));
    assert_int_equal(append.first_sequence, 300);
    assert_int_equal(append.position, 100);
    assert_int_equal(st_unpack_left(&in), 0);
    st_pack_release(&out);
}

static void bytes_ride_along_or_lie_in_the_object_and_nowhere_else(void **state) {
    (void)state;
    struct st_pooled request;
    struct st_pack out;
    write_request(&out, "", 200);
    assert_true(st_pooled_read(packed(&out), &request));
    assert_int_equal(request.inline_bytes.len, 200);
    st_pack_release(&out);
    write_request(&out, "", 199);
    assert_false(st_pooled_read(packed(&out), &request));
    st_pack_release(&out);
}

static void the_parts_of_a_key_follow_it(void **state) {
    (void)state;
    for (uint32_t parts = 1; parts <= 3; parts++) {
        struct st_pooled_append keyed = plain;
        keyed.flags = ST_POOLED_KEYED;
        keyed.key = KP_SLICE_LIT("k1");
        keyed.key_hash[0] = 1;
        keyed.key_hash[1] = 2;
        keyed.key_begun_ms = 500;
        keyed.key_parts = parts;
        struct st_pooled request = {
            .id = id_of(2), .begun = 77, .object_name = KP_SLICE_LIT("o"), .object_len = 200, .count = 2};
        struct st_pack out;
        st_pack_init(&out, 4096);
        st_pooled_begin(&out, &request);
        st_pooled_write(&out, &keyed);
        st_pooled_write(&out, &plain);
        st_pooled_end(&out);
        assert_int_equal(st_pooled_read(packed(&out), &request), parts <= 2);
        if (parts == 2) {
            assert_golden(request.appends, ID_1 " 02 05 04 00 64 d00f 02 6b31 0000000000000001 0000000000000002 e807 02"
                                           " " ID_1 " 02 05 00 00 64 d00f");
        }
        st_pack_release(&out);
    }
}

static void damage_is_seen(void **state) {
    (void)state;
    struct st_pooled request;
    struct st_pack out;
    write_request(&out, "o", 0);
    for (size_t i = 0; i < out.len; i++) {
        out.data[i] ^= 0x10;
        assert_false(st_pooled_read(packed(&out), &request));
        out.data[i] ^= 0x10;
        assert_false(st_pooled_read(kp_slice_of(out.data, i), &request));
    }
    st_pack_release(&out);
}

static void a_renewed_request_differs_in_its_begin_only(void **state) {
    (void)state;
    struct st_pack out, expected;
    write_request(&out, "", 300);
    struct kp_blob *body = kp_blob_new(out.len);
    assert_non_null(body);
    memcpy(body->data, out.data, out.len);
    struct kp_blob *renewed = st_pooled_renewed(body, 0x0102030405060708);
    assert_non_null(renewed);
    struct st_pooled request;
    assert_true(st_pooled_read(kp_slice_of(renewed->data, renewed->size), &request));
    assert_true(request.begun == 0x0102030405060708);
    st_pack_init(&expected, 4096);
    st_pack_bytes(&expected, out.data, 17);
    st_pack_fixed(&expected, request.begun, 8);
    st_pack_bytes(&expected, out.data + 25, out.len - 25 - 4);
    st_pack_seal(&expected, 0);
    assert_true(kp_slice_equal(packed(&expected), kp_slice_of(renewed->data, renewed->size)));
    kp_blob_unref(body);
    kp_blob_unref(renewed);
    st_pack_release(&out);
    st_pack_release(&expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_has_these_bytes_and_reads_back),
        cmocka_unit_test(bytes_ride_along_or_lie_in_the_object_and_nowhere_else),
        cmocka_unit_test(the_parts_of_a_key_follow_it),
        cmocka_unit_test(damage_is_seen),
        cmocka_unit_test(a_renewed_request_differs_in_its_begin_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

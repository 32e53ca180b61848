#include "protocol/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "random_message.h"

#define FRAME(...) kp_slice_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void a_frame_size_outside_the_limits_is_refused(void **state) {
    (void)state;
    assert_int_equal(kp_frame_size((const uint8_t[4]){0, 0, 1, 0}, 1000), 256);
    assert_int_equal(kp_frame_size((const uint8_t[4]){0, 0, 1, 0}, 256), 256);
    assert_int_equal(kp_frame_size((const uint8_t[4]){0, 0, 1, 0}, 255), -1);
    assert_int_equal(kp_frame_size((const uint8_t[4]){0, 0, 0, 7}, 1000), -1);
    assert_int_equal(kp_frame_size((const uint8_t[4]){0xFF, 0xFF, 0xFF, 0xFF}, SIZE_MAX), -1);
    assert_int_equal(kp_frame_size((const uint8_t *)"GET ", 100 << 20), -1);
    /* The beginning of a TLS ClientHello. */
    assert_int_equal(kp_frame_size((const uint8_t[4]){0x16, 3, 1, 2}, 100 << 20), -1);
}

static void the_header_of_a_classic_request_is_read(void **state) {
    (void)state;
    struct kp_request_header header;
    struct kp_slice body;
    struct kp_slice frame = FRAME(0, 3, 0, 1, 0, 0, 0, 9, 0, 2, 'm', 'e', 0xFF, 0xFF, 0xFF, 0xFF);
    assert_int_equal(kp_request_header(frame, &header, &body), KP_HEADER_OK);
    assert_string_equal(header.api->name, "metadata");
    assert_int_equal(header.api_version, 1);
    assert_int_equal(header.correlation_id, 9);
    assert_true(kp_slice_equal(header.client_id, KP_SLICE_LIT("me")));
    assert_int_equal(body.len, 4);
    struct kp_arena arena;
    kp_arena_init(&arena, 10000);
    struct kp_metadata_request request;
    assert_true(kp_request_decode(&header, body, &arena, &request, NULL));
    assert_int_equal(request.topics.count, -1);
    assert_true(request.allow_auto_topic_creation);
    kp_arena_release(&arena);
}

static void the_client_id_may_be_null(void **state) {
    (void)state;
    struct kp_request_header header;
    struct kp_slice body;
    struct kp_slice frame = FRAME(0, 3, 0, 1, 0, 0, 0, 9, 0xFF, 0xFF, 0, 0, 0, 0);
    assert_int_equal(kp_request_header(frame, &header, &body), KP_HEADER_OK);
    assert_null(header.client_id.ptr);
}

static void a_flexible_header_has_tagged_fields_behind_a_classic_client_id(void **state) {
    (void)state;
    struct kp_request_header header;
    struct kp_slice body;
    struct kp_slice frame = FRAME(0, 18, 0, 3, 0, 0, 0, 1, 0, 1, 'x', 1, 77, 2, 1, 2, 2, 'a', 2, 'b', 0);
    assert_int_equal(kp_request_header(frame, &header, &body), KP_HEADER_OK);
    assert_int_equal(body.len, 5);
    struct kp_arena arena;
    kp_arena_init(&arena, 10000);
    struct kp_api_versions_request request;
    assert_true(kp_request_decode(&header, body, &arena, &request, NULL));
    assert_true(kp_slice_equal(request.client_software_version, KP_SLICE_LIT("b")));
    kp_arena_release(&arena);
}

static void a_damaged_header_is_told_from_a_refused_one(void **state) {
    (void)state;
    struct kp_request_header header;
    struct kp_slice body;
    assert_int_equal(kp_request_header(FRAME(0, 3, 0, 1, 0, 0, 0), &header, &body), KP_HEADER_DAMAGED);
    assert_int_equal(kp_request_header(FRAME(0, 3, 0, 1, 0, 0, 0, 9, 0), &header, &body), KP_HEADER_DAMAGED);
    assert_int_equal(kp_request_header(FRAME(0, 3, 0, 1, 0, 0, 0, 9, 0, 9, 'x'), &header, &body), KP_HEADER_DAMAGED);
    assert_int_equal(kp_request_header(FRAME(0, 3, 0, 1, 0, 0, 0, 9, 0xFF, 0xFE), &header, &body), KP_HEADER_DAMAGED);
    assert_int_equal(kp_request_header(FRAME(0, 3, 0, 9, 0, 0, 0, 9, 0, 0, 1, 5, 9, 1), &header, &body),
                     KP_HEADER_DAMAGED);
    assert_int_equal(kp_request_header(FRAME(1, 44, 0, 0, 0, 0, 0, 9, 0, 0), &header, &body), KP_HEADER_REFUSED);
    assert_int_equal(header.api_key, 300);
    assert_int_equal(kp_request_header(FRAME(0, 3, 0, 99, 0, 0, 0, 9, 0, 0), &header, &body), KP_HEADER_REFUSED);
    assert_int_equal(header.api_version, 99);
}

static void produce_is_shown_from_version_0_but_refused_below_3(void **state) {
    (void)state;
    struct kp_request_header header;
    struct kp_slice body;
    assert_int_equal(kp_apis[KP_API_produce].shown_min, 0);
    assert_int_equal(kp_request_header(FRAME(0, 0, 0, 2, 0, 0, 0, 9, 0, 0), &header, &body), KP_HEADER_REFUSED);
    assert_int_equal(kp_request_header(FRAME(0, 0, 0, 3, 0, 0, 0, 9, 0, 0), &header, &body), KP_HEADER_OK);
}

static void an_unknown_version_of_api_versions_is_answered_in_version_0(void **state) {
    (void)state;
    struct kp_request_header header;
    struct kp_slice body;
    /* The body of a version to come cannot be known, and is not looked at. */
    struct kp_slice frame = FRAME(0, 18, 0, 5, 0, 0, 0, 42, 0, 1, 'x', 0xFF, 0xFF, 0xFF);
    assert_int_equal(kp_request_header(frame, &header, &body), KP_HEADER_UNSUPPORTED);
    struct kp_chain chain;
    kp_chain_init(&chain);
    assert_true(kp_response_unsupported(&header, &chain));
    struct kp_arena arena;
    kp_arena_init(&arena, 10000);
    static const uint8_t expected[] = {0, 0, 0, 16, 0, 0, 0, 42, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4};
    struct kp_slice flat = flatten(&chain, &arena);
    assert_int_equal(flat.len, sizeof expected);
    assert_memory_equal(flat.ptr, expected, sizeof expected);
    kp_chain_release(&chain);
    kp_arena_release(&arena);
}

static struct kp_slice respond(enum kp_api_index api, int16_t version, const void *response, struct kp_arena *arena) {
    struct kp_chain chain;
    kp_chain_init(&chain);
    struct kp_request_header header = {.api = &kp_apis[api], .api_version = version, .correlation_id = 5};
    assert_true(kp_response_encode(&header, response, &chain));
    struct kp_slice flat = flatten(&chain, arena);
    kp_chain_release(&chain);
    return flat;
}

static void only_flexible_responses_other_than_api_versions_have_tagged_fields_in_the_header(void **state) {
    (void)state;
    struct kp_arena arena;
    kp_arena_init(&arena, 10000);
    struct kp_init_producer_id_response id = {.error_code = 1, .producer_id = 2, .producer_epoch = 3};
    static const uint8_t v1[] = {0, 0, 0, 20, 0, 0, 0, 5, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3};
    static const uint8_t v2[] = {0, 0, 0, 22, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0};
    struct kp_slice bytes = respond(KP_API_init_producer_id, 1, &id, &arena);
    assert_int_equal(bytes.len, sizeof v1);
    assert_memory_equal(bytes.ptr, v1, sizeof v1);
    bytes = respond(KP_API_init_producer_id, 2, &id, &arena);
    assert_int_equal(bytes.len, sizeof v2);
    assert_memory_equal(bytes.ptr, v2, sizeof v2);

    struct kp_api_versions_response versions;
    kp_init(kp_api_versions_response_type(), &versions);
    static const uint8_t v3[] = {0, 0, 0, 12, 0, 0, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0};
    bytes = respond(KP_API_api_versions, 3, &versions, &arena);
    assert_int_equal(bytes.len, sizeof v3);
    assert_memory_equal(bytes.ptr, v3, sizeof v3);
    kp_arena_release(&arena);
}

static void responses_in_one_chain_have_their_own_lengths(void **state) {
    (void)state;
    struct kp_chain chain;
    kp_chain_init(&chain);
    struct kp_request_header header = {.api = &kp_apis[KP_API_delete_topics], .api_version = 4};
    struct kp_delete_topics_response response = {0};
    for (int32_t i = 0; i < 1000; i++) {
        header.correlation_id = i;
        assert_true(kp_response_encode(&header, &response, &chain));
    }
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_slice flat = flatten(&chain, &arena);
    assert_int_equal(flat.len, 15 * 1000);
    for (int32_t i = 0; i < 1000; i++) {
        int32_t correlation_id = -1;
        struct kp_slice body, frame = kp_slice_of(flat.ptr + 15 * i + 4, 11);
        assert_int_equal(kp_frame_size(flat.ptr + 15 * i, 1000), 11);
        assert_true(kp_response_header(header.api, 4, frame, &correlation_id, &body));
        assert_int_equal(correlation_id, i);
        assert_int_equal(body.len, 6);
    }
    kp_chain_release(&chain);
    kp_arena_release(&arena);
}

static void bytes_behind_the_last_field_of_a_request_are_ignored(void **state) {
    (void)state;
    struct kp_request_header header;
    struct kp_slice body;
    struct kp_slice frame = FRAME(0, 18, 0, 0, 0, 0, 0, 1, 0, 0, 'e', 'x', 't', 'r', 'a');
    assert_int_equal(kp_request_header(frame, &header, &body), KP_HEADER_OK);
    struct kp_arena arena;
    kp_arena_init(&arena, 10000);
    struct kp_api_versions_request request;
    assert_true(kp_request_decode(&header, body, &arena, &request, NULL));
    kp_arena_release(&arena);
}

static void every_api_is_found_by_its_key(void **state) {
    (void)state;
    for (size_t i = 0; i < KP_API_COUNT; i++) {
        assert_ptr_equal(kp_api_find(kp_apis[i].key), &kp_apis[i]);
        assert_int_equal(kp_api_index_of(&kp_apis[i]), i);
    }
    assert_null(kp_api_find(4));
    assert_null(kp_api_find(-1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_size_outside_the_limits_is_refused),
        cmocka_unit_test(the_header_of_a_classic_request_is_read),
        cmocka_unit_test(the_client_id_may_be_null),
        cmocka_unit_test(a_flexible_header_has_tagged_fields_behind_a_classic_client_id),
        cmocka_unit_test(a_damaged_header_is_told_from_a_refused_one),
        cmocka_unit_test(produce_is_shown_from_version_0_but_refused_below_3),
        cmocka_unit_test(an_unknown_version_of_api_versions_is_answered_in_version_0),
        cmocka_unit_test(only_flexible_responses_other_than_api_versions_have_tagged_fields_in_the_header),
        cmocka_unit_test(responses_in_one_chain_have_their_own_lengths),
        cmocka_unit_test(bytes_behind_the_last_field_of_a_request_are_ignored),
        cmocka_unit_test(every_api_is_found_by_its_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

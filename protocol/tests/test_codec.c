/*
 * Properties of the codec over every API, version and direction: they know no single message, so a new API or
 * version is tested as soon as its definition exists.
 */
#include "protocol/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "random_message.h"

enum { ARENA_LIMIT = 1 << 22, ROUNDS = 8 };

/*
 * A message of every type in every shape, for what no API uses yet: version 0 plain, version 1 flexible, so that its
 * tagged fields exist in version 1 only.
 */
struct inner {
    int16_t number;
    struct kp_slice bytes;
};

struct everything {
    uint16_t u16;
    uint32_t u32;
    double f64;
    struct kp_slice bytes, null_bytes;
    struct kp_array bools, ids, blobs, texts, inners;
    struct inner *optional, *tagged_optional;
    struct inner nested;
    struct kp_array tagged_list;
    struct kp_records tagged_records;
};

static const struct kp_struct *inner_type(void) {
    typedef struct inner self;
    static const struct kp_field fields[] = {
        {.name = "number", .offset = offsetof(self, number), .type = KP_TYPE_i16, .max = 9, .fallback = -1},
        {.name = "bytes", .offset = offsetof(self, bytes), .type = KP_TYPE_bytes, .max = 9},
    };
    static const struct kp_struct type = {"inner", fields, 2, sizeof(self)};
    return &type;
}

static const struct kp_struct *everything_type(void) {
    typedef struct everything self;
#define PLAIN(f, t, ...) {.name = #f, .offset = offsetof(self, f), .type = KP_TYPE_##t, .max = 9, __VA_ARGS__}
    static const struct kp_field fields[] = {
        PLAIN(u16, u16, .fallback = 7),
        PLAIN(u32, u32, .fallback = 0),
        PLAIN(f64, f64, .fallback = 0),
        PLAIN(bytes, bytes, .fallback = 0),
        PLAIN(null_bytes, bytes, .nullable = 1),
        PLAIN(bools, bool, .shape = KP_SHAPE_ARRAY),
        PLAIN(ids, uuid, .shape = KP_SHAPE_ARRAY),
        PLAIN(blobs, bytes, .shape = KP_SHAPE_ARRAY),
        PLAIN(texts, str, .shape = KP_SHAPE_ARRAY, .nullable = 1, .fallback = -1),
        PLAIN(inners, struct, .shape = KP_SHAPE_ARRAY, .of = inner_type),
        PLAIN(optional, struct, .shape = KP_SHAPE_OPTIONAL, .of = inner_type),
        PLAIN(tagged_optional, struct, .shape = KP_SHAPE_OPTIONAL, .of = inner_type, .tag = 1),
        PLAIN(nested, struct, .of = inner_type, .tag = 3),
        PLAIN(tagged_list, i64, .shape = KP_SHAPE_ARRAY, .tag = 200),
        PLAIN(tagged_records, records, .nullable = 1, .tag = 300),
    };
#undef PLAIN
    static const struct kp_struct type = {"everything", fields, sizeof fields / sizeof *fields, sizeof(self)};
    return &type;
}

/* One random message of one version in one direction. */
struct sample {
    const struct kp_struct *type;
    struct kp_wire wire;
    struct kp_arena arena;
    uint64_t seed;
    void *message;
    struct kp_slice bytes; /* encoded */
};

typedef void check_function(struct sample *sample);

static struct kp_slice encode(struct sample *sample, const void *message) {
    struct kp_chain chain;
    kp_chain_init(&chain);
    assert_true(kp_encode(sample->type, sample->wire, message, &chain));
    struct kp_slice flat = flatten(&chain, &sample->arena);
    kp_chain_release(&chain);
    return flat;
}

/* A copy that ends where an allocation ends, so that the sanitizer sees a read behind it. */
static bool decode_exactly(struct sample *sample, struct kp_slice bytes, void *message) {
    uint8_t *copy = malloc(bytes.len > 0 ? bytes.len : 1);
    if (bytes.len > 0) {
        memcpy(copy, bytes.ptr, bytes.len);
    }
    struct kp_slice in = kp_slice_of(copy, bytes.len);
    struct kp_decode_error error;
    bool ok = kp_decode(sample->type, sample->wire, &in, &sample->arena, message, &error);
    if (!ok) {
        assert_non_null(error.what);
        assert_true(error.offset <= bytes.len);
    }
    free(copy);
    return ok;
}

static void check_sample(const struct kp_struct *type, struct kp_wire wire, uint64_t seed, check_function check) {
    struct sample sample = {.type = type, .wire = wire, .seed = seed};
    kp_arena_init(&sample.arena, ARENA_LIMIT);
    sample.message = kp_arena_alloc(&sample.arena, sample.type->size);
    random_message(sample.type, &sample.seed, &sample.arena, sample.message);
    sample.bytes = encode(&sample, sample.message);
    check(&sample);
    kp_arena_release(&sample.arena);
}

static void for_every_message(check_function check) {
    for (size_t i = 0; i < KP_API_COUNT; i++) {
        const struct kp_api *api = &kp_apis[i];
        for (int16_t version = api->shown_min; version <= api->max; version++) {
            for (uint64_t round = 0; round < ROUNDS; round++) {
                uint64_t seed = (uint64_t)api->key << 32 | (uint64_t)version << 16 | round << 1;
                check_sample(api->request(), kp_wire_of(api, version), seed, check);
                check_sample(api->response(), kp_wire_of(api, version), seed + 1, check);
            }
        }
    }
    for (uint64_t round = 0; round < 4 * ROUNDS; round++) {
        check_sample(everything_type(), (struct kp_wire){.version = 0}, round, check);
        check_sample(everything_type(), (struct kp_wire){.version = 1, .flexible = true}, round, check);
    }
}

static void check_round_trip(struct sample *sample) {
    void *decoded = kp_arena_alloc(&sample->arena, sample->type->size);
    struct kp_slice in = sample->bytes;
    assert_true(kp_decode(sample->type, sample->wire, &in, &sample->arena, decoded, NULL));
    assert_int_equal(in.len, 0);
    assert_true(kp_equal(sample->type, sample->wire, sample->message, decoded));
    assert_true(kp_slice_equal(encode(sample, decoded), sample->bytes));
}

static void what_is_encoded_is_decoded_equal(void **state) {
    (void)state;
    for_every_message(check_round_trip);
}

static void check_prefixes(struct sample *sample) {
    void *decoded = kp_arena_alloc(&sample->arena, sample->type->size);
    for (size_t len = 0; len < sample->bytes.len; len += 1 + len / 64) {
        assert_false(decode_exactly(sample, kp_slice_of(sample->bytes.ptr, len), decoded));
    }
}

static void every_strict_prefix_is_refused(void **state) {
    (void)state;
    for_every_message(check_prefixes);
}

static void check_flips(struct sample *sample) {
    void *decoded = kp_arena_alloc(&sample->arena, sample->type->size);
    uint8_t *bytes = (uint8_t *)(uintptr_t)sample->bytes.ptr;
    for (size_t i = 0; i < sample->bytes.len; i += 1 + i / 64) {
        struct kp_arena outer = sample->arena;
        kp_arena_init(&sample->arena, ARENA_LIMIT);
        uint8_t flip = (uint8_t)(1 + random_below(&sample->seed, 255));
        bytes[i] ^= flip;
        decode_exactly(sample, sample->bytes, decoded);
        bytes[i] ^= flip;
        kp_arena_release(&sample->arena);
        sample->arena = outer;
    }
}

static void a_changed_byte_never_leads_outside_the_input(void **state) {
    (void)state;
    for_every_message(check_flips);
}

/* Both ways: kp_equal may neither overlook a field nor see a difference that the wire does not have. */
static void check_equality(struct sample *sample) {
    uint8_t *bytes = (uint8_t *)(uintptr_t)kp_arena_copy(&sample->arena, sample->bytes).ptr;
    for (size_t i = 0; i < sample->bytes.len; i += 1 + i / 16) {
        struct sample other = *sample;
        kp_arena_init(&other.arena, ARENA_LIMIT);
        void *decoded = kp_arena_alloc(&other.arena, sample->type->size);
        struct kp_slice in = kp_slice_of(bytes, sample->bytes.len);
        bytes[i] ^= 1;
        if (kp_decode(sample->type, sample->wire, &in, &other.arena, decoded, NULL)) {
            bool same_bytes = kp_slice_equal(encode(&other, decoded), sample->bytes);
            assert_int_equal(kp_equal(sample->type, sample->wire, sample->message, decoded), same_bytes);
        }
        bytes[i] ^= 1;
        kp_arena_release(&other.arena);
    }
}

static void messages_are_equal_exactly_when_their_bytes_are(void **state) {
    (void)state;
    for_every_message(check_equality);
}

static void check_absent_fields(const struct kp_struct *type, struct kp_wire wire, const uint8_t *message) {
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct kp_field *field = &type->fields[i];
        const uint8_t *at = message + field->offset;
        if (!kp_field_present(field, wire)) {
            assert_true(kp_field_is_default(field, wire, at));
        } else if (field->type == KP_TYPE_struct && field->shape == KP_SHAPE_ONE) {
            check_absent_fields(field->of(), wire, at);
        } else if (field->type == KP_TYPE_struct && field->shape == KP_SHAPE_ARRAY) {
            struct kp_array array;
            memcpy(&array, at, sizeof array);
            for (int32_t n = 0; n < array.count; n++) {
                check_absent_fields(field->of(), wire, (const uint8_t *)array.items + (size_t)n * field->of()->size);
            }
        }
    }
}

static void check_defaults(struct sample *sample) {
    void *decoded = kp_arena_alloc(&sample->arena, sample->type->size);
    struct kp_slice in = sample->bytes;
    assert_true(kp_decode(sample->type, sample->wire, &in, &sample->arena, decoded, NULL));
    check_absent_fields(sample->type, sample->wire, decoded);
}

static void fields_that_the_version_lacks_come_back_as_defaults(void **state) {
    (void)state;
    for_every_message(check_defaults);
}

/* The last byte of a flexible message without tagged fields of its own is their count. */
static void check_unknown_tags(struct sample *sample) {
    if (!sample->wire.flexible) {
        return;
    }
    for (uint32_t i = 0; i < sample->type->field_count; i++) {
        if (sample->type->fields[i].tag != 0) {
            return;
        }
    }
    static const uint8_t unknown[] = {2, 50, 3, 'a', 'b', 'c', 0xE8, 0x07, 0};
    uint8_t *longer = kp_arena_alloc(&sample->arena, sample->bytes.len - 1 + sizeof unknown);
    memcpy(longer, sample->bytes.ptr, sample->bytes.len - 1);
    memcpy(longer + sample->bytes.len - 1, unknown, sizeof unknown);
    struct kp_slice in = kp_slice_of(longer, sample->bytes.len - 1 + sizeof unknown);
    void *decoded = kp_arena_alloc(&sample->arena, sample->type->size);
    assert_true(kp_decode(sample->type, sample->wire, &in, &sample->arena, decoded, NULL));
    assert_int_equal(in.len, 0);
    assert_true(kp_equal(sample->type, sample->wire, sample->message, decoded));
}

static void unknown_tagged_fields_are_skipped(void **state) {
    (void)state;
    for_every_message(check_unknown_tags);
}

static void unknown_tagged_fields_are_skipped_inside_other_structs(void **state) {
    (void)state;
    static const uint8_t bytes[] = {0,   0,   1,   0, 0, 0, 9,             /* null id, acks, timeout */
                                    2,   2,   't', 2, 0, 0, 0, 3, 2, 0xAA, /* one topic, one partition, one byte */
                                    1,   0,   1,   7,                      /* tag 0 of the partition */
                                    2,   5,   0,   6, 2, 8, 8,             /* tags 5 and 6 of the topic */
                                    0};
    struct kp_produce_request request;
    struct kp_arena arena;
    kp_arena_init(&arena, ARENA_LIMIT);
    struct kp_slice in = kp_slice_of(bytes, sizeof bytes);
    assert_true(kp_decode(kp_produce_request_type(), (struct kp_wire){9, true}, &in, &arena, &request, NULL));
    assert_int_equal(in.len, 0);
    assert_int_equal(request.topic_data.items[0].partition_data.items[0].index, 3);
    assert_int_equal(request.topic_data.items[0].partition_data.items[0].records.bytes.ptr[0], 0xAA);
    kp_arena_release(&arena);
}

static void check_dump(struct sample *sample) {
    size_t size = kp_dump(sample->type, sample->wire, sample->message, NULL, 0);
    char *text = malloc(size + 1);
    assert_int_equal(kp_dump(sample->type, sample->wire, sample->message, text, size + 1), size);
    assert_int_equal(strlen(text), size);
    char cut[10];
    assert_int_equal(kp_dump(sample->type, sample->wire, sample->message, cut, sizeof cut), size);
    assert_true(strlen(cut) <= sizeof cut - 1);
    free(text);
}

static void a_dump_has_the_length_it_says_and_is_cut_to_its_buffer(void **state) {
    (void)state;
    for_every_message(check_dump);
}

static void check_table(const struct kp_struct *type) {
    int16_t tag = 0;
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct kp_field *field = &type->fields[i];
        assert_true(field->min <= field->max);
        assert_true(field->tag == 0 || field->tag > tag);
        assert_true(field->nullable == 0 || field->nullable - 1 <= field->max);
        assert_true(field->offset + (field->shape == KP_SHAPE_ONE ? kp_field_size(field) : 8) <= type->size);
        tag = field->tag != 0 ? field->tag : tag;
        if (field->type == KP_TYPE_struct) {
            check_table(field->of());
        }
    }
}

static void definitions_list_tags_ascending_and_versions_in_order(void **state) {
    (void)state;
    for (size_t i = 0; i < KP_API_COUNT; i++) {
        const struct kp_api *api = &kp_apis[i];
        assert_true(i == 0 || kp_apis[i - 1].key < api->key);
        assert_true(api->shown_min <= api->min && api->min <= api->max);
        check_table(api->request());
        check_table(api->response());
    }
}

/* ---- what single messages show ---- */

static const struct kp_wire produce_v9 = {.version = 9, .flexible = true};
static const struct kp_wire produce_v8 = {.version = 8, .flexible = false};

static void an_error_names_the_field_and_the_byte(void **state) {
    (void)state;
    struct kp_produce_request_partition partitions[2] = {{.index = 1, .records.bytes = KP_SLICE_LIT("abc")},
                                                         {.index = 2, .records.bytes = KP_SLICE_LIT("defg")}};
    struct kp_produce_request_topic topics[2] = {
        {.name = KP_SLICE_LIT("a")},
        {.name = KP_SLICE_LIT("b"), .partition_data = {.items = partitions, .count = 2}}};
    struct kp_produce_request request = {.topic_data = {.items = topics, .count = 2}};
    struct sample sample = {.type = kp_produce_request_type(), .wire = produce_v8};
    kp_arena_init(&sample.arena, ARENA_LIMIT);
    struct kp_slice bytes = encode(&sample, &request);
    bytes.len--;
    struct kp_decode_error error;
    assert_false(kp_decode(sample.type, sample.wire, &bytes, &sample.arena, &request, &error));
    assert_string_equal(error.path, "topic_data[1].partition_data[1].records");
    assert_int_equal(error.offset, bytes.len - 3);
    assert_string_equal(error.what, "length is larger than what is left");
    kp_arena_release(&sample.arena);
}

static void a_count_that_the_bytes_cannot_hold_allocates_nothing(void **state) {
    (void)state;
    static const uint8_t v8[] = {0xFF, 0xFF, 0, 1, 0, 0, 0, 1, 0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0};
    static const uint8_t v9[] = {0, 0, 1, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0, 0};
    struct kp_produce_request request;
    struct kp_decode_error error;
    struct kp_arena arena;
    kp_arena_init(&arena, SIZE_MAX / 2);
    struct kp_slice in = kp_slice_of(v8, sizeof v8);
    assert_false(kp_decode(kp_produce_request_type(), produce_v8, &in, &arena, &request, &error));
    assert_string_equal(error.what, "more elements than the bytes that are left can hold");
    in = kp_slice_of(v9, sizeof v9);
    assert_false(kp_decode(kp_produce_request_type(), produce_v9, &in, &arena, &request, &error));
    assert_string_equal(error.path, "topic_data");
    assert_int_equal(arena.used, 0);
    kp_arena_release(&arena);
}

static void a_message_that_would_pass_the_cap_of_its_arena_is_refused(void **state) {
    (void)state;
    enum { NAMES = 10000 };
    uint8_t *bytes = calloc(1, 4 + 2 * NAMES + 4);
    bytes[2] = NAMES >> 8;
    bytes[3] = NAMES & 0xFF;
    struct kp_slice in = kp_slice_of(bytes, 4 + 2 * NAMES + 4);
    struct kp_delete_topics_request request;
    struct kp_decode_error error;
    struct kp_arena arena;
    kp_arena_init(&arena, 100000);
    struct kp_wire wire = {.version = 1};
    assert_false(kp_decode(kp_delete_topics_request_type(), wire, &in, &arena, &request, &error));
    assert_string_equal(error.what, "message needs more memory than allowed");
    kp_arena_release(&arena);
    kp_arena_init(&arena, 1000000);
    assert_true(kp_decode(kp_delete_topics_request_type(), wire, &in, &arena, &request, &error));
    assert_int_equal(request.topic_names.count, NAMES);
    kp_arena_release(&arena);
    free(bytes);
}

static void record_bytes_are_referenced_and_not_copied(void **state) {
    (void)state;
    struct kp_blob *blob = kp_blob_new(100000);
    memset(blob->data, 7, blob->size);
    struct kp_piece pieces[2] = {{blob, {blob->data + 10, 60000}}, {blob, {blob->data + 70000, 20000}}};
    struct kp_fetch_response_partition partition;
    kp_init(kp_fetch_response_partition_type(), &partition);
    partition.records.pieces = pieces;
    partition.records.piece_count = 2;
    struct kp_fetch_response_topic topic = {.partitions = {.items = &partition, .count = 1}};
    struct kp_fetch_response response = {.responses = {.items = &topic, .count = 1}};
    struct kp_request_header header = {.api = &kp_apis[KP_API_fetch], .api_version = 12, .correlation_id = 1};
    struct kp_chain chain;
    kp_chain_init(&chain);
    assert_true(kp_response_encode(&header, &response, &chain));
    size_t referenced = 0;
    for (size_t i = 0; i < chain.count; i++) {
        referenced += chain.pieces[i].blob == blob ? chain.pieces[i].bytes.len : 0;
    }
    assert_int_equal(referenced, 80000);
    assert_int_equal(blob->refs, 3);

    struct kp_arena arena;
    kp_arena_init(&arena, ARENA_LIMIT);
    struct kp_slice flat = flatten(&chain, &arena), body;
    assert_int_equal(kp_frame_size(flat.ptr, 1 << 20), flat.len - 4);
    int32_t correlation_id = 0;
    assert_true(kp_response_header(header.api, 12, kp_slice_of(flat.ptr + 4, flat.len - 4), &correlation_id, &body));
    struct kp_fetch_response decoded;
    struct kp_wire wire = kp_wire_of(header.api, 12);
    assert_true(kp_decode(kp_fetch_response_type(), wire, &body, &arena, &decoded, NULL));
    assert_true(kp_equal(kp_fetch_response_type(), wire, &response, &decoded));
    assert_int_equal(decoded.responses.items[0].partitions.items[0].records.bytes.len, 80000);
    kp_arena_release(&arena);
    kp_chain_release(&chain);
    assert_int_equal(blob->refs, 1);
    kp_blob_unref(blob);
}

static void a_string_too_long_for_its_length_field_is_not_encoded(void **state) {
    (void)state;
    static const uint8_t text[40000];
    struct kp_produce_request request = {.transactional_id = {text, sizeof text}};
    struct kp_chain chain;
    kp_chain_init(&chain);
    assert_false(kp_encode(kp_produce_request_type(), produce_v8, &request, &chain));
    kp_chain_release(&chain);
    assert_true(kp_encode(kp_produce_request_type(), produce_v9, &request, &chain));
    kp_chain_release(&chain);
}

static void null_is_refused_where_the_version_has_none(void **state) {
    (void)state;
    static const uint8_t null_topics[] = {0xFF, 0xFF, 0xFF, 0xFF};
    struct kp_metadata_request request;
    struct kp_decode_error error;
    struct kp_arena arena;
    kp_arena_init(&arena, ARENA_LIMIT);
    struct kp_slice in = kp_slice_of(null_topics, sizeof null_topics);
    assert_false(kp_decode(kp_metadata_request_type(), (struct kp_wire){.version = 0}, &in, &arena, &request, &error));
    assert_string_equal(error.what, "null is not allowed here");
    assert_true(kp_decode(kp_metadata_request_type(), (struct kp_wire){.version = 1}, &in, &arena, &request, &error));
    assert_int_equal(request.topics.count, -1);
    kp_arena_release(&arena);
}

static void a_tagged_field_must_have_the_size_it_claims(void **state) {
    (void)state;
    static const uint8_t right[] = {0, 0, 1, 0, 0, 0, 0, 1, 1, 8, 0, 0, 0, 0, 0, 0, 0, 9};
    uint8_t wrong[sizeof right + 1];
    memcpy(wrong, right, sizeof right);
    wrong[9] = 9;
    wrong[sizeof right] = 0;
    struct kp_api_versions_response response;
    struct kp_decode_error error;
    struct kp_arena arena;
    kp_arena_init(&arena, ARENA_LIMIT);
    struct kp_wire wire = {.version = 3, .flexible = true};
    struct kp_slice in = kp_slice_of(right, sizeof right);
    assert_true(kp_decode(kp_api_versions_response_type(), wire, &in, &arena, &response, &error));
    assert_int_equal(response.finalized_features_epoch, 9);
    in = kp_slice_of(wrong, sizeof wrong);
    assert_false(kp_decode(kp_api_versions_response_type(), wire, &in, &arena, &response, &error));
    assert_string_equal(error.what, "tagged field is not of the size it claims");
    assert_string_equal(error.path, "finalized_features_epoch");
    kp_arena_release(&arena);
}

static void new_elements_of_an_array_have_their_defaults(void **state) {
    (void)state;
    struct kp_arena arena;
    kp_arena_init(&arena, ARENA_LIMIT);
    struct kp_describe_topic_partitions_response_partition *items =
        kp_array_new(kp_describe_topic_partitions_response_partition_type(), &arena, 3);
    assert_int_equal(items[2].leader_epoch, -1);
    assert_int_equal(items[2].last_known_elr.count, -1);
    assert_int_equal(items[2].isr_nodes.count, 0);
    struct kp_fetch_response_partition partition;
    kp_init(kp_fetch_response_partition_type(), &partition);
    assert_int_equal(partition.current_leader.leader_id, -1);
    struct kp_fetch_request request;
    kp_init(kp_fetch_request_type(), &request);
    assert_int_equal(request.max_bytes, INT32_MAX);
    assert_non_null(request.rack_id.ptr);
    assert_null(request.cluster_id.ptr);
    kp_arena_release(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded_equal),
        cmocka_unit_test(every_strict_prefix_is_refused),
        cmocka_unit_test(a_changed_byte_never_leads_outside_the_input),
        cmocka_unit_test(fields_that_the_version_lacks_come_back_as_defaults),
        cmocka_unit_test(messages_are_equal_exactly_when_their_bytes_are),
        cmocka_unit_test(unknown_tagged_fields_are_skipped),
        cmocka_unit_test(unknown_tagged_fields_are_skipped_inside_other_structs),
        cmocka_unit_test(a_dump_has_the_length_it_says_and_is_cut_to_its_buffer),
        cmocka_unit_test(definitions_list_tags_ascending_and_versions_in_order),
        cmocka_unit_test(an_error_names_the_field_and_the_byte),
        cmocka_unit_test(a_count_that_the_bytes_cannot_hold_allocates_nothing),
        cmocka_unit_test(a_message_that_would_pass_the_cap_of_its_arena_is_refused),
        cmocka_unit_test(record_bytes_are_referenced_and_not_copied),
        cmocka_unit_test(a_string_too_long_for_its_length_field_is_not_encoded),
        cmocka_unit_test(null_is_refused_where_the_version_has_none),
        cmocka_unit_test(a_tagged_field_must_have_the_size_it_claims),
        cmocka_unit_test(new_elements_of_an_array_have_their_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

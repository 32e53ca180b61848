#include "protocol/bytes/be.h"
#include "protocol/bytes/crc32c.h"
#include "protocol/bytes/varint.h"
#include "protocol/compress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct kp_record_header headers[] = {{KP_SLICE_LIT("trace"), KP_SLICE_LIT("abc")},
                                                  {KP_SLICE_LIT("empty"), KP_SLICE_LIT("")},
                                                  {KP_SLICE_LIT("null"), {NULL, 0}}};
static const struct kp_new_record records[] = {
    {1000, KP_SLICE_LIT("k1"), KP_SLICE_LIT("v1"), headers, 3},
    {.timestamp_ms = 1500, .key = {NULL, 0}, .value = KP_SLICE_LIT("")},
    {.timestamp_ms = 900, .key = KP_SLICE_LIT(""), .value = {NULL, 0}},
};

static struct kp_slice bytes_of(const struct kp_blob *blob) {
    return kp_slice_of(blob->data, blob->size);
}

/* After a field was changed. */
static void sign(struct kp_blob *blob) {
    kp_be_store32(blob->data + 17, kp_crc32c(0, blob->data + 21, blob->size - 21));
}

static enum kp_error check(const struct kp_blob *blob, const char **reason) {
    struct kp_batch batch;
    return kp_batch_check(bytes_of(blob), &batch, reason);
}

static void a_built_batch_passes_the_check_and_reads_back(void **state) {
    (void)state;
    struct kp_blob *blob = kp_batch_build(records, 3);
    struct kp_batch batch;
    const char *reason = "";
    assert_int_equal(kp_batch_check(bytes_of(blob), &batch, &reason), KP_ERROR_NONE);
    assert_null(reason);
    assert_int_equal(batch.record_count, 3);
    assert_int_equal(batch.base_timestamp_ms, 1000);
    assert_int_equal(batch.max_timestamp_ms, 1500);
    assert_int_equal(batch.producer_id, -1);
    assert_int_equal(batch.leader_epoch, -1);
    kp_batch_patch(blob->data, 7000, 4);

    struct kp_arena arena;
    kp_arena_init(&arena, 10000);
    struct kp_record_reader reader;
    struct kp_record record;
    assert_int_equal(kp_records_open(&reader, bytes_of(blob), &arena, 1000), KP_ERROR_NONE);
    assert_int_equal(reader.batch.leader_epoch, 4);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kp_records_next(&reader, &record), 1);
        assert_int_equal(record.offset, 7000 + i);
        assert_int_equal(record.timestamp_ms, records[i].timestamp_ms);
        assert_true(kp_slice_equal(record.key, records[i].key));
        assert_int_equal(record.key.ptr == NULL, records[i].key.ptr == NULL);
        assert_true(kp_slice_equal(record.value, records[i].value));
        assert_int_equal(record.value.ptr == NULL, records[i].value.ptr == NULL);
        assert_int_equal(record.header_count, records[i].header_count);
        for (int n = 0; n < record.header_count; n++) {
            struct kp_slice key, value;
            assert_true(kp_record_header_next(&record.headers, &key, &value));
            assert_true(kp_slice_equal(key, headers[n].key));
            assert_int_equal(value.ptr == NULL, headers[n].value.ptr == NULL);
            assert_true(kp_slice_equal(value, headers[n].value));
        }
        struct kp_slice none;
        assert_false(kp_record_header_next(&record.headers, &none, &none));
    }
    assert_int_equal(kp_records_next(&reader, &record), 0);
    assert_int_equal(kp_records_next(&reader, &record), 0);
    kp_arena_release(&arena);
    kp_blob_unref(blob);
}

static void the_base_offset_and_the_leader_epoch_lie_outside_the_checksum(void **state) {
    (void)state;
    struct kp_blob *blob = kp_batch_build(records, 3);
    const char *reason = NULL;
    kp_batch_patch(blob->data, INT64_MAX - 5, 77);
    assert_int_equal(check(blob, &reason), KP_ERROR_NONE);
    kp_blob_unref(blob);
}

static void any_other_changed_byte_is_found(void **state) {
    (void)state;
    struct kp_blob *blob = kp_batch_build(records, 3);
    const char *reason = NULL;
    for (size_t i = 0; i < blob->size; i++) {
        if (i < 8 || (i >= 12 && i < 16)) {
            continue;
        }
        for (int bit = 0; bit < 8; bit++) {
            blob->data[i] ^= (uint8_t)(1 << bit);
            assert_int_not_equal(check(blob, &reason), KP_ERROR_NONE);
            assert_non_null(reason);
            blob->data[i] ^= (uint8_t)(1 << bit);
        }
    }
    kp_blob_unref(blob);
}

static void a_cut_batch_and_a_second_one_are_refused(void **state) {
    (void)state;
    struct kp_blob *blob = kp_batch_build(records, 3);
    struct kp_batch batch;
    const char *reason = NULL;
    for (size_t len = 1; len < blob->size; len++) {
        assert_int_equal(kp_batch_check(kp_slice_of(blob->data, len), &batch, &reason), KP_ERROR_CORRUPT_MESSAGE);
        assert_int_equal(kp_batch_peek(kp_slice_of(blob->data, len), &batch), KP_ERROR_CORRUPT_MESSAGE);
    }
    assert_int_equal(kp_batch_check((struct kp_slice){NULL, 0}, &batch, &reason), KP_ERROR_INVALID_RECORD);
    uint8_t *two = malloc(blob->size * 2);
    memcpy(two, blob->data, blob->size);
    memcpy(two + blob->size, blob->data, blob->size);
    assert_int_equal(kp_batch_check(kp_slice_of(two, blob->size * 2), &batch, &reason), KP_ERROR_INVALID_RECORD);
    assert_int_equal(kp_batch_peek(kp_slice_of(two, blob->size * 2), &batch), KP_ERROR_NONE);
    assert_int_equal(batch.bytes.len, blob->size);
    free(two);
    kp_blob_unref(blob);
}

struct header_case {
    const char *name;
    size_t at, width;
    uint64_t value;
    enum kp_error error;
};

static void what_a_client_may_not_send_is_refused_even_with_a_right_checksum(void **state) {
    (void)state;
    static const struct header_case cases[] = {
        {"magic 1", 16, 1, 1, KP_ERROR_INVALID_RECORD},
        {"codec 5", 21, 2, 5, KP_ERROR_INVALID_RECORD},
        {"control", 21, 2, KP_BATCH_CONTROL, KP_ERROR_INVALID_RECORD},
        {"log append time", 21, 2, KP_BATCH_LOG_APPEND_TIME, KP_ERROR_INVALID_TIMESTAMP},
        {"transactional without producer", 21, 2, KP_BATCH_TRANSACTIONAL, KP_ERROR_INVALID_RECORD},
        {"last offset delta", 23, 4, 5, KP_ERROR_INVALID_RECORD},
        {"negative last offset delta", 23, 4, UINT32_MAX, KP_ERROR_INVALID_RECORD},
        {"producer without epoch", 43, 8, 9, KP_ERROR_INVALID_RECORD},
        {"no records", 57, 4, 0, KP_ERROR_INVALID_RECORD},
        {"negative count", 57, 4, UINT32_MAX, KP_ERROR_INVALID_RECORD},
        {"length too small", 8, 4, 48, KP_ERROR_CORRUPT_MESSAGE},
        {"negative length", 8, 4, UINT32_MAX, KP_ERROR_CORRUPT_MESSAGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kp_blob *blob = kp_batch_build(records, 3);
        for (size_t n = 0; n < cases[i].width; n++) {
            blob->data[cases[i].at + n] = (uint8_t)(cases[i].value >> 8 * (cases[i].width - 1 - n));
        }
        sign(blob);
        const char *reason = NULL;
        if (check(blob, &reason) != cases[i].error) {
            fail_msg("%s", cases[i].name);
        }
        assert_non_null(reason);
        kp_blob_unref(blob);
    }
}

static void a_count_that_the_bytes_cannot_hold_is_refused(void **state) {
    (void)state;
    struct kp_blob *blob = kp_batch_build(records, 3);
    kp_be_store32(blob->data + 23, 99999);
    kp_be_store32(blob->data + 57, 100000);
    sign(blob);
    const char *reason = NULL;
    assert_int_equal(check(blob, &reason), KP_ERROR_INVALID_RECORD);
    kp_blob_unref(blob);
}

static void a_producer_with_epoch_and_sequence_is_accepted(void **state) {
    (void)state;
    struct kp_blob *blob = kp_batch_build(records, 3);
    kp_be_store64(blob->data + 43, 1234);
    kp_be_store16(blob->data + 51, 5);
    kp_be_store32(blob->data + 53, 678);
    sign(blob);
    struct kp_batch batch;
    const char *reason = NULL;
    assert_int_equal(kp_batch_check(bytes_of(blob), &batch, &reason), KP_ERROR_NONE);
    assert_int_equal(batch.producer_id, 1234);
    assert_int_equal(batch.producer_epoch, 5);
    assert_int_equal(batch.base_sequence, 678);
    kp_blob_unref(blob);
}

static void the_sum_over_batches_is_that_of_their_bytes(void **state) {
    (void)state;
    static uint8_t value[200 * 1000];
    memset(value, 'v', sizeof value);
    static const size_t sizes[] = {10, 65000, 65536, 200 * 1000};
    uint32_t sum = 0, expected = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct kp_new_record record = {.value = kp_slice_of(value, sizes[i])};
        struct kp_blob *blob = kp_batch_build(&record, 1);
        sum = kp_batch_sum(sum, bytes_of(blob));
        expected = kp_crc32c(expected, blob->data, blob->size);
        assert_int_equal(sum, expected);
        kp_blob_unref(blob);
    }
}

static void append_time_replaces_all_timestamps_and_keeps_the_checksum_right(void **state) {
    (void)state;
    struct kp_blob *blob = kp_batch_build(records, 3);
    kp_batch_set_append_time(blob->data, blob->size, 5555);
    struct kp_batch batch;
    assert_int_equal(kp_batch_peek(bytes_of(blob), &batch), KP_ERROR_NONE);
    assert_int_equal(batch.crc, kp_crc32c(0, blob->data + 21, blob->size - 21));
    assert_int_equal(batch.max_timestamp_ms, 5555);
    struct kp_record_reader reader;
    struct kp_record record;
    assert_int_equal(kp_records_open(&reader, bytes_of(blob), NULL, 0), KP_ERROR_NONE);
    while (kp_records_next(&reader, &record) == 1) {
        assert_int_equal(record.timestamp_ms, 5555);
    }
    assert_int_equal(reader.next, 3);
    kp_blob_unref(blob);
}

/* The records of a batch, compressed, in a batch of their own. */
static struct kp_blob *compressed(const struct kp_blob *plain, enum kp_codec codec, struct kp_arena *arena) {
    struct kp_slice deflated;
    struct kp_slice body = kp_slice_of(plain->data + KP_BATCH_HEADER_SIZE, plain->size - KP_BATCH_HEADER_SIZE);
    assert_int_equal(kp_deflate(codec, body, arena, &deflated), KP_ERROR_NONE);
    struct kp_blob *blob = kp_blob_new(KP_BATCH_HEADER_SIZE + deflated.len);
    memcpy(blob->data, plain->data, KP_BATCH_HEADER_SIZE);
    memcpy(blob->data + KP_BATCH_HEADER_SIZE, deflated.ptr, deflated.len);
    kp_be_store32(blob->data + 8, (uint32_t)blob->size - KP_BATCH_LENGTH_AT);
    kp_be_store16(blob->data + 21, (uint16_t)codec);
    sign(blob);
    return blob;
}

static void compressed_records_read_back_with_every_codec(void **state) {
    (void)state;
    enum { COUNT = 500 };
    struct kp_new_record many[COUNT];
    for (int i = 0; i < COUNT; i++) {
        many[i] = (struct kp_new_record){.timestamp_ms = i, .value = KP_SLICE_LIT("the same value again and again")};
    }
    struct kp_blob *plain = kp_batch_build(many, COUNT);
    for (enum kp_codec codec = KP_CODEC_GZIP; codec <= KP_CODEC_ZSTD; codec++) {
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 20);
        struct kp_blob *blob = compressed(plain, codec, &arena);
        struct kp_record_reader reader;
        struct kp_record record;
        const char *reason = NULL;
        assert_int_equal(check(blob, &reason), KP_ERROR_NONE);
        assert_true(blob->size < plain->size / 4);
        assert_int_equal(kp_records_open(&reader, bytes_of(blob), &arena, 1 << 19), KP_ERROR_NONE);
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(kp_records_next(&reader, &record), 1);
            assert_int_equal(record.timestamp_ms, i);
            assert_int_equal(record.value.len, 30);
        }
        assert_int_equal(kp_records_next(&reader, &record), 0);
        assert_int_equal(kp_records_open(&reader, bytes_of(blob), &arena, 1000), KP_ERROR_MESSAGE_TOO_LARGE);
        kp_blob_unref(blob);
        kp_arena_release(&arena);
    }
    kp_blob_unref(plain);
}

static void damaged_records_end_the_reading(void **state) {
    (void)state;
    struct kp_blob *blob = kp_batch_build(records, 3);
    size_t damaged = 0;
    for (size_t i = KP_BATCH_HEADER_SIZE; i < blob->size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            blob->data[i] ^= (uint8_t)(1 << bit);
            struct kp_record_reader reader;
            struct kp_record record;
            int status = 1;
            assert_int_equal(kp_records_open(&reader, bytes_of(blob), NULL, 0), KP_ERROR_NONE);
            for (int n = 0; n < 4 && status == 1; n++) {
                status = kp_records_next(&reader, &record);
            }
            assert_int_not_equal(status, 1);
            damaged += status < 0;
            blob->data[i] ^= (uint8_t)(1 << bit);
        }
    }
    assert_true(damaged > 100);
    kp_blob_unref(blob);
}

static void bytes_behind_the_last_record_are_damage(void **state) {
    (void)state;
    struct kp_blob *blob = kp_batch_build(records, 3);
    kp_be_store32(blob->data + 57, 2);
    struct kp_record_reader reader;
    struct kp_record record;
    assert_int_equal(kp_records_open(&reader, bytes_of(blob), NULL, 0), KP_ERROR_NONE);
    assert_int_equal(kp_records_next(&reader, &record), 1);
    assert_int_equal(kp_records_next(&reader, &record), 1);
    assert_int_equal(kp_records_next(&reader, &record), -1);
    kp_blob_unref(blob);
}

static void timestamps_at_both_ends_of_their_range_survive(void **state) {
    (void)state;
    const struct kp_new_record far[] = {{.timestamp_ms = INT64_MIN, .value = KP_SLICE_LIT("a")},
                                        {.timestamp_ms = INT64_MAX, .value = KP_SLICE_LIT("b")}};
    struct kp_blob *blob = kp_batch_build(far, 2);
    struct kp_record_reader reader;
    struct kp_record record;
    assert_int_equal(kp_records_open(&reader, bytes_of(blob), NULL, 0), KP_ERROR_NONE);
    assert_int_equal(kp_records_next(&reader, &record), 1);
    assert_true(record.timestamp_ms == INT64_MIN);
    assert_int_equal(kp_records_next(&reader, &record), 1);
    assert_true(record.timestamp_ms == INT64_MAX);
    kp_blob_unref(blob);
}

static void a_batch_of_nothing_is_not_built(void **state) {
    (void)state;
    assert_null(kp_batch_build(records, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_built_batch_passes_the_check_and_reads_back),
        cmocka_unit_test(the_base_offset_and_the_leader_epoch_lie_outside_the_checksum),
        cmocka_unit_test(any_other_changed_byte_is_found),
        cmocka_unit_test(a_cut_batch_and_a_second_one_are_refused),
        cmocka_unit_test(what_a_client_may_not_send_is_refused_even_with_a_right_checksum),
        cmocka_unit_test(a_count_that_the_bytes_cannot_hold_is_refused),
        cmocka_unit_test(a_producer_with_epoch_and_sequence_is_accepted),
        cmocka_unit_test(the_sum_over_batches_is_that_of_their_bytes),
        cmocka_unit_test(append_time_replaces_all_timestamps_and_keeps_the_checksum_right),
        cmocka_unit_test(compressed_records_read_back_with_every_codec),
        cmocka_unit_test(damaged_records_end_the_reading),
        cmocka_unit_test(bytes_behind_the_last_record_are_damage),
        cmocka_unit_test(timestamps_at_both_ends_of_their_range_survive),
        cmocka_unit_test(a_batch_of_nothing_is_not_built),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

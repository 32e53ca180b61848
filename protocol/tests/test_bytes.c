#include "protocol/bytes/arena.h"
#include "protocol/bytes/chain.h"
#include "protocol/bytes/crc32c.h"
#include "protocol/bytes/uuid.h"
#include "protocol/bytes/varint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- CRC-32C ---- */

static void crc32c_gives_the_published_values(void **state) {
    (void)state;
    uint8_t bytes[32];
    assert_int_equal(kp_crc32c(0, "123456789", 9), 0xE3069283);
    memset(bytes, 0, sizeof bytes); /* RFC 3720, B.4 */
    assert_int_equal(kp_crc32c(0, bytes, sizeof bytes), 0x8A9136AA);
    memset(bytes, 0xFF, sizeof bytes);
    assert_int_equal(kp_crc32c(0, bytes, sizeof bytes), 0x62A8AB43);
    for (uint8_t i = 0; i < 32; i++) {
        bytes[i] = i;
    }
    assert_int_equal(kp_crc32c(0, bytes, sizeof bytes), 0x46DD794E);
    for (uint8_t i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(kp_crc32c(0, bytes, sizeof bytes), 0x113FDB5C);
    assert_int_equal(kp_crc32c(0, "", 0), 0);
    assert_int_equal(kp_crc32c(77, "", 0), 77);
}

static void crc32c_is_the_same_with_and_without_instructions_for_every_length_and_alignment(void **state) {
    (void)state;
    enum { SIZE = 30000 };
    uint8_t *bytes = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        bytes[i] = (uint8_t)(i * 131 + (i >> 7));
    }
    for (size_t len = 0; len < SIZE - 16; len += 1 + len / 50) {
        for (size_t at = 0; at < 9; at++) {
            assert_int_equal(kp_crc32c(7, bytes + at, len), kp_crc32c_portable(7, bytes + at, len));
        }
    }
    free(bytes);
}

static void crc32c_of_two_parts_continues(void **state) {
    (void)state;
    uint8_t bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i ^ i >> 5);
    }
    uint32_t whole = kp_crc32c(0, bytes, sizeof bytes);
    for (size_t cut = 0; cut <= sizeof bytes; cut += 97) {
        assert_int_equal(kp_crc32c(kp_crc32c(0, bytes, cut), bytes + cut, sizeof bytes - cut), whole);
    }
}

static void crc32c_of_two_parts_joins(void **state) {
    (void)state;
    static uint8_t bytes[100000];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 131 + i / 251);
    }
    uint32_t whole = kp_crc32c(0, bytes, sizeof bytes);
    static const size_t cuts[] = {0, 1, 21, 4096, 65535, 65536, 99999, 100000};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        uint32_t first = kp_crc32c(0, bytes, cuts[i]);
        uint32_t second = kp_crc32c(0, bytes + cuts[i], sizeof bytes - cuts[i]);
        assert_int_equal(kp_crc32c_join(first, second, sizeof bytes - cuts[i]), whole);
    }
}

/* ---- varint ---- */

static void varints_round_trip_at_every_width(void **state) {
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int64_t near = -2; near <= 2; near++) {
            uint64_t value = (UINT64_C(1) << bit) + (uint64_t)near, read = 0;
            int64_t signed_read = 0;
            uint8_t bytes[KP_VARINT_MAX];
            size_t len = kp_uvarint_put(bytes, value);
            assert_int_equal(len, kp_uvarint_size(value));
            assert_int_equal(kp_uvarint_get(bytes, bytes + len, &read), len);
            assert_true(read == value);
            assert_int_equal(kp_uvarint_get(bytes, bytes + len - 1, &read), 0);
            len = kp_varint_put(bytes, (int64_t)value);
            assert_int_equal(len, kp_varint_size((int64_t)value));
            assert_int_equal(kp_varint_get(bytes, bytes + len, &signed_read), len);
            assert_true(signed_read == (int64_t)value);
        }
    }
}

static void zigzag_is_as_protobuf_has_it(void **state) {
    (void)state;
    assert_int_equal(kp_zigzag(0), 0);
    assert_int_equal(kp_zigzag(-1), 1);
    assert_int_equal(kp_zigzag(1), 2);
    assert_int_equal(kp_zigzag(-2), 3);
    assert_true(kp_zigzag(INT64_MIN) == UINT64_MAX);
}

static void a_varint_that_does_not_fit_is_refused(void **state) {
    (void)state;
    static const uint8_t max32[] = {0xFF, 0xFF, 0xFF, 0xFF, 0x0F}, over32[] = {0xFF, 0xFF, 0xFF, 0xFF, 0x1F};
    static const uint8_t over64[] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02};
    static const uint8_t endless[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0};
    uint32_t value32 = 0;
    uint64_t value64 = 0;
    int32_t signed32 = 0;
    assert_int_equal(kp_uvarint32_get(max32, max32 + 5, &value32), 5);
    assert_true(value32 == UINT32_MAX);
    assert_int_equal(kp_varint32_get(max32, max32 + 5, &signed32), 5);
    assert_true(signed32 == INT32_MIN);
    assert_int_equal(kp_uvarint32_get(over32, over32 + 5, &value32), 0);
    assert_int_equal(kp_uvarint32_get(endless, endless + 12, &value32), 0);
    assert_int_equal(kp_uvarint_get(over64, over64 + 10, &value64), 0);
    assert_int_equal(kp_uvarint_get(endless, endless + 12, &value64), 0);
    assert_int_equal(kp_uvarint_get(max32, max32, &value64), 0);
}

/* ---- uuid ---- */

static void a_uuid_reads_back_from_its_text(void **state) {
    (void)state;
    struct kp_uuid id = {{0xFF, 0xFE, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0xF3}}, read;
    char text[KP_UUID_TEXT_MAX];
    kp_uuid_text(&id, text);
    assert_string_equal(text, "__4BAgMEBQYHCAkKCwwN8w");
    assert_true(kp_uuid_parse(kp_slice_cstr(text), &read));
    assert_true(kp_uuid_equal(&id, &read));
    kp_uuid_text(&(struct kp_uuid){{0}}, text);
    assert_string_equal(text, "AAAAAAAAAAAAAAAAAAAAAA");
}

static void text_that_is_not_exactly_one_uuid_is_refused(void **state) {
    (void)state;
    struct kp_uuid id;
    assert_false(kp_uuid_parse(KP_SLICE_LIT(""), &id));
    assert_false(kp_uuid_parse(KP_SLICE_LIT("AAAAAAAAAAAAAAAAAAAAA"), &id));
    assert_false(kp_uuid_parse(KP_SLICE_LIT("AAAAAAAAAAAAAAAAAAAAAAA"), &id));
    assert_false(kp_uuid_parse(KP_SLICE_LIT("AAAAAAAAAAAAAAAAAAAA=="), &id));
    assert_false(kp_uuid_parse(KP_SLICE_LIT("AAAAAAAAAAAAAAAAAAAAAB"), &id)); /* bits behind the last byte */
    assert_false(kp_uuid_parse(KP_SLICE_LIT("AAAAAAAAAA\0AAAAAAAAAAA"), &id));
}

/* ---- blobs ---- */

static void a_blob_is_aligned_and_its_memory_is_used_again(void **state) {
    (void)state;
    uint64_t live = kp_blob_stats().live_bytes;
    struct kp_blob *blob = kp_blob_new(100000);
    assert_int_equal((uintptr_t)blob->data % KP_BLOB_ALIGN, 0);
    assert_int_equal(blob->size, 100000);
    assert_true(kp_blob_stats().live_bytes >= live + 100000);
    uint8_t *data = blob->data;
    kp_blob_unref(blob);
    assert_int_equal(kp_blob_stats().live_bytes, live);
    assert_true(kp_blob_stats().pooled_bytes >= 100000);
    blob = kp_blob_new(110000); /* of the same class */
    assert_ptr_equal(blob->data, data);
    kp_blob_unref(blob);
    kp_blob_unref(NULL);
}

static void the_last_reference_frees(void **state) {
    (void)state;
    uint64_t live = kp_blob_stats().live_bytes;
    struct kp_blob *blob = kp_blob_new(10);
    assert_ptr_equal(kp_blob_ref(blob), blob);
    kp_blob_unref(blob);
    blob->data[9] = 1;
    kp_blob_unref(blob);
    assert_int_equal(kp_blob_stats().live_bytes, live);
}

static void growing_keeps_the_used_bytes_and_counts_what_it_copies(void **state) {
    (void)state;
    struct kp_blob *blob = kp_blob_new(5000);
    memset(blob->data, 9, 3000);
    uint64_t copied = kp_blob_stats().grow_copied_bytes;
    assert_true(kp_blob_grow(blob, 3000, 5100)); /* fits the buffer it has */
    assert_int_equal(kp_blob_stats().grow_copied_bytes, copied);
    assert_int_equal(blob->size, 5100);
    assert_true(kp_blob_grow(blob, 3000, 1 << 20));
    assert_int_equal(kp_blob_stats().grow_copied_bytes, copied + 3000);
    assert_int_equal(blob->data[2999], 9);
    memset(blob->data, 1, 1 << 20);
    kp_blob_unref(blob);
}

static void a_buffer_wastes_at_most_a_quarter_of_what_was_asked(void **state) {
    (void)state;
    for (size_t size = 4096; size < (size_t)70 << 20; size += size / 7) {
        struct kp_blob *blob = kp_blob_new(size);
        assert_true(kp_blob_capacity(blob) >= size);
        assert_true(kp_blob_capacity(blob) <= size + size / 4);
        kp_blob_unref(blob);
    }
}

static void what_the_pool_keeps_is_bounded(void **state) {
    (void)state;
    struct kp_blob *blobs[16];
    kp_blob_pool_limit(1 << 20);
    for (size_t i = 0; i < 16; i++) {
        blobs[i] = kp_blob_new(1 << 17);
    }
    for (size_t i = 0; i < 16; i++) {
        kp_blob_unref(blobs[i]);
    }
    assert_true(kp_blob_stats().pooled_bytes <= 1 << 20);
    assert_true(kp_blob_stats().pooled_bytes > 0);
    kp_blob_pool_limit(0);
    assert_int_equal(kp_blob_stats().pooled_bytes, 0);
    kp_blob_pool_limit(32 << 20);
}

static void small_buffers_that_come_back_leave_large_ones_that_are_in_use(void **state) {
    (void)state;
    enum { SMALL = 16 << 10, COUNT = 256 };
    kp_blob_pool_limit(0);
    kp_blob_pool_limit(2 << 20);
    static struct kp_blob *small[COUNT];
    for (int i = 0; i < COUNT; i++) {
        small[i] = kp_blob_new(SMALL);
        assert_non_null(small[i]);
    }
    struct kp_blob *large = kp_blob_new(2 << 20); /* asked for after them */
    assert_non_null(large);
    const uint8_t *data = large->data;
    kp_blob_unref(large);
    for (int i = 0; i < COUNT; i++) {
        kp_blob_unref(small[i]);
    }
    assert_int_equal(kp_blob_stats().pooled_bytes, 2 << 20);
    large = kp_blob_new(2 << 20);
    assert_ptr_equal(large->data, data);
    kp_blob_unref(large);
    kp_blob_pool_limit(0);
    kp_blob_pool_limit(32 << 20);
}

static void a_size_in_use_pushes_out_of_the_pool_what_is_not(void **state) {
    (void)state;
    kp_blob_pool_limit(0);
    kp_blob_pool_limit(4 << 20);
    struct kp_blob *old[4], *now[4];
    for (int i = 0; i < 4; i++) {
        old[i] = kp_blob_new(1 << 20);
    }
    for (int i = 0; i < 4; i++) {
        kp_blob_unref(old[i]);
    }
    assert_int_equal(kp_blob_stats().pooled_bytes, 4 << 20);
    for (int i = 0; i < 4; i++) {
        now[i] = kp_blob_new(1 << 18);
    }
    const uint8_t *last = now[3]->data;
    for (int i = 0; i < 4; i++) {
        kp_blob_unref(now[i]);
    }
    assert_true(kp_blob_stats().pooled_bytes <= 4 << 20);
    struct kp_blob *again = kp_blob_new(1 << 18);
    assert_ptr_equal(again->data, last); /* it was kept, at the cost of a larger one */
    kp_blob_unref(again);
    kp_blob_pool_limit(32 << 20);
}

static void blobs_of_every_size_can_be_written_to_their_end(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 65536, 65537, (1 << 26) + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct kp_blob *blob = kp_blob_new(sizes[i]);
        assert_non_null(blob);
        if (sizes[i] > 0) {
            blob->data[0] = blob->data[sizes[i] - 1] = 1;
        }
        kp_blob_unref(blob);
    }
}

/* ---- arena ---- */

static void an_arena_gives_zeroed_aligned_memory_up_to_its_cap(void **state) {
    (void)state;
    struct kp_arena arena;
    kp_arena_init(&arena, 100000);
    size_t sum = 0;
    for (size_t size = 1;; size = size % 700 + 13) {
        uint8_t *at = kp_arena_alloc(&arena, size);
        if (at == NULL) {
            break;
        }
        assert_int_equal((uintptr_t)at % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < size; i++) {
            assert_int_equal(at[i], 0);
        }
        memset(at, 0xFF, size);
        sum += size;
        assert_true(arena.used <= arena.limit);
    }
    assert_true(sum > 80000);
    kp_arena_release(&arena);
    assert_int_equal(arena.used, 0);
    assert_non_null(kp_arena_alloc(&arena, 0));
    kp_arena_release(&arena);
}

static void an_arena_refuses_sizes_that_overflow(void **state) {
    (void)state;
    struct kp_arena arena;
    kp_arena_init(&arena, SIZE_MAX);
    assert_null(kp_arena_array(&arena, SIZE_MAX / 4, 8));
    assert_null(kp_arena_alloc(&arena, SIZE_MAX));
    assert_null(kp_arena_alloc(&arena, SIZE_MAX - 20));
    assert_non_null(kp_arena_array(&arena, 3, 8));
    kp_arena_release(&arena);
}

static void an_arena_drops_the_blobs_it_holds(void **state) {
    (void)state;
    struct kp_arena arena;
    struct kp_blob *blob = kp_blob_new(10);
    kp_arena_init(&arena, 10000);
    assert_true(kp_arena_hold(&arena, blob));
    assert_true(kp_arena_hold(&arena, blob));
    assert_int_equal(blob->refs, 3);
    kp_arena_release(&arena);
    assert_int_equal(blob->refs, 1);
    kp_arena_init(&arena, 8);
    assert_false(kp_arena_hold(&arena, blob));
    assert_int_equal(blob->refs, 1);
    kp_arena_release(&arena);
    kp_blob_unref(blob);
}

static void resizing_keeps_the_bytes_and_respects_the_cap(void **state) {
    (void)state;
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    for (size_t before = 0; before < 4; before++) {
        kp_arena_alloc(&arena, before * 600);
        size_t size = 100;
        uint8_t *at = kp_arena_alloc_raw(&arena, size);
        memset(at, 5, size);
        for (; size * 2 < 200000; size *= 2) {
            at = kp_arena_resize(&arena, at, size, size * 2);
            assert_non_null(at);
            memset(at + size, 5, size);
        }
        assert_null(kp_arena_resize(&arena, at, size, 2 << 20));
        at = kp_arena_resize(&arena, at, size, 50);
        for (size_t i = 0; i < 50; i++) {
            assert_int_equal(at[i], 5);
        }
        assert_true(arena.used <= arena.limit);
        kp_arena_release(&arena);
    }
}

/* ---- chain ---- */

static void copied_bytes_in_a_row_are_one_piece(void **state) {
    (void)state;
    struct kp_chain chain;
    kp_chain_init(&chain);
    for (uint8_t i = 0; i < 200; i++) {
        kp_chain_copy(&chain, &i, 1);
    }
    assert_int_equal(chain.count, 1);
    assert_int_equal(chain.bytes, 200);
    assert_int_equal(chain.pieces[0].bytes.ptr[199], 199);
    kp_chain_release(&chain);
}

static void a_piece_is_referenced_until_it_is_consumed(void **state) {
    (void)state;
    struct kp_chain chain;
    struct kp_blob *blob = kp_blob_new(1000);
    kp_chain_init(&chain);
    kp_chain_copy(&chain, "head", 4);
    kp_chain_piece(&chain, (struct kp_piece){blob, {blob->data, 1000}});
    kp_chain_copy(&chain, "tail", 4);
    assert_int_equal(chain.count, 3);
    assert_int_equal(chain.bytes, 1008);
    assert_int_equal(blob->refs, 2);
    kp_chain_consume(&chain, 500);
    assert_int_equal(chain.count, 2);
    assert_ptr_equal(chain.pieces[0].bytes.ptr, blob->data + 496);
    kp_chain_consume(&chain, 504);
    assert_int_equal(blob->refs, 1);
    assert_memory_equal(chain.pieces[0].bytes.ptr, "tail", 4);
    kp_chain_copy(&chain, "more", 4);
    assert_int_equal(chain.count, 1);
    kp_chain_consume(&chain, 8);
    assert_int_equal(chain.bytes, 0);
    assert_int_equal(chain.count, 0);
    kp_chain_release(&chain);
    kp_blob_unref(blob);
}

static void moving_leaves_the_source_empty_and_keeps_the_order(void **state) {
    (void)state;
    struct kp_chain a, b;
    kp_chain_init(&a);
    kp_chain_init(&b);
    kp_chain_copy(&a, "one", 3);
    kp_chain_copy(&b, "two", 3);
    kp_chain_move(&a, &b);
    assert_int_equal(b.count, 0);
    assert_int_equal(b.bytes, 0);
    kp_chain_copy(&a, "three", 5);
    kp_chain_copy(&b, "again", 5);
    kp_chain_move(&a, &b);
    kp_chain_move(&a, &b);
    char text[17] = "";
    for (size_t i = 0, at = 0; i < a.count; at += a.pieces[i++].bytes.len) {
        memcpy(text + at, a.pieces[i].bytes.ptr, a.pieces[i].bytes.len);
    }
    assert_string_equal(text, "onetwothreeagain");
    kp_chain_release(&a);
    kp_chain_release(&b);
}

static void reserved_bytes_stay_where_they_are(void **state) {
    (void)state;
    struct kp_chain chain;
    kp_chain_init(&chain);
    uint8_t *first = kp_chain_reserve(&chain, 4);
    for (int i = 0; i < 5000; i++) {
        kp_chain_copy(&chain, "abcdefg", 7);
    }
    uint8_t *second = kp_chain_reserve(&chain, 4090);
    memcpy(first, "1234", 4);
    memset(second, 'x', 4090);
    assert_memory_equal(chain.pieces[0].bytes.ptr, "1234abc", 7);
    assert_int_equal(chain.bytes, 4 + 35000 + 4090);
    struct kp_slice last = chain.pieces[chain.count - 1].bytes;
    assert_int_equal(last.ptr[last.len - 1], 'x');
    kp_chain_release(&chain);
}

static void bytes_larger_than_a_small_blob_are_copied_whole(void **state) {
    (void)state;
    struct kp_chain chain;
    uint8_t *bytes = malloc(20000);
    for (size_t i = 0; i < 20000; i++) {
        bytes[i] = (uint8_t)(i % 251);
    }
    kp_chain_init(&chain);
    kp_chain_copy(&chain, bytes, 100);
    kp_chain_copy(&chain, bytes + 100, 19900);
    size_t at = 0;
    for (size_t i = 0; i < chain.count; i++) {
        assert_memory_equal(chain.pieces[i].bytes.ptr, bytes + at, chain.pieces[i].bytes.len);
        at += chain.pieces[i].bytes.len;
    }
    assert_int_equal(at, 20000);
    kp_chain_release(&chain);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_gives_the_published_values),
        cmocka_unit_test(crc32c_is_the_same_with_and_without_instructions_for_every_length_and_alignment),
        cmocka_unit_test(crc32c_of_two_parts_continues),
        cmocka_unit_test(crc32c_of_two_parts_joins),
        cmocka_unit_test(varints_round_trip_at_every_width),
        cmocka_unit_test(zigzag_is_as_protobuf_has_it),
        cmocka_unit_test(a_varint_that_does_not_fit_is_refused),
        cmocka_unit_test(a_uuid_reads_back_from_its_text),
        cmocka_unit_test(text_that_is_not_exactly_one_uuid_is_refused),
        cmocka_unit_test(a_blob_is_aligned_and_its_memory_is_used_again),
        cmocka_unit_test(the_last_reference_frees),
        cmocka_unit_test(growing_keeps_the_used_bytes_and_counts_what_it_copies),
        cmocka_unit_test(a_buffer_wastes_at_most_a_quarter_of_what_was_asked),
        cmocka_unit_test(what_the_pool_keeps_is_bounded),
        cmocka_unit_test(small_buffers_that_come_back_leave_large_ones_that_are_in_use),
        cmocka_unit_test(a_size_in_use_pushes_out_of_the_pool_what_is_not),
        cmocka_unit_test(blobs_of_every_size_can_be_written_to_their_end),
        cmocka_unit_test(an_arena_gives_zeroed_aligned_memory_up_to_its_cap),
        cmocka_unit_test(an_arena_refuses_sizes_that_overflow),
        cmocka_unit_test(an_arena_drops_the_blobs_it_holds),
        cmocka_unit_test(resizing_keeps_the_bytes_and_respects_the_cap),
        cmocka_unit_test(copied_bytes_in_a_row_are_one_piece),
        cmocka_unit_test(a_piece_is_referenced_until_it_is_consumed),
        cmocka_unit_test(moving_leaves_the_source_empty_and_keeps_the_order),
        cmocka_unit_test(reserved_bytes_stay_where_they_are),
        cmocka_unit_test(bytes_larger_than_a_small_blob_are_copied_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

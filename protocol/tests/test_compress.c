#include "protocol/compress.h"

#include "protocol/bytes/be.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <snappy-c.h>

enum { ARENA_LIMIT = 16 << 20 };

/* Compressible, but not trivially. */
static struct kp_slice text(size_t len) {
    uint8_t *bytes = malloc(len + 1);
    uint32_t seed = 1;
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (uint8_t)("etaoin shrdlu"[(seed >> 16) % 13]);
    }
    return kp_slice_of(bytes, len);
}

static void release(struct kp_slice bytes) {
    free((void *)(uintptr_t)bytes.ptr);
}

static void every_codec_gives_back_what_it_was_given(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 4096, 32767, 32768, 32769, 100000, 1000000};
    for (enum kp_codec codec = KP_CODEC_NONE; codec <= KP_CODEC_ZSTD; codec++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct kp_slice in = text(sizes[i]), deflated, out;
            struct kp_arena arena;
            kp_arena_init(&arena, ARENA_LIMIT);
            assert_int_equal(kp_deflate(codec, in, &arena, &deflated), KP_ERROR_NONE);
            /* A limit of exactly the size is enough. */
            assert_int_equal(kp_inflate(codec, deflated, &arena, in.len, &out), KP_ERROR_NONE);
            assert_true(kp_slice_equal(in, out));
            assert_non_null(out.ptr);
            if (in.len > 0) {
                assert_int_equal(kp_inflate(codec, deflated, &arena, in.len - 1, &out), KP_ERROR_MESSAGE_TOO_LARGE);
            }
            kp_arena_release(&arena);
            release(in);
        }
    }
}

static void a_bomb_stops_at_the_limit(void **state) {
    (void)state;
    enum { SIZE = 8 << 20, LIMIT = 100000 };
    struct kp_slice zeros = kp_slice_of(calloc(1, SIZE), SIZE), deflated, out;
    for (enum kp_codec codec = KP_CODEC_GZIP; codec <= KP_CODEC_ZSTD; codec++) {
        struct kp_arena arena, small;
        kp_arena_init(&arena, ARENA_LIMIT);
        kp_arena_init(&small, 4 * LIMIT);
        assert_int_equal(kp_deflate(codec, zeros, &arena, &deflated), KP_ERROR_NONE);
        assert_int_equal(kp_inflate(codec, deflated, &small, LIMIT, &out), KP_ERROR_MESSAGE_TOO_LARGE);
        assert_int_equal(kp_inflate(codec, deflated, &small, SIZE, &out), KP_ERROR_MESSAGE_TOO_LARGE);
        kp_arena_release(&small);
        kp_arena_release(&arena);
    }
    release(zeros);
}

static void every_cut_is_refused(void **state) {
    (void)state;
    struct kp_slice in = text(3000), deflated, out;
    for (enum kp_codec codec = KP_CODEC_GZIP; codec <= KP_CODEC_ZSTD; codec++) {
        struct kp_arena arena;
        kp_arena_init(&arena, ARENA_LIMIT);
        assert_int_equal(kp_deflate(codec, in, &arena, &deflated), KP_ERROR_NONE);
        for (size_t len = 0; len < deflated.len; len++) {
            if (codec == KP_CODEC_SNAPPY && len == 16) {
                continue; /* a xerial header alone is a stream of nothing */
            }
            struct kp_arena own;
            kp_arena_init(&own, ARENA_LIMIT);
            uint8_t *copy = malloc(len + 1);
            memcpy(copy, deflated.ptr, len);
            enum kp_error error = kp_inflate(codec, kp_slice_of(copy, len), &own, 100000, &out);
            if (error != KP_ERROR_CORRUPT_MESSAGE) {
                fail_msg("codec %d accepts %zu of %zu bytes: %s", codec, len, deflated.len, kp_error_name(error));
            }
            free(copy);
            kp_arena_release(&own);
        }
        kp_arena_release(&arena);
    }
    release(in);
}

static void changed_bytes_end_in_a_result_within_the_limit(void **state) {
    (void)state;
    struct kp_slice in = text(2000), deflated, out;
    for (enum kp_codec codec = KP_CODEC_GZIP; codec <= KP_CODEC_ZSTD; codec++) {
        struct kp_arena arena;
        kp_arena_init(&arena, ARENA_LIMIT);
        assert_int_equal(kp_deflate(codec, in, &arena, &deflated), KP_ERROR_NONE);
        uint8_t *bytes = (uint8_t *)(uintptr_t)deflated.ptr;
        for (size_t i = 0; i < deflated.len; i++) {
            struct kp_arena own;
            kp_arena_init(&own, ARENA_LIMIT);
            bytes[i] ^= 0xA5;
            if (kp_inflate(codec, deflated, &own, 5000, &out) == KP_ERROR_NONE) {
                assert_true(out.len <= 5000);
            }
            bytes[i] ^= 0xA5;
            kp_arena_release(&own);
        }
        kp_arena_release(&arena);
    }
    release(in);
}

static void raw_snappy_is_read_as_librdkafka_writes_it(void **state) {
    (void)state;
    struct kp_slice in = text(100000), out;
    size_t size = snappy_max_compressed_length(in.len);
    char *raw = malloc(size);
    assert_int_equal(snappy_compress((const char *)in.ptr, in.len, raw, &size), SNAPPY_OK);
    struct kp_arena arena;
    kp_arena_init(&arena, ARENA_LIMIT);
    assert_int_equal(kp_inflate(KP_CODEC_SNAPPY, kp_slice_of(raw, size), &arena, in.len, &out), KP_ERROR_NONE);
    assert_true(kp_slice_equal(in, out));
    assert_int_equal(kp_inflate(KP_CODEC_SNAPPY, kp_slice_of(raw, size), &arena, in.len - 1, &out),
                     KP_ERROR_MESSAGE_TOO_LARGE);
    kp_arena_release(&arena);
    free(raw);
    release(in);
}

static void joined_streams_give_joined_output(void **state) {
    (void)state;
    struct kp_slice in = text(5000), deflated, out;
    for (enum kp_codec codec = KP_CODEC_GZIP; codec <= KP_CODEC_ZSTD; codec++) {
        struct kp_arena arena;
        kp_arena_init(&arena, ARENA_LIMIT);
        assert_int_equal(kp_deflate(codec, in, &arena, &deflated), KP_ERROR_NONE);
        uint8_t *twice = kp_arena_alloc(&arena, deflated.len * 2);
        memcpy(twice, deflated.ptr, deflated.len);
        memcpy(twice + deflated.len, deflated.ptr, deflated.len);
        assert_int_equal(kp_inflate(codec, kp_slice_of(twice, deflated.len * 2), &arena, 10000, &out), KP_ERROR_NONE);
        assert_int_equal(out.len, 10000);
        assert_memory_equal(out.ptr, in.ptr, 5000);
        assert_memory_equal(out.ptr + 5000, in.ptr, 5000);
        kp_arena_release(&arena);
    }
    release(in);
}

static void a_snappy_claim_beyond_its_ratio_allocates_nothing(void **state) {
    (void)state;
    static const uint8_t raw[] = {0xFF, 0xFF, 0xFF, 0x7F, 0};
    struct kp_arena arena;
    struct kp_slice out;
    kp_arena_init(&arena, SIZE_MAX / 2);
    assert_int_equal(kp_inflate(KP_CODEC_SNAPPY, kp_slice_of(raw, sizeof raw), &arena, SIZE_MAX / 4, &out),
                     KP_ERROR_CORRUPT_MESSAGE);
    assert_true(arena.used < 10000);
    kp_arena_release(&arena);
}

static void an_unknown_codec_is_unsupported(void **state) {
    (void)state;
    struct kp_arena arena;
    struct kp_slice out;
    kp_arena_init(&arena, 1000);
    assert_int_equal(kp_inflate((enum kp_codec)7, KP_SLICE_LIT("x"), &arena, 10, &out),
                     KP_ERROR_UNSUPPORTED_COMPRESSION_TYPE);
    kp_arena_release(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_codec_gives_back_what_it_was_given),
        cmocka_unit_test(a_bomb_stops_at_the_limit),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(changed_bytes_end_in_a_result_within_the_limit),
        cmocka_unit_test(raw_snappy_is_read_as_librdkafka_writes_it),
        cmocka_unit_test(joined_streams_give_joined_output),
        cmocka_unit_test(a_snappy_claim_beyond_its_ratio_allocates_nothing),
        cmocka_unit_test(an_unknown_codec_is_unsupported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

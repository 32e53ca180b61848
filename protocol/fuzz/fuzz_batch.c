/*
 * Record batches as a producer might send them, with every codec. Input: one byte that says how, then the batch.
 *
 * The length and the checksum are set right, unless bit 0 says to leave them: otherwise nothing would pass them. Bit 1
 * takes the bytes behind the header as records and compresses them with the codec in the attributes first, so that the
 * record parser is reached through every codec.
 */
#include "protocol/bytes/be.h"
#include "protocol/bytes/crc32c.h"
#include "protocol/compress.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INFLATE_LIMIT = 1 << 18, ARENA_LIMIT = 1 << 21, AT_CRC = 17, AT_ATTRIBUTES = 21 };

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static struct kp_slice deflate_records(struct kp_slice batch, struct kp_arena *arena) {
    int codec = kp_be_load16(batch.ptr + AT_ATTRIBUTES) & KP_BATCH_CODEC_MASK;
    struct kp_slice deflated;
    struct kp_slice records = kp_slice_of(batch.ptr + KP_BATCH_HEADER_SIZE, batch.len - KP_BATCH_HEADER_SIZE);
    if (codec > KP_CODEC_ZSTD || kp_deflate((enum kp_codec)codec, records, arena, &deflated) != KP_ERROR_NONE) {
        return batch;
    }
    uint8_t *whole = kp_arena_alloc(arena, KP_BATCH_HEADER_SIZE + deflated.len);
    require(whole != NULL);
    memcpy(whole, batch.ptr, KP_BATCH_HEADER_SIZE);
    if (deflated.len > 0) {
        memcpy(whole + KP_BATCH_HEADER_SIZE, deflated.ptr, deflated.len);
    }
    return kp_slice_of(whole, KP_BATCH_HEADER_SIZE + deflated.len);
}

static void sign(struct kp_slice batch) {
    uint8_t *bytes = (uint8_t *)(uintptr_t)batch.ptr;
    kp_be_store32(bytes + 8, (uint32_t)(batch.len - KP_BATCH_LENGTH_AT));
    bytes[16] = 2;
    kp_be_store32(bytes + AT_CRC, kp_crc32c(0, bytes + AT_ATTRIBUTES, batch.len - AT_ATTRIBUTES));
}

static void read_records(struct kp_slice batch, struct kp_arena *arena) {
    struct kp_record_reader reader;
    struct kp_record record;
    if (kp_records_open(&reader, batch, arena, INFLATE_LIMIT) != KP_ERROR_NONE) {
        return;
    }
    require(reader.rest.len <= (reader.batch.records.ptr == reader.rest.ptr ? batch.len : INFLATE_LIMIT));
    size_t bytes = reader.rest.len, seen = 0;
    while (kp_records_next(&reader, &record) == 1) {
        struct kp_slice key, value;
        require(record.offset >= reader.batch.base_offset);
        for (int32_t i = 0; i < record.header_count; i++) {
            require(kp_record_header_next(&record.headers, &key, &value));
        }
        require(record.headers.len == 0);
        require(++seen <= bytes);
    }
}

static struct kp_slice prepare(uint8_t how, struct kp_slice in, struct kp_arena *arena) {
    struct kp_slice batch = kp_arena_copy(arena, in);
    if (batch.len < KP_BATCH_HEADER_SIZE || (how & 1) != 0) {
        return batch;
    }
    if ((how & 2) != 0) {
        batch = deflate_records(batch, arena);
    }
    sign(batch);
    return batch;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > 1 << 16) {
        return 0;
    }
    struct kp_arena arena;
    kp_arena_init(&arena, ARENA_LIMIT);
    struct kp_slice batch = prepare(data[0], kp_slice_of(data + 1, size - 1), &arena);
    struct kp_batch header;
    const char *reason = NULL;
    enum kp_error error = kp_batch_check(batch, &header, &reason);
    require((error == KP_ERROR_NONE) == (reason == NULL));
    if (error == KP_ERROR_NONE) {
        require(header.bytes.len == batch.len && header.record_count >= 1);
    }
    if (kp_batch_peek(batch, &header) == KP_ERROR_NONE) {
        kp_batch_patch((uint8_t *)(uintptr_t)batch.ptr, 1000, -1);
        read_records(batch, &arena);
    }
    kp_arena_release(&arena);
    return 0;
}

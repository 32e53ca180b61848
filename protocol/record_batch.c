/*
 * Records inside a batch are length-prefixed and made of zigzag varints:
 *
 *     length, attributes (1 byte, 0), timestampDelta, offsetDelta, keyLength, key, valueLength, value,
 *     headerCount, then per header: keyLength, key, valueLength, value
 *
 * Length -1 is null, which the key of a header cannot be.
 *
 * What is checked when: kp_batch_check looks at the header and the CRC only, one pass over the bytes, and never
 * inflates: a broker stores what the producer compressed. The records are first parsed when somebody reads them, so
 * every reader here takes them as hostile.
 */
#include "protocol/record_batch.h"

#include "protocol/bytes/be.h"
#include "protocol/bytes/crc32c.h"
#include "protocol/bytes/varint.h"
#include "protocol/compress.h"

enum {
    AT_BASE_OFFSET = 0,
    AT_LENGTH = 8,
    AT_LEADER_EPOCH = 12,
    AT_MAGIC = 16,
    AT_CRC = 17,
    AT_ATTRIBUTES = 21, /* the CRC begins here */
    AT_LAST_OFFSET_DELTA = 23,
    AT_BASE_TIMESTAMP = 27,
    AT_MAX_TIMESTAMP = 35,
    AT_PRODUCER_ID = 43,
    AT_PRODUCER_EPOCH = 51,
    AT_BASE_SEQUENCE = 53,
    AT_RECORD_COUNT = 57,
    MAGIC = 2,
    SUM_JOIN_LEAST = 64 * 1024, /* joining costs about as much as summing a third of it */
    RECORD_SIZE_MIN = 7, /* length, attributes, two deltas, two lengths, header count */
};

enum kp_error kp_batch_peek(struct kp_slice bytes, struct kp_batch *batch) {
    if (bytes.len < KP_BATCH_HEADER_SIZE) {
        return KP_ERROR_CORRUPT_MESSAGE;
    }
    const uint8_t *at = bytes.ptr;
    int32_t length = (int32_t)kp_be_load32(at + AT_LENGTH);
    if (at[AT_MAGIC] != MAGIC || length < KP_BATCH_HEADER_SIZE - KP_BATCH_LENGTH_AT ||
        (size_t)length > bytes.len - KP_BATCH_LENGTH_AT) {
        return KP_ERROR_CORRUPT_MESSAGE;
    }
    size_t size = (size_t)length + KP_BATCH_LENGTH_AT;
    *batch = (struct kp_batch){
        .base_offset = (int64_t)kp_be_load64(at + AT_BASE_OFFSET),
        .leader_epoch = (int32_t)kp_be_load32(at + AT_LEADER_EPOCH),
        .crc = kp_be_load32(at + AT_CRC),
        .attributes = (int16_t)kp_be_load16(at + AT_ATTRIBUTES),
        .last_offset_delta = (int32_t)kp_be_load32(at + AT_LAST_OFFSET_DELTA),
        .base_timestamp_ms = (int64_t)kp_be_load64(at + AT_BASE_TIMESTAMP),
        .max_timestamp_ms = (int64_t)kp_be_load64(at + AT_MAX_TIMESTAMP),
        .producer_id = (int64_t)kp_be_load64(at + AT_PRODUCER_ID),
        .producer_epoch = (int16_t)kp_be_load16(at + AT_PRODUCER_EPOCH),
        .base_sequence = (int32_t)kp_be_load32(at + AT_BASE_SEQUENCE),
        .record_count = (int32_t)kp_be_load32(at + AT_RECORD_COUNT),
        .bytes = {at, size},
        .records = {at + KP_BATCH_HEADER_SIZE, size - KP_BATCH_HEADER_SIZE},
    };
    return KP_ERROR_NONE;
}

static uint32_t batch_crc(const uint8_t *batch, size_t len) {
    return kp_crc32c(0, batch + AT_ATTRIBUTES, len - AT_ATTRIBUTES);
}

/* What is wrong in itself and stays wrong when it is sent again. */
static const char *invalid_reason(const struct kp_batch *batch) {
    if ((batch->attributes & KP_BATCH_CODEC_MASK) > KP_CODEC_ZSTD) {
        return "The compression codec of the batch is unknown.";
    }
    if ((batch->attributes & KP_BATCH_CONTROL) != 0) {
        return "Clients cannot write control batches.";
    }
    if (batch->record_count < 1) {
        return "The batch holds no records.";
    }
    if (batch->last_offset_delta != batch->record_count - 1) {
        return "The last offset delta does not match the count of records.";
    }
    if ((batch->attributes & KP_BATCH_CODEC_MASK) == KP_CODEC_NONE &&
        (size_t)batch->record_count > batch->records.len / RECORD_SIZE_MIN) {
        return "The batch is too short for its count of records.";
    }
    if (batch->producer_id >= 0 && (batch->producer_epoch < 0 || batch->base_sequence < 0)) {
        return "A batch with a producer id needs an epoch and a sequence.";
    }
    if (batch->producer_id < 0 && (batch->attributes & KP_BATCH_TRANSACTIONAL) != 0) {
        return "A transactional batch needs a producer id.";
    }
    return NULL;
}

enum kp_error kp_batch_check(struct kp_slice bytes, struct kp_batch *batch, const char **reason) {
    *reason = NULL;
    if (bytes.len == 0) {
        *reason = "Exactly one batch is accepted for each partition.";
        return KP_ERROR_INVALID_RECORD;
    }
    if (bytes.len > AT_MAGIC && bytes.ptr[AT_MAGIC] != MAGIC) {
        *reason = "Only record batches of magic 2 are accepted.";
        return KP_ERROR_INVALID_RECORD;
    }
    if (kp_batch_peek(bytes, batch) != KP_ERROR_NONE) {
        *reason = "The batch is cut or its length is wrong.";
        return KP_ERROR_CORRUPT_MESSAGE;
    }
    if (batch->bytes.len != bytes.len) {
        *reason = "Exactly one batch is accepted for each partition.";
        return KP_ERROR_INVALID_RECORD;
    }
    if (batch_crc(bytes.ptr, bytes.len) != batch->crc) {
        *reason = "The checksum of the batch does not match its bytes.";
        return KP_ERROR_CORRUPT_MESSAGE;
    }
    if ((batch->attributes & KP_BATCH_LOG_APPEND_TIME) != 0) {
        *reason = "Clients cannot set the timestamp type to LogAppendTime.";
        return KP_ERROR_INVALID_TIMESTAMP;
    }
    *reason = invalid_reason(batch);
    return *reason == NULL ? KP_ERROR_NONE : KP_ERROR_INVALID_RECORD;
}

uint32_t kp_batch_sum(uint32_t crc, struct kp_slice batch) {
    if (batch.len < SUM_JOIN_LEAST) {
        return kp_crc32c(crc, batch.ptr, batch.len);
    }
    uint32_t head = kp_crc32c(crc, batch.ptr, AT_ATTRIBUTES);
    return kp_crc32c_join(head, kp_be_load32(batch.ptr + AT_CRC), batch.len - AT_ATTRIBUTES);
}

void kp_batch_patch(uint8_t *batch, int64_t base_offset, int32_t leader_epoch) {
    kp_be_store64(batch + AT_BASE_OFFSET, (uint64_t)base_offset);
    kp_be_store32(batch + AT_LEADER_EPOCH, (uint32_t)leader_epoch);
}

void kp_batch_set_append_time(uint8_t *batch, size_t len, int64_t append_time_ms) {
    uint16_t attributes = kp_be_load16(batch + AT_ATTRIBUTES);
    kp_be_store16(batch + AT_ATTRIBUTES, (uint16_t)(attributes | KP_BATCH_LOG_APPEND_TIME));
    kp_be_store64(batch + AT_MAX_TIMESTAMP, (uint64_t)append_time_ms);
    kp_be_store32(batch + AT_CRC, batch_crc(batch, len));
}

/* ---- reading records ---- */

enum kp_error kp_records_open(struct kp_record_reader *reader, struct kp_slice batch, struct kp_arena *arena,
                              size_t inflate_limit) {
    *reader = (struct kp_record_reader){0};
    enum kp_error error = kp_batch_peek(batch, &reader->batch);
    if (error != KP_ERROR_NONE) {
        return error;
    }
    int codec = reader->batch.attributes & KP_BATCH_CODEC_MASK;
    if (reader->batch.record_count < 0) {
        return KP_ERROR_CORRUPT_MESSAGE;
    }
    if (codec == KP_CODEC_NONE) {
        reader->rest = reader->batch.records;
        return KP_ERROR_NONE;
    }
    if (codec > KP_CODEC_ZSTD) {
        return KP_ERROR_UNSUPPORTED_COMPRESSION_TYPE;
    }
    return kp_inflate((enum kp_codec)codec, reader->batch.records, arena, inflate_limit, &reader->rest);
}

static bool take_varint(struct kp_slice *in, int64_t *value) {
    size_t taken = kp_varint_get(in->ptr, in->ptr + in->len, value);
    in->ptr += taken;
    in->len -= taken;
    return taken != 0;
}

static bool take_int32(struct kp_slice *in, int32_t *value) {
    size_t taken = kp_varint32_get(in->ptr, in->ptr + in->len, value);
    in->ptr += taken;
    in->len -= taken;
    return taken != 0;
}

static bool take_bytes(struct kp_slice *in, struct kp_slice *bytes) {
    int32_t length = 0;
    if (!take_int32(in, &length) || length < -1 || (length > 0 && (size_t)length > in->len)) {
        return false;
    }
    if (length < 0) {
        *bytes = (struct kp_slice){NULL, 0};
        return true;
    }
    *bytes = kp_slice_of(in->ptr, (size_t)length);
    in->ptr += length;
    in->len -= (size_t)length;
    return true;
}

bool kp_record_header_next(struct kp_slice *headers, struct kp_slice *key, struct kp_slice *value) {
    return take_bytes(headers, key) && key->ptr != NULL && take_bytes(headers, value);
}

static bool headers_whole(struct kp_slice headers, int32_t count) {
    struct kp_slice key, value;
    for (int32_t i = 0; i < count; i++) {
        if (!kp_record_header_next(&headers, &key, &value)) {
            return false;
        }
    }
    return headers.len == 0;
}

/* The offset of a record may not wrap, and its delta lies within what the batch header says. Timestamps are only
 * numbers: they wrap as they did when the delta was taken. */
static bool place(const struct kp_batch *batch, int64_t time_delta, int32_t offset_delta, struct kp_record *record) {
    if (offset_delta < 0 || offset_delta > batch->last_offset_delta) {
        return false;
    }
    bool append_time = (batch->attributes & KP_BATCH_LOG_APPEND_TIME) != 0;
    record->timestamp_ms = append_time ? batch->max_timestamp_ms
                                       : (int64_t)((uint64_t)batch->base_timestamp_ms + (uint64_t)time_delta);
    return !__builtin_add_overflow(batch->base_offset, offset_delta, &record->offset);
}

int kp_records_next(struct kp_record_reader *reader, struct kp_record *record) {
    if (reader->next == reader->batch.record_count) {
        return reader->rest.len == 0 ? 0 : -1;
    }
    int32_t length = 0, offset_delta = 0;
    int64_t time_delta = 0;
    if (!take_int32(&reader->rest, &length) || length < 1 || (size_t)length > reader->rest.len) {
        return -1;
    }
    struct kp_slice in = kp_slice_of(reader->rest.ptr, (size_t)length);
    reader->rest = kp_slice_of(in.ptr + in.len, reader->rest.len - in.len);
    in = kp_slice_of(in.ptr + 1, in.len - 1); /* attributes: none are defined */
    if (!take_varint(&in, &time_delta) || !take_int32(&in, &offset_delta) || !take_bytes(&in, &record->key) ||
        !take_bytes(&in, &record->value) || !take_int32(&in, &record->header_count) || record->header_count < 0 ||
        !headers_whole(in, record->header_count) || !place(&reader->batch, time_delta, offset_delta, record)) {
        return -1;
    }
    record->headers = in;
    reader->next++;
    return 1;
}

/* ---- building ---- */

/* The key of a header cannot be null. */
static struct kp_slice not_null(struct kp_slice bytes) {
    return bytes.ptr == NULL ? KP_SLICE_LIT("") : bytes;
}

static size_t bytes_size(struct kp_slice bytes) {
    return bytes.ptr == NULL ? 1 : kp_varint_size((int64_t)bytes.len) + bytes.len;
}

static uint8_t *put_bytes(uint8_t *at, struct kp_slice bytes) {
    at += kp_varint_put(at, bytes.ptr == NULL ? -1 : (int64_t)bytes.len);
    if (bytes.len > 0) {
        memcpy(at, bytes.ptr, bytes.len);
    }
    return at + bytes.len;
}

/* Of the record behind its length. */
static size_t record_size(const struct kp_new_record *record, int64_t time_delta, int32_t index) {
    size_t size = 1 + kp_varint_size(time_delta) + kp_varint_size(index) + bytes_size(record->key) +
                  bytes_size(record->value) + kp_varint_size(record->header_count);
    for (int32_t i = 0; i < record->header_count; i++) {
        size += bytes_size(not_null(record->headers[i].key)) + bytes_size(record->headers[i].value);
    }
    return size;
}

static uint8_t *put_record(uint8_t *at, const struct kp_new_record *record, int64_t time_delta, int32_t index) {
    at += kp_varint_put(at, (int64_t)record_size(record, time_delta, index));
    *at++ = 0;
    at += kp_varint_put(at, time_delta);
    at += kp_varint_put(at, index);
    at = put_bytes(at, record->key);
    at = put_bytes(at, record->value);
    at += kp_varint_put(at, record->header_count);
    for (int32_t i = 0; i < record->header_count; i++) {
        at = put_bytes(at, not_null(record->headers[i].key));
        at = put_bytes(at, record->headers[i].value);
    }
    return at;
}

/* Size of the whole batch, 0 when it would not fit its length field. */
static size_t batch_size(const struct kp_new_record *records, int32_t count) {
    size_t size = KP_BATCH_HEADER_SIZE;
    for (int32_t i = 0; i < count; i++) {
        /* Two timestamps may lie further apart than an int64 holds: wrap, as the reader does. */
        int64_t delta = (int64_t)((uint64_t)records[i].timestamp_ms - (uint64_t)records[0].timestamp_ms);
        size_t record = record_size(&records[i], delta, i);
        size += kp_varint_size((int64_t)record) + record;
        if (record > INT32_MAX || size > INT32_MAX) {
            return 0;
        }
    }
    return size;
}

struct kp_blob *kp_batch_build(const struct kp_new_record *records, int32_t count) {
    size_t size = count < 1 ? 0 : batch_size(records, count);
    struct kp_blob *blob = size == 0 ? NULL : kp_blob_new(size);
    if (blob == NULL) {
        return NULL;
    }
    uint8_t *batch = blob->data, *at = batch + KP_BATCH_HEADER_SIZE;
    int64_t base = records[0].timestamp_ms, latest = base;
    for (int32_t i = 0; i < count; i++) {
        int64_t time = records[i].timestamp_ms;
        latest = time > latest ? time : latest;
        at = put_record(at, &records[i], (int64_t)((uint64_t)time - (uint64_t)base), i);
    }
    memset(batch, 0, KP_BATCH_HEADER_SIZE);
    kp_batch_patch(batch, 0, -1);
    kp_be_store32(batch + AT_LENGTH, (uint32_t)(size - KP_BATCH_LENGTH_AT));
    batch[AT_MAGIC] = MAGIC;
    kp_be_store32(batch + AT_LAST_OFFSET_DELTA, (uint32_t)count - 1);
    kp_be_store64(batch + AT_BASE_TIMESTAMP, (uint64_t)base);
    kp_be_store64(batch + AT_MAX_TIMESTAMP, (uint64_t)latest);
    kp_be_store64(batch + AT_PRODUCER_ID, UINT64_MAX);
    kp_be_store16(batch + AT_PRODUCER_EPOCH, UINT16_MAX);
    kp_be_store32(batch + AT_BASE_SEQUENCE, UINT32_MAX);
    kp_be_store32(batch + AT_RECORD_COUNT, (uint32_t)count);
    kp_be_store32(batch + AT_CRC, batch_crc(batch, size));
    return blob;
}

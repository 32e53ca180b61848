/*
 * Kafka record batches, magic 2 (KIP-98): the unit that is produced, stored and fetched.
 *
 *   offset size field                        offset size field
 *        0    8 baseOffset                       27    8 baseTimestamp (ms)
 *        8    4 batchLength (bytes after it)     35    8 maxTimestamp (ms)
 *       12    4 partitionLeaderEpoch             43    8 producerId (-1: none)
 *       16    1 magic = 2                        51    2 producerEpoch
 *       17    4 crc: CRC-32C of 21..end          53    4 baseSequence
 *       21    2 attributes                       57    4 records count
 *       23    4 lastOffsetDelta                  61      records, compressed as one block
 *
 * All integers big-endian. baseOffset and partitionLeaderEpoch lie outside the CRC, so that a broker may set them.
 */
#ifndef KP_RECORD_BATCH_H
#define KP_RECORD_BATCH_H

#include "protocol/bytes/arena.h"
#include "protocol/error.h"

#define KP_BATCH_HEADER_SIZE 61
#define KP_BATCH_LENGTH_AT 12 /* batchLength counts from here */

enum kp_codec { KP_CODEC_NONE, KP_CODEC_GZIP, KP_CODEC_SNAPPY, KP_CODEC_LZ4, KP_CODEC_ZSTD };

enum kp_batch_attribute {
    KP_BATCH_CODEC_MASK = 0x07,
    KP_BATCH_LOG_APPEND_TIME = 0x08,
    KP_BATCH_TRANSACTIONAL = 0x10,
    KP_BATCH_CONTROL = 0x20,
    KP_BATCH_DELETE_HORIZON = 0x40,
};

struct kp_batch {
    int64_t base_offset;
    int32_t leader_epoch;
    uint32_t crc;
    int16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp_ms, max_timestamp_ms;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t record_count;
    struct kp_slice bytes;   /* the whole batch, header included */
    struct kp_slice records; /* after the header, as compressed */
};

/* Reads the header of the first batch in `bytes` and checks only that the batch lies whole in it and is magic 2.
 * KP_ERROR_CORRUPT_MESSAGE otherwise. The CRC is not checked. */
enum kp_error kp_batch_peek(struct kp_slice bytes, struct kp_batch *batch);

/* What a broker must check of one batch that a client produced (exactly one batch, nothing after it): lengths, magic,
 * CRC, codec known, count = lastOffsetDelta + 1 >= 1, no control bit, producer fields consistent (id >= 0 needs epoch
 * and sequence >= 0). *reason is a static sentence for error_message, NULL when all is well.
 * KP_ERROR_CORRUPT_MESSAGE for what a retry may mend, KP_ERROR_INVALID_RECORD for what is wrong in itself,
 * KP_ERROR_INVALID_TIMESTAMP for a batch that claims log append time, which only the server may give. */
enum kp_error kp_batch_check(struct kp_slice bytes, struct kp_batch *batch, const char **reason);

/* CRC-32C over bytes that end with a whole batch, from that of the bytes before it. The batch has passed
 * kp_batch_check: its own CRC stands for most of it. */
uint32_t kp_batch_sum(uint32_t crc, struct kp_slice batch);

/* Sets the two fields outside the CRC, in place. */
void kp_batch_patch(uint8_t *batch, int64_t base_offset, int32_t leader_epoch);
/* Turns a batch into one of log append time, in place: attribute, max timestamp, new CRC. */
void kp_batch_set_append_time(uint8_t *batch, size_t len, int64_t append_time_ms);

/* One record. Slices point into the batch, or into the arena when it was compressed. */
struct kp_record {
    int64_t offset;
    int64_t timestamp_ms;
    struct kp_slice key, value; /* ptr NULL: null */
    struct kp_slice headers;    /* encoded, header_count of them: kp_record_header_next */
    int32_t header_count;
};

struct kp_record_reader {
    struct kp_batch batch;
    struct kp_slice rest;
    int32_t next;
};

/* Opens the records of one batch: inflates them into the arena when compressed, at most inflate_limit bytes
 * (KP_ERROR_MESSAGE_TOO_LARGE beyond it). */
enum kp_error kp_records_open(struct kp_record_reader *reader, struct kp_slice batch, struct kp_arena *arena,
                              size_t inflate_limit);
/* 1: a record was read, 0: none left, <0: the batch is damaged. */
int kp_records_next(struct kp_record_reader *reader, struct kp_record *record);
/* Takes the next header off *headers. False at the end or when damaged. */
bool kp_record_header_next(struct kp_slice *headers, struct kp_slice *key, struct kp_slice *value);

struct kp_record_header {
    struct kp_slice key, value;
};
/* One record to be built; the timestamp is absolute. */
struct kp_new_record {
    int64_t timestamp_ms;
    struct kp_slice key, value;
    const struct kp_record_header *headers;
    int32_t header_count;
};
/* An uncompressed batch of these records with base offset 0 and no producer, in a blob of its own of exactly its size
 * (one reference). NULL when memory is out or the batch would pass 2^31 bytes. */
struct kp_blob *kp_batch_build(const struct kp_new_record *records, int32_t count);

#endif

/*
 * A request of the pool, as bytes: everything that whoever commits it must know (journal/pool.h), at most
 * ST_POOL_BODY_MAX bytes.
 *
 *   offset size field
 *        0    1 format version = 1
 *        1   16 id: of the commit that it will be
 *       17    8 begun: the last slot that its writer had applied
 *       25    . s object name ("": its bytes lie in the inline area), u object length
 *        .    . u appends, each: id topic, u partition, u records, u flags, u position, u length, i max timestamp,
 *               with ST_POOLED_PRODUCER: u producer id, u epoch, u first sequence
 *               with ST_POOLED_KEYED: s idempotency key, 8 and 8 hash of what was asked, i store time at which it
 *               was, u parts: this append and those behind it that the key is for
 *        .    . inline area: record batches as sent; positions count from its start, or in the object
 *    end-4    4 CRC-32C of all bytes before it
 *
 * The appends are made true by one entry or by none, and answered one by one: its commit is the fact `pooled` and then
 * an append, refused or duplicate for each, in this order.
 */
#ifndef ST_POOLED_H
#define ST_POOLED_H

#include "storage/journal/fact.h"

#define ST_POOLED_VERSION 1

enum st_pooled_flag {
    ST_POOLED_PRODUCER = 1, /* an idempotent producer's batch */
    ST_POOLED_KEYED = 4, /* the first part of what has an idempotency key */
    ST_POOLED_HELD = 2,     /* it was held for a predecessor that did not come: an unknown producer's is accepted */
};

struct st_pooled_append {
    struct kp_uuid topic_id;
    int32_t partition, count;
    uint32_t flags, position, len;
    int64_t max_timestamp_ms, producer_id;
    int16_t epoch;
    int32_t first_sequence;
    struct kp_slice key; /* with ST_POOLED_KEYED: this and the rest */
    uint64_t key_hash[2];
    int64_t key_begun_ms;
    uint32_t key_parts;
};

struct st_pooled {
    struct kp_uuid id;
    uint64_t begun;
    struct kp_slice object_name; /* len 0: inline */
    uint64_t object_len;
    size_t count;
    struct kp_slice appends;     /* encoded */
    struct kp_slice inline_bytes;
};

/* Writes all but the inline area and the CRC: the caller appends the area and calls the end. */
void st_pooled_begin(struct st_pack *out, const struct st_pooled *request);
void st_pooled_write(struct st_pack *out, const struct st_pooled_append *append);
void st_pooled_end(struct st_pack *out);

/* False: damaged, or of a newer version. Slices point into the body. Every append was looked at. */
bool st_pooled_read(struct kp_slice body, struct st_pooled *request);
/* True when an entry has room for it: else it must not go into the pool (pool.c). */
bool st_pooled_fits_alone(const struct st_pooled *request);
/* A copy of a whole body, begun at another slot; NULL: no memory. */
struct kp_blob *st_pooled_renewed(const struct kp_blob *body, uint64_t begun);
/* The next of request->appends. */
bool st_pooled_next(struct st_unpack *in, struct st_pooled_append *append);

#endif

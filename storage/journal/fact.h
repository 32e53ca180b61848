/*
 * A fact: one typed change of state inside a journal entry. What is written is true given all slots before it, so the
 * reader applies it without asking (DESIGN.md, idea 2).
 *
 * On the wire: varint type, varint length of the body, body. Bodies (u = varint, i = zigzag varint, s = u length and
 * bytes, id = 16 bytes):
 *   level           u level
 *   topic_created   id topic, s name, u partitions, i first offset, u configs, {s name, s value}...
 *   topic_deleted   id topic
 *   producer_ids    u count                      (the block begins where the last one ended)
 *   object          s name, u length             (at most one per entry, before its appends)
 *   append          id topic, u partition, i base offset, u records, u flags, u position, u length, i max timestamp,
 *                   with ST_APPEND_PRODUCER: u producer id, u epoch, u first sequence
 *   pooled          u begun                      (the slot that its writer had applied; pool.h)
 *   refused         u error                      (refusals.def)
 *   duplicate       i base offset, i append time of the batch that stands
 *   key             id topic, s key, 8 and 8 hash of the request, i store time, u partitions, each, in their order:
 *                   u partition, i base offset, u records
 *   forgotten       i store time
 * position counts from the start of the object's data, or of the entry's inline area. A body longer than its fields is
 * a fact of a newer level: it does not decode. In a pooled commit there is one append, refused or duplicate for each
 * request, in the order of the requests.
 */
#ifndef ST_FACT_H
#define ST_FACT_H

#include "storage/engine.h"
#include "storage/journal/pack.h"

#define ST_LEVEL 1
/* Bytes of one run, so of one batch: whoever reads a row takes so much memory on its word. */
#define ST_RUN_MAX (256u << 20)
#define ST_CONFIGS_MAX 128

enum st_fact_type {
#define FACT(number, name) ST_FACT_##name = number,
#include "storage/journal/facts.def"
#undef FACT
};

enum st_append_flag {
    ST_APPEND_INLINE = 1,      /* bytes ride in the entry, else in its object */
    ST_APPEND_PRODUCER = 2,    /* an idempotent producer's batch */
    ST_APPEND_TIME = 4,        /* log append time: max timestamp is the time of all records, set when served */
};

struct st_fact_topic {
    struct kp_uuid id;
    struct kp_slice name;
    int32_t partitions;
    int64_t first_offset;
    uint32_t config_count;
    struct kp_slice configs; /* encoded pairs */
};

struct st_fact_append {
    struct kp_uuid topic_id;
    int32_t partition;
    int64_t base;
    int32_t count;
    uint32_t flags;
    uint32_t position, len;
    int64_t max_timestamp_ms;
    int64_t producer_id;
    int16_t epoch;
    int32_t first_sequence;
};

#define ST_KEY_MAX 255

struct st_fact_key {
    struct kp_uuid topic_id;
    struct kp_slice name;
    uint64_t hash[2];
    int64_t time_ms;
    size_t place_count;
    struct kp_slice places; /* encoded */
};

struct st_fact {
    enum st_fact_type type;
    union {
        uint64_t level;
        struct st_fact_topic topic;
        struct kp_uuid topic_id; /* topic_deleted */
        uint64_t producer_ids;
        struct {
            struct kp_slice name;
            uint64_t len;
        } object;
        struct st_fact_append append;
        uint64_t begun;        /* pooled */
        enum st_error refused; /* never ST_OK */
        struct {
            int64_t base, append_time_ms;
        } duplicate;
        struct st_fact_key key;
        int64_t forgotten;
    } u;
};

void st_fact_write(struct st_pack *out, const struct st_fact *fact);
/* False when the bytes are damaged or of an unknown type; slices point into the input. */
bool st_fact_read(struct st_unpack *in, struct st_fact *fact);
/* The body of a key: this, and then its places, which are written behind it when `places` is absent. */
void st_fact_key_write(struct st_pack *out, const struct st_fact_key *key);
void st_fact_place_write(struct st_pack *out, int32_t partition, int64_t base, int32_t count);
void st_fact_key_read(struct st_unpack *in, struct st_fact_key *key);
/* The next of key->places. */
void st_fact_place_next(struct st_unpack *in, int32_t *partition, int64_t *base, int32_t *count);
/* Errors as numbers of refusals.def; 0 is ST_OK. */
uint64_t st_refusal_number(enum st_error error);
enum st_error st_refusal_error(uint64_t number);
/* Takes the next pair off a topic's encoded configs. */
bool st_fact_config_next(struct st_unpack *in, struct st_config *config);

#endif

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
 *   appends         appends.h
 *   pooled          u begun                      (the slot that its writer had applied; pool.h)
 *   refused         u error                      (refusals.def)
 *   duplicate       i base offset, i append time of the batch that stands
 *   key             id topic, s key, 8 and 8 hash of the request, i store time, u partitions, each, in their order:
 *                   u partition, i base offset, u records
 *   forgotten       i store time
 * A body longer than its fields is a fact of a newer level: it does not decode. In a pooled commit there is one batch
 * of an appends, a refused or a duplicate for each request, in the order of the requests.
 */
#ifndef ST_FACT_H
#define ST_FACT_H

#include "storage/engine.h"
#include "storage/journal/appends.h"

#define ST_LEVEL 1
#define ST_CONFIGS_MAX 128

enum st_fact_type {
#define FACT(number, name) ST_FACT_##name = number,
#include "storage/journal/facts.def"
#undef FACT
};

struct st_fact_topic {
    struct kp_uuid id;
    struct kp_slice name;
    int32_t partitions;
    int64_t first_offset;
    uint32_t config_count;
    struct kp_slice configs; /* encoded pairs */
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
        struct st_fact_appends appends;
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

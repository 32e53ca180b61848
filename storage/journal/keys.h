/*
 * Requests that were answered under an idempotency key: who sends one again is told where its records stand, and who
 * sends another under the same key is told so. A key belongs to a topic and goes with it, or by a fact `forgotten`,
 * which some writer adds to an entry that it is about to write anyway when the store's clock shows that keys have
 * stood for ST_KEY_LIFE_MS. State of the fold (fold.h): a table sorted by topic id and key.
 */
#ifndef ST_KEYS_H
#define ST_KEYS_H

#include "storage/journal/fact.h"

#define ST_KEY_LIFE_MS (24 * 3600 * INT64_C(1000))
/* A writer brings in no further key beyond either. Every process holds all of them, and every checkpoint. */
#define ST_KEYS_MAX 100000
#define ST_KEYS_BYTES_MAX (16u << 20)

/* Where a request's records stand in one partition: in one run, since one entry brought them. */
struct st_key_place {
    int32_t partition, count;
    int64_t base;
};

struct st_key {
    struct kp_uuid topic_id;
    uint64_t hash[2]; /* of the request */
    int64_t time_ms;  /* of the store, when it was decided */
    size_t place_count;
    struct st_key_place *places; /* by partition, each once; behind the struct, like the name */
    struct kp_slice name;
};

struct st_keys {
    struct st_key **at;
    size_t count, capacity;
    size_t bytes;      /* of memory, about */
    int64_t oldest_ms; /* least time_ms; INT64_MAX: there is none */
    int64_t forgotten_ms; /* those of this time and before are forgotten; INT64_MIN: none was */
};

void st_keys_init(struct st_keys *keys);
void st_keys_release(struct st_keys *keys);
struct st_key *st_keys_find(const struct st_keys *keys, const struct kp_uuid *topic_id, struct kp_slice name);
/* NULL: out of memory, or places that are not sorted. */
struct st_key *st_key_new(const struct st_fact_key *fact);
bool st_keys_grow(struct st_keys *keys, size_t more);
/* There is room, and no such key; it is taken over. */
void st_keys_insert(struct st_keys *keys, struct st_key *key);
/* Drops those of this time and before. */
void st_keys_forget(struct st_keys *keys, int64_t time_ms);
void st_keys_drop_topic(struct st_keys *keys, const struct kp_uuid *topic_id);

/* Canonical form: i forgotten, u keys, each: as the body of the fact `key`. Nothing when there is neither. */
bool st_keys_empty(const struct st_keys *keys);
void st_keys_write(const struct st_keys *keys, struct st_pack *out);
/* False: damaged, or out of memory. */
bool st_keys_read(struct st_unpack *in, struct st_keys *keys);
bool st_keys_copy(const struct st_keys *from, struct st_keys *to);

#endif

#include "storage/journal/keys.h"

#include "storage/journal/fold_tables.h"

#define KEY_LEAST 39 /* bytes of the shortest key in canonical form */

void st_keys_init(struct st_keys *keys) {
    *keys = (struct st_keys){.oldest_ms = INT64_MAX, .forgotten_ms = INT64_MIN};
}

void st_keys_release(struct st_keys *keys) {
    for (size_t i = 0; i < keys->count; i++) {
        free(keys->at[i]);
    }
    free(keys->at);
    st_keys_init(keys);
}

static int compare(const struct st_key *key, const struct kp_uuid *topic_id, struct kp_slice name) {
    int order = memcmp(key->topic_id.bytes, topic_id->bytes, sizeof topic_id->bytes);
    return order != 0 ? order : kp_slice_compare(key->name, name);
}

/* Index of the first key that is not less. */
static size_t position(const struct st_keys *keys, const struct kp_uuid *topic_id, struct kp_slice name) {
    size_t low = 0, high = keys->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(keys->at[middle], topic_id, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct st_key *st_keys_find(const struct st_keys *keys, const struct kp_uuid *topic_id, struct kp_slice name) {
    size_t at = position(keys, topic_id, name);
    return at < keys->count && compare(keys->at[at], topic_id, name) == 0 ? keys->at[at] : NULL;
}

static size_t size_of(const struct st_key *key) {
    return sizeof *key + key->place_count * sizeof *key->places + key->name.len + sizeof key;
}

struct st_key *st_key_new(const struct st_fact_key *fact) {
    size_t places = fact->place_count * sizeof(struct st_key_place);
    struct st_key *key = malloc(sizeof *key + places + fact->name.len);
    if (key == NULL) {
        return NULL;
    }
    uint8_t *behind = (uint8_t *)(key + 1);
    *key = (struct st_key){
        .topic_id = fact->topic_id,
        .hash = {fact->hash[0], fact->hash[1]},
        .time_ms = fact->time_ms,
        .place_count = fact->place_count,
        .places = (struct st_key_place *)(void *)behind,
        .name = kp_slice_of(behind + places, fact->name.len),
    };
    memcpy(behind + places, fact->name.ptr, fact->name.len);
    struct st_unpack in = st_unpack_of(fact->places);
    for (size_t i = 0; i < key->place_count; i++) {
        st_fact_place_next(&in, &key->places[i].partition, &key->places[i].base, &key->places[i].count);
    }
    return key;
}

bool st_keys_grow(struct st_keys *keys, size_t more) {
    return st_fold_grow(&keys->at, keys->count + more, &keys->capacity, sizeof(struct st_key *));
}

void st_keys_insert(struct st_keys *keys, struct st_key *key) {
    size_t at = position(keys, &key->topic_id, key->name);
    memmove(&keys->at[at + 1], &keys->at[at], (keys->count - at) * sizeof(struct st_key *));
    keys->at[at] = key;
    keys->count++;
    keys->bytes += size_of(key);
    keys->oldest_ms = key->time_ms < keys->oldest_ms ? key->time_ms : keys->oldest_ms;
}

/* Keeps those that a topic (or NULL) and a time do not name. */
static void drop(struct st_keys *keys, const struct kp_uuid *topic_id, int64_t time_ms) {
    size_t kept = 0;
    int64_t oldest_ms = INT64_MAX;
    for (size_t i = 0; i < keys->count; i++) {
        struct st_key *key = keys->at[i];
        if (key->time_ms <= time_ms || (topic_id != NULL && kp_uuid_equal(&key->topic_id, topic_id))) {
            keys->bytes -= size_of(key);
            free(key);
        } else {
            keys->at[kept++] = key;
            oldest_ms = key->time_ms < oldest_ms ? key->time_ms : oldest_ms;
        }
    }
    keys->count = kept;
    keys->oldest_ms = oldest_ms;
}

void st_keys_forget(struct st_keys *keys, int64_t time_ms) {
    keys->forgotten_ms = time_ms > keys->forgotten_ms ? time_ms : keys->forgotten_ms;
    if (keys->oldest_ms <= time_ms) {
        drop(keys, NULL, time_ms);
    }
}

void st_keys_drop_topic(struct st_keys *keys, const struct kp_uuid *topic_id) {
    if (keys->count > 0) {
        drop(keys, topic_id, INT64_MIN);
    }
}

/* ---- canonical form ---- */

bool st_keys_empty(const struct st_keys *keys) {
    return keys->count == 0 && keys->forgotten_ms == INT64_MIN;
}

void st_keys_write(const struct st_keys *keys, struct st_pack *out) {
    st_pack_i(out, keys->forgotten_ms);
    st_pack_u(out, keys->count);
    for (size_t i = 0; i < keys->count; i++) {
        const struct st_key *key = keys->at[i];
        struct st_fact_key fact = {
            .topic_id = key->topic_id,
            .name = key->name,
            .hash = {key->hash[0], key->hash[1]},
            .time_ms = key->time_ms,
            .place_count = key->place_count,
        };
        st_fact_key_write(out, &fact);
        for (size_t p = 0; p < key->place_count; p++) {
            st_fact_place_write(out, key->places[p].partition, key->places[p].base, key->places[p].count);
        }
    }
}

bool st_keys_read(struct st_unpack *in, struct st_keys *keys) {
    keys->forgotten_ms = st_unpack_i(in);
    uint64_t count = st_unpack_upto(in, st_unpack_left(in) / KEY_LEAST);
    if (in->failed || !st_keys_grow(keys, (size_t)count)) {
        return false;
    }
    for (uint64_t i = 0; i < count; i++) {
        struct st_fact_key fact;
        st_fact_key_read(in, &fact);
        bool after = !in->failed && (keys->count == 0 || compare(keys->at[keys->count - 1], &fact.topic_id,
                                                                 fact.name) < 0);
        struct st_key *key = after ? st_key_new(&fact) : NULL;
        if (key == NULL) {
            return false;
        }
        st_keys_insert(keys, key);
    }
    return true;
}

bool st_keys_copy(const struct st_keys *from, struct st_keys *to) {
    if (!st_keys_grow(to, from->count)) {
        return false;
    }
    for (size_t i = 0; i < from->count; i++) {
        const struct st_key *key = from->at[i];
        size_t places = key->place_count * sizeof *key->places;
        struct st_key *copy = malloc(sizeof *copy + places + key->name.len);
        if (copy == NULL) {
            return false;
        }
        uint8_t *behind = (uint8_t *)(copy + 1);
        *copy = *key;
        memcpy(behind, key->places, places);
        memcpy(behind + places, key->name.ptr, key->name.len);
        copy->places = (struct st_key_place *)(void *)behind;
        copy->name.ptr = behind + places;
        st_keys_insert(to, copy);
    }
    to->forgotten_ms = from->forgotten_ms;
    return true;
}

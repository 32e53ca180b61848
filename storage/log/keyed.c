/*
 * Deciding an append that has an idempotency key (journal/keys.h): all its parts together, as soon as the last of them
 * is reached, since they are stored all or not at all and answered by one fact.
 *
 *   key not known                 every part is accepted, or the first refusal is that of all; then the fact `key`
 *   ... but keys were forgotten   ST_REFUSED, if some were that are as young as the request: a process that sleeps with
 *                                 a request for a day must not store it again when it wakes
 *   known, same request           answered with the places of the original
 *   known, another request        ST_KEY_REUSED
 *   in this very entry, same      answered as the first one, once the entry stands
 *   in this very entry, another   ST_REFUSED: whether the key is in use is not yet true
 *
 * What is decided is the state that the entry would follow, each time that it is built: of two that come at once
 * through different processes, the one that loses the slot finds the key known when it is decided again.
 */
#include "storage/log/check.h"

#include "storage/engine_state.h"
#include "storage/mutants.h"

struct st_fresh_key {
    const struct st_append_keyed *keyed;
    struct st_fresh_key *next;
};

static void decide_all(const struct st_append_keyed *keyed, enum st_error error) {
    for (size_t i = 0; i < keyed->count; i++) {
        keyed->parts[i].request.state = ST_REQUEST_DECIDED;
        keyed->parts[i].request.error = error;
    }
}

static bool same_request(const struct st_append_keyed *keyed, const uint64_t hash[2]) {
    return keyed->hash[0] == hash[0] && keyed->hash[1] == hash[1];
}

/* Where the records of the original stand in this partition; NULL: it has none there. */
static const struct st_key_place *place_in(const struct st_key *key, int32_t partition) {
    for (size_t i = 0; i < key->place_count; i++) {
        if (key->places[i].partition == partition) {
            return &key->places[i];
        }
    }
    return NULL;
}

/* Parts are in the order of their partitions, so those of one follow each other as their records do. */
static bool answer_original(const struct st_fold *fold, const struct st_append_keyed *keyed, const struct st_key *key) {
    const struct st_key_place *place = NULL;
    int64_t next = 0;
    size_t places = 0;
    for (size_t i = 0; i < keyed->count; i++) {
        struct st_append_request *part = &keyed->parts[i];
        if (place == NULL || place->partition != part->partition) {
            bool whole = place == NULL || next == place->base + place->count;
            place = whole ? place_in(key, part->partition) : NULL;
            if (place == NULL) {
                return false;
            }
            next = place->base;
            places++;
        }
        const struct st_partition *partition = st_fold_partition(fold, &part->topic_id, part->partition);
        part->base = next;
        part->append_time_ms = -1;
        part->log_start = partition != NULL ? partition->log_start : -1;
        next += part->count;
    }
    return place != NULL && next == place->base + place->count && places == key->place_count;
}

static void answer_as(const struct st_append_keyed *keyed, const struct st_append_keyed *first) {
    if (!same_request(keyed, first->hash) || keyed->count != first->count) {
        decide_all(keyed, ST_REFUSED);
        return;
    }
    for (size_t i = 0; i < keyed->count; i++) {
        struct st_append_request *part = &keyed->parts[i];
        part->base = first->parts[i].base;
        part->append_time_ms = first->parts[i].append_time_ms;
        part->log_start = first->parts[i].log_start;
        part->request.state = ST_REQUEST_ACCEPTED; /* true once this entry is */
    }
}

/* The places of the accepted parts, one for each partition. */
static size_t write_places(const struct st_append_keyed *keyed, struct st_pack *out) {
    size_t places = 0;
    for (size_t i = 0; i < keyed->count; places++) {
        const struct st_append_request *first = &keyed->parts[i];
        int32_t count = 0;
        for (; i < keyed->count && keyed->parts[i].partition == first->partition; i++) {
            count += keyed->parts[i].count;
        }
        st_fact_place_write(out, first->partition, first->base, count);
    }
    return places;
}

static void write_key(struct st_build *build, const struct st_append_keyed *keyed) {
    struct st_pack places;
    st_pack_init(&places, ST_FACTS_LIMIT);
    struct st_fact fact = {
        .type = ST_FACT_key,
        .u.key =
            {
                .topic_id = keyed->parts[0].topic_id,
                .name = keyed->name,
                .hash = {keyed->hash[0], keyed->hash[1]},
                .time_ms = build->store_ms,
                .place_count = write_places(keyed, &places),
            },
    };
    fact.u.key.places = kp_slice_of(places.data, places.len);
    build->facts.failed |= places.failed;
    st_build_fact(build, &fact);
    st_pack_release(&places);
}

static bool no_room(const struct st_build *build, size_t fresh) {
    const struct st_keys *keys = &build->fold->keys;
    bool forgets = build->forget_ms != INT64_MIN; /* some of them go with this very entry */
    return !forgets && (keys->count + fresh >= ST_KEYS_MAX || keys->bytes >= ST_KEYS_BYTES_MAX);
}

/* The key may have stood, and be forgotten, since the request began: it is as good as known, but not as what. */
static bool too_late(const struct st_build *build, const struct st_append_keyed *keyed) {
    return keyed->begun_ms <= build->fold->keys.forgotten_ms || keyed->begun_ms <= build->forget_ms;
}

static void accept(struct st_build *build, const struct st_append_keyed *keyed, size_t fresh) {
    struct st_fresh_key *note = kp_arena_alloc(&build->arena, sizeof *note);
    bool late = too_late(build, keyed) && !ST_MUTANT(key_zombie);
    enum st_error error = note == NULL             ? ST_NO_MEMORY
                          : late                   ? ST_REFUSED
                          : no_room(build, fresh)  ? ST_KEYS_FULL
                                                   : ST_OK;
    for (size_t i = 0; i < keyed->count && error == ST_OK; i++) {
        error = st_build_refusal(build, &keyed->parts[i]);
    }
    if (error != ST_OK) {
        decide_all(keyed, error);
        return;
    }
    for (size_t i = 0; i < keyed->count; i++) {
        st_build_accept(build, &keyed->parts[i]);
    }
    write_key(build, keyed);
    *note = (struct st_fresh_key){.keyed = keyed, .next = build->fresh_keys};
    build->fresh_keys = note;
}

static const struct st_key *known_key(const struct st_build *build, struct st_append_keyed *keyed) {
    const struct st_key *key = st_keys_find(&build->fold->keys, &keyed->parts[0].topic_id, keyed->name);
    bool forgotten = key != NULL && key->time_ms <= build->forget_ms;
    if (ST_MUTANT(key_checked_early)) {
        key = keyed->was_known ? key : NULL;
    }
    return forgotten ? NULL : key;
}

void st_build_keyed(struct st_build *build, struct st_append_request *append) {
    struct st_append_keyed *keyed = append->keyed;
    if (append != &keyed->parts[keyed->count - 1]) {
        return; /* with the last one */
    }
    const struct st_key *key = known_key(build, keyed);
    if (key != NULL) {
        bool same = same_request(keyed, key->hash) && answer_original(build->fold, keyed, key);
        decide_all(keyed, same ? ST_OK : ST_KEY_REUSED);
        return;
    }
    size_t fresh = 0;
    for (const struct st_fresh_key *note = build->fresh_keys; note != NULL; note = note->next, fresh++) {
        if (kp_slice_equal(note->keyed->name, keyed->name) &&
            kp_uuid_equal(&note->keyed->parts[0].topic_id, &append->topic_id)) {
            answer_as(keyed, note->keyed);
            return;
        }
    }
    accept(build, keyed, fresh);
}

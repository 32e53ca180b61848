/* The pools of a simulated store. */
#include "storage/backends/sim_state.h"

#include <stdlib.h>

static int compare(const struct sim_waiting *item, uint32_t journal, const struct st_pool_key *key) {
    if (item->journal != journal) {
        return item->journal < journal ? -1 : 1;
    }
    if (item->key.bucket != key->bucket) {
        return item->key.bucket < key->bucket ? -1 : 1;
    }
    return memcmp(item->key.id.bytes, key->id.bytes, sizeof key->id.bytes);
}

/* Where the first item lies that is not less. */
static size_t seek(const struct sim_state *state, uint32_t journal, const struct st_pool_key *key) {
    size_t low = 0, high = state->pool_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare(&state->pool[middle], journal, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct sim_waiting *find(struct sim_state *state, uint32_t journal, const struct st_pool_key *key) {
    size_t at = seek(state, journal, key);
    return at < state->pool_count && compare(&state->pool[at], journal, key) == 0 ? &state->pool[at] : NULL;
}

enum st_error sim_state_pool_put(struct sim_state *state, const struct st_pool_put *op, struct kp_slice body) {
    struct sim_waiting *old = find(state, op->journal, &op->key);
    if (old != NULL) {
        sim_rule(state, old->len == body.len && memcmp(old->data, body.ptr, old->len) == 0,
                 "the id of a pooled request was given to other bytes");
        bool there = !old->deleted && old->expires_ms > state->now_ms;
        old->deleted = false; /* a late twin brings it back */
        old->expires_ms = state->now_ms + op->expires_ms;
        return there ? ST_TAKEN : ST_OK;
    }
    if (body.len > ST_POOL_BODY_MAX) {
        sim_rule(state, false, "a pooled request is too large");
        return ST_REFUSED;
    }
    if (state->pool_count == state->pool_room) {
        state->pool_room = state->pool_room == 0 ? 64 : 2 * state->pool_room;
        state->pool = sim_must(realloc(state->pool, state->pool_room * sizeof *state->pool));
    }
    size_t at = seek(state, op->journal, &op->key);
    memmove(&state->pool[at + 1], &state->pool[at], (state->pool_count - at) * sizeof *state->pool);
    state->pool_count++;
    state->pool[at] = (struct sim_waiting){.journal = op->journal,
                                           .key = op->key,
                                           .expires_ms = state->now_ms + op->expires_ms,
                                           .data = sim_copy(body.ptr, body.len),
                                           .len = body.len};
    return ST_OK;
}

enum st_error sim_state_pool_read(struct sim_state *state, struct st_pool_read *op, struct st_pool_item **items,
                                  uint8_t **bytes, size_t *len) {
    struct st_pool_key first = {.bucket = op->first};
    size_t from = seek(state, op->journal, &first), to = from, used = 0;
    while (to < state->pool_count && state->pool[to].journal == op->journal &&
           state->pool[to].key.bucket <= op->last && used < op->max_bytes) {
        used += state->pool[to++].len;
    }
    *bytes = sim_must(malloc(used + 1));
    *items = sim_must(calloc(to - from + 1, sizeof **items));
    *len = 0;
    op->count = 0;
    for (size_t i = from; i < to; i++) {
        const struct sim_waiting *item = &state->pool[i];
        if (!item->deleted && item->expires_ms > state->now_ms) {
            memcpy(*bytes + *len, item->data, item->len);
            (*items)[op->count++] = (struct st_pool_item){item->key, {*bytes + *len, item->len}};
            *len += item->len;
        }
    }
    return ST_OK;
}

enum st_error sim_state_pool_delete(struct sim_state *state, const struct st_pool_delete *op, struct kp_slice keys,
                                    bool halfway) {
    for (size_t i = 0; i < op->count; i++) {
        struct st_pool_key key;
        memcpy(&key, keys.ptr + i * sizeof key, sizeof key);
        struct sim_waiting *item = find(state, op->journal, &key);
        if (item != NULL && !(halfway && st_dice_below(&state->dice, 2) == 0)) {
            item->deleted = true;
        }
    }
    return ST_OK;
}

/* The pools of a simulated store. */
#include "storage/backends/sim_state.h"

#include <stdlib.h>

static int compare(const struct sim_waiting *item, uint32_t journal, uint64_t begun, const struct kp_uuid *id) {
    if (item->journal != journal) {
        return item->journal < journal ? -1 : 1;
    }
    if (item->begun != begun) {
        return item->begun < begun ? -1 : 1;
    }
    return memcmp(item->id.bytes, id->bytes, sizeof id->bytes);
}

/* Where the first item lies that is not less. */
static size_t seek(const struct sim_state *state, uint32_t journal, uint64_t begun, const struct kp_uuid *id) {
    size_t low = 0, high = state->pool_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare(&state->pool[middle], journal, begun, id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

enum st_error sim_state_pool_put(struct sim_state *state, const struct st_pool_put *op, struct kp_slice body) {
    size_t at = seek(state, op->journal, op->begun, &op->id);
    if (at < state->pool_count && compare(&state->pool[at], op->journal, op->begun, &op->id) == 0) {
        struct sim_waiting *old = &state->pool[at];
        sim_rule(state, old->len == body.len && memcmp(old->data, body.ptr, old->len) == 0,
                 "the id of a pooled request was given to other bytes");
        bool there = old->expires_ms > state->now_ms; /* else a late twin brings it back */
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
    memmove(&state->pool[at + 1], &state->pool[at], (state->pool_count - at) * sizeof *state->pool);
    state->pool_count++;
    state->pool[at] = (struct sim_waiting){.journal = op->journal,
                                           .begun = op->begun,
                                           .id = op->id,
                                           .expires_ms = state->now_ms + op->expires_ms,
                                           .data = sim_copy(body.ptr, body.len),
                                           .len = body.len};
    return ST_OK;
}

enum st_error sim_state_pool_read(struct sim_state *state, struct st_pool_read *op, struct kp_slice **bodies,
                                  uint8_t **bytes, size_t *len) {
    const struct kp_uuid least = {{0}};
    size_t to = seek(state, op->journal, op->last + 1, &least), from = to, used = 0;
    while (from > 0 && state->pool[from - 1].journal == op->journal && state->pool[from - 1].begun >= op->first &&
           used < op->max_bytes) {
        used += state->pool[--from].len;
    }
    *bytes = sim_must(malloc(used + 1));
    *bodies = sim_must(calloc(to - from + 1, sizeof **bodies));
    *len = 0;
    op->count = 0;
    for (size_t i = to; i > from; i--) {
        const struct sim_waiting *item = &state->pool[i - 1];
        if (item->expires_ms > state->now_ms) {
            memcpy(*bytes + *len, item->data, item->len);
            (*bodies)[op->count++] = kp_slice_of(*bytes + *len, item->len);
            *len += item->len;
        }
    }
    return ST_OK;
}

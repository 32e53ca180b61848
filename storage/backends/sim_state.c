#include "storage/backends/sim_state.h"

#include "protocol/bytes/crc32c.h"

#include <stdio.h>
#include <stdlib.h>

void *sim_must(void *memory) {
    if (memory == NULL) {
        fputs("simulator: out of memory\n", stderr);
        abort();
    }
    return memory;
}

uint8_t *sim_copy(const void *bytes, size_t len) {
    uint8_t *copy = sim_must(malloc(len + 1));
    if (len > 0) {
        memcpy(copy, bytes, len);
    }
    return copy;
}

void sim_rule(const struct sim_state *state, bool kept, const char *text) {
    if (!kept && state->watch.broken != NULL) {
        state->watch.broken(state->watch.arg, text);
    }
}

void sim_state_release(struct sim_state *state) {
    for (size_t i = 0; i < state->object_count; i++) {
        free(state->objects[i].data);
    }
    free(state->objects);
    for (size_t i = 0; i < state->pool_count; i++) {
        free(state->pool[i].data);
    }
    free(state->pool);
    for (unsigned j = 0; j < state->journal_count; j++) {
        struct sim_journal *journal = state->journals[j];
        for (uint64_t slot = 0; slot < journal->last; slot++) {
            free(journal->slots[slot].data);
        }
        free(journal->slots);
        free(journal->checkpoints);
        free(journal);
    }
}

/* ---- objects ---- */

/* Where the name stands, or would stand. */
static size_t object_at(const struct sim_state *state, const char *name) {
    size_t low = 0, high = state->object_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(state->objects[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct sim_object *object_of(struct sim_state *state, const char *name) {
    size_t at = object_at(state, name);
    return at < state->object_count && strcmp(state->objects[at].name, name) == 0 ? &state->objects[at] : NULL;
}

enum st_error sim_state_object_put(struct sim_state *state, const struct st_object_put *op, struct kp_slice data) {
    sim_rule(state, !op->summed || op->crc == kp_crc32c(0, data.ptr, data.len), "an object's sum is not of its bytes");
    struct sim_object *old = object_of(state, op->name);
    if (old != NULL) {
        sim_rule(state, old->len == data.len && memcmp(old->data, data.ptr, old->len) == 0,
                 "an object's name was given to other bytes");
        return ST_OK; /* a late twin of a deleted object's put does not revive it: names are unique for ever */
    }
    if (state->object_count == state->object_room) {
        state->object_room = state->object_room == 0 ? 64 : 2 * state->object_room;
        state->objects = sim_must(realloc(state->objects, state->object_room * sizeof *state->objects));
    }
    size_t at = object_at(state, op->name);
    memmove(&state->objects[at + 1], &state->objects[at], (state->object_count - at) * sizeof *state->objects);
    state->object_count++;
    struct sim_object *object = &state->objects[at];
    *object = (struct sim_object){.data = sim_copy(data.ptr, data.len), .len = data.len};
    memcpy(object->name, op->name, sizeof object->name);
    return ST_OK;
}

enum st_error sim_state_object_get(struct sim_state *state, const struct st_object_get *op, uint8_t **bytes) {
    const struct sim_object *object = object_of(state, op->name);
    if (object == NULL || object->deleted) {
        return ST_ABSENT;
    }
    if (op->position > object->len || op->len > object->len - op->position) {
        return ST_DAMAGED;
    }
    *bytes = sim_copy(object->data + op->position, op->len);
    return ST_OK;
}

enum st_error sim_state_object_delete(struct sim_state *state, const struct st_object_delete *op) {
    for (unsigned j = 0; j < state->journal_count; j++) {
        size_t count = state->journals[j]->checkpoint_count;
        sim_rule(state, count == 0 || strcmp(state->journals[j]->checkpoints[count - 1].name, op->name) != 0,
                 "the newest checkpoint's object was deleted");
    }
    struct sim_object *object = object_of(state, op->name);
    if (object != NULL) {
        object->deleted = true;
    }
    return ST_OK;
}

enum st_error sim_state_object_list(struct sim_state *state, struct st_object_list *op, uint8_t **bytes) {
    const char *prefix = st_object_prefix(op->kind);
    *bytes = sim_must(malloc((op->capacity + 1) * ST_OBJECT_NAME_MAX));
    op->count = 0;
    op->more = false;
    for (size_t i = 0; i < state->object_count; i++) {
        const struct sim_object *object = &state->objects[i];
        if (object->deleted || strncmp(object->name, prefix, strlen(prefix)) != 0 ||
            strcmp(object->name, op->after) <= 0) {
            continue;
        }
        if (op->count == op->capacity) {
            op->more = true;
            break;
        }
        memcpy(*bytes + op->count++ * ST_OBJECT_NAME_MAX, object->name, ST_OBJECT_NAME_MAX);
    }
    return ST_OK;
}

/* ---- journals ---- */

struct sim_journal *sim_journal(struct sim_state *state, uint32_t number) {
    for (unsigned j = 0; j < state->journal_count; j++) {
        if (state->journals[j]->number == number) {
            return state->journals[j];
        }
    }
    if (state->journal_count == SIM_JOURNALS_MAX) {
        fputs("simulator: too many journals\n", stderr);
        abort();
    }
    struct sim_journal *journal = sim_must(calloc(1, sizeof *journal));
    journal->number = number;
    state->journals[state->journal_count++] = journal;
    return journal;
}

static bool slot_there(const struct sim_journal *journal, uint64_t slot) {
    return slot >= 1 && slot <= journal->last && journal->slots[slot - 1].data != NULL;
}

uint64_t sim_newest_checkpoint(const struct sim_journal *journal) {
    return journal->checkpoint_count == 0 ? 0 : journal->checkpoints[journal->checkpoint_count - 1].slot;
}

static void slots_grow(struct sim_journal *journal, uint64_t slot) {
    while (slot > journal->room) {
        uint64_t room = journal->room == 0 ? 256 : 2 * journal->room;
        journal->slots = sim_must(realloc(journal->slots, room * sizeof *journal->slots));
        memset(journal->slots + journal->room, 0, (room - journal->room) * sizeof *journal->slots);
        journal->room = room;
    }
}

enum st_error sim_state_journal_put(struct sim_state *state, const struct st_journal_put *op,
                                    struct kp_slice body) {
    struct sim_journal *journal = sim_journal(state, op->journal);
    if (body.len > ST_ENTRY_MAX) {
        sim_rule(state, !state->options.watched, "an entry is too large");
        return ST_REFUSED;
    }
    uint64_t covered = sim_newest_checkpoint(journal);
    bool gone = state->options.guarded && (op->slot <= covered || op->slot < journal->trimmed_below);
    if (slot_there(journal, op->slot) && !(gone && state->options.gone_first)) {
        return ST_TAKEN;
    }
    if (gone) {
        return ST_GONE;
    }
    if (op->slot > journal->last + 1 && state->options.watched) {
        sim_rule(state, false, "a slot was put whose predecessor does not exist");
        return ST_REFUSED;
    }
    slots_grow(journal, op->slot);
    journal->slots[op->slot - 1] = (struct sim_slot){sim_copy(body.ptr, body.len), body.len};
    journal->last = op->slot > journal->last ? op->slot : journal->last;
    journal->revived += op->slot < journal->trimmed_below ? 1 : 0;
    return ST_OK;
}

enum st_error sim_state_journal_read(struct sim_state *state, struct st_journal_read *op,
                                     struct st_journal_entry **entries, uint8_t **bytes, size_t *len) {
    const struct sim_journal *journal = sim_journal(state, op->journal);
    uint64_t first = op->from < 1 ? 1 : op->from, slot;
    size_t most = op->max_bytes, used = 0;
    if (state->options.watched && st_dice_below(&state->dice, 4) == 0) {
        most = (size_t)st_dice_below(&state->dice, most + 1); /* a page may end anywhere after its first entry */
    }
    op->count = 0;
    for (slot = first; slot <= journal->last && (op->count == 0 || used < most); slot++) {
        used += slot_there(journal, slot) ? journal->slots[slot - 1].len : 0;
        op->count += slot_there(journal, slot) ? 1 : 0;
    }
    op->at_end = slot > journal->last;
    *len = used;
    *bytes = sim_must(malloc(used + 1));
    *entries = sim_must(calloc(op->count + 1, sizeof **entries));
    size_t at = 0, given = 0;
    for (uint64_t s = first; s < slot; s++) {
        if (slot_there(journal, s)) {
            const struct sim_slot *entry = &journal->slots[s - 1];
            memcpy(*bytes + at, entry->data, entry->len);
            (*entries)[given++] = (struct st_journal_entry){s, {*bytes + at, entry->len}};
            at += entry->len;
        }
    }
    return ST_OK;
}

/* The highest slot that a checkpoint which has stood for the grace covers. */
static uint64_t settled_slot(const struct sim_state *state, const struct sim_journal *journal) {
    int64_t before_ms = state->now_ms - state->options.trim_grace_ms;
    uint64_t settled = 0;
    for (size_t i = 0; i < journal->checkpoint_count && journal->checkpoints[i].made_ms <= before_ms; i++) {
        settled = journal->checkpoints[i].slot;
    }
    return settled;
}

enum st_error sim_state_journal_trim(struct sim_state *state, const struct st_journal_trim *op, bool halfway) {
    struct sim_journal *journal = sim_journal(state, op->journal);
    if (state->options.watched) {
        sim_rule(state, op->below <= settled_slot(state, journal),
                 "slots were trimmed before a checkpoint of them had stood for the grace");
        sim_rule(state, op->below <= journal->last, "the last slot was trimmed");
    }
    uint64_t below = op->below > journal->last + 1 ? journal->last + 1 : op->below;
    if (halfway && below > journal->trimmed_below) {
        below = journal->trimmed_below + st_dice_below(&state->dice, below - journal->trimmed_below + 1);
    }
    for (uint64_t slot = 1; slot < below; slot++) {
        free(journal->slots[slot - 1].data);
        journal->slots[slot - 1] = (struct sim_slot){0};
    }
    journal->trimmed_below = below > journal->trimmed_below ? below : journal->trimmed_below;
    return ST_OK;
}

/* ---- checkpoints, identity, leases ---- */

enum st_error sim_state_checkpoint_get(struct sim_state *state, struct st_checkpoint_ref *op) {
    const struct sim_journal *journal = sim_journal(state, op->journal);
    if (journal->checkpoint_count == 0) {
        return ST_ABSENT;
    }
    const struct sim_checkpoint *newest = &journal->checkpoints[journal->checkpoint_count - 1];
    op->slot = newest->slot;
    op->size = newest->size;
    op->made_ms = newest->made_ms;
    memcpy(op->name, newest->name, sizeof op->name);
    return ST_OK;
}

enum st_error sim_state_checkpoint_advance(struct sim_state *state, struct st_checkpoint_ref *op) {
    struct sim_journal *journal = sim_journal(state, op->journal);
    if (journal->checkpoint_count > 0 && op->slot <= sim_newest_checkpoint(journal)) {
        return ST_TAKEN;
    }
    if (state->options.watched) {
        const struct sim_object *object = object_of(state, op->name);
        sim_rule(state, object != NULL && !object->deleted && object->len == op->size,
                 "a checkpoint names an object that is not there");
        sim_rule(state, op->slot <= journal->last, "a checkpoint covers slots that do not exist");
    }
    journal->checkpoints =
        sim_must(realloc(journal->checkpoints, (journal->checkpoint_count + 1) * sizeof *journal->checkpoints));
    struct sim_checkpoint *made = &journal->checkpoints[journal->checkpoint_count++];
    *made = (struct sim_checkpoint){.slot = op->slot, .made_ms = state->now_ms, .size = op->size};
    memcpy(made->name, op->name, sizeof made->name);
    op->made_ms = made->made_ms;
    return ST_OK;
}

enum st_error sim_state_identify(struct sim_state *state, struct st_identify *op) {
    op->founded = state->identity.format_version == 0;
    if (op->founded) {
        state->identity = *op;
    }
    op->cluster_id = state->identity.cluster_id;
    op->format_version = state->identity.format_version;
    return op->format_version > ST_FORMAT_VERSION ? ST_MISFIT : ST_OK;
}

enum st_error sim_state_lease_renew(struct sim_state *state, const struct st_lease_renew *op) {
    const struct st_lease *lease = &op->lease;
    size_t at = 0;
    while (at < state->lease_count && strncmp(state->leases[at].holder, lease->holder, sizeof lease->holder) < 0) {
        at++;
    }
    bool there =
        at < state->lease_count && strncmp(state->leases[at].holder, lease->holder, sizeof lease->holder) == 0;
    size_t behind = (state->lease_count - at) * sizeof *lease;
    if (lease->len == 0) {
        if (there) {
            state->lease_count--;
            memmove(&state->leases[at], &state->leases[at + 1], behind - sizeof *lease);
        }
        return ST_OK;
    }
    if (!there && state->lease_count == SIM_HOLDERS_MAX) {
        return ST_REFUSED;
    }
    if (!there) {
        state->lease_count++;
        memmove(&state->leases[at + 1], &state->leases[at], behind);
    }
    state->leases[at] = *lease;
    state->leases[at].renewed_ms = state->now_ms;
    return ST_OK;
}

enum st_error sim_state_lease_list(struct sim_state *state, struct st_lease_list *op, uint8_t **bytes) {
    op->count = state->lease_count < op->capacity ? state->lease_count : op->capacity;
    *bytes = sim_copy(state->leases, op->count * sizeof *state->leases);
    return ST_OK;
}

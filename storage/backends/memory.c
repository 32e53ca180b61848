/*
 * A struct `memory` is one handle; the handles of one store share a struct `core`, which holds the data.
 *
 * A request takes effect in its own deferred call and is answered in the same, so the order of effects is the order of
 * the calls over all handles of a loop. Everything is kept sorted in arrays (objects by name, entries by slot), which
 * makes lists and reads one binary search and a walk. Bodies are copied: when an operation is done its buffers are
 * the caller's again.
 *
 * There is no memory to give back on failure but a copy: if none can be had the operation is refused. Small
 * structures of fixed size abort the process instead.
 */
#include "storage/backends/memory.h"

#include "protocol/bytes/crc32c.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct object {
    char name[ST_OBJECT_NAME_MAX];
    uint8_t *bytes;
    size_t len;
};

struct entry {
    uint64_t slot;
    uint8_t *bytes;
    size_t len;
};

struct journal {
    uint32_t id;
    struct entry *entries; /* sorted by slot */
    size_t count, room;
    uint64_t trimmed_below;
    bool has_checkpoint;
    uint64_t checkpoint_slot, checkpoint_size;
    int64_t checkpoint_made_ms;
    char checkpoint_name[ST_OBJECT_NAME_MAX];
};

struct waiting {
    uint32_t journal;
    uint64_t begun;
    struct kp_uuid id;
    int64_t expires_ms;
    uint8_t *bytes;
    size_t len;
};

struct core {
    struct memory *handles;
    bool identified;
    struct kp_uuid cluster_id;
    uint32_t format_version;
    uint64_t names_given;
    struct object *objects; /* sorted by name */
    size_t object_count, object_room;
    struct journal *journals; /* in the order of their first use */
    size_t journal_count, journal_room;
    struct st_lease *leases; /* sorted by holder */
    size_t lease_count, lease_room;
    struct waiting *pool; /* sorted by journal, begun, id */
    size_t pool_count, pool_room;
};

struct memory {
    struct st_store store;
    struct st_loop *loop;
    struct core *core;
    struct memory *next; /* of the core's handles */
    struct st_task hint;
};

/* One operation under way. */
struct request {
    struct st_task task;
    struct memory *memory;
    void (*run)(struct memory *memory, struct request *request);
    void *op;
    void (*closed)(void *arg);
};

static struct memory *memory_of(struct st_store *store) {
    return ST_OWNER(store, struct memory, store);
}

static void *must(void *memory) {
    if (memory == NULL) {
        fputs("memory backend: out of memory\n", stderr);
        abort();
    }
    return memory;
}

/* Opens a gap for one element of `size` bytes at `at` in a sorted array. */
static void *array_insert(void *array, size_t *count, size_t *room, size_t size, size_t at) {
    if (*count == *room) {
        *room = *room == 0 ? 16 : 2 * *room;
        array = must(reallocarray(array, *room, size));
    }
    char *gap = (char *)array + at * size;
    memmove(gap + size, gap, (*count - at) * size);
    memset(gap, 0, size);
    ++*count;
    return array;
}

static void array_remove(void *array, size_t *count, size_t size, size_t at) {
    char *gap = (char *)array + at * size;
    memmove(gap, gap + size, (*count - at - 1) * size);
    --*count;
}

/* NULL when memory is out; never for len 0. */
static uint8_t *copy_of(const uint8_t *bytes, size_t len) {
    uint8_t *copy = malloc(len > 0 ? len : 1);
    if (copy != NULL && len > 0) {
        memcpy(copy, bytes, len);
    }
    return copy;
}

/* ---- requests ---- */

static void request_due(struct st_task *task) {
    struct request *request = ST_OWNER(task, struct request, task);
    request->run(request->memory, request); /* the operation's done may do anything, but not with the request */
    free(request);
}

static struct request *request_start(struct st_store *store, void *op,
                                     void (*run)(struct memory *memory, struct request *request)) {
    struct memory *memory = memory_of(store);
    struct request *request = must(calloc(1, sizeof *request));
    request->task.fn = request_due;
    request->memory = memory;
    request->run = run;
    request->op = op;
    st_defer(memory->loop, &request->task);
    return request;
}

/* ---- identity ---- */

static void identify_run(struct memory *memory, struct request *request) {
    struct st_identify *op = request->op;
    struct core *core = memory->core;
    op->founded = !core->identified;
    if (op->founded) {
        core->identified = true;
        core->cluster_id = op->cluster_id;
        core->format_version = op->format_version;
    }
    op->cluster_id = core->cluster_id;
    op->format_version = core->format_version;
    op->error = core->format_version > ST_FORMAT_VERSION ? ST_MISFIT : ST_OK;
    op->date_ms = st_now_wall_ms(memory->loop);
    op->done(op);
}

static void identify(struct st_store *store, struct st_identify *op) {
    request_start(store, op, identify_run);
}

/* ---- objects ---- */

static bool object_name(struct st_store *store, enum st_object_kind kind, uint32_t journal, uint64_t begun, size_t len,
                        char name[ST_OBJECT_NAME_MAX]) {
    (void)len;
    snprintf(name, ST_OBJECT_NAME_MAX, "%s%" PRIu32 "/%020" PRIu64 "-%" PRIu64, st_object_prefix(kind), journal, begun,
             ++memory_of(store)->core->names_given);
    return true;
}

/* Where the first object lies whose name is not less; *found: it has this very name. */
static size_t object_seek(const struct core *core, const char *name, bool *found) {
    size_t low = 0, high = core->object_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(core->objects[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found = low < core->object_count && strcmp(core->objects[low].name, name) == 0;
    return low;
}

static enum st_error object_keep(struct core *core, const struct st_object_put *op, const uint8_t *bytes) {
    assert(!op->summed || op->crc == kp_crc32c(0, bytes, op->len));
    bool found;
    size_t at = object_seek(core, op->name, &found);
    if (found) {
        const struct object *object = &core->objects[at];
        return object->len == op->len && memcmp(object->bytes, bytes, op->len) == 0 ? ST_OK : ST_DAMAGED;
    }
    uint8_t *copy = copy_of(bytes, op->len);
    if (copy == NULL) {
        return ST_REFUSED;
    }
    core->objects = array_insert(core->objects, &core->object_count, &core->object_room, sizeof(struct object), at);
    struct object *object = &core->objects[at];
    memcpy(object->name, op->name, sizeof object->name);
    object->bytes = copy;
    object->len = op->len;
    return ST_OK;
}

static void object_put_run(struct memory *memory, struct request *request) {
    struct st_object_put *op = request->op;
    op->error = object_keep(memory->core, op, op->buffer->data + op->at + memory->store.profile.object_head_room);
    op->date_ms = st_now_wall_ms(memory->loop);
    op->done(op);
}

static void object_put(struct st_store *store, struct st_object_put *op) {
    request_start(store, op, object_put_run);
}

static void object_get_run(struct memory *memory, struct request *request) {
    struct st_object_get *op = request->op;
    bool found;
    size_t at = object_seek(memory->core, op->name, &found);
    if (!found) {
        op->error = ST_ABSENT;
    } else if (op->position > memory->core->objects[at].len ||
               op->len > memory->core->objects[at].len - op->position) {
        op->error = ST_DAMAGED;
    } else {
        op->error = ST_OK;
        memcpy(op->into, memory->core->objects[at].bytes + op->position, op->len);
    }
    op->date_ms = st_now_wall_ms(memory->loop);
    op->done(op);
}

static void object_get(struct st_store *store, struct st_object_get *op) {
    request_start(store, op, object_get_run);
}

static void object_delete_run(struct memory *memory, struct request *request) {
    struct st_object_delete *op = request->op;
    struct core *core = memory->core;
    bool found;
    size_t at = object_seek(core, op->name, &found);
    if (found) {
        free(core->objects[at].bytes);
        array_remove(core->objects, &core->object_count, sizeof(struct object), at);
    }
    op->error = ST_OK;
    op->date_ms = st_now_wall_ms(memory->loop);
    op->done(op);
}

static void object_delete(struct st_store *store, struct st_object_delete *op) {
    request_start(store, op, object_delete_run);
}

static void object_list_run(struct memory *memory, struct request *request) {
    struct st_object_list *op = request->op;
    const struct core *core = memory->core;
    const char *prefix = st_object_prefix(op->kind);
    bool found;
    size_t at = object_seek(core, strcmp(op->after, prefix) > 0 ? op->after : prefix, &found);
    at += found;
    op->count = 0;
    op->more = false;
    for (; at < core->object_count && strncmp(core->objects[at].name, prefix, strlen(prefix)) == 0; at++) {
        if (op->count == op->capacity) {
            op->more = true;
            break;
        }
        memcpy(op->names[op->count++], core->objects[at].name, ST_OBJECT_NAME_MAX);
    }
    op->error = ST_OK;
    op->date_ms = st_now_wall_ms(memory->loop);
    op->done(op);
}

static void object_list(struct st_store *store, struct st_object_list *op) {
    request_start(store, op, object_list_run);
}

/* ---- journals ---- */

static struct journal *journal_of(struct core *core, uint32_t id) {
    for (size_t i = 0; i < core->journal_count; i++) {
        if (core->journals[i].id == id) {
            return &core->journals[i];
        }
    }
    core->journals = array_insert(core->journals, &core->journal_count, &core->journal_room, sizeof(struct journal),
                                  core->journal_count);
    struct journal *journal = &core->journals[core->journal_count - 1];
    journal->id = id;
    return journal;
}

/* Where the first entry lies whose slot is not less. */
static size_t entry_seek(const struct journal *journal, uint64_t slot) {
    size_t low = 0, high = journal->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (journal->entries[middle].slot < slot) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static enum st_error entry_keep(struct journal *journal, uint64_t slot, struct kp_slice body) {
    size_t at = entry_seek(journal, slot);
    if (at < journal->count && journal->entries[at].slot == slot) {
        return ST_TAKEN;
    }
    if (slot == 0 || slot < journal->trimmed_below ||
        (journal->has_checkpoint && slot <= journal->checkpoint_slot)) {
        return ST_GONE;
    }
    if (body.len > ST_ENTRY_MAX) {
        return ST_TOO_LARGE;
    }
    uint8_t *copy = copy_of(body.ptr, body.len);
    if (copy == NULL) {
        return ST_REFUSED;
    }
    journal->entries = array_insert(journal->entries, &journal->count, &journal->room, sizeof(struct entry), at);
    journal->entries[at] = (struct entry){.slot = slot, .bytes = copy, .len = body.len};
    return ST_OK;
}

static void hint_due(struct st_task *task) {
    struct memory *memory = ST_OWNER(task, struct memory, hint);
    if (memory->store.changed != NULL) {
        memory->store.changed(memory->store.changed_arg);
    }
}

static void hint_others(struct memory *memory) {
    for (struct memory *other = memory->core->handles; other != NULL; other = other->next) {
        if (other != memory && other->store.changed != NULL) {
            st_defer(other->loop, &other->hint);
        }
    }
}

static void journal_put_run(struct memory *memory, struct request *request) {
    struct st_journal_put *op = request->op;
    op->error = entry_keep(journal_of(memory->core, op->journal), op->slot, op->body);
    op->date_ms = st_now_wall_ms(memory->loop);
    if (op->error == ST_OK) {
        hint_others(memory);
    }
    op->done(op);
}

static void journal_put(struct st_store *store, struct st_journal_put *op) {
    request_start(store, op, journal_put_run);
}

/* How many entries from `at` on make a page, and their bytes. */
static size_t page_of(const struct journal *journal, size_t at, size_t max_bytes, size_t *bytes) {
    size_t count = 0;
    *bytes = 0;
    while (at + count < journal->count) {
        size_t len = journal->entries[at + count].len;
        if (count > 0 && (*bytes >= max_bytes || len > max_bytes - *bytes)) {
            break;
        }
        *bytes += len;
        count++;
    }
    return count;
}

static enum st_error page_fill(const struct journal *journal, struct st_journal_read *op) {
    size_t at = entry_seek(journal, op->from), bytes;
    size_t count = page_of(journal, at, op->max_bytes, &bytes);
    op->at_end = at + count == journal->count;
    if (count == 0) {
        return ST_OK;
    }
    op->blob = kp_blob_new(bytes > 0 ? bytes : 1);
    op->entries = reallocarray(NULL, count, sizeof(struct st_journal_entry));
    if (op->blob == NULL || op->entries == NULL) {
        kp_blob_unref(op->blob);
        free(op->entries);
        op->blob = NULL;
        op->entries = NULL;
        return ST_REFUSED;
    }
    uint8_t *to = op->blob->data;
    for (; op->count < count; op->count++) {
        const struct entry *entry = &journal->entries[at + op->count];
        memcpy(to, entry->bytes, entry->len);
        op->entries[op->count] = (struct st_journal_entry){entry->slot, kp_slice_of(to, entry->len)};
        to += entry->len;
    }
    return ST_OK;
}

static void journal_read_run(struct memory *memory, struct request *request) {
    struct st_journal_read *op = request->op;
    op->entries = NULL;
    op->count = 0;
    op->blob = NULL;
    op->at_end = false;
    op->error = page_fill(journal_of(memory->core, op->journal), op);
    op->date_ms = st_now_wall_ms(memory->loop);
    op->done(op);
}

static void journal_read(struct st_store *store, struct st_journal_read *op) {
    request_start(store, op, journal_read_run);
}

static void journal_trim_run(struct memory *memory, struct request *request) {
    struct st_journal_trim *op = request->op;
    struct journal *journal = journal_of(memory->core, op->journal);
    size_t count = entry_seek(journal, op->below);
    for (size_t i = 0; i < count; i++) {
        free(journal->entries[i].bytes);
    }
    if (count > 0) {
        memmove(journal->entries, journal->entries + count, (journal->count - count) * sizeof(struct entry));
        journal->count -= count;
    }
    if (op->below > journal->trimmed_below) {
        journal->trimmed_below = op->below;
    }
    op->error = ST_OK;
    op->date_ms = st_now_wall_ms(memory->loop);
    op->done(op);
}

static void journal_trim(struct st_store *store, struct st_journal_trim *op) {
    request_start(store, op, journal_trim_run);
}

/* ---- checkpoints ---- */

static void checkpoint_get_run(struct memory *memory, struct request *request) {
    struct st_checkpoint_ref *op = request->op;
    const struct journal *journal = journal_of(memory->core, op->journal);
    op->error = journal->has_checkpoint ? ST_OK : ST_ABSENT;
    if (journal->has_checkpoint) {
        op->slot = journal->checkpoint_slot;
        op->size = journal->checkpoint_size;
        op->made_ms = journal->checkpoint_made_ms;
        memcpy(op->name, journal->checkpoint_name, sizeof op->name);
    }
    op->date_ms = st_now_wall_ms(memory->loop);
    op->done(op);
}

static void checkpoint_get(struct st_store *store, struct st_checkpoint_ref *op) {
    request_start(store, op, checkpoint_get_run);
}

static void checkpoint_advance_run(struct memory *memory, struct request *request) {
    struct st_checkpoint_ref *op = request->op;
    struct journal *journal = journal_of(memory->core, op->journal);
    op->date_ms = st_now_wall_ms(memory->loop);
    op->error = journal->has_checkpoint && journal->checkpoint_slot >= op->slot ? ST_TAKEN : ST_OK;
    if (op->error == ST_OK) {
        op->made_ms = op->date_ms;
        journal->has_checkpoint = true;
        journal->checkpoint_slot = op->slot;
        journal->checkpoint_size = op->size;
        journal->checkpoint_made_ms = op->made_ms;
        memcpy(journal->checkpoint_name, op->name, sizeof op->name);
    }
    op->done(op);
}

static void checkpoint_advance(struct st_store *store, struct st_checkpoint_ref *op) {
    request_start(store, op, checkpoint_advance_run);
}

/* ---- leases ---- */

static void lease_renew_run(struct memory *memory, struct request *request) {
    struct st_lease_renew *op = request->op;
    struct core *core = memory->core;
    op->date_ms = st_now_wall_ms(memory->loop);
    op->error = ST_OK;
    size_t at = 0;
    while (at < core->lease_count && strcmp(core->leases[at].holder, op->lease.holder) < 0) {
        at++;
    }
    bool found = at < core->lease_count && strcmp(core->leases[at].holder, op->lease.holder) == 0;
    if (op->lease.len > ST_LEASE_BODY_MAX) {
        op->error = ST_TOO_LARGE;
    } else if (op->lease.len == 0) {
        if (found) {
            array_remove(core->leases, &core->lease_count, sizeof(struct st_lease), at);
        }
    } else {
        if (!found) {
            core->leases =
                array_insert(core->leases, &core->lease_count, &core->lease_room, sizeof(struct st_lease), at);
        }
        op->lease.renewed_ms = op->date_ms;
        core->leases[at] = op->lease;
    }
    op->done(op);
}

static void lease_renew(struct st_store *store, struct st_lease_renew *op) {
    request_start(store, op, lease_renew_run);
}

static void lease_list_run(struct memory *memory, struct request *request) {
    struct st_lease_list *op = request->op;
    const struct core *core = memory->core;
    op->count = core->lease_count < op->capacity ? core->lease_count : op->capacity;
    if (op->count > 0) {
        memcpy(op->leases, core->leases, op->count * sizeof(struct st_lease));
    }
    op->error = ST_OK;
    op->date_ms = st_now_wall_ms(memory->loop);
    op->done(op);
}

static void lease_list(struct st_store *store, struct st_lease_list *op) {
    request_start(store, op, lease_list_run);
}

/* ---- the pool ---- */

static int waiting_compare(const struct waiting *item, uint32_t journal, uint64_t begun, const struct kp_uuid *id) {
    if (item->journal != journal) {
        return item->journal < journal ? -1 : 1;
    }
    if (item->begun != begun) {
        return item->begun < begun ? -1 : 1;
    }
    return memcmp(item->id.bytes, id->bytes, sizeof id->bytes);
}

/* Where the first item lies that is not less; *found: it is this one. */
static size_t pool_seek(const struct core *core, uint32_t journal, uint64_t begun, const struct kp_uuid *id,
                        bool *found) {
    size_t low = 0, high = core->pool_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (waiting_compare(&core->pool[middle], journal, begun, id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found = low < core->pool_count && waiting_compare(&core->pool[low], journal, begun, id) == 0;
    return low;
}

static void pool_put_run(struct memory *memory, struct request *request) {
    struct st_pool_put *op = request->op;
    struct core *core = memory->core;
    bool found;
    size_t at = pool_seek(core, op->journal, op->begun, &op->id, &found);
    uint8_t *copy = found || op->body.len > ST_POOL_BODY_MAX ? NULL : copy_of(op->body.ptr, op->body.len);
    op->date_ms = st_now_wall_ms(memory->loop);
    op->error = found ? ST_TAKEN : copy == NULL ? ST_REFUSED : ST_OK;
    if (copy != NULL) {
        core->pool = array_insert(core->pool, &core->pool_count, &core->pool_room, sizeof(struct waiting), at);
        core->pool[at] =
            (struct waiting){op->journal, op->begun, op->id, op->date_ms + op->expires_ms, copy, op->body.len};
    }
    op->done(op);
}

static void pool_put(struct st_store *store, struct st_pool_put *op) {
    request_start(store, op, pool_put_run);
}

static void pool_read_run(struct memory *memory, struct request *request) {
    struct st_pool_read *op = request->op;
    const struct core *core = memory->core;
    const struct kp_uuid least = {{0}};
    bool found;
    size_t to = pool_seek(core, op->journal, op->last + 1, &least, &found), from = to, bytes = 0;
    op->date_ms = st_now_wall_ms(memory->loop);
    op->count = 0;
    op->blob = NULL;
    while (from > 0 && core->pool[from - 1].journal == op->journal && core->pool[from - 1].begun >= op->first &&
           bytes < op->max_bytes) {
        bytes += core->pool[--from].len;
    }
    op->bodies = reallocarray(NULL, to - from + 1, sizeof *op->bodies);
    op->blob = to > from && op->bodies != NULL ? kp_blob_new(bytes > 0 ? bytes : 1) : NULL;
    op->error = op->bodies == NULL || (to > from && op->blob == NULL) ? ST_REFUSED : ST_OK;
    for (size_t i = to, at = 0; op->error == ST_OK && i > from; i--) {
        const struct waiting *item = &core->pool[i - 1];
        if (item->expires_ms > op->date_ms) {
            memcpy(op->blob->data + at, item->bytes, item->len);
            op->bodies[op->count++] = kp_slice_of(op->blob->data + at, item->len);
            at += item->len;
        }
    }
    if (op->count == 0) {
        kp_blob_unref(op->blob);
        free(op->bodies);
        op->blob = NULL;
        op->bodies = NULL;
    }
    op->done(op);
}

static void pool_read(struct st_store *store, struct st_pool_read *op) {
    request_start(store, op, pool_read_run);
}

/* ---- handles ---- */

static void core_free(struct core *core) {
    for (size_t i = 0; i < core->object_count; i++) {
        free(core->objects[i].bytes);
    }
    for (size_t i = 0; i < core->journal_count; i++) {
        for (size_t k = 0; k < core->journals[i].count; k++) {
            free(core->journals[i].entries[k].bytes);
        }
        free(core->journals[i].entries);
    }
    for (size_t i = 0; i < core->pool_count; i++) {
        free(core->pool[i].bytes);
    }
    free(core->pool);
    free(core->objects);
    free(core->journals);
    free(core->leases);
    free(core);
}

/* Runs after everything that was started before: the loop keeps the order. */
static void close_run(struct memory *memory, struct request *request) {
    struct core *core = memory->core;
    struct memory **link = &core->handles;
    while (*link != memory) {
        link = &(*link)->next;
    }
    *link = memory->next;
    st_defer_cancel(memory->loop, &memory->hint);
    free(memory);
    if (core->handles == NULL) {
        core_free(core);
    }
    request->closed(request->op);
}

static void close_store(struct st_store *store, void (*closed)(void *arg), void *arg) {
    request_start(store, arg, close_run)->closed = closed;
}

static const struct st_store_ops memory_ops = {
    .identify = identify,
    .object_name = object_name,
    .object_put = object_put,
    .object_get = object_get,
    .object_delete = object_delete,
    .object_list = object_list,
    .journal_put = journal_put,
    .journal_read = journal_read,
    .journal_trim = journal_trim,
    .checkpoint_get = checkpoint_get,
    .checkpoint_advance = checkpoint_advance,
    .lease_renew = lease_renew,
    .lease_list = lease_list,
    .pool_put = pool_put,
    .pool_read = pool_read,
    .close = close_store,
};

static struct st_store *handle_new(struct st_loop *loop, struct core *core) {
    struct memory *memory = calloc(1, sizeof *memory);
    if (memory == NULL) {
        return NULL;
    }
    memory->store.ops = &memory_ops;
    memory->store.profile = (struct st_store_profile){
        .inline_limit = 16 * 1024,
        .flush_limit = 1024 * 1024,
        .uploads_in_flight = 2,
        .object_align = 1,
        .poll_least_ns = 10 * ST_MS,
        .poll_most_ns = ST_SECOND,
        .pool_after = 2,
    };
    memory->loop = loop;
    memory->core = core;
    memory->hint.fn = hint_due;
    memory->next = core->handles;
    core->handles = memory;
    return &memory->store;
}

struct st_store *st_store_memory_new(struct st_loop *loop) {
    struct core *core = calloc(1, sizeof *core);
    if (core == NULL) {
        return NULL;
    }
    struct st_store *store = handle_new(loop, core);
    if (store == NULL) {
        free(core);
    }
    return store;
}

struct st_store *st_store_memory_share(struct st_store *store) {
    return handle_new(memory_of(store)->loop, memory_of(store)->core);
}

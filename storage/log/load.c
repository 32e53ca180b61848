/*
 * A run in an object is read as one range. A run in an entry comes with the page of entries that it begins, because who
 * reads small entries one after the other would otherwise pay a look-up for each.
 */
#include "storage/log/load.h"

#include "storage/engine_state.h"
#include "storage/runtime/log.h"
#include "storage/runtime/metrics.h"

#define LOADS_MOST 64
#define PAGE_BYTES (512 * 1024)

#define SLAB_BYTES ((size_t)4 << 20) /* runs are read into slabs: as object_buffer.h says, and of one size */

struct st_load {
    struct st_engine *engine;
    struct st_load *next;
    struct st_row row;
    bool cold;
    struct st_load_wait *waits;
    struct kp_blob *blob; /* a slab */
    struct kp_slice bytes; /* the run's part of it */
    struct st_object_get get;
    struct st_journal_read read;
};

static void load_end(struct st_load *load, enum st_error error, struct kp_blob *blob, struct kp_slice bytes) {
    struct st_engine *engine = load->engine;
    struct st_load **link = &engine->loads;
    while (*link != load) {
        link = &(*link)->next;
    }
    *link = load->next;
    engine->load_count--;
    if (error == ST_DAMAGED) {
        ST_LOG(store_damaged, "what=run slot=%llu position=%u", (unsigned long long)load->row.slot,
               load->row.position);
    }
    for (struct st_load_wait *wait = load->waits, *next; wait != NULL; wait = next) {
        next = wait->next;
        wait->done(wait, error, blob, bytes);
    }
    kp_blob_unref(blob);
    free(load);
    st_cache_trim(&engine->cache);
    st_reads_retry(engine);
}

/* ---- from an object ---- */

static void get_done(struct st_object_get *op) {
    struct st_load *load = ST_OWNER(op, struct st_load, get);
    struct st_engine *engine = load->engine;
    st_engine_op_ended(engine);
    enum st_error error = op->error;
    if (error == ST_OK && !st_run_patch(load->get.into, &load->row)) {
        error = ST_DAMAGED;
    }
    if (error == ST_OK) {
        struct st_cached_blob *owner = st_cache_add_blob(&engine->cache, load->blob, load->cold);
        if (owner != NULL) {
            st_cache_add_run(&engine->cache, owner, load->row.slot, load->row.position, load->bytes);
        }
    }
    load_end(load, error, load->blob, load->bytes);
}

/* Cuts the room for a run from the slab that is being read into. False: out of memory. */
static bool cut_slab(struct st_load *load) {
    struct st_engine *engine = load->engine;
    struct kp_blob *slab = engine->load_slab;
    size_t align = engine->store->profile.object_align > 0 ? engine->store->profile.object_align : 1;
    size_t before = load->row.position % align; /* as st_object_get.roomy asks */
    size_t size = (before + load->row.len + align - 1) / align * align;
    if (slab == NULL || slab->size - engine->load_slab_used < size) {
        slab = kp_blob_new(size > SLAB_BYTES ? size : SLAB_BYTES);
        if (slab == NULL) {
            return false;
        }
        kp_blob_unref(engine->load_slab);
        engine->load_slab = slab;
        engine->load_slab_used = 0;
    }
    load->blob = kp_blob_ref(slab);
    load->bytes = kp_slice_of(slab->data + engine->load_slab_used + before, load->row.len);
    engine->load_slab_used += size;
    return true;
}

static bool get_send(struct st_load *load, struct kp_slice object) {
    if (object.len >= ST_OBJECT_NAME_MAX || !cut_slab(load)) {
        return false;
    }
    load->get = (struct st_object_get){
        .position = load->row.position,
        .len = load->row.len,
        .into = (uint8_t *)(uintptr_t)load->bytes.ptr,
        .roomy = true,
        .done = get_done,
    };
    memcpy(load->get.name, object.ptr, object.len);
    st_metrics.object_gets_total++;
    st_engine_op_started(load->engine);
    load->engine->store->ops->object_get(load->engine->store, &load->get);
    return true;
}

/* ---- from entries ---- */

#define ENTRY_ROWS_MOST 4096

struct entry_row {
    struct kp_uuid topic_id;
    int32_t partition;
    struct st_row row;
};

/* The rows of an entry's inline area, as the fold merges them. Returns how many. */
static size_t entry_rows(const struct st_entry *entry, uint64_t slot, struct entry_row *rows, size_t most) {
    size_t count = 0;
    struct st_unpack commits = st_unpack_of(entry->commits);
    struct st_commit commit;
    while (st_commit_next(&commits, &commit)) {
        struct st_unpack facts = st_unpack_of(commit.facts);
        struct st_fact fact;
        while (st_unpack_left(&facts) > 0 && st_fact_read(&facts, &fact)) {
            const struct st_fact_append *append = &fact.u.append;
            if (fact.type != ST_FACT_append || (append->flags & ST_APPEND_INLINE) == 0) {
                continue;
            }
            size_t i = count;
            while (i > 0 && (rows[i - 1].partition != append->partition ||
                             !kp_uuid_equal(&rows[i - 1].topic_id, &append->topic_id))) {
                i--;
            }
            if (i > 0 && st_row_extend(&rows[i - 1].row, append, slot)) {
                continue;
            }
            if (count == most) {
                return count;
            }
            rows[count].topic_id = append->topic_id;
            rows[count].partition = append->partition;
            rows[count++].row = st_row_of(append, slot);
        }
    }
    return count;
}

/* False: out of memory. What is damaged is left out. */
static bool cache_entry(struct st_engine *engine, const struct st_journal_entry *raw, struct st_cached_blob *owner,
                        struct entry_row *rows) {
    struct st_entry entry;
    bool cached = true;
    if (!st_entry_read(raw->body, &entry)) {
        return true;
    }
    size_t count = entry_rows(&entry, raw->slot, rows, ENTRY_ROWS_MOST);
    for (size_t i = 0; i < count; i++) {
        const struct st_row *row = &rows[i].row;
        uint8_t *bytes = (uint8_t *)(uintptr_t)entry.inline_bytes.ptr + row->position;
        if ((size_t)row->position + row->len <= entry.inline_bytes.len && st_run_patch(bytes, row)) {
            cached &= st_cache_add_run(&engine->cache, owner, raw->slot, row->position, kp_slice_of(bytes, row->len));
        }
    }
    return cached;
}

static bool cache_page(struct st_load *load) {
    struct st_engine *engine = load->engine;
    const struct st_journal_read *op = &load->read;
    if (op->count == 0) {
        return true;
    }
    struct entry_row *rows = calloc(ENTRY_ROWS_MOST, sizeof *rows);
    struct st_cached_blob *owner = rows != NULL ? st_cache_add_blob(&engine->cache, op->blob, load->cold) : NULL;
    bool cached = owner != NULL;
    for (size_t i = 0; owner != NULL && i < op->count; i++) {
        cached &= cache_entry(engine, &op->entries[i], owner, rows);
    }
    free(rows);
    return cached;
}

static void read_done(struct st_journal_read *op) {
    struct st_load *load = ST_OWNER(op, struct st_load, read);
    struct st_engine *engine = load->engine;
    st_engine_op_ended(engine);
    enum st_error error = op->error;
    struct kp_slice bytes = {0};
    struct kp_blob *blob = NULL;
    if (error == ST_OK) {
        bool cached = cache_page(load);
        struct st_run *run = st_cache_find(&engine->cache, load->row.slot, load->row.position);
        if (run != NULL && run->bytes.len == load->row.len) {
            bytes = run->bytes;
            blob = kp_blob_ref(run->owner->blob);
        } else {
            bool there = op->count > 0 && op->entries[0].slot == load->row.slot;
            error = !there ? ST_ABSENT : !cached ? ST_NO_MEMORY : ST_DAMAGED;
        }
    }
    free(op->entries);
    kp_blob_unref(op->blob);
    load_end(load, error, blob, bytes);
}

static void read_send(struct st_load *load) {
    load->read = (struct st_journal_read){
        .journal = load->engine->journal.number,
        .from = load->row.slot,
        .max_bytes = PAGE_BYTES,
        .done = read_done,
    };
    st_metrics.journal_reads_total++;
    st_engine_op_started(load->engine);
    load->engine->store->ops->journal_read(load->engine->store, &load->read);
}

/* ---- start ---- */

static void load_join(struct st_load *load, struct st_load_wait *wait) {
    if (wait != NULL) {
        wait->slot = load->row.slot;
        wait->position = load->row.position;
        wait->next = load->waits;
        load->waits = wait;
    }
}

bool st_load_start(struct st_engine *engine, const struct st_row_ref *ref, bool cold, struct st_load_wait *wait) {
    for (struct st_load *load = engine->loads; load != NULL; load = load->next) {
        if (load->row.slot == ref->row.slot && load->row.position == ref->row.position) {
            load_join(load, wait);
            return true;
        }
    }
    struct st_load *load = engine->load_count < LOADS_MOST ? calloc(1, sizeof *load) : NULL;
    if (load == NULL) {
        return false;
    }
    load->engine = engine;
    load->row = ref->row;
    load->cold = cold;
    bool is_inline = (ref->row.flags & ST_APPEND_INLINE) != 0;
    if (!is_inline && !get_send(load, ref->object)) {
        free(load);
        return false;
    }
    if (is_inline) {
        read_send(load);
    }
    load_join(load, wait);
    load->next = engine->loads;
    engine->loads = load;
    engine->load_count++;
    return true;
}

void st_loads_release(struct st_engine *engine) {
    while (engine->loads != NULL) {
        struct st_load *load = engine->loads;
        engine->loads = load->next;
        if ((load->row.flags & ST_APPEND_INLINE) == 0) {
            kp_blob_unref(load->blob);
        }
        free(load);
    }
    kp_blob_unref(engine->load_slab);
    engine->load_slab = NULL;
}

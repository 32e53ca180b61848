/*
 * Runs in objects that are asked for in one turn of the loop, and lie near each other in one object, are read as one
 * range: a flush holds a short run of each of many partitions, and who reads them all would otherwise pay a request for
 * each. Where a request costs more than its bytes, a small object is read as a whole for the first of its runs, and
 * whoever wants another of them waits for it, or finds it in the cache. Runs in entries come by the page, for the same
 * reason: one that lies behind the beginning of a page that is being read waits for it, and is asked for itself only
 * when that page turns out to end before it.
 */
#include "storage/log/load.h"

#include "storage/engine_state.h"
#include "storage/runtime/log.h"
#include "storage/runtime/metrics.h"

#define LOADS_MOST 256
#define PAGE_BYTES (512 * 1024)

#define SLAB_BYTES ((size_t)4 << 20) /* ranges are read into slabs: as object_buffer.h says, and of one size */
#define GAP_MOST ((uint64_t)64 << 10)  /* between two runs of one range: cheaper to read than to ask twice */

struct st_load {
    struct st_engine *engine;
    struct st_load *next;
    struct st_row row;
    bool cold;
    struct st_load_wait *waits;
    char object[ST_OBJECT_NAME_MAX]; /* "": in an entry */
    size_t whole;                    /* bytes of the object, if it is to be read whole; else 0 */
    struct st_load *next_of_range;   /* or of its page; or, before it is sent, of engine->loads_unsent */
    /* when its page is there: */
    enum st_error error;
    struct kp_blob *found; /* one reference */
    struct kp_slice bytes;
};

/* A page of entries that is being read, with the loads whose runs may lie in it, in order of slot. */
struct st_load_page {
    struct st_engine *engine;
    struct st_load_page *next;
    struct st_load *first;
    bool cold;
    struct st_journal_read read;
};

/* Part of an object that is being read, with the loads whose runs lie in it, in order of position. */
struct st_load_range {
    struct st_engine *engine;
    struct st_load_range *next;
    struct st_load *first;
    struct kp_blob *blob; /* a slab */
    struct st_object_get get;
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

static bool load_cached(const struct st_load_range *range, const struct st_load *load, struct kp_slice *bytes) {
    uint8_t *run = range->get.into + (load->row.position - range->get.position);
    *bytes = kp_slice_of(run, load->row.len);
    if (!st_run_patch(run, &load->row)) {
        return false;
    }
    struct st_cache *cache = &range->engine->cache;
    struct st_cached_blob *owner = st_cache_add_blob(cache, range->blob, load->cold);
    if (owner != NULL) {
        st_cache_add_run(cache, owner, load->row.slot, load->row.position, *bytes);
    }
    return true;
}

/* For those who will want the other runs of the object. */
static void whole_cached(const struct st_load_range *range) {
    struct st_cache *cache = &range->engine->cache;
    struct st_cached_blob *owner = st_cache_add_blob(cache, range->blob, range->first->cold);
    if (owner != NULL) {
        st_cache_add_run(cache, owner, range->first->row.slot, ST_CACHE_WHOLE,
                         kp_slice_of(range->get.into, range->get.len));
    }
}

static void range_unlink(struct st_load_range *range) {
    struct st_load_range **link = &range->engine->load_ranges;
    while (*link != range) {
        link = &(*link)->next;
    }
    *link = range->next;
}

static void get_done(struct st_object_get *op) {
    struct st_load_range *range = ST_OWNER(op, struct st_load_range, get);
    st_engine_op_ended(range->engine);
    range_unlink(range);
    if (op->error == ST_OK && range->first->whole > 0) {
        whole_cached(range);
    }
    for (struct st_load *load = range->first, *next; load != NULL; load = next) {
        next = load->next_of_range;
        struct kp_slice bytes = {0};
        enum st_error error = op->error;
        if (error == ST_OK && !load_cached(range, load, &bytes)) {
            error = ST_DAMAGED;
        }
        load_end(load, error, kp_blob_ref(range->blob), bytes);
    }
    kp_blob_unref(range->blob);
    free(range);
}

/* Cuts the room for a range from the slab that is being read into. False: out of memory. */
static bool cut_slab(struct st_load_range *range) {
    struct st_engine *engine = range->engine;
    struct kp_blob *slab = engine->load_slab;
    size_t align = engine->store->profile.object_align > 0 ? engine->store->profile.object_align : 1;
    size_t before = range->get.position % align; /* as st_object_get.roomy asks */
    size_t size = (before + range->get.len + align - 1) / align * align;
    if (slab == NULL || slab->size - engine->load_slab_used < size) {
        slab = kp_blob_new(size > SLAB_BYTES ? size : SLAB_BYTES);
        if (slab == NULL) {
            return false;
        }
        kp_blob_unref(engine->load_slab);
        engine->load_slab = slab;
        engine->load_slab_used = 0;
    }
    range->blob = kp_blob_ref(slab);
    range->get.into = slab->data + engine->load_slab_used + before;
    engine->load_slab_used += size;
    return true;
}

static uint64_t run_end(const struct st_load *load) {
    return (uint64_t)load->row.position + load->row.len;
}

/* Takes from the loads that wait to be sent the first one, and those behind it that fit in a range with it. */
static struct st_load *take_range(struct st_engine *engine, uint64_t *begin, size_t *len) {
    struct st_load *load = engine->loads_unsent, *last = load;
    *begin = load->whole > 0 ? 0 : load->row.position;
    struct st_load *next = load->next_of_range;
    while (next != NULL && strcmp(next->object, load->object) == 0 &&
           (load->whole > 0 || (next->row.position <= run_end(last) + GAP_MOST &&
                                run_end(next) - *begin <= SLAB_BYTES))) {
        last = next;
        next = next->next_of_range;
    }
    last->next_of_range = NULL;
    engine->loads_unsent = next;
    *len = load->whole > 0 ? load->whole : (size_t)(run_end(last) - *begin);
    return load;
}

static void send_ranges(struct st_task *task) {
    struct st_engine *engine = ST_OWNER(task, struct st_engine, loads_send);
    while (engine->loads_unsent != NULL) {
        uint64_t begin;
        size_t len;
        struct st_load *first = take_range(engine, &begin, &len);
        struct st_load_range *range = calloc(1, sizeof *range);
        if (range != NULL) {
            *range = (struct st_load_range){.engine = engine, .next = engine->load_ranges, .first = first};
            range->get = (struct st_object_get){
                .position = begin, .len = len, .roomy = true, .done = get_done};
            memcpy(range->get.name, first->object, sizeof first->object);
        }
        if (range == NULL || !cut_slab(range)) {
            free(range);
            for (struct st_load *load = first, *next; load != NULL; load = next) {
                next = load->next_of_range;
                load_end(load, ST_NO_MEMORY, NULL, (struct kp_slice){0});
            }
            continue;
        }
        engine->load_ranges = range;
        st_metrics.object_gets_total++;
        st_engine_op_started(engine);
        engine->store->ops->object_get(engine->store, &range->get);
    }
    st_engine_close_soon(engine); /* which waits for them, but no operation may have come of it */
}

/* True when its object is being read as a whole: it waits for that. */
static bool joins_whole(struct st_load *load) {
    struct st_load_range *range = load->whole > 0 ? load->engine->load_ranges : NULL;
    while (range != NULL && strcmp(range->get.name, load->object) != 0) {
        range = range->next;
    }
    if (range != NULL) {
        load->next_of_range = range->first->next_of_range;
        range->first->next_of_range = load;
    }
    return range != NULL;
}

/* In order of object and position. */
static void send_soon(struct st_load *load) {
    struct st_engine *engine = load->engine;
    if (joins_whole(load)) {
        return;
    }
    struct st_load **link = &engine->loads_unsent;
    int order = 1;
    while (*link != NULL && ((order = strcmp((*link)->object, load->object)) < 0 ||
                             (order == 0 && (*link)->row.position < load->row.position))) {
        link = &(*link)->next_of_range;
    }
    load->next_of_range = *link;
    *link = load;
    engine->loads_send.fn = send_ranges;
    st_defer(engine->loop, &engine->loads_send);
}

/* ---- from entries ---- */

#define ENTRY_ROWS_MOST 4096

struct entry_row {
    struct kp_uuid topic_id;
    int32_t partition;
    struct st_row row;
};

/* The rows of an entry's inline area, as the fold merges them. */
struct entry_rows {
    struct entry_row *at;
    size_t count, most;
};

static void add_append(struct entry_rows *rows, const struct st_fact_append *append, uint64_t slot) {
    size_t i = rows->count;
    while (i > 0 && (rows->at[i - 1].partition != append->partition ||
                     !kp_uuid_equal(&rows->at[i - 1].topic_id, &append->topic_id))) {
        i--;
    }
    bool extends = i > 0 && st_row_extend(&rows->at[i - 1].row, append, slot);
    if (!extends && rows->count < rows->most) {
        rows->at[rows->count++] = (struct entry_row){
            .topic_id = append->topic_id, .partition = append->partition, .row = st_row_of(append, slot)};
    }
}

static void add_entry(struct entry_rows *rows, const struct st_entry *entry, uint64_t slot) {
    struct st_unpack commits = st_unpack_of(entry->commits);
    struct st_commit commit;
    while (st_commit_next(&commits, &commit)) {
        struct st_unpack facts = st_unpack_of(commit.facts);
        struct st_fact fact;
        while (st_unpack_left(&facts) > 0 && st_fact_read(&facts, &fact)) {
            if (fact.type != ST_FACT_appends || (fact.u.appends.flags & ST_APPEND_INLINE) == 0) {
                continue;
            }
            struct st_append_reader reader = st_append_reader(&fact.u.appends);
            struct st_fact_append append;
            while (st_append_next(&reader, &append)) {
                add_append(rows, &append, slot);
            }
        }
    }
}

/* False: out of memory. What is damaged is left out. */
static bool cache_entry(struct st_engine *engine, const struct st_journal_entry *raw, struct st_cached_blob *owner,
                        struct entry_rows *rows) {
    struct st_entry entry;
    bool cached = true;
    if (!st_entry_read(raw->body, &entry)) {
        return true;
    }
    rows->count = 0;
    add_entry(rows, &entry, raw->slot);
    for (size_t i = 0; i < rows->count; i++) {
        const struct st_row *row = &rows->at[i].row;
        uint8_t *bytes = (uint8_t *)(uintptr_t)entry.inline_bytes.ptr + row->position;
        if ((size_t)row->position + row->len <= entry.inline_bytes.len && st_run_patch(bytes, row)) {
            cached &= st_cache_add_run(&engine->cache, owner, raw->slot, row->position, kp_slice_of(bytes, row->len));
        }
    }
    return cached;
}

/* False: out of memory. */
static bool cache_page(struct st_engine *engine, const struct st_journal_read *op, bool cold) {
    if (op->count == 0) {
        return true;
    }
    struct entry_rows rows = {.at = calloc(ENTRY_ROWS_MOST, sizeof *rows.at), .most = ENTRY_ROWS_MOST};
    struct st_cached_blob *owner = rows.at != NULL ? st_cache_add_blob(&engine->cache, op->blob, cold) : NULL;
    bool cached = owner != NULL;
    for (size_t i = 0; owner != NULL && i < op->count; i++) {
        cached &= cache_entry(engine, &op->entries[i], owner, &rows);
    }
    free(rows.at);
    return cached;
}

static bool page_has(const struct st_journal_read *op, uint64_t slot) {
    size_t low = 0, high = op->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (op->entries[middle].slot < slot) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < op->count && op->entries[low].slot == slot;
}

/* What the page has for a load; kept with it, because what is in the cache may be evicted for the next one. */
static void load_look(struct st_load *load, const struct st_journal_read *op, bool cached) {
    load->error = op->error;
    if (op->error != ST_OK) {
        return;
    }
    struct st_run *run = st_cache_find(&load->engine->cache, load->row.slot, load->row.position);
    if (run != NULL && run->bytes.len == load->row.len) {
        load->bytes = run->bytes;
        load->found = kp_blob_ref(run->owner->blob);
    } else {
        load->error = !page_has(op, load->row.slot) ? ST_ABSENT : !cached ? ST_NO_MEMORY : ST_DAMAGED;
    }
}

static void page_join(struct st_load *load);

static void page_done(struct st_journal_read *op) {
    struct st_load_page *page = ST_OWNER(op, struct st_load_page, read);
    struct st_engine *engine = page->engine;
    st_engine_op_ended(engine);
    struct st_load_page **link = &engine->load_pages;
    while (*link != page) {
        link = &(*link)->next;
    }
    *link = page->next;
    bool cached = op->error != ST_OK || cache_page(engine, op, page->cold);
    bool whole = op->error != ST_OK || op->at_end || op->count == 0;
    uint64_t last = whole ? UINT64_MAX : op->entries[op->count - 1].slot;
    struct st_load *first = page->first, *beyond = NULL, **end = &first;
    while (*end != NULL && (*end)->row.slot <= last) {
        load_look(*end, op, cached);
        end = &(*end)->next_of_range;
    }
    beyond = *end;
    *end = NULL;
    free(op->entries);
    kp_blob_unref(op->blob);
    free(page);
    for (struct st_load *load = beyond, *next; load != NULL; load = next) {
        next = load->next_of_range;
        page_join(load); /* the first begins the next page, the others wait for it */
    }
    for (struct st_load *load = first, *next; load != NULL; load = next) {
        next = load->next_of_range;
        load_end(load, load->error, load->found, load->bytes);
    }
}

static struct st_load_page *page_new(struct st_load *load) {
    struct st_engine *engine = load->engine;
    struct st_load_page *page = calloc(1, sizeof *page);
    if (page != NULL) {
        *page = (struct st_load_page){.engine = engine, .next = engine->load_pages, .cold = load->cold};
        page->read = (struct st_journal_read){
            .journal = engine->journal.number,
            .from = load->row.slot,
            .max_bytes = PAGE_BYTES,
            .done = page_done,
        };
        engine->load_pages = page;
    }
    return page;
}

static void page_failed(struct st_task *task);

/* Waits for the page that begins closest before the load's slot, or begins one. Those of a page are in order of their
 * slots. */
static void page_join(struct st_load *load) {
    struct st_engine *engine = load->engine;
    struct st_load_page *page = NULL;
    for (struct st_load_page *p = engine->load_pages; p != NULL; p = p->next) {
        bool closer = page == NULL || p->read.from > page->read.from;
        page = p->read.from <= load->row.slot && closer ? p : page;
    }
    bool begins = page == NULL;
    if (begins && (page = page_new(load)) == NULL) {
        load->next_of_range = engine->loads_failed;
        engine->loads_failed = load;
        engine->loads_fail.fn = page_failed;
        st_defer(engine->loop, &engine->loads_fail);
        return;
    }
    struct st_load **link = &page->first;
    while (*link != NULL && (*link)->row.slot <= load->row.slot) {
        link = &(*link)->next_of_range;
    }
    load->next_of_range = *link;
    *link = load;
    if (begins) {
        st_metrics.journal_reads_total++;
        st_engine_op_started(engine);
        engine->store->ops->journal_read(engine->store, &page->read);
    }
}

/* There was no memory to ask for them. */
static void page_failed(struct st_task *task) {
    struct st_engine *engine = ST_OWNER(task, struct st_engine, loads_fail);
    while (engine->loads_failed != NULL) {
        struct st_load *load = engine->loads_failed;
        engine->loads_failed = load->next_of_range;
        load_end(load, ST_NO_MEMORY, NULL, (struct kp_slice){0});
    }
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
    bool possible = engine->load_count < LOADS_MOST && ref->object.len < ST_OBJECT_NAME_MAX;
    struct st_load *load = possible ? calloc(1, sizeof *load) : NULL;
    if (load == NULL) {
        return false;
    }
    load->engine = engine;
    load->row = ref->row;
    load->cold = cold;
    load_join(load, wait);
    load->next = engine->loads;
    engine->loads = load;
    engine->load_count++;
    if ((ref->row.flags & ST_APPEND_INLINE) != 0) {
        page_join(load);
    } else {
        memcpy(load->object, ref->object.ptr, ref->object.len);
        load->whole = ref->object_len <= engine->store->profile.whole_object_max ? (size_t)ref->object_len : 0;
        send_soon(load);
    }
    return true;
}

void st_loads_release(struct st_engine *engine) {
    st_defer_cancel(engine->loop, &engine->loads_send);
    st_defer_cancel(engine->loop, &engine->loads_fail);
    while (engine->loads != NULL) {
        struct st_load *load = engine->loads;
        engine->loads = load->next;
        free(load);
    }
    while (engine->load_pages != NULL) {
        struct st_load_page *page = engine->load_pages;
        engine->load_pages = page->next;
        free(page);
    }
    while (engine->load_ranges != NULL) {
        struct st_load_range *range = engine->load_ranges;
        engine->load_ranges = range->next;
        kp_blob_unref(range->blob);
        free(range);
    }
    kp_blob_unref(engine->load_slab);
    engine->load_slab = NULL;
}

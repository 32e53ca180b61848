/* The cache of runs. */
#include "storage/log/cache.h"

#include "storage/engine_state.h"
#include "storage/runtime/log.h"
#include "storage/runtime/metrics.h"

#define BUCKETS_LEAST 1024
#define SLAB_LEAST ((size_t)1 << 20)
#define COPIES_SIZE (SLAB_LEAST / 2)

void st_cache_init(struct st_cache *cache, size_t limit) {
    *cache = (struct st_cache){.limit = limit};
}

/* ---- the table of runs ---- */

static size_t bucket_of(const struct st_cache *cache, uint64_t slot, uint32_t position) {
    return (size_t)st_hash_mix(st_hash_mix(0, slot), position) & (cache->bucket_count - 1);
}

static void rehash(struct st_cache *cache) {
    size_t count = cache->bucket_count == 0 ? BUCKETS_LEAST : cache->bucket_count * 2;
    struct st_run **buckets = calloc(count, sizeof *buckets);
    if (buckets == NULL) {
        return; /* longer chains; none at all is handled by the caller */
    }
    struct st_run **old = cache->buckets;
    size_t old_count = cache->bucket_count;
    cache->buckets = buckets;
    cache->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        for (struct st_run *run = old[i], *next; run != NULL; run = next) {
            next = run->next_in_bucket;
            struct st_run **bucket = &buckets[bucket_of(cache, run->slot, run->position)];
            run->next_in_bucket = *bucket;
            *bucket = run;
        }
    }
    free(old);
}

static struct st_run *lookup(const struct st_cache *cache, uint64_t slot, uint32_t position) {
    if (cache->bucket_count == 0) {
        return NULL;
    }
    struct st_run *run = cache->buckets[bucket_of(cache, slot, position)];
    while (run != NULL && (run->slot != slot || run->position != position)) {
        run = run->next_in_bucket;
    }
    return run;
}

static void unlink_run(struct st_cache *cache, struct st_run *run) {
    struct st_run **link = &cache->buckets[bucket_of(cache, run->slot, run->position)];
    while (*link != run) {
        link = &(*link)->next_in_bucket;
    }
    *link = run->next_in_bucket;
    cache->run_count--;
}

/* ---- the lists of blobs ---- */

static struct st_cache_list *list_of(struct st_cache *cache, const struct st_cached_blob *owner) {
    return owner->cold ? &cache->cold : &cache->tail;
}

static void list_remove(struct st_cache_list *list, struct st_cached_blob *owner) {
    *(owner->newer != NULL ? &owner->newer->older : &list->newest) = owner->older;
    *(owner->older != NULL ? &owner->older->newer : &list->oldest) = owner->newer;
    list->bytes -= owner->bytes;
}

/* As the newest. */
static void list_add(struct st_cache *cache, struct st_cached_blob *owner) {
    struct st_cache_list *list = list_of(cache, owner);
    owner->used = ++cache->uses;
    owner->newer = NULL;
    owner->older = list->newest;
    *(list->newest != NULL ? &list->newest->newer : &list->oldest) = owner;
    list->newest = owner;
    list->bytes += owner->bytes;
}

static void evict(struct st_cache *cache, struct st_cached_blob *owner) {
    struct st_cache_list *list = list_of(cache, owner);
    list_remove(list, owner);
    for (size_t i = 0; i < ST_CACHE_SLABS; i++) {
        list->slabs[i] = list->slabs[i] == owner ? NULL : list->slabs[i];
    }
    if (cache->copies == owner) {
        cache->copies = NULL;
    }
    while (owner->runs != NULL) {
        struct st_run *run = owner->runs;
        owner->runs = run->next_of_blob;
        unlink_run(cache, run);
        free(run);
    }
    kp_blob_unref(owner->blob);
    free(owner);
}

/* ---- use ---- */

struct st_run *st_cache_find(struct st_cache *cache, uint64_t slot, uint32_t position) {
    struct st_run *run = lookup(cache, slot, position);
    if (run != NULL) {
        list_remove(list_of(cache, run->owner), run->owner);
        list_add(cache, run->owner);
    }
    return run;
}

struct st_cached_blob *st_cache_add_blob(struct st_cache *cache, struct kp_blob *blob, bool cold) {
    struct st_cache_list *list = cold ? &cache->cold : &cache->tail;
    for (size_t i = 0; i < ST_CACHE_SLABS && blob->size >= SLAB_LEAST; i++) {
        if (list->slabs[i] != NULL && list->slabs[i]->blob == blob) {
            return list->slabs[i];
        }
    }
    struct st_cached_blob *owner = calloc(1, sizeof *owner);
    if (owner == NULL) {
        return NULL;
    }
    owner->blob = kp_blob_ref(blob);
    owner->cold = cold;
    owner->bytes = sizeof *owner + sizeof *blob + kp_blob_capacity(blob);
    list_add(cache, owner);
    if (blob->size >= SLAB_LEAST) {
        list->slabs[list->slab_next] = owner;
        list->slab_next = (list->slab_next + 1) % ST_CACHE_SLABS;
    }
    return owner;
}

bool st_cache_add_run(struct st_cache *cache, struct st_cached_blob *owner, uint64_t slot, uint32_t position,
                      struct kp_slice bytes) {
    if (cache->run_count >= cache->bucket_count) {
        rehash(cache);
    }
    if (lookup(cache, slot, position) != NULL) {
        return true;
    }
    struct st_run *run = cache->bucket_count > 0 ? calloc(1, sizeof *run) : NULL;
    if (run == NULL) {
        return false;
    }
    struct st_run **bucket = &cache->buckets[bucket_of(cache, slot, position)];
    *run = (struct st_run){
        .slot = slot,
        .position = position,
        .bytes = bytes,
        .owner = owner,
        .next_of_blob = owner->runs,
        .next_in_bucket = *bucket,
    };
    *bucket = run;
    owner->runs = run;
    owner->bytes += sizeof *run;
    list_of(cache, owner)->bytes += sizeof *run;
    cache->run_count++;
    return true;
}

void st_cache_trim(struct st_cache *cache) {
    while (cache->cold.oldest != NULL && cache->cold.bytes > cache->limit / 2) {
        evict(cache, cache->cold.oldest);
    }
    while (cache->tail.oldest != NULL && cache->tail.bytes + cache->cold.bytes > cache->limit) {
        struct st_cached_blob *tail = cache->tail.oldest, *cold = cache->cold.oldest;
        evict(cache, cold != NULL && cold->used < tail->used ? cold : tail);
    }
    st_metrics.cache_bytes = (int64_t)(cache->tail.bytes + cache->cold.bytes);
}

void st_cache_release(struct st_cache *cache) {
    while (cache->cold.oldest != NULL) {
        evict(cache, cache->cold.oldest);
    }
    while (cache->tail.oldest != NULL) {
        evict(cache, cache->tail.oldest);
    }
    free(cache->buckets);
}

struct st_run *st_cache_row(struct st_cache *cache, const struct st_row *row) {
    struct st_run *run = st_cache_find(cache, row->slot, row->position);
    struct st_run *whole = run == NULL ? st_cache_find(cache, row->slot, ST_CACHE_WHOLE) : NULL;
    if (whole == NULL || (size_t)row->position + row->len > whole->bytes.len) {
        return run;
    }
    uint8_t *bytes = (uint8_t *)(uintptr_t)whole->bytes.ptr + row->position; /* nobody else has them yet */
    bool added = st_run_patch(bytes, row) &&
                 st_cache_add_run(cache, whole->owner, row->slot, row->position, kp_slice_of(bytes, row->len));
    return added ? st_cache_find(cache, row->slot, row->position) : NULL;
}

/* ---- patching ---- */

bool st_run_patch(uint8_t *bytes, const struct st_row *row) {
    int64_t next = row->base;
    size_t at = 0;
    while (at < row->len) {
        struct kp_batch batch;
        if (kp_batch_peek(kp_slice_of(bytes + at, row->len - at), &batch) != KP_ERROR_NONE ||
            batch.last_offset_delta < 0 || next > row->end - 1 - batch.last_offset_delta) {
            return false;
        }
        kp_batch_patch(bytes + at, next, -1);
        if ((row->flags & ST_APPEND_TIME) != 0) {
            kp_batch_set_append_time(bytes + at, batch.bytes.len, row->max_timestamp_ms);
        }
        next += batch.last_offset_delta + 1;
        at += batch.bytes.len;
    }
    return next == row->end;
}

/* Copies a run to where small ones lie together. NULL: no memory. */
static uint8_t *copy_run(struct st_cache *cache, const uint8_t *bytes, size_t len) {
    if (cache->copies == NULL || cache->copies->blob->size - cache->copies_used < len) {
        struct kp_blob *blob = kp_blob_new(len > COPIES_SIZE ? len : COPIES_SIZE);
        cache->copies = blob != NULL ? st_cache_add_blob(cache, blob, false) : NULL;
        cache->copies_used = 0;
        kp_blob_unref(blob); /* the cache has its own reference */
        if (cache->copies == NULL) {
            return NULL;
        }
    }
    uint8_t *copy = cache->copies->blob->data + cache->copies_used;
    memcpy(copy, bytes, len);
    cache->copies_used += len;
    return copy;
}

/* A row of the entry at this slot that the flush begins with, or NULL: not its first batch, or deleted by the same
 * entry. */
static const struct st_row *row_begun(const struct st_fold *fold, const struct st_append_request *append,
                                      uint64_t slot) {
    struct st_partition *partition = st_fold_partition(fold, &append->topic_id, append->partition);
    const struct st_row *row = partition != NULL ? st_partition_row(partition, append->base) : NULL;
    return row != NULL && row->slot == slot && row->base == append->base ? row : NULL;
}

void st_cache_committed(struct st_engine *engine, struct st_flush *flush, uint64_t slot, struct kp_blob *body) {
    struct st_cache *cache = &engine->cache;
    struct st_entry entry;
    bool in_object = flush->object.blob != NULL;
    if (!in_object && body == NULL) {
        return; /* another process wrote the entry */
    }
    if (!in_object && !st_entry_read(kp_slice_of(body->data, body->size), &entry)) {
        return;
    }
    for (struct st_request *r = flush->first; r != NULL; r = r->next) {
        struct st_append_request *append = ST_OWNER(r, struct st_append_request, request);
        const struct st_row *row = NULL;
        if (r->kind == ST_REQUEST_APPEND && append->stored) {
            row = row_begun(engine->journal.fold, append, slot);
        }
        if (row == NULL) {
            continue;
        }
        uint8_t *run = in_object ? st_object_buffer_data(&engine->store->profile, &flush->object) + row->position
                                 : copy_run(cache, entry.inline_bytes.ptr + row->position, row->len);
        struct st_cached_blob *owner = in_object ? st_cache_add_blob(cache, flush->object.blob, false) : cache->copies;
        if (run == NULL || owner == NULL) {
            break; /* no memory: they are read from the store */
        }
        if (!st_run_patch(run, row)) {
            ST_LOG(store_damaged, "what=flush slot=%llu", (unsigned long long)slot);
            break;
        }
        st_cache_add_run(cache, owner, slot, row->position, kp_slice_of(run, row->len));
    }
    st_cache_trim(cache);
}

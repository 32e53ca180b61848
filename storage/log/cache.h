/*
 * Record bytes in memory, ready to be served: base offsets and, on LogAppendTime topics, times are set once, when a run
 * enters. A run is what one index row names: consecutive batches of one partition in one entry; (slot, position) names
 * it for ever. Runs of a flush that went into an object share its slab, so that what was just produced is served
 * without reading it back; those of a small one, whose bytes rode in the entry, are copied together: tens of thousands
 * of small entries, each in memory of its own, would leave the allocator's heap full of holes.
 *
 * Two lists, each least recently used first: `tail` (what this process committed, or read near the end) and `cold`
 * (what somebody read far behind). Cold ones may take at most half of the room, so that one reader going through
 * history does not evict what everybody else wants; what it has left behind makes room for the tail again, because
 * beyond that half whatever was used least recently goes first, from either list.
 */
#ifndef ST_CACHE_H
#define ST_CACHE_H

#include "storage/journal/fold.h"

struct st_flush;

struct st_cached_blob {
    struct kp_blob *blob;
    struct st_run *runs;
    bool cold;
    size_t bytes; /* charged: the memory of the blob and of its runs */
    uint64_t used; /* number of the last use */
    struct st_cached_blob *newer, *older;
};

struct st_run {
    uint64_t slot;
    uint32_t position;
    struct kp_slice bytes; /* in the blob */
    struct st_cached_blob *owner;
    struct st_run *next_of_blob, *next_in_bucket;
};

#define ST_CACHE_SLABS 16 /* more than loads fill side by side, or flushes */
struct st_cache_list {
    struct st_cached_blob *newest, *oldest;
    struct st_cached_blob *slabs[ST_CACHE_SLABS]; /* the last large ones added: more of their runs may come */
    size_t slab_next;                             /* whose place the next one takes */
    size_t bytes;
};

struct st_cache {
    struct st_run **buckets; /* a power of two of them */
    size_t bucket_count, run_count;
    struct st_cache_list tail, cold;
    struct st_cached_blob *copies; /* where small runs are copied to; NULL: none */
    size_t copies_used;
    size_t limit;
    uint64_t uses; /* so far: a clock for `used` */
};

void st_cache_init(struct st_cache *cache, size_t limit);
void st_cache_release(struct st_cache *cache);
/* The run of a row, or NULL. Makes it the newest. */
struct st_run *st_cache_find(struct st_cache *cache, uint64_t slot, uint32_t position);
/* The entry of a blob that runs lie in; the cache takes its own reference. A slab, whose runs come one after the other,
 * and between those of others, has one entry: it is charged, and evicted, as a whole, so that what the cache counts is
 * what memory holds. */
struct st_cached_blob *st_cache_add_blob(struct st_cache *cache, struct kp_blob *blob, bool cold);
/* The run of a row: as st_cache_find, or cut out of its object, if that is there as a whole. */
struct st_run *st_cache_row(struct st_cache *cache, const struct st_row *row);
/* Stands for a position: what was added under it is the whole object of that slot, as stored. */
#define ST_CACHE_WHOLE UINT32_MAX
/* Adds a run of patched bytes in that blob; an existing one stays. False: out of memory, it is not cached. */
bool st_cache_add_run(struct st_cache *cache, struct st_cached_blob *owner, uint64_t slot, uint32_t position,
                      struct kp_slice bytes);
/* Evicts down to the limit. Called after adding. */
void st_cache_trim(struct st_cache *cache);

/* Sets the base offsets (and times) of a run's batches, in place. False: the bytes are not batches that fit the row. */
bool st_run_patch(uint8_t *bytes, const struct st_row *row);
/* A flush was committed at this slot: its bytes enter the cache. */
void st_cache_committed(struct st_engine *engine, struct st_flush *flush, uint64_t slot, struct kp_blob *body);

#endif

/*
 * Bringing runs from the store into the cache: one load in flight per run however many readers wait for it, and one
 * request for runs that lie side by side, or in one small object.
 */
#ifndef ST_LOAD_H
#define ST_LOAD_H

#include "storage/log/blocks.h"

struct st_engine;

/* A row that some offset falls in, with the name of its object (absent: inline). */
struct st_row_ref {
    struct st_row row;
    struct kp_uuid topic_id;
    int32_t partition;
    struct kp_slice object; /* good until control returns to the loop */
    uint64_t object_len;
};

/* Who waits for loads; embedded in a reader. Each load that it joined calls done once;
 * ST_OK without a blob: a row block is there, look again. */
struct st_load_wait {
    void (*done)(struct st_load_wait *wait, enum st_error error, struct kp_blob *blob, struct kp_slice bytes);
    struct st_load_wait *next;
    struct st_block_wait block_wait; /* while it waits for a row block instead of a run */
    uint64_t slot;
    uint32_t position;
};

struct st_load;

/* Starts or joins the load of a row's run; wait may be NULL (read-ahead). wait->done gets the patched bytes and the
 * blob they lie in (a reference is taken by who keeps it). False, wait unused: too many loads are under way, or no
 * memory. */
bool st_load_start(struct st_engine *engine, const struct st_row_ref *ref, bool cold, struct st_load_wait *wait);
void st_loads_release(struct st_engine *engine);

#endif

/*
 * Row blocks of the checkpoint that the fold rests on, a few of them in memory, least recently used out first.
 */
#ifndef ST_BLOCKS_H
#define ST_BLOCKS_H

#include "storage/journal/checkpoint.h"

#define ST_BLOCKS_CACHED 16

struct st_engine;

/* Who waits for a block. ST_OK with a block, good until control returns to the loop; ST_OK without one: the fold went
 * over to another checkpoint, look again there; else it cannot be had now. */
struct st_block_wait {
    void (*done)(struct st_block_wait *wait, enum st_error error, const struct st_block *block);
    struct st_block_wait *next;
};

struct st_blocks {
    struct st_cached_block {
        size_t number;
        uint64_t used; /* order of use; 0: free */
        struct st_block block;
    } cached[ST_BLOCKS_CACHED];
    uint64_t uses;
    struct st_block_load *loads;
};

/* The block if it is in memory, else NULL. */
const struct st_block *st_block_find(struct st_engine *engine, size_t number);
/* Calls wait->done from the loop, with the block. False: out of memory. */
bool st_block_get(struct st_engine *engine, size_t number, struct st_block_wait *wait);
/* The fold goes over to another checkpoint: blocks and loads of the old one are void (who waits is told NULL). */
void st_blocks_forget(struct st_engine *engine);
void st_blocks_release(struct st_engine *engine);

#endif

/*
 * Bump allocator with a hard cap: everything that one request decodes lives here and is freed at once. The cap is what
 * keeps a hostile frame from making the process allocate more than a multiple of the bytes it really sent.
 */
#ifndef KP_ARENA_H
#define KP_ARENA_H

#include "protocol/bytes/blob.h"

struct kp_arena_block;

struct kp_arena {
    struct kp_arena_block *blocks; /* newest first */
    size_t used, limit;            /* bytes; used counts whole blocks */
    struct kp_arena_hold *holds;
};

/* No memory is taken until the first allocation. */
void kp_arena_init(struct kp_arena *arena, size_t limit);
/* Zeroed memory aligned for any type, or NULL when the cap or memory is exhausted. size 0 gives a valid pointer. */
void *kp_arena_alloc(struct kp_arena *arena, size_t size);
/* The same for count elements, overflow-checked. */
void *kp_arena_array(struct kp_arena *arena, size_t count, size_t size);
/* kp_arena_alloc with undefined contents, for large buffers that are about to be filled. */
void *kp_arena_alloc_raw(struct kp_arena *arena, size_t size);
/* Resizes the newest raw allocation, in place when it is large; the memory may move, new bytes are undefined. NULL
 * when exhausted: the old memory stays. */
void *kp_arena_resize(struct kp_arena *arena, void *at, size_t old_size, size_t new_size);
struct kp_slice kp_arena_copy(struct kp_arena *arena, struct kp_slice bytes); /* ptr NULL when exhausted */
/* Takes a reference that the arena drops when it is released. False when exhausted (no reference taken). */
bool kp_arena_hold(struct kp_arena *arena, struct kp_blob *blob);
/* Frees all memory and drops all held references; the arena may be used again. */
void kp_arena_release(struct kp_arena *arena);

#endif

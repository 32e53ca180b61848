/*
 * Memory comes in blocks, each twice the last up to 64 KiB; what is larger than a quarter of a block gets a block of
 * its own, so that it can be resized without a copy and wastes nothing. The cap counts blocks, not what was asked for,
 * so that it bounds the memory really taken.
 */
#include "protocol/bytes/arena.h"

#include <stdalign.h>
#include <stdlib.h>

enum { BLOCK_FIRST = 2048, BLOCK_MAX = 65536 };

struct kp_arena_block {
    struct kp_arena_block *next; /* older */
    size_t size, used;           /* of data */
    alignas(max_align_t) uint8_t data[];
};

struct kp_arena_hold {
    struct kp_arena_hold *next;
    struct kp_blob *blob;
};

void kp_arena_init(struct kp_arena *arena, size_t limit) {
    *arena = (struct kp_arena){.limit = limit};
}

static struct kp_arena_block *block_new(struct kp_arena *arena, size_t data_size) {
    size_t whole = 0;
    if (__builtin_add_overflow(data_size, sizeof(struct kp_arena_block), &whole) ||
        whole > arena->limit - arena->used) {
        return NULL;
    }
    struct kp_arena_block *block = malloc(whole);
    if (block == NULL) {
        return NULL;
    }
    arena->used += whole;
    block->size = data_size;
    block->used = 0;
    return block;
}

/* A block for one large allocation goes behind the newest, which stays the one that small allocations are cut from. */
static void *own_block(struct kp_arena *arena, size_t size) {
    struct kp_arena_block *block = block_new(arena, size);
    if (block == NULL) {
        return NULL;
    }
    block->used = size;
    if (arena->blocks == NULL) {
        block->next = NULL;
        arena->blocks = block;
    } else {
        block->next = arena->blocks->next;
        arena->blocks->next = block;
    }
    return block->data;
}

static struct kp_arena_block *next_block(struct kp_arena *arena, size_t size) {
    size_t want = BLOCK_FIRST;
    if (arena->blocks != NULL && arena->blocks->size >= BLOCK_FIRST) {
        want = arena->blocks->size < BLOCK_MAX / 2 ? arena->blocks->size * 2 : BLOCK_MAX;
    }
    struct kp_arena_block *block = block_new(arena, want);
    if (block == NULL && size < want) {
        block = block_new(arena, size); /* the last bytes below the cap */
    }
    if (block != NULL) {
        block->next = arena->blocks;
        arena->blocks = block;
    }
    return block;
}

void *kp_arena_alloc_raw(struct kp_arena *arena, size_t size) {
    size_t rounded = size;
    if (__builtin_add_overflow(size, alignof(max_align_t) - 1, &rounded)) {
        return NULL;
    }
    rounded &= ~(alignof(max_align_t) - 1);
    if (rounded == 0) {
        rounded = alignof(max_align_t);
    }
    struct kp_arena_block *block = arena->blocks;
    if (block != NULL && block->size - block->used >= rounded) {
        void *at = block->data + block->used;
        block->used += rounded;
        return at;
    }
    if (rounded > BLOCK_FIRST / 4 && (block == NULL || rounded > block->size / 4)) {
        return own_block(arena, rounded);
    }
    block = next_block(arena, rounded);
    if (block == NULL) {
        return NULL;
    }
    block->used = rounded;
    return block->data;
}

void *kp_arena_alloc(struct kp_arena *arena, size_t size) {
    void *at = kp_arena_alloc_raw(arena, size);
    return at == NULL ? NULL : memset(at, 0, size);
}

void *kp_arena_array(struct kp_arena *arena, size_t count, size_t size) {
    size_t bytes = 0;
    return __builtin_mul_overflow(count, size, &bytes) ? NULL : kp_arena_alloc(arena, bytes);
}

void *kp_arena_resize(struct kp_arena *arena, void *at, size_t old_size, size_t new_size) {
    struct kp_arena_block **link = &arena->blocks;
    /* A block of its own is the newest or the one behind it, as own_block puts it. */
    if (*link != NULL && (*link)->data != at) {
        link = &(*link)->next;
    }
    struct kp_arena_block *block = *link;
    if (block == NULL || block->data != at || block->used != block->size || block->size < BLOCK_FIRST) {
        void *moved = kp_arena_alloc_raw(arena, new_size);
        if (moved != NULL) {
            memcpy(moved, at, old_size < new_size ? old_size : new_size);
        }
        return moved;
    }
    size_t whole = 0;
    if (__builtin_add_overflow(new_size, sizeof *block, &whole)) {
        return NULL;
    }
    size_t others = arena->used - block->size - sizeof *block;
    if (whole > arena->limit - others) {
        return NULL;
    }
    struct kp_arena_block *resized = realloc(block, whole);
    if (resized == NULL) {
        return NULL;
    }
    resized->size = resized->used = new_size;
    arena->used = others + whole;
    *link = resized;
    return resized->data;
}

struct kp_slice kp_arena_copy(struct kp_arena *arena, struct kp_slice bytes) {
    uint8_t *copy = kp_arena_alloc_raw(arena, bytes.len);
    if (copy == NULL) {
        return (struct kp_slice){NULL, 0};
    }
    if (bytes.len > 0) {
        memcpy(copy, bytes.ptr, bytes.len);
    }
    return kp_slice_of(copy, bytes.len);
}

bool kp_arena_hold(struct kp_arena *arena, struct kp_blob *blob) {
    struct kp_arena_hold *hold = kp_arena_alloc_raw(arena, sizeof *hold);
    if (hold == NULL) {
        return false;
    }
    *hold = (struct kp_arena_hold){.next = arena->holds, .blob = kp_blob_ref(blob)};
    arena->holds = hold;
    return true;
}

void kp_arena_release(struct kp_arena *arena) {
    for (struct kp_arena_hold *hold = arena->holds; hold != NULL; hold = hold->next) {
        kp_blob_unref(hold->blob);
    }
    while (arena->blocks != NULL) {
        struct kp_arena_block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
    kp_arena_init(arena, arena->limit);
}

/*
 * Reference-counted bytes: the only owner of record bytes between socket and store.
 *
 * A blob is filled by whoever made it, then read by many. Counting is not atomic: references are taken and dropped on
 * the loop thread only; a worker job borrows a reference that the loop holds for it. Memory from 4 KiB up comes from a
 * small pool of buffers of a few sizes, because mapping and zeroing a fresh megabyte per frame costs more than
 * receiving it; its data is aligned to KP_BLOB_ALIGN bytes, as O_DIRECT wants it. Smaller blobs are plain memory.
 */
#ifndef KP_BLOB_H
#define KP_BLOB_H

#include "protocol/bytes/slice.h"

#define KP_BLOB_ALIGN 4096

struct kp_blob {
    uint8_t *data;
    size_t size;     /* bytes usable at data */
    uint32_t refs;   /* loop thread only */
    uint32_t pooled; /* size class + 1 when data goes back to the pool, else 0 */
};

/* A blob of exactly `size` usable bytes, contents undefined, one reference. NULL when memory is out. */
struct kp_blob *kp_blob_new(size_t size);
/* Enlarges a blob that has one reference, keeping the first `used` bytes (these are copied, and counted in
 * kp_blob_stats.grow_copied_bytes). False, blob untouched, when memory is out. */
bool kp_blob_grow(struct kp_blob *blob, size_t used, size_t size);
/* The memory that a blob really takes. */
size_t kp_blob_capacity(const struct kp_blob *blob);
struct kp_blob *kp_blob_ref(struct kp_blob *blob);
/* Drops one reference; the last one frees. NULL is accepted. */
void kp_blob_unref(struct kp_blob *blob);

/* Bytes of a blob held by somebody: a blob reference plus the part that is meant. */
struct kp_piece {
    struct kp_blob *blob; /* NULL: the bytes live at least as long as the holder (arena, static) */
    struct kp_slice bytes;
};

/* Process-wide figures, for metrics and for the test that counts copies. */
struct kp_blob_stats {
    uint64_t live_bytes, pooled_bytes, grow_copied_bytes;
};
struct kp_blob_stats kp_blob_stats(void);
/* Upper bound of memory kept for reuse; the default is 48 MiB. */
void kp_blob_pool_limit(size_t bytes);

#endif

/*
 * The memory of one object that is being gathered: head room, data, padding (storage/store.h).
 *
 * Objects are cut one after the other from slabs of a few megabytes. How much an object will come to is not known when
 * it begins; cut from the end of a slab it takes just what it came to, and slabs being all of one size, the pool of
 * blobs serves every one of them. An object that outgrows its slab moves to a new one; its first size is what the
 * largest came to lately, so that this copy is rare.
 */
#ifndef ST_OBJECT_BUFFER_H
#define ST_OBJECT_BUFFER_H

#include "storage/store.h"

struct st_slabs {
    struct kp_blob *slab; /* the one being cut; NULL: none */
    size_t used;          /* of it */
    size_t expected;      /* bytes of the largest object lately */
};

struct st_object_buffer {
    struct kp_blob *blob; /* one reference; NULL: not begun */
    size_t at;            /* where the object begins in it */
    size_t used;          /* bytes of data */
};

/* Begins an object of at least `least` bytes. False: out of memory. One object at a time is open. */
bool st_object_buffer_begin(struct st_slabs *slabs, const struct st_store_profile *profile,
                            struct st_object_buffer *buffer, size_t least);
/* Appends bytes. *moved: the data lies elsewhere now. False: out of memory, nothing changed. */
bool st_object_buffer_add(struct st_slabs *slabs, const struct st_store_profile *profile,
                          struct st_object_buffer *buffer, struct kp_slice bytes, bool *moved);
/* The object is complete; the rest of its slab is for the next. */
void st_object_buffer_close(struct st_slabs *slabs, const struct st_store_profile *profile,
                            const struct st_object_buffer *buffer);
uint8_t *st_object_buffer_data(const struct st_store_profile *profile, const struct st_object_buffer *buffer);
/* Bytes that an object of `len` bytes of data takes. */
size_t st_object_buffer_size(const struct st_store_profile *profile, size_t len);

#endif

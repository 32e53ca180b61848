/*
 * The memory of one object that is being gathered: head room, data, padding (storage/store.h).
 *
 * Objects are cut one after the other from slabs of a few megabytes. How much an object will come to is not known when
 * it begins; cut from the end of a slab it takes just what it came to, and slabs being all of one size, the pool of
 * blobs serves every one of them. A flush closes at the end of its slab, so that slabs are full: the cache, which keeps
 * whole ones, would pay for what is left empty. Only what must share a flush with what is there already, and does not
 * fit, makes an object move to a new slab.
 */
#ifndef ST_OBJECT_BUFFER_H
#define ST_OBJECT_BUFFER_H

#include "storage/store.h"

struct st_slabs {
    struct kp_blob *slab; /* the one being cut; NULL: none */
    size_t used;          /* of it */
};

struct st_object_buffer {
    struct kp_blob *blob; /* one reference; NULL: not begun */
    size_t at;            /* where the object begins in it */
    size_t used;          /* bytes of data */
    uint32_t crc;         /* CRC-32C of the data */
};

/* Begins an object that is going to hold at least `least` bytes. False: out of memory. One object at a time is open. */
bool st_object_buffer_begin(struct st_slabs *slabs, const struct st_store_profile *profile,
                            struct st_object_buffer *buffer, size_t least);
/* Whether `len` more bytes fit in its slab. */
bool st_object_buffer_fits(const struct st_store_profile *profile, const struct st_object_buffer *buffer, size_t len);
/* Appends a record batch whose CRC was checked. *moved: the data lies elsewhere now. False: out of memory, nothing
 * changed. */
bool st_object_buffer_add(struct st_slabs *slabs, const struct st_store_profile *profile,
                          struct st_object_buffer *buffer, struct kp_slice batch, bool *moved);
/* The object is complete; the rest of its slab is for the next. */
void st_object_buffer_close(struct st_slabs *slabs, const struct st_store_profile *profile,
                            const struct st_object_buffer *buffer);
uint8_t *st_object_buffer_data(const struct st_store_profile *profile, const struct st_object_buffer *buffer);
/* Bytes that an object of `len` bytes of data takes. */
size_t st_object_buffer_size(const struct st_store_profile *profile, size_t len);

#endif

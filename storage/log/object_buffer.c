/* Objects cut from slabs. */
#include "storage/log/object_buffer.h"

#include "protocol/record_batch.h"
#include "storage/runtime/metrics.h"

enum {
    OBJECTS_A_SLAB = 2,     /* full ones */
    REST_WORTH_A_FLUSH = 4, /* a quarter of a full flush: less is left at the end of a slab */
};

size_t st_object_buffer_size(const struct st_store_profile *profile, size_t len) {
    size_t align = profile->object_align > 0 ? profile->object_align : 1;
    return profile->object_head_room + (len + align - 1) / align * align;
}

uint8_t *st_object_buffer_data(const struct st_store_profile *profile, const struct st_object_buffer *buffer) {
    return buffer->blob->data + buffer->at + profile->object_head_room;
}

/* A slab that has room for an object of this size, at slabs->used. */
static bool slab_for(struct st_slabs *slabs, const struct st_store_profile *profile, size_t size) {
    if (slabs->slab != NULL && slabs->slab->size - slabs->used >= size) {
        return true;
    }
    size_t usual = OBJECTS_A_SLAB * (size_t)profile->flush_limit; /* a size of the pool: head rooms included */
    struct kp_blob *slab = kp_blob_new(size > usual ? size : usual);
    if (slab == NULL) {
        return false;
    }
    kp_blob_unref(slabs->slab);
    slabs->slab = slab;
    slabs->used = 0;
    return true;
}

bool st_object_buffer_begin(struct st_slabs *slabs, const struct st_store_profile *profile,
                            struct st_object_buffer *buffer, size_t least) {
    size_t worth = profile->flush_limit / REST_WORTH_A_FLUSH;
    if (!slab_for(slabs, profile, st_object_buffer_size(profile, least > worth ? least : worth))) {
        return false;
    }
    *buffer = (struct st_object_buffer){.blob = kp_blob_ref(slabs->slab), .at = slabs->used};
    return true;
}

bool st_object_buffer_fits(const struct st_store_profile *profile, const struct st_object_buffer *buffer, size_t len) {
    return st_object_buffer_size(profile, buffer->used + len) <= buffer->blob->size - buffer->at;
}

bool st_object_buffer_add(struct st_slabs *slabs, const struct st_store_profile *profile,
                          struct st_object_buffer *buffer, struct kp_slice batch, bool *moved) {
    size_t len = buffer->used + batch.len;
    *moved = false;
    if (!st_object_buffer_fits(profile, buffer, batch.len)) {
        size_t room = 2 * len < profile->flush_limit ? 2 * len : len;
        if (!slab_for(slabs, profile, st_object_buffer_size(profile, room))) {
            return false;
        }
        struct st_object_buffer next = {.blob = kp_blob_ref(slabs->slab), .at = slabs->used};
        memcpy(st_object_buffer_data(profile, &next), st_object_buffer_data(profile, buffer), buffer->used);
        st_metrics.produce_copied_bytes_total += buffer->used;
        next.used = buffer->used;
        next.crc = buffer->crc;
        kp_blob_unref(buffer->blob);
        *buffer = next;
        *moved = true;
    }
    memcpy(st_object_buffer_data(profile, buffer) + buffer->used, batch.ptr, batch.len);
    st_metrics.produce_copied_bytes_total += batch.len;
    buffer->crc = kp_batch_sum(buffer->crc, batch);
    buffer->used = len;
    return true;
}

void st_object_buffer_close(struct st_slabs *slabs, const struct st_store_profile *profile,
                            const struct st_object_buffer *buffer) {
    slabs->used = buffer->at + st_object_buffer_size(profile, buffer->used);
}

#include "lambda/batches.h"

#include "protocol/bytes/be.h"

void rest_batches_init(struct rest_batches *batches, const struct kp_chain *chain) {
    *batches = (struct rest_batches){.chain = chain, .left = chain->bytes};
}

/* Copies the next len bytes (len <= left) without moving on. */
static void copy_ahead(const struct rest_batches *batches, uint8_t *into, size_t len) {
    size_t piece = batches->piece, at = batches->at;
    while (len > 0) {
        struct kp_slice bytes = batches->chain->pieces[piece].bytes;
        size_t here = bytes.len - at < len ? bytes.len - at : len;
        memcpy(into, bytes.ptr + at, here);
        into += here;
        len -= here;
        piece++;
        at = 0;
    }
}

static void move_on(struct rest_batches *batches, size_t len) {
    batches->left -= len;
    while (len > 0) {
        size_t here = batches->chain->pieces[batches->piece].bytes.len - batches->at;
        if (len < here) {
            batches->at += len;
            return;
        }
        len -= here;
        batches->piece++;
        batches->at = 0;
    }
}

/* The next len bytes (len <= left) in one run. ptr NULL when memory is out. */
static struct kp_slice take(struct rest_batches *batches, size_t len) {
    struct kp_slice bytes = batches->chain->pieces[batches->piece].bytes;
    struct kp_slice run = kp_slice_of(bytes.ptr + batches->at, len);
    if (bytes.len - batches->at < len) {
        kp_blob_unref(batches->gathered);
        batches->gathered = kp_blob_new(len);
        if (batches->gathered == NULL) {
            return (struct kp_slice){NULL, 0};
        }
        copy_ahead(batches, batches->gathered->data, len);
        run = kp_slice_of(batches->gathered->data, len);
    }
    move_on(batches, len);
    return run;
}

int rest_batches_next(struct rest_batches *batches, struct kp_batch *batch) {
    if (batches->left == 0) {
        return 0;
    }
    uint8_t head[KP_BATCH_LENGTH_AT];
    if (batches->left < sizeof head) {
        return -1;
    }
    copy_ahead(batches, head, sizeof head);
    uint32_t after = kp_be_load32(head + KP_BATCH_LENGTH_AT - sizeof(uint32_t));
    if (after > batches->left - sizeof head) {
        return -1;
    }
    struct kp_slice bytes = take(batches, sizeof head + after);
    return bytes.ptr != NULL && kp_batch_peek(bytes, batch) == KP_ERROR_NONE ? 1 : -1;
}

void rest_batches_release(struct rest_batches *batches) {
    kp_blob_unref(batches->gathered);
    batches->gathered = NULL;
}

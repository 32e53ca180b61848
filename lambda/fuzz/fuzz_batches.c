/*
 * Batches out of any bytes, cut into pieces anywhere: the first byte says how long the pieces are. What comes out must
 * be the bytes that went in, in their order.
 */
#include "lambda/batches.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    size_t step = data[0] == 0 ? size : data[0];
    struct kp_slice bytes = kp_slice_of(data + 1, size - 1);
    struct kp_chain chain;
    kp_chain_init(&chain);
    for (size_t at = 0; at < bytes.len; at += step) {
        size_t len = bytes.len - at < step ? bytes.len - at : step;
        kp_chain_piece(&chain, (struct kp_piece){NULL, kp_slice_of(bytes.ptr + at, len)});
    }
    struct rest_batches batches;
    rest_batches_init(&batches, &chain);
    struct kp_batch batch;
    size_t seen = 0;
    int found;
    while ((found = rest_batches_next(&batches, &batch)) > 0) {
        must(batch.bytes.len >= KP_BATCH_HEADER_SIZE && batch.bytes.len <= bytes.len - seen);
        must(memcmp(batch.bytes.ptr, bytes.ptr + seen, batch.bytes.len) == 0);
        seen += batch.bytes.len;
    }
    must(found < 0 || seen == bytes.len);
    rest_batches_release(&batches);
    kp_chain_release(&chain);
    must(kp_blob_stats().live_bytes == 0);
    return 0;
}

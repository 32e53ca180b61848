/* Compressing entries and back, storage/backends/aws/entry_item.h. */
#include "storage/backends/aws/entry_item.h"

#include "storage/store.h"

#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define TRY_FROM 512 /* a shorter entry is one unit in any case */

void st_entry_item_write(struct st_json *json, struct kp_slice body) {
    uint8_t *frame = body.len >= TRY_FROM ? malloc(body.len) : NULL;
    size_t len = frame != NULL ? ZSTD_compress(frame, body.len, body.ptr, body.len, ZSTD_CLEVEL_DEFAULT) : SIZE_MAX;
    if (ZSTD_isError(len)) { /* also when it does not become shorter, and SIZE_MAX */
        st_json_add(json, "\"b\":{\"B\":\"");
        st_json_base64(json, body);
    } else {
        st_json_add(json, "\"n\":{\"N\":\"%zu\"},\"z\":{\"B\":\"", body.len);
        st_json_base64(json, kp_slice_of(frame, len));
    }
    st_json_add(json, "\"}");
    free(frame);
}

size_t st_entry_item_len(const cJSON *item) {
    uint64_t len = st_item_bytes_len(item, "b");
    if (len == SIZE_MAX && !st_item_number(item, "n", &len)) {
        return SIZE_MAX;
    }
    return len <= ST_ENTRY_MAX ? len : SIZE_MAX;
}

static enum st_error inflate(const cJSON *item, size_t stored, uint8_t *into) {
    uint8_t *frame = malloc(stored);
    if (frame == NULL) {
        return ST_REFUSED;
    }
    size_t len = st_entry_item_len(item);
    size_t got = st_item_bytes(item, "z", frame) ? ZSTD_decompress(into, len, frame, stored) : SIZE_MAX;
    free(frame);
    if (ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation) {
        return ST_REFUSED;
    }
    return got == len ? ST_OK : ST_DAMAGED;
}

enum st_error st_entry_item_read(const cJSON *item, uint8_t *into) {
    size_t stored = st_item_bytes_len(item, "z");
    if (stored == SIZE_MAX) {
        return st_item_bytes(item, "b", into) ? ST_OK : ST_DAMAGED;
    }
    return stored > 0 && stored <= ST_ENTRY_MAX ? inflate(item, stored, into) : ST_DAMAGED;
}

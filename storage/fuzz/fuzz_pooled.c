/*
 * Requests of the pool as another release, or a bad disk, might leave them. Input: a request without its CRC, which is
 * appended. What is accepted holds what it says: as many appends as it counts, each with its bytes in the request or in
 * the object, and it is written back to a request that reads the same.
 */
#include "storage/journal/pooled.h"

#include "protocol/bytes/crc32c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static bool same(const struct st_pooled_append *a, const struct st_pooled_append *b) {
    return kp_uuid_equal(&a->topic_id, &b->topic_id) && a->partition == b->partition && a->count == b->count &&
           a->flags == b->flags && a->position == b->position && a->len == b->len &&
           a->max_timestamp_ms == b->max_timestamp_ms && a->producer_id == b->producer_id && a->epoch == b->epoch &&
           a->first_sequence == b->first_sequence && kp_slice_equal(a->key, b->key) &&
           a->key_hash[0] == b->key_hash[0] && a->key_hash[1] == b->key_hash[1] &&
           a->key_begun_ms == b->key_begun_ms && a->key_parts == b->key_parts;
}

/* Reads the appends, and what they were written back to beside them. */
static void check_appends(const struct st_pooled *request, const struct st_pooled *back) {
    struct st_unpack in = st_unpack_of(request->appends), again = st_unpack_of(back->appends);
    struct st_pooled_append append, copy;
    uint64_t room = request->object_len > 0 ? request->object_len : request->inline_bytes.len;
    size_t count = 0;
    while (st_unpack_left(&in) > 0 && st_pooled_next(&in, &append)) {
        require((uint64_t)append.position + append.len <= room);
        require(st_pooled_next(&again, &copy) && same(&append, &copy));
        count++;
    }
    require(count == request->count && !in.failed && st_unpack_left(&again) == 0);
}

static void write_back(const struct st_pooled *request, struct st_pack *out) {
    struct st_unpack in = st_unpack_of(request->appends);
    struct st_pooled_append append;
    st_pack_init(out, 2 * ST_POOL_BODY_MAX);
    st_pooled_begin(out, request);
    while (st_unpack_left(&in) > 0 && st_pooled_next(&in, &append)) {
        st_pooled_write(out, &append);
    }
    st_pack_bytes(out, request->inline_bytes.ptr, request->inline_bytes.len);
    st_pooled_end(out);
    require(!out->failed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *body = malloc(size + 4); /* of exactly its size */
    require(body != NULL);
    memcpy(body, data, size);
    struct st_pack crc = {.data = body + size, .capacity = 4, .limit = 4};
    st_pack_fixed(&crc, kp_crc32c(0, body, size), 4);
    struct st_pooled request, back;
    if (st_pooled_read(kp_slice_of(body, size + 4), &request)) {
        struct st_pack out;
        write_back(&request, &out);
        require(st_pooled_read(kp_slice_of(out.data, out.len), &back)); /* numbers only grow shorter */
        require(kp_uuid_equal(&request.id, &back.id) && request.begun == back.begun);
        require(kp_slice_equal(request.object_name, back.object_name) && request.object_len == back.object_len);
        require(kp_slice_equal(request.inline_bytes, back.inline_bytes));
        check_appends(&request, &back);
        st_pack_release(&out);
    }
    free(body);
    return 0;
}

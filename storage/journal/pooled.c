/* Requests of the pool on the wire. */
#include "storage/journal/pooled.h"

#define APPEND_LEAST 22 /* bytes of the shortest append */
#define BEGUN_AT 17

void st_pooled_begin(struct st_pack *out, const struct st_pooled *request) {
    st_pack_fixed(out, ST_POOLED_VERSION, 1);
    st_pack_uuid(out, &request->id);
    st_pack_fixed(out, request->begun, 8);
    st_pack_slice(out, request->object_name);
    st_pack_u(out, request->object_len);
    st_pack_u(out, request->count);
}

void st_pooled_write(struct st_pack *out, const struct st_pooled_append *append) {
    st_pack_uuid(out, &append->topic_id);
    st_pack_u(out, (uint64_t)append->partition);
    st_pack_u(out, (uint64_t)append->count);
    st_pack_u(out, append->flags);
    st_pack_u(out, append->position);
    st_pack_u(out, append->len);
    st_pack_i(out, append->max_timestamp_ms);
    if ((append->flags & ST_POOLED_PRODUCER) != 0) {
        st_pack_u(out, (uint64_t)append->producer_id);
        st_pack_u(out, (uint64_t)append->epoch);
        st_pack_u(out, (uint64_t)append->first_sequence);
    }
    if ((append->flags & ST_POOLED_KEYED) != 0) {
        st_pack_slice(out, append->key);
        st_pack_fixed(out, append->key_hash[0], 8);
        st_pack_fixed(out, append->key_hash[1], 8);
        st_pack_i(out, append->key_begun_ms);
        st_pack_u(out, append->key_parts);
    }
}

void st_pooled_end(struct st_pack *out) {
    st_pack_seal(out, 0);
}

static void read_key(struct st_unpack *in, struct st_pooled_append *append) {
    append->key = st_unpack_slice(in);
    append->key_hash[0] = st_unpack_fixed(in, 8);
    append->key_hash[1] = st_unpack_fixed(in, 8);
    append->key_begun_ms = st_unpack_i(in);
    append->key_parts = (uint32_t)st_unpack_upto(in, UINT32_MAX);
    in->failed |= append->key.len < 1 || append->key.len > ST_KEY_MAX || append->key_parts < 1;
}

bool st_pooled_next(struct st_unpack *in, struct st_pooled_append *append) {
    *append = (struct st_pooled_append){0};
    append->topic_id = st_unpack_uuid(in);
    append->partition = (int32_t)st_unpack_upto(in, ST_PARTITIONS_MAX - 1);
    append->count = (int32_t)st_unpack_upto(in, INT32_MAX);
    append->flags = (uint32_t)st_unpack_upto(in, ST_POOLED_PRODUCER | ST_POOLED_HELD | ST_POOLED_KEYED);
    append->position = (uint32_t)st_unpack_upto(in, UINT32_MAX);
    append->len = (uint32_t)st_unpack_upto(in, ST_RUN_MAX);
    append->max_timestamp_ms = st_unpack_i(in);
    append->producer_id = -1;
    append->epoch = -1;
    append->first_sequence = -1;
    if ((append->flags & ST_POOLED_PRODUCER) != 0) {
        append->producer_id = (int64_t)st_unpack_upto(in, INT64_MAX);
        append->epoch = (int16_t)st_unpack_upto(in, INT16_MAX);
        append->first_sequence = (int32_t)st_unpack_upto(in, INT32_MAX);
    }
    if ((append->flags & ST_POOLED_KEYED) != 0) {
        read_key(in, append);
    }
    in->failed |= append->count < 1 || append->len < KP_BATCH_HEADER_SIZE;
    return !in->failed;
}

static bool object_valid(const struct st_pooled *request) {
    return (request->object_name.len > 0) == (request->object_len > 0) &&
           request->object_name.len < ST_OBJECT_NAME_MAX &&
           (request->object_name.len == 0 || memchr(request->object_name.ptr, 0, request->object_name.len) == NULL);
}

bool st_pooled_read(struct kp_slice body, struct st_pooled *request) {
    if (body.len < 29 || body.len > ST_POOL_BODY_MAX) {
        return false;
    }
    struct kp_slice content = st_unsealed(body);
    if (content.ptr == NULL) {
        return false;
    }
    struct st_unpack in = st_unpack_of(content);
    uint64_t version = st_unpack_fixed(&in, 1);
    request->id = st_unpack_uuid(&in);
    request->begun = st_unpack_fixed(&in, 8);
    request->object_name = st_unpack_slice(&in);
    request->object_len = st_unpack_u(&in);
    request->count = (size_t)st_unpack_upto(&in, st_unpack_left(&in) / APPEND_LEAST);
    if (in.failed || version != ST_POOLED_VERSION || request->count == 0 || !object_valid(request)) {
        return false;
    }
    const uint8_t *appends = in.at;
    uint64_t reach = 0;
    struct st_pooled_append append;
    size_t keyed = 0; /* up to here the parts of the last key go */
    for (size_t i = 0; i < request->count && st_pooled_next(&in, &append); i++) {
        uint64_t end = (uint64_t)append.position + append.len;
        reach = end > reach ? end : reach;
        bool first = (append.flags & ST_POOLED_KEYED) != 0;
        in.failed |= first && (i < keyed || append.key_parts > request->count - i);
        keyed = first ? i + append.key_parts : keyed;
        in.failed |= i < keyed && append.producer_id >= 0; /* a key is enough */
    }
    if (in.failed) {
        return false;
    }
    request->appends = kp_slice_of(appends, (size_t)(in.at - appends));
    request->inline_bytes = kp_slice_of(in.at, st_unpack_left(&in));
    return reach <= (request->object_len > 0 ? request->object_len : request->inline_bytes.len);
}

struct kp_blob *st_pooled_renewed(const struct kp_blob *body, uint64_t begun) {
    struct kp_blob *renewed = kp_blob_new(body->size);
    if (renewed != NULL) {
        size_t content_len = body->size - 4;
        memcpy(renewed->data, body->data, content_len);
        kp_be_store64(renewed->data + BEGUN_AT, begun);
        kp_be_store32(renewed->data + content_len, kp_crc32c(0, renewed->data, content_len));
    }
    return renewed;
}

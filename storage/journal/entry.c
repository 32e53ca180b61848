/* Journal entries: built once, read by everybody. */
#include "storage/journal/entry.h"

#include "protocol/bytes/crc32c.h"

bool st_entry_read(struct kp_slice body, struct st_entry *entry) {
    if (body.len < ST_ENTRY_HEAD + 4 || body.len > ST_ENTRY_MAX) {
        return false;
    }
    struct st_unpack tail = st_unpack_of(kp_slice_of(body.ptr + body.len - 4, 4));
    if (st_unpack_fixed(&tail, 4) != kp_crc32c(0, body.ptr, body.len - 4)) {
        return false;
    }
    struct st_unpack in = st_unpack_of(kp_slice_of(body.ptr, body.len - 4));
    uint64_t version = st_unpack_fixed(&in, 1);
    entry->writer = st_unpack_uuid(&in);
    entry->time_ms = (int64_t)st_unpack_fixed(&in, 8);
    entry->commits = st_unpack_bytes(&in, (size_t)st_unpack_fixed(&in, 4));
    entry->inline_bytes = kp_slice_of(in.at, st_unpack_left(&in));
    return version == ST_ENTRY_VERSION && !in.failed;
}

bool st_commit_next(struct st_unpack *in, struct st_commit *commit) {
    if (st_unpack_left(in) == 0) {
        return false;
    }
    commit->id = st_unpack_uuid(in);
    commit->facts = st_unpack_slice(in);
    return !in->failed;
}

bool st_entry_has(const struct st_entry *entry, const struct kp_uuid *commit_id) {
    struct st_unpack in = st_unpack_of(entry->commits);
    struct st_commit commit;
    while (st_commit_next(&in, &commit)) {
        if (kp_uuid_equal(&commit.id, commit_id)) {
            return true;
        }
    }
    return false;
}

struct kp_blob *st_entry_build(const struct kp_uuid *writer, int64_t time_ms, const struct kp_uuid *commit_id,
                               struct kp_slice facts, size_t inline_len, uint8_t **inline_at) {
    struct st_pack head;
    st_pack_init(&head, ST_ENTRY_MAX);
    st_pack_fixed(&head, ST_ENTRY_VERSION, 1);
    st_pack_uuid(&head, writer);
    st_pack_fixed(&head, (uint64_t)time_ms, 8);
    st_pack_fixed(&head, 0, 4);
    st_pack_uuid(&head, commit_id);
    st_pack_slice(&head, facts);
    size_t size = head.len + inline_len + 4;
    struct kp_blob *entry = NULL;
    if (!head.failed && inline_len <= ST_ENTRY_MAX && size <= ST_ENTRY_MAX) {
        entry = kp_blob_new(size);
    }
    if (entry != NULL) {
        struct st_pack length = {.data = head.data + ST_ENTRY_HEAD - 4, .capacity = 4, .limit = 4};
        st_pack_fixed(&length, head.len - ST_ENTRY_HEAD, 4);
        memcpy(entry->data, head.data, head.len);
        *inline_at = entry->data + head.len;
    }
    st_pack_release(&head);
    return entry;
}

void st_entry_seal(struct kp_blob *entry) {
    struct st_pack crc = {.data = entry->data + entry->size - 4, .capacity = 4, .limit = 4};
    st_pack_fixed(&crc, kp_crc32c(0, entry->data, entry->size - 4), 4);
}

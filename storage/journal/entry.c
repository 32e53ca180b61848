/* Journal entries: built once, read by everybody. */
#include "storage/journal/entry.h"

#include "protocol/bytes/crc32c.h"

bool st_entry_read(struct kp_slice body, struct st_entry *entry) {
    if (body.len < ST_ENTRY_HEAD + 4 || body.len > ST_ENTRY_MAX) {
        return false;
    }
    struct kp_slice content = st_unsealed(body);
    if (content.ptr == NULL) {
        return false;
    }
    struct st_unpack in = st_unpack_of(content);
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

struct kp_blob *st_entry_build_commits(const struct kp_uuid *writer, int64_t time_ms, struct kp_slice commits,
                                       size_t inline_len, uint8_t **inline_at) {
    size_t size = ST_ENTRY_HEAD + 4;
    if (commits.len > ST_ENTRY_MAX - size || inline_len > ST_ENTRY_MAX - size - commits.len) {
        return NULL;
    }
    struct kp_blob *entry = kp_blob_new(size + commits.len + inline_len);
    if (entry != NULL) {
        struct st_pack head = {.data = entry->data, .capacity = ST_ENTRY_HEAD, .limit = ST_ENTRY_HEAD};
        st_pack_fixed(&head, ST_ENTRY_VERSION, 1);
        st_pack_uuid(&head, writer);
        st_pack_fixed(&head, (uint64_t)time_ms, 8);
        st_pack_fixed(&head, commits.len, 4);
        memcpy(entry->data + ST_ENTRY_HEAD, commits.ptr, commits.len);
        *inline_at = entry->data + ST_ENTRY_HEAD + commits.len;
    }
    return entry;
}

struct kp_blob *st_entry_build(const struct kp_uuid *writer, int64_t time_ms, const struct kp_uuid *commit_id,
                               struct kp_slice facts, size_t inline_len, uint8_t **inline_at) {
    struct st_pack commits;
    st_pack_init(&commits, ST_ENTRY_MAX);
    st_pack_uuid(&commits, commit_id);
    st_pack_slice(&commits, facts);
    struct kp_blob *entry = NULL;
    if (!commits.failed) {
        entry = st_entry_build_commits(writer, time_ms, kp_slice_of(commits.data, commits.len), inline_len, inline_at);
    }
    st_pack_release(&commits);
    return entry;
}

void st_entry_seal(struct kp_blob *entry) {
    struct st_pack crc = {.data = entry->data + entry->size - 4, .capacity = 4, .limit = 4};
    st_pack_fixed(&crc, kp_crc32c(0, entry->data, entry->size - 4), 4);
}

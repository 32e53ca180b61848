/*
 * A journal entry: one immutable slot, at most ST_ENTRY_MAX bytes.
 *
 *   offset size field
 *        0    1 format version = 1
 *        1   16 writer id (random, one per process start)
 *       17    8 writer's wall clock, ms (for people; nothing is decided by it)
 *       25    4 length of the commits
 *       29    . commits: { 16 commit id, varint length, facts } ...
 *        .    . inline area: record batches as sent, that appends with ST_APPEND_INLINE point into
 *    end-4    4 CRC-32C of all bytes before it
 *
 * A commit id is random and names one attempt of one writer to make something true; it is what tells a writer whose
 * answer was lost that a slot is its own.
 */
#ifndef ST_ENTRY_H
#define ST_ENTRY_H

#include "storage/journal/fact.h"

#define ST_ENTRY_VERSION 1
#define ST_ENTRY_HEAD 29
#define ST_ENTRY_COMMITS_MAX (128 * 1024) /* encoded facts at which a flush is closed */

struct st_entry {
    struct kp_uuid writer;
    int64_t time_ms;
    struct kp_slice commits;
    struct kp_slice inline_bytes;
};

struct st_commit {
    struct kp_uuid id;
    struct kp_slice facts;
};

/* Checks version, lengths and CRC. False: damaged. */
bool st_entry_read(struct kp_slice body, struct st_entry *entry);
/* Takes the next commit off entry->commits. False at the end or when damaged (then in->failed). */
bool st_commit_next(struct st_unpack *in, struct st_commit *commit);
/* True when one of the entry's commits has this id. */
bool st_entry_has(const struct st_entry *entry, const struct kp_uuid *commit_id);

/* Builds an entry of these commits, encoded as above. The inline area is left for the caller to fill: *inline_at is
 * where. NULL: too large or out of memory. */
struct kp_blob *st_entry_build_commits(const struct kp_uuid *writer, int64_t time_ms, struct kp_slice commits,
                                       size_t inline_len, uint8_t **inline_at);
/* Builds an entry of one commit. The inline area is left for the caller to fill: *inline_at is where. NULL: too large
 * or out of memory. st_entry_seal computes the CRC once it is filled. */
struct kp_blob *st_entry_build(const struct kp_uuid *writer, int64_t time_ms, const struct kp_uuid *commit_id,
                               struct kp_slice facts, size_t inline_len, uint8_t **inline_at);
void st_entry_seal(struct kp_blob *entry);

#endif

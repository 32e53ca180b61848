/*
 * Journal entries as another process, or a bad disk, might leave them: several after one another on one fold. Input:
 * entries, each behind two bytes of length (big-endian). A CRC is appended to each, so that what is fuzzed is what lies
 * behind it; bit 15 of the length takes the entry as it is.
 *
 * After each entry that was applied the fold must be whole: its canonical form reads back to the same hash, rows tile
 * what was appended since the start, and every row finds its bytes.
 */
#include "storage/journal/checkpoint.h"

#include "protocol/bytes/crc32c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ENTRIES_MOST = 64, PARTITIONS_LOOKED_AT = 64 };

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static void check_partition(const struct st_fold *fold, const struct st_partition *partition) {
    int64_t next = partition->log_start;
    for (size_t i = 0; i < partition->row_count; i++) {
        const struct st_row *row = &partition->rows[i];
        require(row->base == next && row->end > row->base);
        require(st_partition_row(partition, row->base) == row && st_partition_row(partition, row->end - 1) == row);
        require((row->flags & ST_APPEND_INLINE) != 0 || st_fold_object(fold, row->slot) != NULL);
        require(row->position <= UINT32_MAX - row->len);
        next = row->end;
    }
    require(partition->end == next);
}

static void check_fold(const struct st_fold *fold) {
    struct st_pack heads;
    st_pack_init(&heads, SIZE_MAX);
    st_fold_write_heads(fold, &heads);
    require(!heads.failed);
    uint64_t hash = st_heads_hash(kp_slice_of(heads.data, heads.len));
    st_pack_fixed(&heads, kp_crc32c(0, heads.data, heads.len), 4);
    struct st_checkpoint_footer footer = {.slot = fold->slot, .hash = hash};
    struct st_fold *back = st_checkpoint_read_heads(kp_slice_of(heads.data, heads.len), &footer);
    require(back != NULL);
    st_fold_free(back);
    st_pack_release(&heads);
    for (size_t i = 0; i < fold->topic_count; i++) {
        const struct st_topic_state *topic = fold->by_id[i];
        for (int32_t p = 0; p < topic->view.partition_count && p < PARTITIONS_LOOKED_AT; p++) {
            check_partition(fold, &topic->partitions[p]);
        }
    }
}

/* A copy of its own, of exactly its size, with the CRC unless the entry is taken as it is. */
static struct kp_slice entry_copy(struct kp_slice in, bool as_it_is) {
    size_t len = in.len + (as_it_is ? 0 : 4);
    uint8_t *copy = malloc(len > 0 ? len : 1);
    require(copy != NULL);
    memcpy(copy, in.ptr, in.len);
    if (!as_it_is) {
        struct st_pack crc = {.data = copy + in.len, .capacity = 4, .limit = 4};
        st_pack_fixed(&crc, kp_crc32c(0, copy, in.len), 4);
    }
    return kp_slice_of(copy, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct st_fold *fold = st_fold_new();
    require(fold != NULL);
    struct st_unpack in = st_unpack_of(kp_slice_of(data, size));
    for (int i = 0; i < ENTRIES_MOST && st_unpack_left(&in) >= 2; i++) {
        uint64_t head = st_unpack_fixed(&in, 2);
        size_t len = (size_t)(head & 0x7fff) < st_unpack_left(&in) ? (size_t)(head & 0x7fff) : st_unpack_left(&in);
        struct kp_slice entry = entry_copy(st_unpack_bytes(&in, len), (head & 0x8000) != 0);
        uint64_t slot = fold->slot, hash = st_fold_hash(fold);
        enum st_apply result = st_fold_apply(fold, entry);
        free((void *)(uintptr_t)entry.ptr);
        require(fold->slot == slot + (result == ST_APPLY_OK));
        if (result == ST_APPLY_OK) {
            check_fold(fold);
        } else {
            require(st_fold_hash(fold) == hash); /* whole or not at all */
        }
    }
    st_fold_free(fold);
    return 0;
}

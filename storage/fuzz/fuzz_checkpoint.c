/*
 * Checkpoints. Input: one byte that says which part, then that part without its CRC, which the harness appends: the
 * footer (and 8 bytes of object length before it), heads, index, or row block. Heads get the hash that their bytes
 * have, as a forger would. What is read is used as the engine uses it; what can be written again must read back the
 * same.
 */
#include "storage/journal/checkpoint.h"

#include "protocol/bytes/crc32c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

/* An exact copy with the CRC behind it; the caller frees it. */
static struct kp_slice with_crc(struct kp_slice part) {
    uint8_t *copy = malloc(part.len + 4);
    require(copy != NULL);
    memcpy(copy, part.ptr, part.len);
    struct st_pack crc = {.data = copy + part.len, .capacity = 4, .limit = 4};
    st_pack_fixed(&crc, kp_crc32c(0, copy, part.len), 4);
    return kp_slice_of(copy, part.len + 4);
}

static void fuzz_footer(struct kp_slice in) {
    struct st_unpack length = st_unpack_of(in);
    uint64_t object_len = st_unpack_fixed(&length, 8);
    if (length.failed) {
        return;
    }
    struct kp_slice bytes = with_crc(kp_slice_of(length.at, st_unpack_left(&length)));
    struct st_checkpoint_footer footer;
    if (st_checkpoint_read_footer(bytes, object_len, &footer)) {
        require(footer.heads_at <= object_len && footer.heads_len <= object_len && footer.index_len <= object_len);
        require(footer.heads_at + footer.heads_len + footer.index_len + ST_CHECKPOINT_FOOTER == object_len);
    }
    free((void *)(uintptr_t)bytes.ptr);
}

/* Heads that are read must be the canonical form of what they say. */
static void fuzz_heads(struct kp_slice in) {
    struct kp_slice bytes = with_crc(in);
    struct st_unpack slot = st_unpack_of(in);
    struct st_checkpoint_footer footer = {.slot = st_unpack_u(&slot), .hash = st_heads_hash(in)};
    struct st_fold *fold = st_checkpoint_read_heads(bytes, &footer);
    if (fold != NULL) {
        struct st_pack again;
        st_pack_init(&again, SIZE_MAX);
        st_fold_write_heads(fold, &again);
        require(kp_slice_equal(kp_slice_of(again.data, again.len), in));
        st_pack_release(&again);
        struct st_fold *copy = st_fold_copy_heads(fold);
        require(copy != NULL && st_fold_hash(copy) == footer.hash);
        st_fold_free(copy);
    }
    st_fold_free(fold);
    free((void *)(uintptr_t)bytes.ptr);
}

static void fuzz_index(struct kp_slice in) {
    struct kp_slice bytes = with_crc(in);
    struct st_checkpoint_footer footer = {.slot = 1, .heads_at = 1 << 20};
    struct st_checkpoint *checkpoint = st_checkpoint_read_index(bytes, &footer);
    for (size_t i = 0; checkpoint != NULL && i < checkpoint->block_count; i++) {
        const struct st_block_ref *block = &checkpoint->blocks[i];
        require(block->position + block->len <= footer.heads_at);
        size_t found = st_checkpoint_block_of(checkpoint, &block->topic_id, block->partition, block->base);
        require(found == SIZE_MAX || found < checkpoint->block_count);
    }
    st_checkpoint_free(checkpoint);
    free((void *)(uintptr_t)bytes.ptr);
}

static void check_same(const struct st_block_row *a, const struct st_block_row *b) {
    require(kp_uuid_equal(&a->topic_id, &b->topic_id) && a->partition == b->partition);
    require(a->row.base == b->row.base && a->row.end == b->row.end && a->row.slot == b->row.slot);
    require(a->row.position == b->row.position && a->row.len == b->row.len && a->row.flags == b->row.flags);
    require(kp_slice_equal(a->object, b->object) && a->object_len == b->object_len);
}

/* What is written from the rows of one block, whatever they were, reads back as those rows. */
static void rewrite(const struct st_block *block) {
    struct st_checkpoint_writer writer;
    require(st_checkpoint_writer_init(&writer));
    for (size_t i = 0; i < block->count; i++) {
        st_checkpoint_write_row(&writer, &block->rows[i]);
    }
    require(st_checkpoint_write_end(&writer, 1, KP_SLICE_LIT("heads"), 1));
    size_t seen = 0;
    for (size_t i = 0; i < writer.checkpoint->block_count; i++) {
        const struct st_block_ref *ref = &writer.checkpoint->blocks[i];
        struct st_block again;
        require(st_block_read(kp_slice_of(writer.out.data + ref->position, ref->len), &again));
        for (size_t r = 0; r < again.count; r++, seen++) {
            check_same(&again.rows[r], &block->rows[seen]);
        }
        st_block_release(&again);
    }
    require(seen == block->count);
    st_checkpoint_writer_release(&writer);
}

static void fuzz_block(struct kp_slice in) {
    struct kp_slice bytes = with_crc(in);
    struct st_block block;
    if (st_block_read(bytes, &block)) {
        for (size_t i = 0; i < block.count; i++) {
            const struct st_block_row *row = &block.rows[i];
            require(row->row.base >= 0 && row->row.end > row->row.base);
            require((row->row.flags & ST_APPEND_INLINE) != 0 || row->object.len > 0);
        }
        rewrite(&block);
        st_block_release(&block);
    }
    free((void *)(uintptr_t)bytes.ptr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    struct kp_slice in = kp_slice_of(data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        fuzz_footer(in);
        break;
    case 1:
        fuzz_heads(in);
        break;
    case 2:
        fuzz_index(in);
        break;
    default:
        fuzz_block(in);
    }
    return 0;
}

/*
 * A checkpoint: the fold of one journal at slot n, written down as an object, so that a cold start reads it and the few
 * entries after it. Row blocks come first and are read one by one when somebody needs them; the rest is read at once.
 *
 *   row blocks      rows of all partitions in order of (topic id, partition, base), about 64 KiB each
 *   heads           the canonical heads of the fold (fold.h), then CRC-32C
 *   block index     u blocks, { id topic, u partition, i base, i time reached, u position, u length } of the first row
 *                   of each block, then CRC-32C
 *   footer          60 bytes: "SSCP", 1 version = 1, 3 zero, 8 slot, 8 hash of the heads, 8 inline floor,
 *                   8 position and 8 length of the heads, 8 length of the index, 4 CRC-32C of the 56 bytes before
 *
 * A row block is its rows and then CRC-32C. A row: u kind; with ROW_OTHER_PARTITION: id topic, u partition, i base
 * (else it begins where the last one ended); u records, u slot, u position, u length, u flags, i max timestamp, i
 * time reached, and unless INLINE: u bytes shared with the last object name in the block, s the rest of the name, u
 * bytes of the object.
 *
 * The inline floor is the lowest slot whose inline bytes some row names: no entry at or above it may be deleted.
 */
#ifndef ST_CHECKPOINT_H
#define ST_CHECKPOINT_H

#include "storage/journal/fold.h"

#define ST_CHECKPOINT_VERSION 1
#define ST_CHECKPOINT_FOOTER 60
#define ST_CHECKPOINT_BLOCK (64 * 1024)
#define ST_CHECKPOINT_MAX (1u << 30)

/* A row of a block, with the name of its object in the decoded block's memory. */
struct st_block_row {
    struct kp_uuid topic_id;
    int32_t partition;
    struct st_row row;
    struct kp_slice object; /* absent, and its length 0: inline */
    uint64_t object_len;
};

struct st_block {
    struct st_block_row *rows;
    size_t count;
    char *names;
    bool no_memory; /* why it could not be read; else it is damaged */
};

struct st_block_ref {
    struct kp_uuid topic_id; /* of the first row */
    int32_t partition;
    int64_t base, time_reached_ms;
    uint64_t position;
    uint32_t len;
};

/* What is kept of a checkpoint to look rows up. */
struct st_checkpoint {
    char name[ST_OBJECT_NAME_MAX];
    uint64_t size; /* of the object */
    uint64_t slot, hash;
    uint64_t inline_floor; /* UINT64_MAX: no inline row */
    struct st_block_ref *blocks;
    size_t block_count;
};

struct st_checkpoint_footer {
    uint64_t slot, hash, inline_floor, heads_at, heads_len, index_len;
};

/* ---- reading; false: damaged or of a newer version ---- */
bool st_checkpoint_read_footer(struct kp_slice bytes, uint64_t object_len, struct st_checkpoint_footer *footer);
/* heads and index as the footer places them, CRCs included. */
struct st_fold *st_checkpoint_read_heads(struct kp_slice bytes, const struct st_checkpoint_footer *footer);
struct st_checkpoint *st_checkpoint_read_index(struct kp_slice bytes, const struct st_checkpoint_footer *footer);
bool st_block_read(struct kp_slice bytes, struct st_block *block);
void st_block_release(struct st_block *block);
void st_checkpoint_free(struct st_checkpoint *checkpoint);

/* Index of the block that holds, or would hold, (topic, partition, base); SIZE_MAX when it lies before the first. */
size_t st_checkpoint_block_of(const struct st_checkpoint *checkpoint, const struct kp_uuid *topic_id, int32_t partition,
                              int64_t base);
/* Order of (topic id, partition, base). */
int st_row_key_compare(const struct kp_uuid *a, int32_t a_partition, int64_t a_base, const struct kp_uuid *b,
                       int32_t b_partition, int64_t b_base);

/* ---- writing ---- */
struct st_checkpoint_writer {
    struct st_pack out;
    struct st_checkpoint *checkpoint; /* grows with the blocks */
    size_t block_capacity;
    size_t block_at; /* of the open block in out */
    struct st_block_row last;
    char last_name[ST_OBJECT_NAME_MAX];
    bool block_open;
};
bool st_checkpoint_writer_init(struct st_checkpoint_writer *writer);
void st_checkpoint_write_row(struct st_checkpoint_writer *writer, const struct st_block_row *row);
/* Closes the object. On success writer->out holds it and writer->checkpoint describes it, both the caller's. */
bool st_checkpoint_write_end(struct st_checkpoint_writer *writer, uint64_t slot, struct kp_slice heads, uint64_t hash);
void st_checkpoint_writer_release(struct st_checkpoint_writer *writer);

#endif

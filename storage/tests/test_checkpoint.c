/* Checkpoints as bytes: the golden one, what is read back from it, and what is refused. */
#include "format_fixture.h"

#include "protocol/bytes/crc32c.h"

#define INLINE ST_APPEND_INLINE

static struct st_block_row row_of(uint8_t topic, int32_t partition, int64_t base, int64_t end, uint64_t slot,
                                  const char *object) {
    struct st_block_row row;
    memset(&row, 0, sizeof row); /* padding too: rows are compared as memory */
    row.topic_id = id_of(topic);
    row.partition = partition;
    row.row.base = base;
    row.row.end = end;
    row.row.slot = slot;
    row.row.position = 5;
    row.row.len = 100;
    row.row.max_timestamp_ms = 10;
    row.row.time_reached_ms = 20;
    row.row.flags = object == NULL ? INLINE : 0;
    row.object = object != NULL ? kp_slice_cstr(object) : (struct kp_slice){0};
    row.object_len = object != NULL ? 200 : 0;
    return row;
}

static bool same_row(const struct st_block_row *a, const struct st_block_row *b) {
    return kp_uuid_equal(&a->topic_id, &b->topic_id) && a->partition == b->partition && a->row.base == b->row.base &&
           a->row.end == b->row.end && a->row.slot == b->row.slot && a->row.position == b->row.position &&
           a->row.len == b->row.len && a->row.flags == b->row.flags &&
           a->row.max_timestamp_ms == b->row.max_timestamp_ms && a->row.time_reached_ms == b->row.time_reached_ms &&
           kp_slice_equal(a->object, b->object) && a->object_len == b->object_len;
}

/* A fold with one partition, and the checkpoint of it with these rows. */
struct made {
    struct st_fold *fold;
    struct st_checkpoint_writer writer;
    struct kp_slice bytes;
    struct st_checkpoint_footer footer;
};

static void make(struct made *made, const struct st_block_row *rows, size_t count) {
    made->fold = st_fold_new();
    assert_int_equal(APPLY(made->fold, 0, topic_created(1, "a", 1)), ST_APPLY_OK);
    assert_int_equal(APPLY(made->fold, 100, producer_append(1, 0, 2, 0, 9, 1, 0)), ST_APPLY_OK);
    assert_true(st_checkpoint_writer_init(&made->writer));
    for (size_t i = 0; i < count; i++) {
        st_checkpoint_write_row(&made->writer, &rows[i]);
    }
    struct st_pack heads;
    st_pack_init(&heads, 4096);
    st_fold_write_heads(made->fold, &heads);
    assert_true(st_checkpoint_write_end(&made->writer, 2, packed(&heads), st_heads_hash(packed(&heads))));
    st_pack_release(&heads);
    made->bytes = packed(&made->writer.out);
    size_t len = made->bytes.len;
    assert_true(st_checkpoint_read_footer(
        kp_slice_of(made->bytes.ptr + len - ST_CHECKPOINT_FOOTER, ST_CHECKPOINT_FOOTER), len, &made->footer));
}

static void unmake(struct made *made) {
    st_checkpoint_writer_release(&made->writer);
    st_fold_free(made->fold);
}

static struct kp_slice heads_of(const struct made *made) {
    return kp_slice_of(made->bytes.ptr + made->footer.heads_at, made->footer.heads_len);
}

static struct kp_slice index_of(const struct made *made) {
    return kp_slice_of(made->bytes.ptr + made->footer.heads_at + made->footer.heads_len, made->footer.index_len);
}

static struct kp_slice block_of(const struct made *made, size_t number) {
    const struct st_block_ref *ref = &made->writer.checkpoint->blocks[number];
    return kp_slice_of(made->bytes.ptr + ref->position, ref->len);
}

/* A copy with one byte changed and the trailing CRC set right. */
static struct kp_slice forged(struct kp_slice bytes, size_t at, uint8_t value) {
    static uint8_t copy[4096];
    assert_true(bytes.len <= sizeof copy);
    memcpy(copy, bytes.ptr, bytes.len);
    copy[at] = value;
    struct st_pack crc = {.data = copy + bytes.len - 4, .capacity = 4, .limit = 4};
    st_pack_fixed(&crc, kp_crc32c(0, copy, bytes.len - 4), 4);
    return kp_slice_of(copy, bytes.len);
}

#define FOUR_ROWS \
    { \
        row_of(1, 0, 0, 2, 2, "obj-2"), row_of(1, 0, 2, 5, 3, NULL), row_of(1, 0, 5, 6, 4, "obj-4"), \
            row_of(2, 7, 1, 2, 5, "obj-4") \
    }

/* ---- the whole ---- */

static void a_checkpoint_has_these_bytes(void **state) {
    (void)state;
    struct st_block_row rows[] = FOUR_ROWS;
    struct made made;
    make(&made, rows, 4);
    assert_golden(made.bytes,
                  /* the block: another partition, one that follows, one whose name shares 4 bytes, another partition */
                  "01 01010101010101010101010101010101 00 00 02 02 05 64 00 14 28 00 05 6f626a2d32 c801"
                  " 00 03 03 05 64 01 14 28"
                  " 00 01 04 05 64 00 14 28 04 01 34 c801"
                  " 01 02020202020202020202020202020202 07 02 01 05 05 64 00 14 28 05 00 c801"
                  " 327b37da"
                  /* heads */
                  " 02 00 00 0000000000000000 01"
                  " 01010101010101010101010101010101 01 61 01 00 00"
                  " 00 04 d00f d86bc46478a7f2f0 01"
                  " 09 01 01 00 01 00 01"
                  " 146c9a6d"
                  /* index */
                  " 01 01010101010101010101010101010101 00 00 28 00 5a"
                  " f8789e5e"
                  /* footer */
                  " 53534350 01 000000 0000000000000002 e344a6cd5a07c8b6 0000000000000003"
                  " 000000000000005a 0000000000000039 000000000000001a 46d9899f");
    unmake(&made);
}

static void what_was_written_is_read(void **state) {
    (void)state;
    struct st_block_row rows[] = FOUR_ROWS;
    struct made made;
    make(&made, rows, 4);
    struct st_fold *heads = st_checkpoint_read_heads(heads_of(&made), &made.footer);
    assert_non_null(heads);
    assert_true(st_fold_hash(heads) == st_fold_hash(made.fold));
    st_fold_free(heads);
    struct st_checkpoint *checkpoint = st_checkpoint_read_index(index_of(&made), &made.footer);
    assert_non_null(checkpoint);
    assert_int_equal(checkpoint->slot, 2);
    assert_int_equal(checkpoint->inline_floor, 3);
    assert_int_equal(checkpoint->block_count, 1);
    struct st_block block;
    assert_true(st_block_read(block_of(&made, 0), &block));
    assert_int_equal(block.count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(same_row(&block.rows[i], &rows[i]));
    }
    st_block_release(&block);
    st_checkpoint_free(checkpoint);
    unmake(&made);
}

/* A process that has applied every entry, and one that loaded a checkpoint and the entries after it. */
static void a_fold_from_a_checkpoint_goes_on_like_one_that_saw_everything(void **state) {
    (void)state;
    struct made made;
    make(&made, NULL, 0);
    struct st_fold *loaded = st_checkpoint_read_heads(heads_of(&made), &made.footer);
    assert_non_null(loaded);
    struct st_fact more[] = {producer_append(1, 2, 1, 0, 9, 1, 2), topic_created(2, "b", 2),
                             append_of(2, 1, 0, 3, INLINE, 100)};
    assert_int_equal(apply_facts(made.fold, more, 3, 200), ST_APPLY_OK);
    assert_int_equal(apply_facts(loaded, more, 3, 200), ST_APPLY_OK);
    assert_int_equal(loaded->slot, 3);
    assert_true(st_fold_hash(loaded) == st_fold_hash(made.fold));
    const struct st_partition *partition = &st_fold_topic_by_name(loaded, KP_SLICE_LIT("a"))->partitions[0];
    assert_int_equal(partition->old_end, 2);
    assert_int_equal(partition->row_count, 1);
    st_fold_free(loaded);
    unmake(&made);
}

/* ---- blocks ---- */

static void many_rows_make_many_blocks_that_are_found_by_their_first_row(void **state) {
    (void)state;
    enum { ROWS = 20000 };
    struct made made;
    struct st_block_row *rows = calloc(ROWS, sizeof *rows);
    assert_non_null(rows);
    for (int64_t i = 0; i < ROWS; i++) {
        int64_t base = i % 10000 * 3;
        rows[i] = row_of((uint8_t)(1 + i / 10000), 0, base, base + 3, 100 + (uint64_t)i, "the-object");
    }
    make(&made, rows, ROWS);
    const struct st_checkpoint *checkpoint = made.writer.checkpoint;
    assert_true(checkpoint->block_count > 3);
    size_t seen = 0;
    for (size_t b = 0; b < checkpoint->block_count; b++) {
        assert_true(checkpoint->blocks[b].len <= ST_CHECKPOINT_BLOCK + 400);
        struct st_block block;
        assert_true(st_block_read(block_of(&made, b), &block));
        for (size_t i = 0; i < block.count; i++, seen++) {
            assert_true(same_row(&block.rows[i], &rows[seen]));
            assert_int_equal(st_checkpoint_block_of(checkpoint, &rows[seen].topic_id, 0, rows[seen].row.base + 2), b);
        }
        st_block_release(&block);
    }
    assert_int_equal(seen, ROWS);
    struct kp_uuid before = id_of(0), after = id_of(9);
    assert_true(st_checkpoint_block_of(checkpoint, &before, 0, 0) == SIZE_MAX);
    assert_int_equal(st_checkpoint_block_of(checkpoint, &after, 0, 0), checkpoint->block_count - 1);
    free(rows);
    unmake(&made);
}

static void names_of_any_length_come_back(void **state) {
    (void)state;
    enum { ROWS = 3000 };
    static char names[ROWS][ST_OBJECT_NAME_MAX];
    struct st_block_row *rows = calloc(ROWS, sizeof *rows);
    assert_non_null(rows);
    for (int i = 0; i < ROWS; i++) { /* the longest there are, alike but for the last letters; all else short */
        memset(names[i], 'n', ST_OBJECT_NAME_MAX - 1);
        names[i][ST_OBJECT_NAME_MAX - 2] = (char)('0' + i % 10);
        rows[i] = row_of(1, 0, i, i + 1, 1, names[i]);
    }
    struct made made;
    make(&made, rows, ROWS);
    struct st_block block;
    assert_true(st_block_read(block_of(&made, 0), &block));
    assert_int_equal(block.count, ROWS);
    for (size_t i = 0; i < block.count; i++) {
        assert_true(same_row(&block.rows[i], &rows[i]));
    }
    st_block_release(&block);
    free(rows);
    unmake(&made);
}

static void offsets_up_to_the_greatest_number_come_back(void **state) {
    (void)state;
    struct st_block_row rows[] = {row_of(1, 0, INT64_MAX - 5, INT64_MAX - 1, 2, NULL),
                                  row_of(1, 0, INT64_MAX - 1, INT64_MAX, 3, NULL)};
    struct made made;
    make(&made, rows, 2);
    struct kp_slice bytes = block_of(&made, 0);
    struct st_block block;
    assert_true(st_block_read(bytes, &block));
    assert_true(block.rows[1].row.end == INT64_MAX);
    st_block_release(&block);
    size_t count_at = bytes.len - 4 - 7; /* records of the last row */
    assert_int_equal(bytes.ptr[count_at], 1);
    assert_false(st_block_read(forged(bytes, count_at, 2), &block));
    unmake(&made);
}

static void damaged_blocks_are_refused(void **state) {
    (void)state;
    struct st_block_row rows[] = {row_of(1, 0, 0, 2, 2, "obj-2")};
    struct made made;
    make(&made, rows, 1);
    struct kp_slice bytes = block_of(&made, 0);
    struct st_block block;
    assert_false(st_block_read(kp_slice_of(bytes.ptr, bytes.len - 1), &block));
    assert_false(st_block_read(kp_slice_of(bytes.ptr, 3), &block));
    assert_false(st_block_read(forged(bytes, 0, 0), &block));    /* follows nothing */
    assert_false(st_block_read(forged(bytes, 0, 2), &block));    /* a kind of the future */
    assert_false(st_block_read(forged(bytes, 18, 1), &block));   /* base -1 */
    assert_false(st_block_read(forged(bytes, 19, 0), &block));   /* no records */
    assert_false(st_block_read(forged(bytes, 23, 8), &block));   /* a flag of the future */
    assert_false(st_block_read(forged(bytes, 26, 1), &block));   /* shares a name that is not there */
    assert_false(st_block_read(forged(bytes, 27, 120), &block)); /* a name beyond the end */
    assert_false(st_block_read(forged(bytes, 30, 0), &block));   /* a NUL in it */
    assert_true(st_block_read(forged(bytes, 30, 'x'), &block));
    st_block_release(&block);
    unmake(&made);
}

/* ---- footer, heads, index ---- */

static void footers_that_do_not_fit_their_object_are_refused(void **state) {
    (void)state;
    struct made made;
    make(&made, NULL, 0);
    struct kp_slice footer = kp_slice_of(made.bytes.ptr + made.bytes.len - ST_CHECKPOINT_FOOTER, ST_CHECKPOINT_FOOTER);
    struct st_checkpoint_footer out;
    uint64_t len = made.bytes.len;
    assert_true(st_checkpoint_read_footer(forged(footer, 5, 0), len, &out));
    assert_false(st_checkpoint_read_footer(footer, len + 1, &out));
    assert_false(st_checkpoint_read_footer(footer, ST_CHECKPOINT_FOOTER - 1, &out));
    assert_false(st_checkpoint_read_footer(kp_slice_of(footer.ptr, footer.len - 1), len, &out));
    assert_false(st_checkpoint_read_footer(forged(footer, 0, 'X'), len, &out));
    assert_false(st_checkpoint_read_footer(forged(footer, 4, 2), len, &out));
    for (size_t field = 32; field < 56; field += 8) { /* lengths near 2^64 must not wrap to a fit */
        assert_false(st_checkpoint_read_footer(forged(footer, field, 0xff), len, &out));
    }
    unmake(&made);
}

static void damaged_heads_are_refused(void **state) {
    (void)state;
    struct made made;
    make(&made, NULL, 0);
    struct kp_slice heads = heads_of(&made);
    assert_null(st_checkpoint_read_heads(kp_slice_of(heads.ptr, heads.len - 1), &made.footer));
    for (size_t at = 0; at < heads.len - 4; at++) { /* whatever is changed: not the state whose hash the footer has */
        assert_null(st_checkpoint_read_heads(forged(heads, at, (uint8_t)(heads.ptr[at] ^ 0x41)), &made.footer));
    }
    unmake(&made);
}

static void an_index_that_points_outside_the_blocks_is_refused(void **state) {
    (void)state;
    struct st_block_row row = row_of(1, 0, 0, 2, 2, "obj-2");
    struct made made;
    make(&made, &row, 1);
    struct kp_slice index = index_of(&made);
    struct st_checkpoint *checkpoint = st_checkpoint_read_index(forged(index, 21, 0x20), &made.footer);
    assert_non_null(checkpoint); /* shorter than the block: noticed when that is read */
    st_checkpoint_free(checkpoint);
    assert_null(st_checkpoint_read_index(forged(index, 21, 0x7f), &made.footer)); /* longer than all blocks */
    assert_null(st_checkpoint_read_index(forged(index, 20, 0x7f), &made.footer)); /* behind them */
    assert_null(st_checkpoint_read_index(forged(index, 0, 2), &made.footer));     /* more blocks than there are */
    assert_null(st_checkpoint_read_index(forged(index, 0, 0), &made.footer));     /* fewer */
    unmake(&made);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checkpoint_has_these_bytes),
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(a_fold_from_a_checkpoint_goes_on_like_one_that_saw_everything),
        cmocka_unit_test(many_rows_make_many_blocks_that_are_found_by_their_first_row),
        cmocka_unit_test(names_of_any_length_come_back),
        cmocka_unit_test(offsets_up_to_the_greatest_number_come_back),
        cmocka_unit_test(damaged_blocks_are_refused),
        cmocka_unit_test(footers_that_do_not_fit_their_object_are_refused),
        cmocka_unit_test(damaged_heads_are_refused),
        cmocka_unit_test(an_index_that_points_outside_the_blocks_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Journal entries: the golden one, and every way in which one can be damaged. */
#include "format_fixture.h"

#include "protocol/bytes/crc32c.h"

static const char golden[] = "01 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 0000018bcfe56800 00000014"
                             " bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 03 010101"
                             " 494e4c494e45 7858bf7c";

static struct kp_blob *built(void) {
    struct kp_uuid writer = id_of(0xaa), commit = id_of(0xbb);
    uint8_t *inline_at = NULL;
    struct kp_blob *entry = st_entry_build(&writer, 1700000000000, &commit, KP_SLICE_LIT("\1\1\1"), 6, &inline_at);
    assert_non_null(entry);
    memcpy(inline_at, "INLINE", 6);
    st_entry_seal(entry);
    return entry;
}

static struct kp_slice body_of(const struct kp_blob *entry) {
    return kp_slice_of(entry->data, entry->size);
}

static void an_entry_has_these_bytes(void **state) {
    (void)state;
    struct kp_blob *entry = built();
    assert_golden(body_of(entry), golden);
    kp_blob_unref(entry);
}

static void what_was_written_is_read(void **state) {
    (void)state;
    struct kp_blob *built_entry = built();
    struct st_entry entry;
    assert_true(st_entry_read(body_of(built_entry), &entry));
    assert_int_equal(entry.writer.bytes[0], 0xaa);
    assert_int_equal(entry.time_ms, 1700000000000);
    assert_true(kp_slice_equal(entry.inline_bytes, KP_SLICE_LIT("INLINE")));
    struct st_unpack in = st_unpack_of(entry.commits);
    struct st_commit commit;
    assert_true(st_commit_next(&in, &commit));
    assert_int_equal(commit.id.bytes[0], 0xbb);
    assert_true(kp_slice_equal(commit.facts, KP_SLICE_LIT("\1\1\1")));
    assert_false(st_commit_next(&in, &commit));
    assert_false(in.failed);
    kp_blob_unref(built_entry);
}

static void an_entry_knows_its_commits(void **state) {
    (void)state;
    struct kp_blob *built_entry = built();
    struct st_entry entry;
    assert_true(st_entry_read(body_of(built_entry), &entry));
    struct kp_uuid mine = id_of(0xbb), others = id_of(0xbc);
    assert_true(st_entry_has(&entry, &mine));
    assert_false(st_entry_has(&entry, &others));
    kp_blob_unref(built_entry);
}

static void every_flipped_bit_is_noticed(void **state) {
    (void)state;
    struct kp_blob *built_entry = built();
    struct st_entry entry;
    for (size_t bit = 0; bit < built_entry->size * 8; bit++) {
        built_entry->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(st_entry_read(body_of(built_entry), &entry));
        built_entry->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len < built_entry->size; len++) {
        assert_false(st_entry_read(kp_slice_of(built_entry->data, len), &entry));
    }
    kp_blob_unref(built_entry);
}

static void a_newer_version_and_a_wrong_length_are_damage_whatever_the_crc_says(void **state) {
    (void)state;
    struct kp_blob *built_entry = built();
    struct st_entry entry;
    built_entry->data[0] = 2;
    st_entry_seal(built_entry);
    assert_false(st_entry_read(body_of(built_entry), &entry));
    built_entry->data[0] = 1;
    built_entry->data[28] = 0xff; /* commits longer than the entry */
    st_entry_seal(built_entry);
    assert_false(st_entry_read(body_of(built_entry), &entry));
    kp_blob_unref(built_entry);
}

static void an_entry_that_would_be_too_large_is_not_built(void **state) {
    (void)state;
    struct kp_uuid id = id_of(1);
    uint8_t *inline_at = NULL;
    size_t head = ST_ENTRY_HEAD + 16 + 1 + 3 + 4;
    struct kp_blob *entry = st_entry_build(&id, 0, &id, KP_SLICE_LIT("\1\1\1"), ST_ENTRY_MAX - head, &inline_at);
    assert_non_null(entry);
    assert_int_equal(entry->size, ST_ENTRY_MAX);
    kp_blob_unref(entry);
    assert_null(st_entry_build(&id, 0, &id, KP_SLICE_LIT("\1\1\1"), ST_ENTRY_MAX - head + 1, &inline_at));
    assert_null(st_entry_build(&id, 0, &id, KP_SLICE_LIT("\1\1\1"), SIZE_MAX, &inline_at));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_has_these_bytes),
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(an_entry_knows_its_commits),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(a_newer_version_and_a_wrong_length_are_damage_whatever_the_crc_says),
        cmocka_unit_test(an_entry_that_would_be_too_large_is_not_built),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

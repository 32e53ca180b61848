/* Facts and entries by hand, and bytes compared with golden ones written as hex in the test. */
#ifndef FORMAT_FIXTURE_H
#define FORMAT_FIXTURE_H

#include "storage/journal/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static inline struct kp_uuid id_of(uint8_t byte) {
    struct kp_uuid id;
    memset(id.bytes, byte, sizeof id.bytes);
    return id;
}

static inline uint8_t hex_digit(char c) {
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* Blanks in `hex` are for the eye. The bytes go to `bytes`; returns how many. */
static inline size_t from_hex(const char *hex, uint8_t *bytes, size_t most) {
    size_t len = 0;
    for (const char *at = hex; *at != 0; at++) {
        if (*at != ' ') {
            assert_true(len < most);
            bytes[len++] = (uint8_t)(hex_digit(at[0]) << 4 | hex_digit(at[1]));
            at++;
        }
    }
    return len;
}

/* On a difference the bytes are printed, so that a wanted change of format can be looked at. */
static inline void assert_golden(struct kp_slice bytes, const char *hex) {
    uint8_t golden[2048];
    size_t len = from_hex(hex, golden, sizeof golden);
    if (!kp_slice_equal(bytes, kp_slice_of(golden, len))) {
        print_message("got");
        for (size_t i = 0; i < bytes.len; i++) {
            print_message(" %02x", bytes.ptr[i]);
        }
        print_message("\n");
        fail_msg("the bytes differ from the golden ones: %zu, not %zu", bytes.len, len);
    }
}

static inline struct kp_slice packed(const struct st_pack *pack) {
    assert_false(pack->failed);
    return kp_slice_of(pack->data, pack->len);
}

/* ---- facts ---- */

static inline struct st_fact topic_created(uint8_t id, const char *name, int32_t partitions) {
    return (struct st_fact){
        .type = ST_FACT_topic_created,
        .u.topic = {.id = id_of(id), .name = kp_slice_cstr(name), .partitions = partitions},
    };
}

static inline struct st_fact object_of(const char *name, uint64_t len) {
    return (struct st_fact){.type = ST_FACT_object, .u.object = {.name = kp_slice_cstr(name), .len = len}};
}

/* The fact of these batches, whose places follow each other. Its bytes are good until 64 more were made. */
static inline struct st_fact appends_of(const struct st_fact_append *appends, size_t count) {
    static uint8_t bytes[64][256];
    static size_t made;
    struct st_append_writer writer;
    struct st_pack none;
    st_append_writer_init(&writer, sizeof bytes[0]);
    st_pack_init(&none, 0);
    for (size_t i = 0; i < count; i++) {
        st_append_writer_add(&writer, &appends[i], &none);
    }
    assert_false(none.failed);
    struct kp_slice runs = packed(&writer.runs);
    uint8_t *kept = bytes[made++ % 64];
    memcpy(kept, runs.ptr, runs.len);
    struct st_fact fact = {
        .type = ST_FACT_appends,
        .u.appends = {.flags = writer.flags, .position = writer.position, .runs = kp_slice_of(kept, runs.len)},
    };
    st_append_writer_release(&writer);
    return fact;
}

/* A batch of 100 bytes. */
static inline struct st_fact_append batch_of(uint8_t topic, int32_t partition, int64_t base, int32_t count,
                                             uint32_t flags, uint32_t position) {
    return (struct st_fact_append){
        .topic_id = id_of(topic),
        .partition = partition,
        .base = base,
        .count = count,
        .flags = flags,
        .position = position,
        .len = 100,
        .max_timestamp_ms = 1000 + base % 100000,
        .producer_id = -1,
        .epoch = -1,
        .first_sequence = -1,
    };
}

/* ... alone in a fact. */
static inline struct st_fact append_of(uint8_t topic, int32_t partition, int64_t base, int32_t count, uint32_t flags,
                                       uint32_t position) {
    struct st_fact_append batch = batch_of(topic, partition, base, count, flags, position);
    return appends_of(&batch, 1);
}

static inline struct st_fact_append producer_batch(uint8_t topic, int64_t base, int32_t count, uint32_t position,
                                                   int64_t producer_id, int16_t epoch, int32_t first_sequence) {
    struct st_fact_append batch =
        batch_of(topic, 0, base, count, ST_APPEND_INLINE | ST_APPEND_PRODUCER, position);
    batch.producer_id = producer_id;
    batch.epoch = epoch;
    batch.first_sequence = first_sequence;
    return batch;
}

static inline struct st_fact producer_append(uint8_t topic, int64_t base, int32_t count, uint32_t position,
                                             int64_t producer_id, int16_t epoch, int32_t first_sequence) {
    struct st_fact_append batch = producer_batch(topic, base, count, position, producer_id, epoch, first_sequence);
    return appends_of(&batch, 1);
}

/* ---- entries ---- */

/* A sealed entry of one commit with these facts and so many inline bytes, all zero. */
static inline struct kp_blob *entry_of(const struct st_fact *facts, size_t count, size_t inline_len) {
    struct st_pack out;
    st_pack_init(&out, ST_ENTRY_MAX);
    for (size_t i = 0; i < count; i++) {
        st_fact_write(&out, &facts[i]);
    }
    struct kp_uuid writer = id_of(0xaa), commit = id_of(0xbb);
    uint8_t *inline_at = NULL;
    struct kp_blob *entry = st_entry_build(&writer, 1700000000000, &commit, packed(&out), inline_len, &inline_at);
    assert_non_null(entry);
    memset(inline_at, 0, inline_len);
    st_entry_seal(entry);
    st_pack_release(&out);
    return entry;
}

static inline enum st_apply apply_facts(struct st_fold *fold, const struct st_fact *facts, size_t count,
                                        size_t inline_len) {
    struct kp_blob *entry = entry_of(facts, count, inline_len);
    enum st_apply result = st_fold_apply(fold, kp_slice_of(entry->data, entry->size));
    kp_blob_unref(entry);
    return result;
}

#define APPLY(fold, inline_len, ...) \
    apply_facts(fold, (const struct st_fact[]){__VA_ARGS__}, \
                sizeof((const struct st_fact[]){__VA_ARGS__}) / sizeof(struct st_fact), inline_len)

#endif

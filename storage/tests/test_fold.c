/* The fold: what each fact does, what does not fit, and that state is the same however one came to it. */
#include "format_fixture.h"

#include "protocol/bytes/crc32c.h"

#define INLINE ST_APPEND_INLINE

static struct st_fold *fold_with_topic(uint8_t id, const char *name, int32_t partitions) {
    struct st_fold *fold = st_fold_new();
    assert_int_equal(APPLY(fold, 0, topic_created(id, name, partitions)), ST_APPLY_OK);
    return fold;
}

static struct st_partition *partition_of(struct st_fold *fold, uint8_t topic, int32_t number) {
    struct kp_uuid id = id_of(topic);
    struct st_partition *partition = st_fold_partition(fold, &id, number);
    assert_non_null(partition);
    return partition;
}

/* Applies an entry that was changed by hand, its CRC set right again. */
static enum st_apply apply_bytes(struct st_fold *fold, struct kp_blob *entry) {
    st_entry_seal(entry);
    enum st_apply result = st_fold_apply(fold, kp_slice_of(entry->data, entry->size));
    kp_blob_unref(entry);
    return result;
}

/* ---- topics ---- */

static void topics_are_found_by_id_and_by_name_in_order(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(3, "b", 1);
    assert_int_equal(APPLY(fold, 0, topic_created(1, "c", 2), topic_created(2, "a", 3)), ST_APPLY_OK);
    assert_int_equal(fold->slot, 2);
    assert_int_equal(fold->topic_count, 3);
    assert_int_equal(fold->partition_count, 6);
    const char *names[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(kp_slice_equal(fold->by_name[i]->view.name, kp_slice_cstr(names[i])));
        assert_int_equal(fold->by_id[i]->view.id.bytes[0], i + 1);
        assert_ptr_equal(st_fold_topic_by_name(fold, kp_slice_cstr(names[i])), fold->by_name[i]);
    }
    assert_int_equal(st_fold_name_above(fold, (struct kp_slice){0}), 0);
    assert_int_equal(st_fold_name_above(fold, KP_SLICE_LIT("a")), 1);
    assert_int_equal(st_fold_name_above(fold, KP_SLICE_LIT("bb")), 2);
    assert_null(st_fold_topic_by_name(fold, KP_SLICE_LIT("bb")));
    struct kp_uuid id = id_of(2);
    assert_non_null(st_fold_partition(fold, &id, 2));
    assert_null(st_fold_partition(fold, &id, 3));
    assert_null(st_fold_partition(fold, &id, -1));
    st_fold_free(fold);
}

static void a_deleted_topic_takes_its_partitions_along_and_its_name_is_free(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 4);
    assert_int_equal(APPLY(fold, 100, append_of(1, 0, 0, 1, INLINE, 0)), ST_APPLY_OK);
    struct st_fact deleted = {.type = ST_FACT_topic_deleted, .u.topic_id = id_of(1)};
    assert_int_equal(APPLY(fold, 0, deleted, topic_created(2, "a", 1)), ST_APPLY_OK);
    assert_int_equal(fold->topic_count, 1);
    assert_int_equal(fold->partition_count, 1);
    assert_int_equal(partition_of(fold, 2, 0)->end, 0);
    st_fold_free(fold);
}

static void configs_that_the_engine_obeys_are_read_from_the_fact(void **state) {
    (void)state;
    struct st_fold *fold = st_fold_new();
    struct st_fact plain = topic_created(1, "plain", 1), set = topic_created(2, "set", 1);
    set.u.topic.config_count = 2;
    set.u.topic.configs = KP_SLICE_LIT("\021max.message.bytes\004"
                                       "2048\026message.timestamp.type\015LogAppendTime");
    assert_int_equal(APPLY(fold, 0, plain, set), ST_APPLY_OK);
    const struct st_topic_state *a = st_fold_topic_by_name(fold, KP_SLICE_LIT("plain"));
    const struct st_topic_state *b = st_fold_topic_by_name(fold, KP_SLICE_LIT("set"));
    assert_int_equal(a->message_bytes_max, 1048588);
    assert_false(a->append_time);
    assert_int_equal(b->message_bytes_max, 2048);
    assert_true(b->append_time);
    assert_int_equal(b->view.config_count, 2);
    st_fold_free(fold);
}

static void no_batch_is_larger_than_what_a_reader_takes_on_its_word(void **state) {
    (void)state;
    struct st_fold *fold = st_fold_new();
    struct st_fact set = topic_created(1, "a", 1);
    set.u.topic.config_count = 1;
    set.u.topic.configs = KP_SLICE_LIT("\021max.message.bytes\012"
                                       "2000000000");
    assert_int_equal(APPLY(fold, 0, set), ST_APPLY_OK);
    assert_int_equal(st_fold_topic_by_name(fold, KP_SLICE_LIT("a"))->message_bytes_max, ST_RUN_MAX);
    struct st_row row = {.slot = 1, .len = ST_RUN_MAX - 100, .end = 1};
    struct st_fact_append next = {.base = 1, .count = 1, .position = ST_RUN_MAX - 100, .len = 101};
    assert_false(st_row_extend(&row, &next, 1));
    next.len = 100;
    assert_true(st_row_extend(&row, &next, 1));
    st_fold_free(fold);
}

static void a_store_has_room_for_so_many_partitions_and_no_more(void **state) {
    (void)state;
    struct st_fold *fold = st_fold_new();
    char name[16];
    for (int i = 0; i < ST_FOLD_PARTITIONS_MAX / ST_PARTITIONS_MAX; i++) {
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(APPLY(fold, 0, topic_created((uint8_t)i, name, ST_PARTITIONS_MAX)), ST_APPLY_OK);
    }
    assert_int_equal(fold->partition_count, ST_FOLD_PARTITIONS_MAX);
    assert_int_equal(APPLY(fold, 0, topic_created(0xff, "one-more", 1)), ST_APPLY_MISFIT);
    st_fold_free(fold);
}

/* ---- appends ---- */

static void an_append_moves_the_end_and_leaves_a_row(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 2);
    assert_int_equal(APPLY(fold, 100, append_of(1, 1, 0, 5, INLINE, 0)), ST_APPLY_OK);
    const struct st_partition *partition = partition_of(fold, 1, 1);
    assert_int_equal(partition->end, 5);
    assert_int_equal(partition->time_reached_ms, 1000);
    assert_int_equal(partition->row_count, 1);
    const struct st_row *row = st_partition_row(partition, 4);
    assert_ptr_equal(row, &partition->rows[0]);
    assert_int_equal(row->slot, 2);
    assert_int_equal(row->base, 0);
    assert_int_equal(row->end, 5);
    assert_null(st_partition_row(partition, 5));
    assert_int_equal(partition_of(fold, 1, 0)->end, 0);
    st_fold_free(fold);
}

static void adjacent_appends_of_one_entry_share_a_row(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 2);
    assert_int_equal(APPLY(fold, 400, append_of(1, 0, 0, 1, INLINE, 0), append_of(1, 0, 1, 2, INLINE, 100),
                           append_of(1, 1, 0, 1, INLINE, 200), append_of(1, 0, 3, 1, INLINE, 300)),
                     ST_APPLY_OK);
    const struct st_partition *partition = partition_of(fold, 1, 0);
    assert_int_equal(partition->row_count, 2);
    assert_int_equal(partition->rows[0].end, 3);
    assert_int_equal(partition->rows[0].len, 200);
    assert_int_equal(partition->rows[0].max_timestamp_ms, 1001);
    assert_int_equal(partition->rows[1].base, 3); /* bytes of another partition lie between */
    assert_int_equal(partition->rows[1].position, 300);
    st_fold_free(fold);
}

static void appends_of_two_entries_or_two_append_times_share_none(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 1);
    assert_int_equal(APPLY(fold, 100, append_of(1, 0, 0, 1, INLINE, 0)), ST_APPLY_OK);
    assert_int_equal(APPLY(fold, 200, append_of(1, 0, 1, 1, INLINE, 100)), ST_APPLY_OK);
    assert_int_equal(partition_of(fold, 1, 0)->row_count, 2);
    assert_int_equal(APPLY(fold, 200, append_of(1, 0, 2, 1, INLINE | ST_APPEND_TIME, 0),
                           append_of(1, 0, 3, 1, INLINE | ST_APPEND_TIME, 100)),
                     ST_APPLY_OK);
    assert_int_equal(partition_of(fold, 1, 0)->row_count, 4);
    st_fold_free(fold);
}

static void the_time_reached_never_falls_along_the_rows(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 1);
    static const int64_t times[] = {500, 300, 700};
    for (int i = 0; i < 3; i++) {
        struct st_fact_append batch = batch_of(1, 0, i, 1, INLINE, 0);
        batch.max_timestamp_ms = times[i];
        assert_int_equal(APPLY(fold, 100, appends_of(&batch, 1)), ST_APPLY_OK);
    }
    const struct st_partition *partition = partition_of(fold, 1, 0);
    assert_int_equal(partition->rows[1].max_timestamp_ms, 300);
    assert_int_equal(partition->rows[1].time_reached_ms, 500);
    assert_int_equal(partition->rows[2].time_reached_ms, 700);
    st_fold_free(fold);
}

static void an_object_is_found_by_the_slot_that_brought_it(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 1);
    assert_int_equal(APPLY(fold, 0, object_of("o2", 100), append_of(1, 0, 0, 1, 0, 0)), ST_APPLY_OK);
    assert_int_equal(APPLY(fold, 100, append_of(1, 0, 1, 1, INLINE, 0)), ST_APPLY_OK);
    assert_int_equal(APPLY(fold, 0, object_of("o4", 100), append_of(1, 0, 2, 1, 0, 0)), ST_APPLY_OK);
    assert_string_equal(st_fold_object(fold, 2)->name, "o2");
    assert_null(st_fold_object(fold, 3));
    assert_string_equal(st_fold_object(fold, 4)->name, "o4");
    st_fold_free(fold);
}

static void an_offset_may_reach_the_greatest_number_and_not_pass_it(void **state) {
    (void)state;
    struct st_fold *fold = st_fold_new();
    struct st_fact topic = topic_created(1, "a", 1);
    topic.u.topic.first_offset = INT64_MAX - 5;
    assert_int_equal(APPLY(fold, 0, topic), ST_APPLY_OK);
    assert_int_equal(APPLY(fold, 100, append_of(1, 0, INT64_MAX - 5, 5, INLINE, 0)), ST_APPLY_OK);
    assert_true(partition_of(fold, 1, 0)->end == INT64_MAX);
    assert_int_equal(APPLY(fold, 100, append_of(1, 0, INT64_MAX, 1, INLINE, 0)), ST_APPLY_DAMAGED);
    st_fold_free(fold);
}

/* ---- what does not fit ---- */

static void assert_misfit(struct st_fact fact) {
    struct st_fold *fold = fold_with_topic(1, "a", 1);
    assert_int_equal(APPLY(fold, 100, fact), ST_APPLY_MISFIT);
    assert_int_equal(fold->slot, 1);
    st_fold_free(fold);
}

static void facts_that_contradict_the_state_are_misfits(void **state) {
    (void)state;
    assert_misfit(append_of(1, 0, 1, 1, INLINE, 0)); /* a gap */
    assert_misfit(append_of(1, 1, 0, 1, INLINE, 0)); /* no such partition */
    assert_misfit(append_of(2, 0, 0, 1, INLINE, 0)); /* no such topic */
    assert_misfit(topic_created(1, "b", 1));         /* the id is taken */
    assert_misfit(topic_created(2, "a", 1));         /* the name is taken */
    assert_misfit((struct st_fact){.type = ST_FACT_topic_deleted, .u.topic_id = id_of(2)});
    assert_misfit((struct st_fact){.type = ST_FACT_level, .u.level = 0});
    assert_misfit((struct st_fact){.type = ST_FACT_level, .u.level = ST_LEVEL + 1});
}

/* Each entry begins with facts that fit and ends with one that does not, given the facts before it. */
static void an_entry_is_applied_whole_or_not_at_all(void **state) {
    (void)state;
    struct st_fact level = {.type = ST_FACT_level, .u.level = ST_LEVEL};
    struct st_fact ids = {.type = ST_FACT_producer_ids, .u.producer_ids = 1000};
    struct st_fact gone = {.type = ST_FACT_topic_deleted, .u.topic_id = id_of(1)};
    struct st_fact gone_too = {.type = ST_FACT_topic_deleted, .u.topic_id = id_of(2)};
    struct st_fact good = producer_append(1, 0, 3, 0, 9, 0, 0), object = object_of("o", 100);
    const struct st_fact entries[][5] = {
        {level, good, object, ids, append_of(1, 0, 2, 1, INLINE, 0)}, /* the end is 3 by now */
        {level, good, append_of(1, 0, 3, 1, INLINE, 0), ids, append_of(1, 0, 3, 1, INLINE, 0)},
        {ids, good, gone, object, append_of(1, 0, 3, 1, INLINE, 0)},
        {object, good, gone, level, gone},
        {topic_created(2, "b", 2), append_of(2, 1, 0, 1, INLINE, 0), good, level, append_of(2, 1, 0, 1, INLINE, 0)},
        {topic_created(2, "b", 2), append_of(2, 1, 0, 1, INLINE, 0), good, ids, append_of(2, 2, 0, 1, INLINE, 0)},
        {topic_created(2, "b", 2), gone_too, good, ids, append_of(2, 1, 0, 1, INLINE, 0)},
        {topic_created(2, "b", 2), gone_too, good, ids, gone_too},
        {topic_created(2, "b", 2), gone, good, ids, level}, /* `good` is for a topic that is gone */
        {topic_created(2, "b", 1), good, ids, level, topic_created(3, "b", 1)},
        {topic_created(2, "b", 1), good, ids, level, topic_created(2, "c", 1)},
        {topic_created(2, "b", ST_PARTITIONS_MAX), good, ids, level, topic_created(1, "c", 1)},
        {gone, topic_created(2, "a", 1), append_of(2, 0, 0, 1, INLINE, 0), level, topic_created(3, "a", 1)},
        {level, good, ids, object, level},
        {good, level, ids, object, {.type = ST_FACT_producer_ids, .u.producer_ids = UINT32_MAX}},
    };
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        struct st_fold *fold = fold_with_topic(1, "a", 1);
        fold->next_producer_id = INT64_MAX - UINT32_MAX;
        uint64_t hash = st_fold_hash(fold);
        assert_int_equal(apply_facts(fold, entries[i], 5, 100), ST_APPLY_MISFIT);
        assert_int_equal(fold->slot, 1);
        assert_true(st_fold_hash(fold) == hash);
        assert_int_equal(fold->object_count, 0);
        assert_int_equal(fold->partition_count, 1);
        assert_int_equal(partition_of(fold, 1, 0)->row_count, 0);
        assert_int_equal(APPLY(fold, 100, good, level), ST_APPLY_OK); /* and it goes on */
        assert_int_equal(partition_of(fold, 1, 0)->end, 3);
        st_fold_free(fold);
    }
}

static void an_entry_may_use_delete_and_remake_what_it_makes(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 1);
    struct st_fact gone = {.type = ST_FACT_topic_deleted, .u.topic_id = id_of(1)};
    struct st_fact gone_too = {.type = ST_FACT_topic_deleted, .u.topic_id = id_of(2)};
    assert_int_equal(APPLY(fold, 100, append_of(1, 0, 0, 1, INLINE, 0), gone, topic_created(2, "a", 2),
                           append_of(2, 1, 0, 2, INLINE, 0), gone_too, topic_created(1, "a", 3),
                           append_of(1, 2, 0, 4, INLINE, 0), append_of(1, 2, 4, 1, INLINE, 0)),
                     ST_APPLY_OK);
    assert_int_equal(fold->topic_count, 1);
    assert_int_equal(fold->partition_count, 3);
    assert_int_equal(partition_of(fold, 1, 2)->end, 5);
    assert_int_equal(partition_of(fold, 1, 0)->end, 0);
    st_fold_free(fold);
}

static void the_level_only_rises(void **state) {
    (void)state;
    struct st_fold *fold = st_fold_new();
    struct st_fact level = {.type = ST_FACT_level, .u.level = ST_LEVEL};
    assert_int_equal(APPLY(fold, 0, level), ST_APPLY_OK);
    assert_int_equal(fold->level, ST_LEVEL);
    assert_int_equal(APPLY(fold, 0, level), ST_APPLY_MISFIT);
    st_fold_free(fold);
}

static void producer_ids_never_run_over(void **state) {
    (void)state;
    struct st_fold *fold = st_fold_new();
    struct st_fact block = {.type = ST_FACT_producer_ids, .u.producer_ids = 1000};
    assert_int_equal(APPLY(fold, 0, block), ST_APPLY_OK);
    assert_int_equal(fold->next_producer_id, 1000);
    fold->next_producer_id = INT64_MAX - 1000;
    assert_int_equal(APPLY(fold, 0, block), ST_APPLY_OK);
    assert_true(fold->next_producer_id == INT64_MAX);
    assert_int_equal(APPLY(fold, 0, block), ST_APPLY_MISFIT);
    st_fold_free(fold);
}

static void a_damaged_entry_leaves_the_fold_as_it_was(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 1);
    uint64_t hash = st_fold_hash(fold);
    struct st_fact good = append_of(1, 0, 0, 1, INLINE, 0);
    struct kp_blob *entry = entry_of(&good, 1, 100);
    entry->data[entry->size - 1] ^= 1;
    assert_int_equal(st_fold_apply(fold, kp_slice_of(entry->data, entry->size)), ST_APPLY_DAMAGED);
    kp_blob_unref(entry);
    entry = entry_of(&good, 1, 100);
    entry->data[ST_ENTRY_HEAD + 16] -= 1; /* the facts end before the last of them does */
    assert_int_equal(apply_bytes(fold, entry), ST_APPLY_DAMAGED);
    entry = entry_of(&good, 1, 100);
    entry->data[ST_ENTRY_HEAD + 17] = 99; /* a type of the future */
    assert_int_equal(apply_bytes(fold, entry), ST_APPLY_DAMAGED);
    assert_int_equal(APPLY(fold, 200, good, append_of(1, 0, 1, 1, INLINE, 101)), ST_APPLY_DAMAGED);
    assert_true(st_fold_hash(fold) == hash);
    assert_int_equal(fold->slot, 1);
    assert_int_equal(partition_of(fold, 1, 0)->end, 0);
    st_fold_free(fold);
}

static void appends_lie_within_the_entry_or_its_one_object(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 1);
    struct st_fact in_object = append_of(1, 0, 0, 1, 0, 0), in_entry = append_of(1, 0, 0, 1, INLINE, 0);
    assert_int_equal(APPLY(fold, 99, in_entry), ST_APPLY_DAMAGED);
    assert_int_equal(APPLY(fold, 100, in_object), ST_APPLY_DAMAGED); /* no object */
    assert_int_equal(APPLY(fold, 0, object_of("o", 99), in_object), ST_APPLY_DAMAGED);
    assert_int_equal(APPLY(fold, 0, in_object, object_of("o", 100)), ST_APPLY_DAMAGED); /* behind it */
    assert_int_equal(APPLY(fold, 0, object_of("o", 100), object_of("p", 100), in_object), ST_APPLY_DAMAGED);
    assert_int_equal(APPLY(fold, 0, object_of("o", 100), in_object), ST_APPLY_OK);
    st_fold_free(fold);
}

/* ---- producers ---- */

static const struct st_window_batch *duplicate;

static enum st_sequence check(const struct st_window *window, int16_t epoch, int32_t first, int32_t count) {
    duplicate = NULL;
    return st_window_check(window, epoch, first, count, &duplicate);
}

static void an_unknown_producer_begins_with_sequence_zero(void **state) {
    (void)state;
    struct st_window window = {0};
    assert_int_equal(check(NULL, 0, 0, 1), ST_SEQUENCE_NEXT);
    assert_int_equal(check(NULL, 0, 1, 1), ST_SEQUENCE_UNKNOWN);
    assert_int_equal(check(&window, 7, 0, 1), ST_SEQUENCE_NEXT);
    assert_int_equal(check(&window, 7, 5, 1), ST_SEQUENCE_UNKNOWN);
}

static void sequences_go_on_where_the_last_batch_ended(void **state) {
    (void)state;
    struct st_window window = {0};
    st_window_add(&window, 0, 0, 10, 100, -1);
    assert_int_equal(check(&window, 0, 10, 5), ST_SEQUENCE_NEXT);
    assert_int_equal(check(&window, 0, 11, 5), ST_SEQUENCE_EARLY);
    assert_int_equal(check(&window, 0, 9, 1), ST_SEQUENCE_OLD);
    assert_int_equal(check(&window, 0, 0, 9), ST_SEQUENCE_OLD); /* begins as a batch that stands, but is another */
}

static void the_last_five_batches_answer_their_duplicates(void **state) {
    (void)state;
    struct st_window window = {0};
    for (int32_t i = 0; i < 7; i++) {
        st_window_add(&window, 0, 10 * i, 10, 100 + 10 * i, 5000 + i);
    }
    assert_int_equal(window.count, ST_WINDOW);
    for (int32_t i = 2; i < 7; i++) {
        assert_int_equal(check(&window, 0, 10 * i, 10), ST_SEQUENCE_DUPLICATE);
        assert_int_equal(duplicate->base, 100 + 10 * i);
        assert_int_equal(duplicate->append_time_ms, 5000 + i);
    }
    assert_int_equal(check(&window, 0, 10, 10), ST_SEQUENCE_OLD);
    assert_int_equal(check(&window, 0, 0, 10), ST_SEQUENCE_OLD);
}

static void sequences_wrap_from_the_greatest_to_zero(void **state) {
    (void)state;
    struct st_window window = {0};
    st_window_add(&window, 0, INT32_MAX - 1, 2, 0, -1);
    assert_int_equal(window.batches[0].last_sequence, INT32_MAX);
    assert_int_equal(check(&window, 0, 0, 5), ST_SEQUENCE_NEXT);
    assert_int_equal(check(&window, 0, 1, 5), ST_SEQUENCE_EARLY);
    assert_int_equal(check(&window, 0, INT32_MAX, 1), ST_SEQUENCE_OLD);
    st_window_add(&window, 0, 0, 5, 2, -1);
    assert_int_equal(check(&window, 0, INT32_MAX - 1, 2), ST_SEQUENCE_DUPLICATE);
    assert_int_equal(duplicate->base, 0);
    struct st_window across = {0};
    st_window_add(&across, 0, INT32_MAX - 1, 4, 0, -1); /* 2^31-2, 2^31-1, 0, 1 */
    assert_int_equal(across.batches[0].last_sequence, 1);
    assert_int_equal(check(&across, 0, 2, 1), ST_SEQUENCE_NEXT);
    assert_int_equal(check(&across, 0, INT32_MAX - 1, 4), ST_SEQUENCE_DUPLICATE);
    assert_int_equal(check(&across, 0, INT32_MAX - 1, INT32_MAX), ST_SEQUENCE_OLD);
}

static void a_newer_epoch_begins_anew_and_fences_the_older(void **state) {
    (void)state;
    struct st_window window = {0};
    st_window_add(&window, 3, 0, 10, 0, -1);
    assert_int_equal(check(&window, 2, 10, 1), ST_SEQUENCE_FENCED);
    assert_int_equal(check(&window, 4, 10, 1), ST_SEQUENCE_EARLY);
    assert_int_equal(check(&window, 4, 0, 1), ST_SEQUENCE_NEXT);
    st_window_add(&window, 4, 0, 1, 10, -1);
    assert_int_equal(window.count, 1);
    assert_int_equal(check(&window, 3, 0, 10), ST_SEQUENCE_FENCED); /* no longer a duplicate */
    assert_int_equal(check(&window, INT16_MAX, 0, 1), ST_SEQUENCE_NEXT);
}

static void appends_of_producers_fill_their_windows(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 1);
    assert_int_equal(APPLY(fold, 300, producer_append(1, 0, 2, 0, 9, 0, 0), producer_append(1, 2, 1, 100, 7, 0, 0),
                           producer_append(1, 3, 3, 200, 9, 0, 2)),
                     ST_APPLY_OK);
    const struct st_partition *partition = partition_of(fold, 1, 0);
    assert_int_equal(partition->producer_count, 2);
    assert_int_equal(partition->producers[0]->id, 7);
    const struct st_producer *nine = st_partition_producer(partition, 9);
    assert_int_equal(nine->window.count, 2);
    assert_int_equal(nine->window.batches[0].base, 3);
    assert_int_equal(nine->window.batches[0].last_sequence, 4);
    assert_int_equal(nine->window.batches[1].base, 0);
    assert_null(st_partition_producer(partition, 8));
    st_fold_free(fold);
}

/* ---- the canonical form ---- */

static void equal_histories_give_equal_hashes_and_different_ones_do_not(void **state) {
    (void)state;
    struct st_fold *a = fold_with_topic(1, "a", 1), *b = fold_with_topic(1, "a", 1);
    assert_true(st_fold_hash(a) == st_fold_hash(b));
    assert_int_equal(APPLY(a, 200, append_of(1, 0, 0, 1, INLINE, 0)), ST_APPLY_OK);
    assert_int_equal(APPLY(b, 200, append_of(1, 0, 0, 1, INLINE, 100)), ST_APPLY_OK);
    assert_int_equal(partition_of(a, 1, 0)->end, partition_of(b, 1, 0)->end);
    assert_true(st_fold_hash(a) != st_fold_hash(b)); /* the rows differ, and heads know */
    st_fold_free(a);
    st_fold_free(b);
}

static void a_copy_of_the_heads_has_the_same_hash_and_goes_on_alike(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 2);
    assert_int_equal(APPLY(fold, 100, producer_append(1, 0, 2, 0, 9, 0, 0)), ST_APPLY_OK);
    struct st_fold *copy = st_fold_copy_heads(fold);
    assert_true(st_fold_hash(copy) == st_fold_hash(fold));
    assert_int_equal(copy->partition_count, 2);
    assert_int_equal(partition_of(copy, 1, 0)->row_count, 0);
    assert_int_equal(partition_of(copy, 1, 0)->old_end, 2);
    assert_int_equal(APPLY(fold, 100, producer_append(1, 2, 1, 0, 9, 0, 2)), ST_APPLY_OK);
    assert_int_equal(APPLY(copy, 100, producer_append(1, 2, 1, 0, 9, 0, 2)), ST_APPLY_OK);
    assert_true(st_fold_hash(copy) == st_fold_hash(fold));
    st_fold_free(copy);
    st_fold_free(fold);
}

static void heads_have_these_bytes(void **state) {
    (void)state;
    struct st_fold *fold = st_fold_new();
    struct st_fact level = {.type = ST_FACT_level, .u.level = 1};
    struct st_fact ids = {.type = ST_FACT_producer_ids, .u.producer_ids = 1000};
    assert_int_equal(APPLY(fold, 0, level, ids, topic_created(1, "a", 1)), ST_APPLY_OK);
    assert_int_equal(APPLY(fold, 100, producer_append(1, 0, 2, 0, 9, 1, 0)), ST_APPLY_OK);
    struct st_pack heads;
    st_pack_init(&heads, 4096);
    st_fold_write_heads(fold, &heads);
    /* slot, level, producer ids, objects' hash, topics; the topic; its partition; its producer */
    assert_golden(packed(&heads), "02 01 e807 0000000000000000 01"
                                  " 01010101010101010101010101010101 01 61 01 00 00"
                                  " 00 04 d00f d86bc46478a7f2f0 01"
                                  " 09 01 01 00 01 00 01");
    assert_true(st_heads_hash(packed(&heads)) == st_fold_hash(fold));
    st_pack_release(&heads);
    st_fold_free(fold);
}

/* ---- decided requests of the pool ---- */

#define POOLED(slot) {.type = ST_FACT_pooled, .u.begun = slot}
#define REFUSED(why) {.type = ST_FACT_refused, .u.refused = why}
#define DUPLICATE(at) {.type = ST_FACT_duplicate, .u.duplicate = {.base = at, .append_time_ms = -1}}

static void a_decided_request_of_the_pool_is_known_for_exactly_its_window(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 1);
    fold->pool_window = 3;
    struct kp_uuid id = id_of(0xbb), other = id_of(0xbc); /* entry_of names its commit so */
    struct st_fact pooled = POOLED(1);
    assert_int_equal(APPLY(fold, 100, pooled, append_of(1, 0, 0, 1, INLINE, 0)), ST_APPLY_OK); /* slot 2 */
    for (int i = 0; i < 3; i++) {
        const struct st_pooled_outcome *outcome = st_fold_pooled(fold, &id, 1);
        assert_non_null(outcome);
        assert_int_equal(outcome->slot, 2);
        assert_int_equal(outcome->verdict, ST_OK);
        assert_null(st_fold_pooled(fold, &id, 2));
        assert_null(st_fold_pooled(fold, &other, 1));
        assert_int_equal(APPLY(fold, 100, append_of(1, 0, 1 + i, 1, INLINE, 0)), ST_APPLY_OK);
    }
    assert_null(st_fold_pooled(fold, &id, 1)); /* slot 5: 3, 4 and 5 are remembered */
    st_fold_free(fold);
}

static void the_verdict_of_a_request_is_the_first_refusal_when_nothing_of_it_stands(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 1);
    struct kp_uuid id = id_of(0xbb);
    const struct st_fact all[] = {POOLED(1), REFUSED(ST_TOO_LARGE), REFUSED(ST_BAD_EPOCH)};
    assert_int_equal(apply_facts(fold, all, 3, 0), ST_APPLY_OK);
    assert_int_equal(st_fold_pooled(fold, &id, 1)->verdict, ST_TOO_LARGE);
    const struct st_fact some[] = {POOLED(2), REFUSED(ST_TOO_LARGE), DUPLICATE(0), REFUSED(ST_BAD_EPOCH)};
    assert_int_equal(apply_facts(fold, some, 4, 0), ST_APPLY_OK);
    assert_int_equal(st_fold_pooled(fold, &id, 2)->verdict, ST_OK);
    assert_int_equal(fold->pooled_count, 2);
    st_fold_free(fold);
}

static void outcomes_stand_only_in_commits_of_the_pool(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 1);
    struct st_fact pooled = POOLED(1), refused = REFUSED(ST_REFUSED), duplicate_of = DUPLICATE(0);
    assert_int_equal(APPLY(fold, 0, refused), ST_APPLY_DAMAGED);
    assert_int_equal(APPLY(fold, 0, duplicate_of), ST_APPLY_DAMAGED);
    assert_int_equal(APPLY(fold, 100, append_of(1, 0, 0, 1, INLINE, 0), pooled), ST_APPLY_DAMAGED);
    assert_int_equal(APPLY(fold, 0, pooled, pooled), ST_APPLY_DAMAGED);
    assert_int_equal(fold->pooled_count, 0);
    st_fold_free(fold);
}

static void decided_requests_are_in_the_canonical_form_and_read_back(void **state) {
    (void)state;
    struct st_fold *fold = st_fold_new();
    struct st_fact pooled = POOLED(0), refused = REFUSED(ST_TOO_LARGE);
    assert_int_equal(APPLY(fold, 0, pooled, refused), ST_APPLY_OK);
    struct st_pack heads;
    st_pack_init(&heads, 4096);
    st_fold_write_heads(fold, &heads);
    /* slot, level, producer ids, objects' hash, topics; tag, count, id, slot, verdict */
    assert_golden(packed(&heads), "01 00 00 0000000000000000 00"
                                  " 01 01 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 01 04");
    struct st_checkpoint_footer footer = {.slot = 1, .hash = st_fold_hash(fold)};
    st_pack_fixed(&heads, kp_crc32c(0, heads.data, heads.len), 4);
    struct st_fold *back = st_checkpoint_read_heads(packed(&heads), &footer);
    struct kp_uuid id = id_of(0xbb);
    assert_int_equal(st_fold_pooled(back, &id, 0)->verdict, ST_TOO_LARGE);
    struct st_fold *copy = st_fold_copy_heads(back);
    assert_true(st_fold_hash(copy) == footer.hash);
    st_fold_free(copy);
    st_fold_free(back);
    st_fold_free(fold);
    st_pack_release(&heads);
}

/* ---- a newer checkpoint ---- */

static struct st_checkpoint *checkpoint_at(uint64_t slot) {
    struct st_checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    assert_non_null(checkpoint);
    checkpoint->slot = slot;
    checkpoint->inline_floor = UINT64_MAX;
    return checkpoint;
}

static void adopting_a_checkpoint_forgets_what_it_covers_and_nothing_else(void **state) {
    (void)state;
    struct st_fold *fold = fold_with_topic(1, "a", 1);
    assert_int_equal(APPLY(fold, 0, object_of("o2", 100), append_of(1, 0, 0, 1, 0, 0)), ST_APPLY_OK);
    assert_int_equal(APPLY(fold, 100, append_of(1, 0, 1, 1, INLINE, 0)), ST_APPLY_OK);
    struct st_fold *at_three = st_fold_copy_heads(fold);
    assert_int_equal(APPLY(fold, 0, object_of("o4", 100), append_of(1, 0, 2, 1, 0, 0)), ST_APPLY_OK);
    assert_int_equal(APPLY(fold, 100, topic_created(2, "b", 1), append_of(2, 0, 0, 1, INLINE, 0)), ST_APPLY_OK);
    uint64_t hash = st_fold_hash(fold);
    st_fold_adopt(fold, checkpoint_at(3), at_three);
    assert_true(st_fold_hash(fold) == hash);
    const struct st_partition *partition = partition_of(fold, 1, 0);
    assert_int_equal(partition->row_count, 1);
    assert_int_equal(partition->rows[0].slot, 4);
    assert_int_equal(partition->old_end, 2);
    assert_int_equal(partition->old_time_ms, 1001);
    assert_null(st_fold_object(fold, 2));
    assert_string_equal(st_fold_object(fold, 4)->name, "o4");
    assert_int_equal(partition_of(fold, 2, 0)->row_count, 1); /* made after the checkpoint */
    assert_int_equal(partition_of(fold, 2, 0)->old_end, 0);
    assert_int_equal(fold->entries_since_checkpoint, 2);
    st_fold_adopt(fold, checkpoint_at(5), fold); /* the old one is freed */
    assert_int_equal(partition->row_count, 0);
    assert_int_equal(fold->object_count, 0);
    st_fold_free(at_three);
    st_fold_free(fold);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_are_found_by_id_and_by_name_in_order),
        cmocka_unit_test(a_deleted_topic_takes_its_partitions_along_and_its_name_is_free),
        cmocka_unit_test(configs_that_the_engine_obeys_are_read_from_the_fact),
        cmocka_unit_test(no_batch_is_larger_than_what_a_reader_takes_on_its_word),
        cmocka_unit_test(a_store_has_room_for_so_many_partitions_and_no_more),
        cmocka_unit_test(an_append_moves_the_end_and_leaves_a_row),
        cmocka_unit_test(adjacent_appends_of_one_entry_share_a_row),
        cmocka_unit_test(appends_of_two_entries_or_two_append_times_share_none),
        cmocka_unit_test(the_time_reached_never_falls_along_the_rows),
        cmocka_unit_test(an_object_is_found_by_the_slot_that_brought_it),
        cmocka_unit_test(an_offset_may_reach_the_greatest_number_and_not_pass_it),
        cmocka_unit_test(facts_that_contradict_the_state_are_misfits),
        cmocka_unit_test(an_entry_is_applied_whole_or_not_at_all),
        cmocka_unit_test(an_entry_may_use_delete_and_remake_what_it_makes),
        cmocka_unit_test(the_level_only_rises),
        cmocka_unit_test(producer_ids_never_run_over),
        cmocka_unit_test(a_damaged_entry_leaves_the_fold_as_it_was),
        cmocka_unit_test(appends_lie_within_the_entry_or_its_one_object),
        cmocka_unit_test(an_unknown_producer_begins_with_sequence_zero),
        cmocka_unit_test(sequences_go_on_where_the_last_batch_ended),
        cmocka_unit_test(the_last_five_batches_answer_their_duplicates),
        cmocka_unit_test(sequences_wrap_from_the_greatest_to_zero),
        cmocka_unit_test(a_newer_epoch_begins_anew_and_fences_the_older),
        cmocka_unit_test(appends_of_producers_fill_their_windows),
        cmocka_unit_test(equal_histories_give_equal_hashes_and_different_ones_do_not),
        cmocka_unit_test(a_copy_of_the_heads_has_the_same_hash_and_goes_on_alike),
        cmocka_unit_test(heads_have_these_bytes),
        cmocka_unit_test(a_decided_request_of_the_pool_is_known_for_exactly_its_window),
        cmocka_unit_test(the_verdict_of_a_request_is_the_first_refusal_when_nothing_of_it_stands),
        cmocka_unit_test(outcomes_stand_only_in_commits_of_the_pool),
        cmocka_unit_test(decided_requests_are_in_the_canonical_form_and_read_back),
        cmocka_unit_test(adopting_a_checkpoint_forgets_what_it_covers_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

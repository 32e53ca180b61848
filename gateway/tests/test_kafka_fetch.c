/* Fetch, ListOffsets and OffsetForLeaderEpoch: what is read, what is waited for, what is refused. */
#include "gateway/tests/kafka_door.h"

#include "storage/backends/memory.h"

static int setup(void **state) {
    *state = door_new();
    return 0;
}

static int teardown(void **state) {
    door_free(*state);
    return 0;
}

static struct kp_fetch_response_partition *first_partition(struct kp_fetch_response *response) {
    assert_true(response->responses.count >= 1);
    assert_true(response->responses.items[0].partitions.count >= 1);
    return &response->responses.items[0].partitions.items[0];
}

static int32_t batches_in(struct kp_slice bytes, int64_t *first_offset) {
    int32_t count = 0;
    struct kp_batch batch;
    while (bytes.len > 0) {
        assert_int_equal(kp_batch_peek(bytes, &batch), KP_ERROR_NONE); /* whole batches only */
        assert_int_equal(batch.leader_epoch, -1);
        if (count++ == 0) {
            *first_offset = batch.base_offset;
        }
        bytes.ptr += batch.bytes.len;
        bytes.len -= batch.bytes.len;
    }
    return count;
}

static void every_version_reads_what_was_stored(void **state) {
    struct client *client = client_new(*state);
    struct kp_uuid id = make_topic(client, "t", 1, NULL, NULL);
    put_records(client, "t", 0, 2, "one");
    put_records(client, "t", 0, 3, "two");
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    for (int16_t version = 4; version <= 17; version++) {
        struct fetch_one one;
        fetch_one(&one, "t", 0);
        one.topic.topic_id = id;
        one.request.isolation_level = (int8_t)(version % 2);
        struct kp_fetch_response response;
        client_call(client, KP_API_fetch, version, &one.request, &arena, &response);
        struct kp_fetch_response_partition *partition = first_partition(&response);
        int64_t first = -1;
        assert_int_equal(partition->error_code, KP_ERROR_NONE);
        assert_int_equal(batches_in(partition->records.bytes, &first), 2);
        assert_int_equal(first, 0);
        assert_int_equal(partition->high_watermark, 5);
        assert_int_equal(partition->last_stable_offset, 5);
        assert_int_equal(partition->log_start_offset, version >= 5 ? 0 : -1);
        assert_int_equal(partition->aborted_transactions.count, version % 2 == 1 ? 0 : -1);
        assert_int_equal(partition->preferred_read_replica, -1);
        assert_int_equal(response.session_id, 0);
        if (version >= 13) {
            assert_true(kp_uuid_equal(&response.responses.items[0].topic_id, &id));
        }
    }
    kp_arena_release(&arena);
    client_free(client);
}

static void an_offset_within_a_batch_gives_the_whole_batch(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, NULL, NULL);
    put_records(client, "t", 0, 10, "v");
    struct fetch_one one;
    fetch_one(&one, "t", 7);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_fetch_response response;
    client_call(client, KP_API_fetch, 11, &one.request, &arena, &response);
    int64_t first = -1;
    assert_int_equal(batches_in(first_partition(&response)->records.bytes, &first), 1);
    assert_int_equal(first, 0);
    kp_arena_release(&arena);
    client_free(client);
}

/* KIP-74: the first partition that has something gives a batch whatever the limits, later ones obey them. */
static void limits_hold_but_the_first_batch_always_comes(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 3, NULL, NULL);
    put_records(client, "t", 1, 5, "value");
    put_records(client, "t", 1, 5, "value");
    put_records(client, "t", 2, 5, "value");
    struct fetch_one one;
    fetch_one(&one, "t", 0);
    one.topic.partitions.count = 3;
    static const int32_t limits[] = {1, 0, -1, INT32_MIN};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        one.request.max_bytes = limits[i];
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 20);
        struct kp_fetch_response response;
        client_call(client, KP_API_fetch, 11, &one.request, &arena, &response);
        struct kp_fetch_response_partition *partitions = first_partition(&response);
        int64_t first = -1;
        assert_int_equal(response.responses.items[0].partitions.count, 3); /* every one is answered */
        assert_int_equal(partitions[0].records.bytes.len, 0);
        assert_non_null(partitions[0].records.bytes.ptr); /* empty, not null */
        assert_int_equal(batches_in(partitions[1].records.bytes, &first), 1);
        assert_int_equal(partitions[2].records.bytes.len, 0);
        assert_int_equal(partitions[2].error_code, KP_ERROR_NONE);
        kp_arena_release(&arena);
    }
    client_free(client);
}

static void partitions_take_turns_when_an_answer_is_smaller_than_the_client_allows(void **state) {
    struct client *client = client_new(*state);
    struct door *door = *state;
    make_topic(client, "t", 3, NULL, NULL);
    struct fetch_one one;
    fetch_one(&one, "t", 0);
    one.topic.partitions.count = 3;
    for (int32_t p = 0; p < 3; p++) {
        put_records(client, "t", p, 5, "value");
    }
    door->config.fetch_max_bytes = 1;
    int served[3] = {0};
    for (int i = 0; i < 6; i++) {
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 20);
        struct kp_fetch_response response;
        client_call(client, KP_API_fetch, 11, &one.request, &arena, &response);
        for (int p = 0; p < 3; p++) {
            served[p] += first_partition(&response)[p].records.bytes.len > 0;
        }
        kp_arena_release(&arena);
    }
    for (int p = 0; p < 3; p++) {
        assert_int_equal(served[p], 2);
    }
    client_free(client);
}

static void record_bytes_are_not_copied_into_the_answer(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, NULL, NULL);
    put_records(client, "t", 0, 60, "a value long enough to be worth a copy");
    struct fetch_one one;
    fetch_one(&one, "t", 0);
    client_ask(client, KP_API_fetch, 11, 1, &one.request);
    door_run(*state, ST_SECOND);
    size_t largest = 0;
    for (size_t i = 0; i < client->out.count; i++) {
        largest = client->out.pieces[i].bytes.len > largest ? client->out.pieces[i].bytes.len : largest;
    }
    assert_true(largest > 60 * 38);            /* the records are a piece of their own */
    assert_true(client->out.bytes - largest < 300); /* beside them only the message around */
    client_free(client);
}

static void nothing_there_waits_for_max_wait(void **state) {
    struct door *door = *state;
    struct client *client = client_new(door);
    make_topic(client, "t", 1, NULL, NULL);
    struct fetch_one one;
    fetch_one(&one, "t", 0);
    one.request.max_wait_ms = 3000;
    client_ask(client, KP_API_fetch, 11, 1, &one.request);
    door_run(door, 2900 * ST_MS);
    assert_int_equal(client->out.bytes, 0);
    door_run(door, 200 * ST_MS);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_fetch_response response;
    client_expect(client, KP_API_fetch, 11, 1, &arena, &response);
    assert_int_equal(first_partition(&response)->error_code, KP_ERROR_NONE);
    assert_int_equal(first_partition(&response)->high_watermark, 0);
    kp_arena_release(&arena);
    client_free(client);
}

static void an_append_wakes_who_waits(void **state) {
    struct door *door = *state;
    struct client *reader = client_new(door), *writer = client_new(door);
    make_topic(writer, "t", 2, NULL, NULL);
    struct fetch_one one;
    fetch_one(&one, "t", 0);
    one.topic.partitions.count = 2;
    one.request.max_wait_ms = 60000;
    client_ask(reader, KP_API_fetch, 11, 1, &one.request);
    door_run(door, ST_SECOND);
    assert_int_equal(reader->out.bytes, 0);
    put_records(writer, "t", 1, 1, "v");
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_fetch_response response;
    client_expect(reader, KP_API_fetch, 11, 1, &arena, &response);
    assert_int_equal(first_partition(&response)[0].records.bytes.len, 0);
    assert_true(first_partition(&response)[1].records.bytes.len > 0);
    kp_arena_release(&arena);
    client_free(reader);
    client_free(writer);
}

static void min_bytes_are_waited_for_over_all_partitions(void **state) {
    struct door *door = *state;
    struct client *reader = client_new(door), *writer = client_new(door);
    make_topic(writer, "t", 2, NULL, NULL);
    struct fetch_one one;
    fetch_one(&one, "t", 0);
    one.topic.partitions.count = 2;
    one.request.max_wait_ms = 60000;
    one.request.min_bytes = 150;
    client_ask(reader, KP_API_fetch, 11, 1, &one.request);
    put_records(writer, "t", 0, 1, "0123456789");
    door_run(door, ST_SECOND);
    assert_int_equal(reader->out.bytes, 0);
    put_records(writer, "t", 1, 1, "0123456789");
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_fetch_response response;
    client_expect(reader, KP_API_fetch, 11, 1, &arena, &response);
    assert_true(first_partition(&response)[0].records.bytes.len > 0);
    assert_true(first_partition(&response)[1].records.bytes.len > 0);
    kp_arena_release(&arena);
    client_free(reader);
    client_free(writer);
}

static void append_over(struct st_append *op) {
    op->engine = NULL;
}

static void another_process_appends_and_who_waits_is_woken(void **state) {
    struct door *door = *state;
    struct client *reader = client_new(door), *writer = client_new(door);
    make_topic(writer, "t", 1, NULL, NULL);
    struct fetch_one one;
    fetch_one(&one, "t", 0);
    one.request.max_wait_ms = 60000;
    client_ask(reader, KP_API_fetch, 11, 1, &one.request);
    door_run(door, ST_SECOND);

    struct st_store *shared = st_store_memory_share(door->store);
    struct st_engine_options options = st_engine_options_default();
    struct st_engine *other = st_engine_new(door->loop, shared, &options);
    door->over = false;
    st_engine_open(other, door_opened, door);
    door_run(door, ST_SECOND);
    struct kp_blob *batch = make_batch(1, NULL, "v", WALL_MS);
    struct st_append_part part = {.topic_id = st_topic_by_name(other, KP_SLICE_LIT("t"))->id, .blob = batch};
    assert_int_equal(kp_batch_peek(kp_slice_of(batch->data, batch->size), &part.batch), KP_ERROR_NONE);
    struct st_append append = {.parts = &part, .count = 1, .timeout_ms = 1000, .done = append_over};
    st_append(other, &append);
    door_run(door, 3 * ST_SECOND);
    assert_int_equal(part.error, ST_OK);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_fetch_response response;
    client_expect(reader, KP_API_fetch, 11, 1, &arena, &response);
    assert_true(first_partition(&response)->records.bytes.len > 0);
    kp_arena_release(&arena);
    kp_blob_unref(batch);
    door->over = false;
    st_engine_close(other, door_closed, door);
    door_run(door, 10 * ST_SECOND);
    assert_true(door->over);
    st_engine_free(other);
    shared->ops->close(shared, door_closed, door);
    client_free(reader);
    client_free(writer);
}

static void refusals_come_at_once_and_after_a_sync(void **state) {
    static const struct {
        const char *topic;
        int32_t partition;
        int64_t offset;
        int16_t version;
        int error;
    } cases[] = {
        {"t", 0, 2, 11, KP_ERROR_OFFSET_OUT_OF_RANGE},
        {"t", 0, -1, 11, KP_ERROR_OFFSET_OUT_OF_RANGE},
        {"t", 5, 0, 11, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION},
        {"nowhere", 0, 0, 11, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION},
        {"nowhere", 0, 0, 13, KP_ERROR_UNKNOWN_TOPIC_ID},
    };
    struct door *door = *state;
    struct client *client = client_new(door);
    make_topic(client, "t", 1, NULL, NULL);
    put_records(client, "t", 0, 1, "v");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fetch_one one;
        fetch_one(&one, cases[i].topic, cases[i].offset);
        one.partitions[0].partition = cases[i].partition;
        one.request.max_wait_ms = 60000;
        memset(&one.topic.topic_id, 1, sizeof one.topic.topic_id);
        for (int away = 0; away < 2; away++) {
            store_away = away;
            struct kp_arena arena;
            kp_arena_init(&arena, 1 << 20);
            struct kp_fetch_response response;
            client_call(client, KP_API_fetch, cases[i].version, &one.request, &arena, &response);
            struct kp_fetch_response_partition *partition = first_partition(&response);
            assert_int_equal(partition->error_code, away ? KP_ERROR_KAFKA_STORAGE_ERROR : cases[i].error);
            assert_int_equal(partition->high_watermark, -1);
            assert_int_equal(partition->log_start_offset, -1);
            assert_non_null(partition->records.bytes.ptr);
            assert_int_equal(partition->records.bytes.len, 0);
            kp_arena_release(&arena);
        }
        store_away = false;
    }
    client_free(client);
}

static void what_is_known_is_served_while_the_store_is_away(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, NULL, NULL);
    put_records(client, "t", 0, 1, "v");
    store_away = true;
    struct fetch_one one;
    fetch_one(&one, "t", 0);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_fetch_response response;
    client_call(client, KP_API_fetch, 11, &one.request, &arena, &response);
    assert_int_equal(first_partition(&response)->error_code, KP_ERROR_NONE);
    assert_true(first_partition(&response)->records.bytes.len > 0);
    store_away = false;
    kp_arena_release(&arena);
    client_free(client);
}

static void sessions_are_not_kept(void **state) {
    static const struct {
        int32_t id, epoch;
        int error;
    } cases[] = {{0, -1, 0}, {0, 0, 0}, {5, 0, 0}, {5, -1, 0}, {0, 1, 70}, {5, 1, 70}, {5, -2, 70}};
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, NULL, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fetch_one one;
        fetch_one(&one, "t", 0);
        one.request.session_id = cases[i].id;
        one.request.session_epoch = cases[i].epoch;
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 20);
        struct kp_fetch_response response;
        client_call(client, KP_API_fetch, 11, &one.request, &arena, &response);
        assert_int_equal(response.error_code, cases[i].error);
        assert_int_equal(response.session_id, 0);
        assert_int_equal(response.responses.count, cases[i].error == 0 ? 1 : 0);
        kp_arena_release(&arena);
    }
    client_free(client);
}

static void a_fetch_that_waits_ends_with_its_connection(void **state) {
    struct door *door = *state;
    struct client *client = client_new(door);
    make_topic(client, "t", 1, NULL, NULL);
    struct fetch_one one;
    fetch_one(&one, "t", 0);
    one.request.max_wait_ms = 3600000;
    client_ask(client, KP_API_fetch, 11, 1, &one.request);
    client_ask(client, KP_API_fetch, 11, 2, &one.request); /* waits for its turn */
    door_run(door, ST_SECOND);
    client_free(client);
    door_run(door, ST_SECOND);
    assert_int_equal(st_metrics.frame_bytes, 0);
}

static void draining_answers_who_waits(void **state) {
    struct door *door = *state;
    struct client *client = client_new(door);
    make_topic(client, "t", 1, NULL, NULL);
    struct fetch_one one;
    fetch_one(&one, "t", 0);
    one.request.max_wait_ms = 3600000;
    client_ask(client, KP_API_fetch, 11, 1, &one.request);
    client_ask(client, KP_API_fetch, 11, 2, &one.request);
    door_run(door, ST_SECOND);
    gw_kafka_drain(&door->gateway);
    door_run(door, ST_SECOND);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_fetch_response response;
    client_expect(client, KP_API_fetch, 11, 1, &arena, &response);
    client_expect(client, KP_API_fetch, 11, 2, &arena, &response);
    assert_true(client->finished);
    kp_arena_release(&arena);
    client_free(client);
}

static void a_topic_deleted_wakes_who_waits_for_it(void **state) {
    struct door *door = *state;
    struct client *reader = client_new(door), *admin = client_new(door);
    make_topic(admin, "t", 1, NULL, NULL);
    struct fetch_one one;
    fetch_one(&one, "t", 0);
    one.request.max_wait_ms = 3600000;
    client_ask(reader, KP_API_fetch, 11, 1, &one.request);
    door_run(door, ST_SECOND);
    struct kp_slice name = KP_SLICE_LIT("t");
    struct kp_delete_topics_request request = {.timeout_ms = 1000};
    request.topic_names.items = &name;
    request.topic_names.count = 1;
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_delete_topics_response deleted;
    client_call(admin, KP_API_delete_topics, 4, &request, &arena, &deleted);
    assert_int_equal(deleted.responses.items[0].error_code, KP_ERROR_NONE);
    struct kp_fetch_response response;
    client_expect(reader, KP_API_fetch, 11, 1, &arena, &response);
    assert_int_equal(first_partition(&response)->error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    kp_arena_release(&arena);
    client_free(reader);
    client_free(admin);
}

/* ---- offsets ---- */

static void list(struct client *client, int16_t version, const char *topic, int32_t partition, int64_t time,
                 struct kp_list_offsets_response_partition *answer) {
    struct kp_list_offsets_request_partition asked = {.partition_index = partition, .timestamp = time};
    struct kp_list_offsets_request_topic of = {.name = kp_slice_cstr(topic)};
    of.partitions.items = &asked;
    of.partitions.count = 1;
    struct kp_list_offsets_request request = {.replica_id = -1};
    request.topics.items = &of;
    request.topics.count = 1;
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_list_offsets_response response;
    client_call(client, KP_API_list_offsets, version, &request, &arena, &response);
    *answer = response.topics.items[0].partitions.items[0];
    kp_arena_release(&arena);
}

static void a_partition_listed_twice_is_refused_both_times(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 3, NULL, NULL);
    struct kp_list_offsets_request_partition asked[] = {{.partition_index = 1, .timestamp = -1},
                                                        {.partition_index = 2, .timestamp = -1},
                                                        {.partition_index = 1, .timestamp = -2}};
    struct kp_list_offsets_request_topic of = {.name = KP_SLICE_LIT("t")};
    of.partitions.items = asked;
    of.partitions.count = 3;
    struct kp_list_offsets_request request = {.replica_id = -1};
    request.topics.items = &of;
    request.topics.count = 1;
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_list_offsets_response response;
    client_call(client, KP_API_list_offsets, 5, &request, &arena, &response);
    static const int errors[] = {KP_ERROR_INVALID_REQUEST, KP_ERROR_NONE, KP_ERROR_INVALID_REQUEST};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(response.topics.items[0].partitions.items[i].error_code, errors[i]);
    }
    kp_arena_release(&arena);
    client_free(client);
}

static void offsets_are_listed_by_time_and_by_name(void **state) {
    static const struct {
        int64_t time;
        int16_t version;
        int error;
        int64_t offset, found_ms;
    } cases[] = {
        {-1, 1, 0, 3, -1},
        {-2, 1, 0, 0, -1},
        {-3, 7, 0, 1, 3000},
        {-3, 6, 35, -1, -1},
        {-4, 8, 0, 0, -1},
        {-4, 7, 35, -1, -1},
        {-5, 9, 0, -1, -1},
        {-5, 8, 35, -1, -1},
        {-6, 10, 35, -1, -1},
        {0, 1, 0, 0, 1000},
        {1000, 2, 0, 0, 1000},
        {1001, 4, 0, 1, 3000},
        {3000, 5, 0, 1, 3000},
        {3001, 10, 0, -1, -1},
    };
    struct client *client = client_new(*state);
    make_topic(client, "t", 2, NULL, NULL);
    static const int64_t times[] = {1000, 3000, 2000};
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < 3; i++) {
        struct kp_blob *batch = make_batch(1, NULL, "v", times[i]);
        struct produce_one one;
        produce_one(&one, "t", 0, -1, kp_slice_of(batch->data, batch->size));
        struct kp_produce_response response;
        client_call(client, KP_API_produce, 9, &one.request, &arena, &response);
        kp_blob_unref(batch);
    }
    kp_arena_release(&arena);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kp_list_offsets_response_partition answer;
        list(client, cases[i].version, "t", 0, cases[i].time, &answer);
        assert_int_equal(answer.error_code, cases[i].error);
        assert_int_equal(answer.offset, cases[i].offset);
        assert_int_equal(answer.timestamp, cases[i].found_ms);
        assert_int_equal(answer.leader_epoch, -1);
    }
    struct kp_list_offsets_response_partition answer;
    list(client, 7, "t", 1, -3, &answer); /* empty */
    assert_int_equal(answer.error_code, KP_ERROR_NONE);
    assert_int_equal(answer.offset, -1);
    list(client, 7, "t", 2, -1, &answer);
    assert_int_equal(answer.error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    list(client, 7, "nowhere", 0, -1, &answer);
    assert_int_equal(answer.error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    store_away = true;
    list(client, 7, "t", 0, -1, &answer);
    assert_int_equal(answer.error_code, KP_ERROR_KAFKA_STORAGE_ERROR);
    store_away = false;
    client_free(client);
}

static void no_epoch_ends_before_the_end(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, NULL, NULL);
    put_records(client, "t", 0, 4, "v");
    struct kp_offset_for_leader_epoch_request_partition asked[3] = {
        {.partition = 0, .leader_epoch = 3}, {.partition = 0, .leader_epoch = -1}, {.partition = 1, .leader_epoch = 0}};
    struct kp_offset_for_leader_epoch_request_topic topic = {.topic = KP_SLICE_LIT("t")};
    topic.partitions.items = asked;
    topic.partitions.count = 3;
    struct kp_offset_for_leader_epoch_request request = {.replica_id = -1};
    request.topics.items = &topic;
    request.topics.count = 1;
    for (int16_t version = 2; version <= 4; version++) {
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 20);
        struct kp_offset_for_leader_epoch_response response;
        client_call(client, KP_API_offset_for_leader_epoch, version, &request, &arena, &response);
        struct kp_offset_for_leader_epoch_response_partition *answers = response.topics.items[0].partitions.items;
        assert_int_equal(answers[0].leader_epoch, 3);
        assert_int_equal(answers[0].end_offset, 4);
        assert_int_equal(answers[1].leader_epoch, -1);
        assert_int_equal(answers[1].end_offset, -1);
        assert_int_equal(answers[2].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
        kp_arena_release(&arena);
    }
    client_free(client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_version_reads_what_was_stored, setup, teardown),
        cmocka_unit_test_setup_teardown(an_offset_within_a_batch_gives_the_whole_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(limits_hold_but_the_first_batch_always_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(partitions_take_turns_when_an_answer_is_smaller_than_the_client_allows, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(record_bytes_are_not_copied_into_the_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_there_waits_for_max_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(an_append_wakes_who_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(min_bytes_are_waited_for_over_all_partitions, setup, teardown),
        cmocka_unit_test_setup_teardown(another_process_appends_and_who_waits_is_woken, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_come_at_once_and_after_a_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_known_is_served_while_the_store_is_away, setup, teardown),
        cmocka_unit_test_setup_teardown(sessions_are_not_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fetch_that_waits_ends_with_its_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(draining_answers_who_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_topic_deleted_wakes_who_waits_for_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_partition_listed_twice_is_refused_both_times, setup, teardown),
        cmocka_unit_test_setup_teardown(offsets_are_listed_by_time_and_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(no_epoch_ends_before_the_end, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

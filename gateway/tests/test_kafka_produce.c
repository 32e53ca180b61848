/* Produce: what is stored, what is refused with which error, and in which order requests take effect. */
#include "gateway/tests/kafka_door.h"

#include "protocol/bytes/crc32c.h"

static int setup(void **state) {
    *state = door_new();
    return 0;
}

static int teardown(void **state) {
    door_free(*state);
    return 0;
}

/* Produces the bytes to a partition and gives the one partition of the answer (in the arena). */
static struct kp_produce_response_partition produce(struct client *client, int16_t version, const char *topic,
                                                    struct kp_slice records, struct kp_arena *arena) {
    struct produce_one one;
    produce_one(&one, topic, 0, -1, records);
    struct kp_produce_response response;
    client_call(client, KP_API_produce, version, &one.request, arena, &response);
    return *only_partition(&response);
}

static void every_version_stores_and_answers_the_offset(void **state) {
    struct client *client = client_new(*state);
    struct kp_uuid id = make_topic(client, "t", 1, NULL, NULL);
    struct kp_blob *batch = make_batch(2, NULL, "v", WALL_MS);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    for (int16_t version = 3; version <= 13; version++) {
        struct produce_one one;
        produce_one(&one, "t", 0, (int16_t)(version % 2 == 0 ? 1 : -1), kp_slice_of(batch->data, batch->size));
        one.topic.topic_id = id;
        struct kp_produce_response response;
        client_call(client, KP_API_produce, version, &one.request, &arena, &response);
        struct kp_produce_response_partition *partition = only_partition(&response);
        assert_int_equal(partition->error_code, KP_ERROR_NONE);
        assert_int_equal(partition->base_offset, 2 * (version - 3));
        assert_int_equal(partition->log_append_time_ms, -1);
        assert_int_equal(partition->log_start_offset, version >= 5 ? 0 : -1);
        assert_int_equal(partition->record_errors.count, 0);
        if (version >= 13) {
            assert_true(kp_uuid_equal(&response.responses.items[0].topic_id, &id));
        }
    }
    kp_arena_release(&arena);
    kp_blob_unref(batch);
    client_free(client);
}

static void no_byte_of_a_batch_is_copied_on_its_way_to_the_engine(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, NULL, NULL);
    put_records(client, "t", 0, 60, "a value long enough to be worth a copy");
    uint64_t grown = kp_blob_stats().grow_copied_bytes;
    uint64_t copied = st_metrics.produce_copied_bytes_total;
    uint64_t bytes = st_metrics.produce_bytes_total;
    put_records(client, "t", 0, 60, "a value long enough to be worth a copy");
    assert_int_equal(kp_blob_stats().grow_copied_bytes, grown);
    assert_true(st_metrics.produce_copied_bytes_total - copied <= st_metrics.produce_bytes_total - bytes);
    client_free(client);
}

static void acks_0_is_not_answered_but_stored(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, NULL, NULL);
    struct kp_blob *batch = make_batch(3, NULL, "v", WALL_MS);
    struct produce_one one;
    produce_one(&one, "t", 0, 0, kp_slice_of(batch->data, batch->size));
    client_ask(client, KP_API_produce, 7, 1, &one.request);
    door_run(*state, ST_SECOND);
    assert_int_equal(client->out.bytes, 0);
    assert_false(client->closed);
    assert_int_equal(put_records(client, "t", 0, 1, "v"), 3);
    kp_blob_unref(batch);
    client_free(client);
}

static void acks_0_that_fails_closes_the_connection(void **state) {
    struct client *client = client_new(*state);
    struct kp_blob *batch = make_batch(1, NULL, "v", WALL_MS);
    struct produce_one one;
    produce_one(&one, "nowhere", 0, 0, kp_slice_of(batch->data, batch->size));
    client_ask(client, KP_API_produce, 7, 1, &one.request);
    door_run(*state, ST_SECOND);
    assert_true(client->closed);
    assert_int_equal(client->out.bytes, 0);
    kp_blob_unref(batch);
    client_free(client);
}

static void other_acks_are_refused(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, NULL, NULL);
    struct kp_blob *batch = make_batch(1, NULL, "v", WALL_MS);
    struct produce_one one;
    produce_one(&one, "t", 0, 2, kp_slice_of(batch->data, batch->size));
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_produce_response response;
    client_call(client, KP_API_produce, 8, &one.request, &arena, &response);
    assert_int_equal(only_partition(&response)->error_code, KP_ERROR_INVALID_REQUIRED_ACKS);
    assert_int_equal(only_partition(&response)->base_offset, -1);
    assert_int_equal(only_partition(&response)->log_start_offset, -1);
    kp_arena_release(&arena);
    kp_blob_unref(batch);
    client_free(client);
}

/* Sets the attributes of a batch and mends its checksum. */
static void set_attributes(struct kp_blob *batch, uint16_t attributes) {
    kp_be_store16(batch->data + 21, attributes);
    kp_be_store32(batch->data + 17, kp_crc32c(0, batch->data + 21, batch->size - 21));
}

static void damaged_and_forbidden_batches_are_refused(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, NULL, NULL);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_blob *batch = make_batch(1, NULL, "v", WALL_MS);
    struct kp_slice whole = kp_slice_of(batch->data, batch->size);

    assert_int_equal(produce(client, 9, "t", (struct kp_slice){0}, &arena).error_code, KP_ERROR_INVALID_RECORD);
    assert_int_equal(produce(client, 9, "t", KP_SLICE_LIT(""), &arena).error_code, KP_ERROR_INVALID_RECORD);
    assert_int_equal(produce(client, 9, "t", kp_slice_of(batch->data, batch->size - 1), &arena).error_code,
                     KP_ERROR_CORRUPT_MESSAGE);

    batch->data[batch->size - 1] ^= 1;
    struct kp_produce_response_partition bad = produce(client, 9, "t", whole, &arena);
    assert_int_equal(bad.error_code, KP_ERROR_CORRUPT_MESSAGE);
    assert_true(bad.error_message.len > 0);
    batch->data[batch->size - 1] ^= 1;

    batch->data[7] = 55; /* the base offset lies outside the checksum */
    assert_int_equal(produce(client, 9, "t", whole, &arena).error_code, KP_ERROR_INVALID_RECORD);
    batch->data[7] = 0;

    set_attributes(batch, KP_CODEC_ZSTD);
    assert_int_equal(produce(client, 6, "t", whole, &arena).error_code, KP_ERROR_UNSUPPORTED_COMPRESSION_TYPE);
    set_attributes(batch, KP_BATCH_CONTROL);
    assert_int_equal(produce(client, 9, "t", whole, &arena).error_code, KP_ERROR_INVALID_RECORD);
    kp_be_store64(batch->data + 43, 5); /* producer 5, epoch 0, sequence 0 */
    kp_be_store16(batch->data + 51, 0);
    kp_be_store32(batch->data + 53, 0);
    set_attributes(batch, KP_BATCH_TRANSACTIONAL);
    assert_int_equal(produce(client, 9, "t", whole, &arena).error_code, KP_ERROR_INVALID_TXN_STATE);

    uint8_t two[400];
    struct kp_blob *good = make_batch(1, NULL, "v", WALL_MS);
    memcpy(two, good->data, good->size);
    memcpy(two + good->size, good->data, good->size);
    assert_int_equal(produce(client, 9, "t", kp_slice_of(two, 2 * good->size), &arena).error_code,
                     KP_ERROR_INVALID_RECORD);
    assert_int_equal(put_records(client, "t", 0, 1, "v"), 0); /* nothing of all that was stored */
    kp_blob_unref(good);
    kp_blob_unref(batch);
    kp_arena_release(&arena);
    client_free(client);
}

static void what_does_not_exist_is_named_as_the_version_names_it(void **state) {
    struct client *client = client_new(*state);
    struct kp_uuid id = make_topic(client, "t", 2, NULL, NULL);
    struct kp_blob *batch = make_batch(1, NULL, "v", WALL_MS);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_slice bytes = kp_slice_of(batch->data, batch->size);
    assert_int_equal(produce(client, 12, "nowhere", bytes, &arena).error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(produce(client, 13, "", bytes, &arena).error_code, KP_ERROR_UNKNOWN_TOPIC_ID);
    static const int32_t partitions[] = {2, -1, INT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        struct produce_one one;
        produce_one(&one, "t", partitions[i], -1, bytes);
        one.topic.topic_id = id;
        struct kp_produce_response response;
        client_call(client, KP_API_produce, 13, &one.request, &arena, &response);
        assert_int_equal(only_partition(&response)->error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    }
    kp_arena_release(&arena);
    kp_blob_unref(batch);
    client_free(client);
}

static void an_unreachable_store_is_no_unknown_topic(void **state) {
    struct client *client = client_new(*state);
    struct kp_blob *batch = make_batch(1, NULL, "v", WALL_MS);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    store_away = true;
    assert_int_equal(produce(client, 9, "nowhere", kp_slice_of(batch->data, batch->size), &arena).error_code,
                     KP_ERROR_NOT_ENOUGH_REPLICAS);
    store_away = false;
    kp_arena_release(&arena);
    kp_blob_unref(batch);
    client_free(client);
}

static void partitions_are_answered_each_for_itself(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, NULL, NULL);
    struct kp_blob *batch = make_batch(1, NULL, "v", WALL_MS);
    struct kp_slice bytes = kp_slice_of(batch->data, batch->size);
    struct produce_one one;
    produce_one(&one, "t", 0, -1, bytes);
    struct kp_produce_request_partition partitions[3] = {one.partition, one.partition, one.partition};
    partitions[0].index = 9;
    partitions[2].records.bytes.len--;
    one.topic.partition_data.items = partitions;
    one.topic.partition_data.count = 3;
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_produce_response response;
    client_call(client, KP_API_produce, 9, &one.request, &arena, &response);
    struct kp_produce_response_partition *answers = response.responses.items[0].partition_responses.items;
    assert_int_equal(answers[0].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(answers[1].error_code, KP_ERROR_NONE);
    assert_int_equal(answers[1].base_offset, 0);
    assert_int_equal(answers[2].error_code, KP_ERROR_CORRUPT_MESSAGE);
    kp_arena_release(&arena);
    kp_blob_unref(batch);
    client_free(client);
}

static void a_compacted_topic_takes_no_records_without_key(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "c", 1, "cleanup.policy", "compact");
    struct kp_new_record records[3] = {
        {.timestamp_ms = WALL_MS, .key = KP_SLICE_LIT("k"), .value = KP_SLICE_LIT("1")},
        {.timestamp_ms = WALL_MS, .value = KP_SLICE_LIT("2")},
        {.timestamp_ms = WALL_MS, .key = KP_SLICE_LIT(""), .value = KP_SLICE_LIT("3")},
    };
    struct kp_blob *batch = kp_batch_build(records, 3);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_produce_response_partition answer =
        produce(client, 8, "c", kp_slice_of(batch->data, batch->size), &arena);
    assert_int_equal(answer.error_code, KP_ERROR_INVALID_RECORD);
    assert_int_equal(answer.record_errors.count, 1);
    assert_int_equal(answer.record_errors.items[0].batch_index, 1);
    assert_true(answer.record_errors.items[0].batch_index_error_message.len > 0);
    assert_int_equal(put_records(client, "c", 0, 2, "v"), 0);
    kp_arena_release(&arena);
    kp_blob_unref(batch);
    client_free(client);
}

static void times_outside_the_window_are_refused(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, NULL, NULL);
    make_topic(client, "old", 1, "message.timestamp.before.max.ms", "60000");
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    static const struct {
        const char *topic;
        int64_t time_ms;
        int error;
    } cases[] = {
        {"t", WALL_MS, 0},           {"t", WALL_MS + 3700000, 32}, {"t", 0, 0}, {"t", -1, 0},
        {"old", WALL_MS - 50000, 0}, {"old", WALL_MS - 120000, 32},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kp_blob *batch = make_batch(2, "k", "v", cases[i].time_ms);
        struct kp_produce_response_partition answer =
            produce(client, 9, cases[i].topic, kp_slice_of(batch->data, batch->size), &arena);
        assert_int_equal(answer.error_code, cases[i].error);
        assert_int_equal(answer.record_errors.count, cases[i].error == 0 ? 0 : 2);
        kp_blob_unref(batch);
    }
    kp_arena_release(&arena);
    client_free(client);
}

static void log_append_time_is_answered_and_served(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, "message.timestamp.type", "LogAppendTime");
    struct kp_blob *batch = make_batch(1, NULL, "v", 5); /* of no account */
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_produce_response_partition answer =
        produce(client, 9, "t", kp_slice_of(batch->data, batch->size), &arena);
    assert_int_equal(answer.error_code, KP_ERROR_NONE);
    assert_true(answer.log_append_time_ms >= WALL_MS);
    struct fetch_one fetch;
    fetch_one(&fetch, "t", 0);
    struct kp_fetch_response response;
    client_call(client, KP_API_fetch, 4, &fetch.request, &arena, &response);
    struct kp_batch served;
    struct kp_slice bytes = response.responses.items[0].partitions.items[0].records.bytes;
    assert_int_equal(kp_batch_peek(bytes, &served), KP_ERROR_NONE);
    assert_int_equal(served.max_timestamp_ms, answer.log_append_time_ms);
    assert_true((served.attributes & KP_BATCH_LOG_APPEND_TIME) != 0);
    uint8_t plain[400]; /* as served, but for the attribute: the checksum was made anew */
    memcpy(plain, bytes.ptr, bytes.len);
    assert_int_equal(kp_be_load32(plain + 17), kp_crc32c(0, plain + 21, bytes.len - 21));
    kp_arena_release(&arena);
    kp_blob_unref(batch);
    client_free(client);
}

static void a_batch_larger_than_the_topic_accepts_is_refused(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "small", 1, "max.message.bytes", "100");
    struct kp_blob *batch = make_batch(10, "k", "0123456789", WALL_MS);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    assert_int_equal(produce(client, 9, "small", kp_slice_of(batch->data, batch->size), &arena).error_code,
                     KP_ERROR_MESSAGE_TOO_LARGE);
    kp_arena_release(&arena);
    kp_blob_unref(batch);
    client_free(client);
}

/* An idempotent batch of one record. */
static struct kp_blob *idempotent(int64_t producer, int32_t sequence) {
    struct kp_blob *batch = make_batch(1, NULL, "v", WALL_MS);
    kp_be_store64(batch->data + 43, (uint64_t)producer);
    kp_be_store16(batch->data + 51, 0);
    kp_be_store32(batch->data + 53, (uint32_t)sequence);
    set_attributes(batch, 0);
    return batch;
}

static void five_idempotent_batches_in_flight_keep_their_order_and_a_duplicate_its_offset(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, NULL, NULL);
    struct kp_init_producer_id_request init = {.producer_id = -1, .producer_epoch = -1};
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_init_producer_id_response identity;
    client_call(client, KP_API_init_producer_id, 4, &init, &arena, &identity);
    assert_int_equal(identity.error_code, KP_ERROR_NONE);
    assert_int_equal(identity.producer_epoch, 0);
    for (int32_t i = 0; i < 6; i++) { /* the last is the fourth once more */
        struct kp_blob *batch = idempotent(identity.producer_id, i < 5 ? i : 3);
        struct produce_one one;
        produce_one(&one, "t", 0, -1, kp_slice_of(batch->data, batch->size));
        client_ask(client, KP_API_produce, 9, i, &one.request);
        kp_blob_unref(batch);
    }
    door_run(*state, ST_SECOND);
    for (int32_t i = 0; i < 6; i++) {
        struct kp_produce_response response;
        client_expect(client, KP_API_produce, 9, i, &arena, &response);
        assert_int_equal(only_partition(&response)->error_code, KP_ERROR_NONE);
        assert_int_equal(only_partition(&response)->base_offset, i < 5 ? i : 3);
    }
    assert_int_equal(put_records(client, "t", 0, 1, "v"), 5);
    kp_arena_release(&arena);
    client_free(client);
}

/* The first request names a topic that only a sync can show; the second must not overtake it on the other topic. */
static void a_request_that_must_sync_is_not_overtaken(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "known", 1, NULL, NULL);
    struct kp_blob *batch = make_batch(1, NULL, "v", WALL_MS);
    struct kp_slice bytes = kp_slice_of(batch->data, batch->size);
    struct produce_one known, unknown;
    produce_one(&known, "known", 0, -1, bytes);
    produce_one(&unknown, "nowhere", 0, -1, bytes);
    struct kp_produce_request_topic both[2] = {unknown.topic, known.topic};
    struct kp_produce_request first = known.request;
    first.topic_data.items = both;
    first.topic_data.count = 2;
    client_ask(client, KP_API_produce, 9, 1, &first);
    client_ask(client, KP_API_produce, 9, 2, &known.request);
    door_run(*state, ST_SECOND);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_produce_response response;
    client_expect(client, KP_API_produce, 9, 1, &arena, &response);
    assert_int_equal(response.responses.items[0].partition_responses.items[0].error_code,
                     KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(response.responses.items[1].partition_responses.items[0].base_offset, 0);
    client_expect(client, KP_API_produce, 9, 2, &arena, &response);
    assert_int_equal(only_partition(&response)->base_offset, 1);
    kp_arena_release(&arena);
    kp_blob_unref(batch);
    client_free(client);
}

static void who_hangs_up_while_a_sync_is_awaited_leaves_nothing_behind(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "known", 1, NULL, NULL);
    struct kp_blob *batch = make_batch(1, NULL, "v", WALL_MS);
    struct kp_slice bytes = kp_slice_of(batch->data, batch->size);
    struct produce_one known, unknown;
    produce_one(&known, "known", 0, -1, bytes);
    produce_one(&unknown, "nowhere", 0, -1, bytes);
    client_ask(client, KP_API_produce, 9, 1, &unknown.request);
    client_ask(client, KP_API_produce, 9, 2, &known.request);
    client_free(client);
    door_run(*state, ST_SECOND);
    assert_int_equal(st_metrics.frame_bytes, 0);
    kp_blob_unref(batch);
}

static void transactional_ids_and_half_an_identity_are_refused(void **state) {
    static const struct {
        const char *id;
        int64_t producer;
        int16_t epoch;
        int error;
    } cases[] = {{NULL, 5, -1, 42}, {NULL, -1, 0, 42}, {"", -1, -1, 42}, {"tx", -1, -1, 35}, {NULL, 5, 2, 0}};
    struct client *client = client_new(*state);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kp_init_producer_id_request request = {.producer_id = cases[i].producer,
                                                      .producer_epoch = cases[i].epoch};
        request.transactional_id = cases[i].id != NULL ? kp_slice_cstr(cases[i].id) : (struct kp_slice){0};
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 16);
        struct kp_init_producer_id_response response;
        client_call(client, KP_API_init_producer_id, 5, &request, &arena, &response);
        assert_int_equal(response.error_code, cases[i].error);
        assert_true((response.producer_id >= 0) == (cases[i].error == 0));
        assert_int_equal(response.producer_epoch, cases[i].error == 0 ? 0 : -1);
        kp_arena_release(&arena);
    }
    client_free(client);
}

static void reading_pauses_while_the_engine_has_too_much_to_write(void **state) {
    struct door *door = *state;
    struct client *client = client_new(door);
    make_topic(client, "t", 1, NULL, NULL);
    char *value = malloc(512 * 1024 + 1);
    assert_non_null(value);
    memset(value, 'v', 512 * 1024);
    value[512 * 1024] = '\0';
    struct kp_blob *batch = make_batch(1, NULL, value, WALL_MS);
    struct produce_one one;
    produce_one(&one, "t", 0, -1, kp_slice_of(batch->data, batch->size));
    one.request.timeout_ms = 60000;
    size_t len = 0;
    uint8_t *bytes = frame_of(KP_API_produce, 9, 1, &one.request, &len);
    store_takes_nothing = true;
    int sent = 0;
    while (client_give(client, bytes, len, SIZE_MAX) == len) {
        door_run(door, ST_MS);
        sent++;
        assert_true(sent < 100);
    }
    assert_true(st_append_congested(door->engine));
    assert_true(client->paused);
    assert_int_equal(client->out.bytes, 0);
    store_takes_nothing = false;
    door_run(door, 10 * ST_SECOND);
    assert_false(client->paused);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    for (int i = 0; i < sent; i++) {
        struct kp_produce_response response;
        client_expect(client, KP_API_produce, 9, 1, &arena, &response);
        assert_int_equal(only_partition(&response)->error_code, KP_ERROR_NONE);
        assert_int_equal(only_partition(&response)->base_offset, i);
    }
    kp_arena_release(&arena);
    kp_blob_unref(batch);
    free(bytes);
    free(value);
    client_free(client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_version_stores_and_answers_the_offset, setup, teardown),
        cmocka_unit_test_setup_teardown(no_byte_of_a_batch_is_copied_on_its_way_to_the_engine, setup, teardown),
        cmocka_unit_test_setup_teardown(acks_0_is_not_answered_but_stored, setup, teardown),
        cmocka_unit_test_setup_teardown(acks_0_that_fails_closes_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(other_acks_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_and_forbidden_batches_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_exist_is_named_as_the_version_names_it, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unreachable_store_is_no_unknown_topic, setup, teardown),
        cmocka_unit_test_setup_teardown(partitions_are_answered_each_for_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(a_compacted_topic_takes_no_records_without_key, setup, teardown),
        cmocka_unit_test_setup_teardown(times_outside_the_window_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(log_append_time_is_answered_and_served, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_larger_than_the_topic_accepts_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(five_idempotent_batches_in_flight_keep_their_order_and_a_duplicate_its_offset,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_request_that_must_sync_is_not_overtaken, setup, teardown),
        cmocka_unit_test_setup_teardown(who_hangs_up_while_a_sync_is_awaited_leaves_nothing_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(transactional_ids_and_half_an_identity_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(reading_pauses_while_the_engine_has_too_much_to_write, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

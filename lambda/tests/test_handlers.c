/* The handlers against an engine that answers as the test wants: every outcome, and what is asked before a No. */
#include "fake_engine.h"

#include "door.h"

static struct st_engine fake;

static int setup(void **state) {
    struct door *door = calloc(1, sizeof *door);
    assert_non_null(door);
    door->loop = virtual_loop_new(&door->clock);
    fake_init(&fake, door->loop);
    struct rest_options options = rest_options_default();
    door->rest = rest_new(door->loop, &fake, &options);
    assert_non_null(door->rest);
    *state = door;
    return 0;
}

static int teardown(void **state) {
    struct door *door = *state;
    rest_free(door->rest);
    fake_release(&fake);
    st_loop_free(door->loop);
    free(door->body);
    free(door);
    assert_int_equal(kp_blob_stats().live_bytes, 0);
    return 0;
}

static struct kp_blob *batch_of(const char *const *values, int32_t count) {
    struct kp_new_record records[16] = {{.timestamp_ms = 0}};
    for (int32_t i = 0; i < count; i++) {
        records[i].timestamp_ms = 1000 + i;
        records[i].value = values[i] == NULL ? (struct kp_slice){NULL, 0} : kp_slice_cstr(values[i]);
    }
    struct kp_blob *batch = kp_batch_build(records, count);
    assert_non_null(batch);
    return batch;
}

static void add(struct fake_topic *topic, const char *value) {
    fake_add(topic, batch_of(&value, 1));
}

static void assert_value(const struct fake_topic *topic, size_t batch, const char *value) {
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_record_reader reader;
    struct kp_slice bytes = kp_slice_of(topic->batches[batch]->data, topic->batches[batch]->size);
    struct kp_record record;
    assert_int_equal(kp_records_open(&reader, bytes, &arena, 1 << 20), KP_ERROR_NONE);
    assert_int_equal(kp_records_next(&reader, &record), 1);
    assert_int_equal(record.value.len, strlen(value));
    assert_memory_equal(record.value.ptr, value, record.value.len);
    assert_null(record.key.ptr);
    assert_int_equal(record.timestamp_ms, virtual_wall(&(struct virtual_clock){.now_ns = ST_SECOND}));
    kp_arena_release(&arena);
}

/* ---- produce ---- */

static void produce_stores_the_bytes_of_the_payload_as_they_were_sent(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 1);
    assert_int_equal(door_post(door, "/topics/t/produce",
                               " {\"x\":1, \"payload\" : {\"n\": 1.50e+1, \"\\u0041\":[ ]} }"), 200);
    assert_string_equal(door->body, "{\"topic\":\"t\",\"offset\":1}");
    assert_string_equal(door->call.response.content_type, "application/json");
    assert_value(topic, 0, "{\"n\": 1.50e+1, \"\\u0041\":[ ]}");
    assert_int_equal(fake.order, 7);
    assert_int_equal(fake.timeout_ms, 15000);
    assert_int_equal(fake.syncs + fake.creates, 0);
}

static void produce_makes_an_unknown_topic_with_one_partition_that_starts_at_one(void **state) {
    struct door *door = *state;
    assert_int_equal(door_post(door, "/topics/new/produce", "{\"payload\":null}"), 200);
    assert_string_equal(door->body, "{\"topic\":\"new\",\"offset\":1}");
    assert_int_equal(fake.topics[0].topic.partition_count, 1);
    assert_int_equal(fake.topics[0].topic.first_offset, 1);
    assert_value(&fake.topics[0], 0, "null");
    assert_int_equal(fake.creates, 1);
}

static void produce_uses_the_topic_of_a_creator_that_was_faster(void **state) {
    struct door *door = *state;
    fake_topic(&fake, "t", 0)->hidden = true;
    fake.create_errors[0] = ST_TOPIC_EXISTS;
    assert_int_equal(door_post(door, "/topics/t/produce", "{\"payload\":1}"), 200);
    assert_string_equal(door->body, "{\"topic\":\"t\",\"offset\":0}");
}

static void produce_waits_for_a_topic_that_another_request_is_making(void **state) {
    struct door *door = *state;
    fake_topic(&fake, "t", 1)->hidden = true; /* until the sync */
    fake.create_errors[0] = ST_REFUSED;
    assert_int_equal(door_post(door, "/topics/t/produce", "{\"payload\":1}"), 200);
    assert_string_equal(door->body, "{\"topic\":\"t\",\"offset\":1}");
    assert_int_equal(fake.creates, 1);
}

static void produce_refuses_a_body_that_is_no_object_with_a_payload(void **state) {
    struct door *door = *state;
    door_post(door, "/topics/t/produce", "");
    assert_error(door, 400, "bad_json");
    door_post(door, "/topics/t/produce", "{\"payload\":tru}");
    assert_error(door, 400, "bad_json");
    assert_non_null(strstr(door->body, "byte 14"));
    door_post(door, "/topics/t/produce", "[1]");
    assert_error(door, 400, "bad_json");
    door_post(door, "/topics/t/produce", "{\"payload\":1,\"payload\":2}");
    assert_error(door, 400, "bad_json");
    door_post(door, "/topics/t/produce", "{\"payloads\":1}");
    assert_error(door, 400, "missing_payload");
    assert_int_equal(fake.creates + fake.appends, 0);
}

static void produce_refuses_bad_topic_names(void **state) {
    struct door *door = *state;
    static const char *const targets[] = {
        "/topics//produce",     "/topics/../produce",     "/topics/./produce",    "/topics/a%2/produce",
        "/topics/a%zz/produce", "/topics/a%2Fb/produce",  "/topics/%00/produce",  "/topics/a+b/produce",
        "/topics/a b/produce",  "/topics/%c3%a4/produce", "/topics/a%/produce",   "/topics/%2e%2e/produce",
    };
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        door_post(door, targets[i], "{\"payload\":1}");
        assert_error(door, 400, "bad_topic_name");
    }
    char target[300] = "/topics/";
    memset(target + 8, 'a', 250);
    memcpy(target + 258, "/produce", sizeof "/produce");
    door_post(door, target, "{\"payload\":1}");
    assert_error(door, 400, "bad_topic_name");
    assert_int_equal(fake.creates + fake.appends, 0);
    memcpy(target + 257, "/produce", 9); /* 249 characters are a name */
    assert_int_equal(door_post(door, target, "{\"payload\":1}"), 200);
}

static void produce_decodes_the_topic(void **state) {
    struct door *door = *state;
    assert_int_equal(door_post(door, "/topics/%61%2E%5f-Z/produce?x=y", "{\"payload\":1}"), 200);
    assert_string_equal(door->body, "{\"topic\":\"a._-Z\",\"offset\":1}");
}

static void produce_refuses_what_the_topic_holds_too_large_but_only_after_a_sync(void **state) {
    struct door *door = *state;
    fake_config(fake_topic(&fake, "t", 1), "max.message.bytes", "100");
    char body[256];
    snprintf(body, sizeof body, "{\"payload\":\"%0100d\"}", 0);
    door_post(door, "/topics/t/produce", body);
    assert_error(door, 413, "message_too_large");
    assert_int_equal(fake.syncs, 1);
    assert_int_equal(fake.appends, 0);
    fake.config_by_sync = KP_SLICE_LIT("1000");
    assert_int_equal(door_post(door, "/topics/t/produce", body), 200);
    assert_int_equal(fake.syncs, 2);
}

static void produce_says_503_when_surely_nothing_was_stored(void **state) {
    struct door *door = *state;
    fake_topic(&fake, "t", 1);
    fake.append_errors[0] = ST_REFUSED;
    door_post(door, "/topics/t/produce", "{\"payload\":1}");
    assert_error(door, 503, "not_now");
    for (size_t i = 0; i < 8; i++) {
        fake.create_errors[i] = ST_REFUSED;
    }
    door_post(door, "/topics/u/produce", "{\"payload\":1}");
    assert_error(door, 503, "not_now");
    fake.create_errors[0] = ST_UNKNOWN; /* the topic may be there, the record is not */
    door_post(door, "/topics/u/produce", "{\"payload\":1}");
    assert_error(door, 503, "not_now");
}

static void produce_says_504_when_the_outcome_is_unknown(void **state) {
    struct door *door = *state;
    fake_topic(&fake, "t", 1);
    fake.append_errors[0] = ST_UNKNOWN;
    door_post(door, "/topics/t/produce", "{\"payload\":1}");
    assert_error(door, 504, "outcome_unknown");
    fake.append_errors[0] = ST_GONE;
    door_post(door, "/topics/t/produce", "{\"payload\":1}");
    assert_error(door, 504, "outcome_unknown");
}

static void produce_passes_on_what_the_engine_finds_too_large(void **state) {
    struct door *door = *state;
    fake_topic(&fake, "t", 1);
    fake.append_errors[0] = ST_TOO_LARGE;
    door_post(door, "/topics/t/produce", "{\"payload\":1}");
    assert_error(door, 413, "message_too_large");
}

static void produce_resolves_the_name_again_when_the_topic_was_deleted(void **state) {
    struct door *door = *state;
    fake_topic(&fake, "t", 50)->closing = true;
    assert_int_equal(door_post(door, "/topics/t/produce", "{\"payload\":1}"), 200);
    assert_string_equal(door->body, "{\"topic\":\"t\",\"offset\":1}");
    assert_int_equal(fake.syncs, 1);
    assert_int_equal(fake.creates, 1);
}

static void produce_gives_up_on_a_topic_that_vanishes_again_and_again(void **state) {
    struct door *door = *state;
    fake_topic(&fake, "t", 1);
    for (size_t i = 0; i < 8; i++) {
        fake.append_errors[i] = ST_NO_TOPIC_ID;
    }
    door_post(door, "/topics/t/produce", "{\"payload\":1}");
    assert_error(door, 503, "not_now");
    assert_int_equal(fake.topics[0].batch_count, 0);
}

static void produce_is_not_answered_by_the_deadline_once_the_append_has_begun(void **state) {
    struct door *door = *state;
    fake_topic(&fake, "t", 1)->closing = true; /* the sync and the create in between start the deadline */
    door_begin(door, "POST", "/topics/t/produce", KP_SLICE_LIT("{\"payload\":1}"));
    while (fake.appends < 2) {
        st_loop_run_due(door->loop);
    }
    fake.stuck = true;
    assert_false(virtual_run(door->loop, &door->clock, &door->answered, 60 * ST_SECOND));
    fake.stuck = false;
    st_defer(door->loop, &fake.task);
    assert_true(virtual_run(door->loop, &door->clock, &door->answered, ST_SECOND));
    assert_int_equal(door->status, 200);
}

static void a_stuck_operation_before_the_append_is_answered_by_the_deadline(void **state) {
    struct door *door = *state;
    fake.stuck = true;
    door_post(door, "/topics/t/produce", "{\"payload\":1}");
    assert_error(door, 503, "not_now");
    assert_int_equal(door->clock.now_ns, 16 * ST_SECOND);
    fake.stuck = false;
    st_defer(door->loop, &fake.task); /* comes back late: nobody is answered, nothing is stored */
    st_loop_run_due(door->loop);
    assert_int_equal(fake.creates, 1);
    assert_int_equal(fake.appends, 0);
    assert_int_equal(door_post(door, "/topics/t/produce", "{\"payload\":1}"), 200);
}

static void calls_under_way_are_forgotten_when_all_is_freed(void **state) {
    struct door *door = *state;
    fake.stuck = true;
    door_begin(door, "POST", "/topics/t/produce", KP_SLICE_LIT("{\"payload\":1}"));
    st_loop_run_due(door->loop);
    struct door second = *door;
    door_begin(&second, "GET", "/nowhere", (struct kp_slice){NULL, 0});
    rest_free(door->rest);
    struct rest_options options = rest_options_default();
    door->rest = rest_new(door->loop, &fake, &options);
    fake.create = NULL;
    assert_false(virtual_run(door->loop, &door->clock, &second.answered, 60 * ST_SECOND));
    assert_false(door->answered);
}

/* ---- consume ---- */

static void consume_gives_messages_and_where_to_go_on(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 1);
    add(topic, "{\"a\": 1}");
    add(topic, "12345678901234567890123456789.0");
    assert_int_equal(door_get(door, "/topics/t/consume?offset=1&limit=10"), 200);
    assert_string_equal(door->body, "{\"messages\":[{\"offset\":1,\"payload\":{\"a\": 1},\"timestamp\":1000},"
                                    "{\"offset\":2,\"payload\":12345678901234567890123456789.0,\"timestamp\":1000}],"
                                    "\"next_offset\":3}");
    assert_int_equal(fake.syncs, 0);
}

static void consume_says_how_a_value_is_encoded(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 0);
    add(topic, NULL);
    add(topic, "");
    add(topic, "log \"line\"\t\x01\xc3\xa4");
    add(topic, "\xff\xfe\xfd\xfc");
    add(topic, "null");
    assert_int_equal(door_get(door, "/topics/t/consume"), 200);
    assert_string_equal(door->body,
                        "{\"messages\":[{\"offset\":0,\"payload\":null,\"timestamp\":1000},"
                        "{\"offset\":1,\"payload\":\"\",\"encoding\":\"text\",\"timestamp\":1000},"
                        "{\"offset\":2,\"payload\":\"log \\\"line\\\"\\t\\u0001\xc3\xa4\",\"encoding\":\"text\","
                        "\"timestamp\":1000},"
                        "{\"offset\":3,\"payload\":\"//79/A==\",\"encoding\":\"base64\",\"timestamp\":1000},"
                        "{\"offset\":4,\"payload\":null,\"timestamp\":1000}],\"next_offset\":5}");
}

static void consume_of_no_topic_is_empty_after_a_sync(void **state) {
    struct door *door = *state;
    assert_int_equal(door_get(door, "/topics/t/consume?offset=42"), 200);
    assert_string_equal(door->body, "{\"messages\":[],\"next_offset\":42}");
    assert_int_equal(fake.syncs, 1);
    assert_int_equal(door_get(door, "/topics/t/consume"), 200);
    assert_string_equal(door->body, "{\"messages\":[],\"next_offset\":0}");
    assert_int_equal(fake.creates, 0);
}

static void consume_sees_what_only_the_sync_brings(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 1);
    topic->hidden = true;
    add(topic, "1");
    assert_int_equal(door_get(door, "/topics/t/consume"), 200);
    assert_string_equal(door->body,
                        "{\"messages\":[{\"offset\":1,\"payload\":1,\"timestamp\":1000}],\"next_offset\":2}");
    add(topic, "2");
    topic->hidden_batches = 1;
    assert_int_equal(door_get(door, "/topics/t/consume?offset=2"), 200);
    assert_string_equal(door->body,
                        "{\"messages\":[{\"offset\":2,\"payload\":2,\"timestamp\":1000}],\"next_offset\":3}");
    assert_int_equal(fake.syncs, 2);
}

static void consume_at_or_past_the_end_gives_back_the_offset_asked_for(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 1);
    assert_int_equal(door_get(door, "/topics/t/consume"), 200);
    assert_string_equal(door->body, "{\"messages\":[],\"next_offset\":1}");
    add(topic, "1");
    assert_int_equal(door_get(door, "/topics/t/consume?offset=2"), 200);
    assert_string_equal(door->body, "{\"messages\":[],\"next_offset\":2}");
    assert_int_equal(door_get(door, "/topics/t/consume?offset=9223372036854775807"), 200);
    assert_string_equal(door->body, "{\"messages\":[],\"next_offset\":9223372036854775807}");
    assert_int_equal(fake.syncs, 3);
}

static void consume_before_the_log_start_reads_from_the_log_start(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 1);
    add(topic, "1");
    add(topic, "2");
    topic->log_start = 2;
    assert_int_equal(door_get(door, "/topics/t/consume?offset=0"), 200);
    assert_string_equal(door->body,
                        "{\"messages\":[{\"offset\":2,\"payload\":2,\"timestamp\":1000}],\"next_offset\":3}");
    topic->log_start = 3;
    assert_int_equal(door_get(door, "/topics/t/consume?offset=1"), 200);
    assert_string_equal(door->body, "{\"messages\":[],\"next_offset\":3}");
}

static void consume_goes_on_from_the_new_log_start_when_retention_was_faster(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 1);
    for (int i = 0; i < 5; i++) {
        add(topic, "1");
    }
    fake.read_error = ST_OFFSET_RANGE;
    fake.trimmed_by_sync = true;
    fake.trim_to = 5;
    door_begin(door, "GET", "/topics/t/consume?offset=2", (struct kp_slice){NULL, 0});
    while (fake.reads == 0 || fake.syncs == 0) {
        st_loop_run_due(door->loop);
    }
    fake.read_error = ST_OK;
    assert_true(virtual_run(door->loop, &door->clock, &door->answered, ST_SECOND));
    assert_string_equal(door->body,
                        "{\"messages\":[{\"offset\":5,\"payload\":1,\"timestamp\":1000}],\"next_offset\":6}");
}

static void consume_takes_limits_as_the_original_did(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 1);
    for (int i = 0; i < 150; i++) {
        add(topic, "0");
    }
    static const struct {
        const char *query;
        int64_t next;
    } cases[] = {
        {"", 11}, {"?limit=1", 2}, {"?limit=100", 101}, {"?limit=101", 101}, {"?limit=99999999999999999999", 101},
        {"?limit=%37", 8}, {"?limit=5&offset=3", 8}, {"?limit=2&limit=3", 4}, {"?offset=149&limit=100", 151},
        {"?limit=007", 8}, {"?LIMIT=3", 11}, {"?other=x&&=&limit=3&", 4}, {"?%6cimit=3", 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char target[128], end[64];
        snprintf(target, sizeof target, "/topics/t/consume%s", cases[i].query);
        assert_int_equal(door_get(door, target), 200);
        int len = snprintf(end, sizeof end, "],\"next_offset\":%d}", (int)cases[i].next);
        assert_string_equal(door->body + door->body_len - len, end);
    }
}

static void consume_refuses_numbers_that_are_none(void **state) {
    struct door *door = *state;
    fake_topic(&fake, "t", 1);
    static const char *const numbers[] = {"",     "-1",  "a", "1.0", "1e3",  "+1",      "%201",
                                          "1%20", "0x1", "%", "%3",  "1%00", "\xc2\xb2"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char target[64];
        snprintf(target, sizeof target, "/topics/t/consume?offset=%s", numbers[i]);
        door_get(door, target);
        assert_error(door, 400, "bad_offset");
        snprintf(target, sizeof target, "/topics/t/consume?limit=%s", numbers[i]);
        door_get(door, target);
        assert_error(door, 400, "bad_limit");
    }
    door_get(door, "/topics/t/consume?limit=0");
    assert_error(door, 400, "bad_limit");
    door_get(door, "/topics/t/consume?offset");
    assert_error(door, 400, "bad_offset");
    door_get(door, "/topics/t/consume?offset=9223372036854775808");
    assert_error(door, 400, "bad_offset");
}

static void consume_begins_within_a_batch_and_ends_within_one(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 10);
    const char *values[] = {"0", "1", "2", "3"};
    fake_add(topic, batch_of(values, 4));
    fake_add(topic, batch_of(values, 4));
    assert_int_equal(door_get(door, "/topics/t/consume?offset=12&limit=3"), 200);
    assert_string_equal(door->body, "{\"messages\":[{\"offset\":12,\"payload\":2,\"timestamp\":1002},"
                                    "{\"offset\":13,\"payload\":3,\"timestamp\":1003},"
                                    "{\"offset\":14,\"payload\":0,\"timestamp\":1000}],\"next_offset\":15}");
}

static void consume_reads_again_until_it_has_enough(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 0);
    for (int i = 0; i < 7; i++) {
        add(topic, "0");
    }
    fake.read_batches = 2;
    assert_int_equal(door_get(door, "/topics/t/consume?limit=5"), 200);
    assert_non_null(strstr(door->body, "],\"next_offset\":5}"));
    assert_int_equal(fake.reads, 3);
    assert_int_equal(door_get(door, "/topics/t/consume"), 200);
    assert_non_null(strstr(door->body, "],\"next_offset\":7}"));
    assert_int_equal(fake.syncs, 0); /* what it found is a Yes */
}

static void consume_does_not_care_where_pieces_are_cut(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 0);
    const char *values[] = {"\"a value of some length\"", "[1,2,3]"};
    fake_add(topic, batch_of(values, 2));
    fake_add(topic, batch_of(values, 2));
    assert_int_equal(door_get(door, "/topics/t/consume"), 200);
    char *whole = strdup(door->body);
    for (fake.piece_bytes = 1; fake.piece_bytes < 120; fake.piece_bytes++) {
        assert_int_equal(door_get(door, "/topics/t/consume"), 200);
        assert_string_equal(door->body, whole);
    }
    free(whole);
}

static void mark(struct kp_blob *batch, uint16_t attributes) {
    batch->data[21] = (uint8_t)(attributes >> 8);
    batch->data[22] = (uint8_t)attributes;
}

static void consume_skips_control_batches_and_counts_them_in_next_offset(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 0);
    add(topic, "1");
    add(topic, "control");
    mark(topic->batches[1], KP_BATCH_CONTROL | KP_BATCH_TRANSACTIONAL);
    add(topic, "3");
    add(topic, "control");
    mark(topic->batches[3], KP_BATCH_CONTROL | KP_BATCH_TRANSACTIONAL);
    assert_int_equal(door_get(door, "/topics/t/consume"), 200);
    assert_string_equal(door->body, "{\"messages\":[{\"offset\":0,\"payload\":1,\"timestamp\":1000},"
                                    "{\"offset\":2,\"payload\":3,\"timestamp\":1000}],\"next_offset\":4}");
    assert_int_equal(door_get(door, "/topics/t/consume?offset=3"), 200);
    assert_string_equal(door->body, "{\"messages\":[],\"next_offset\":4}");
    assert_int_equal(fake.syncs, 1);
}

static void consume_stops_looking_in_an_endless_stretch_without_messages(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 0);
    for (int i = 0; i < 100; i++) {
        add(topic, "control");
        mark(topic->batches[i], KP_BATCH_CONTROL);
    }
    fake.read_batches = 1;
    assert_int_equal(door_get(door, "/topics/t/consume"), 200);
    assert_string_equal(door->body, "{\"messages\":[],\"next_offset\":32}");
}

static void consume_bounds_the_bytes_of_an_answer_but_gives_one_message(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 0);
    rest_free(door->rest);
    struct rest_options options = rest_options_default();
    options.answer_bytes_max = 1000;
    door->rest = rest_new(door->loop, &fake, &options);
    static char large[3000], middling[400], escaped[200];
    memset(large, 'x', sizeof large - 1);
    memset(middling, 'y', sizeof middling - 1);
    memset(escaped, 1, sizeof escaped - 1);
    add(topic, large);
    add(topic, middling);
    add(topic, middling);
    add(topic, escaped);
    assert_int_equal(door_get(door, "/topics/t/consume?offset=0"), 200);
    assert_non_null(strstr(door->body, "],\"next_offset\":1}"));
    assert_true(door->body_len > 3000);
    assert_int_equal(door_get(door, "/topics/t/consume?offset=1"), 200);
    assert_non_null(strstr(door->body, "],\"next_offset\":2}"));
    assert_true(door->body_len <= 1000);
    assert_int_equal(door_get(door, "/topics/t/consume?offset=2"), 200);
    assert_non_null(strstr(door->body, "],\"next_offset\":3}")); /* the third fits as it is, not as it is escaped */
    assert_true(door->body_len <= 1000);
}

static void consume_is_refused_while_the_process_holds_too_much(void **state) {
    struct door *door = *state;
    add(fake_topic(&fake, "t", 0), "1");
    rest_free(door->rest);
    struct rest_options options = rest_options_default();
    options.memory_bytes_max = 10;
    door->rest = rest_new(door->loop, &fake, &options);
    door_get(door, "/topics/t/consume");
    assert_error(door, 503, "overloaded");
}

static void consume_says_that_a_producer_wrote_garbage_but_gives_what_lies_before(void **state) {
    struct door *door = *state;
    struct fake_topic *topic = fake_topic(&fake, "t", 0);
    add(topic, "1");
    add(topic, "2");
    topic->batches[1]->data[61] = 0xff; /* the length of its record */
    assert_int_equal(door_get(door, "/topics/t/consume"), 200);
    assert_string_equal(door->body,
                        "{\"messages\":[{\"offset\":0,\"payload\":1,\"timestamp\":1000}],\"next_offset\":1}");
    door_get(door, "/topics/t/consume?offset=1");
    assert_error(door, 422, "batch_unreadable");
}

static void consume_never_says_unknown_when_the_store_is_away(void **state) {
    struct door *door = *state;
    fake.sync_error = ST_UNREADABLE;
    door_get(door, "/topics/t/consume");
    assert_error(door, 503, "unreadable");
    add(fake_topic(&fake, "t", 1), "1");
    door_get(door, "/topics/t/consume?offset=2");
    assert_error(door, 503, "unreadable");
    fake.read_error = ST_UNREADABLE;
    door_get(door, "/topics/t/consume");
    assert_error(door, 503, "unreadable");
    fake.read_error = ST_DAMAGED;
    door_get(door, "/topics/t/consume");
    assert_error(door, 500, "damaged");
}

static void a_stuck_read_is_answered_by_the_deadline(void **state) {
    struct door *door = *state;
    add(fake_topic(&fake, "t", 1), "1");
    fake.stuck = true;
    door_get(door, "/topics/t/consume");
    assert_error(door, 503, "not_now");
    fake.stuck = false;
    st_defer(door->loop, &fake.task); /* what it then gives is released */
    st_loop_run_due(door->loop);
}

/* ---- the rest ---- */

static void health_tells_whether_the_store_answers(void **state) {
    struct door *door = *state;
    assert_int_equal(door_get(door, "/health"), 200);
    assert_string_equal(door->body, "{\"status\":\"ok\"}");
    fake.healthy = false;
    door_get(door, "/health");
    assert_error(door, 503, "unreadable");
}

static void wrong_methods_are_told_the_right_ones(void **state) {
    struct door *door = *state;
    door_get(door, "/topics/t/produce");
    assert_error(door, 405, "method_not_allowed");
    assert_string_equal(door_header(door, "Allow"), "POST");
    door_post(door, "/topics/t/consume", "{}");
    assert_error(door, 405, "method_not_allowed");
    assert_string_equal(door_header(door, "Allow"), "GET, HEAD");
    door_get(door, "/nowhere");
    assert_error(door, 404, "unknown_route");
    assert_null(door_header(door, "Allow"));
}

static void head_is_answered_as_get(void **state) {
    struct door *door = *state;
    assert_int_equal(door_ask(door, "HEAD", "/v1/health", (struct kp_slice){NULL, 0}), 200);
    assert_string_equal(door->body, "{\"status\":\"ok\"}");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(produce_stores_the_bytes_of_the_payload_as_they_were_sent),
        CASE(produce_makes_an_unknown_topic_with_one_partition_that_starts_at_one),
        CASE(produce_uses_the_topic_of_a_creator_that_was_faster),
        CASE(produce_waits_for_a_topic_that_another_request_is_making),
        CASE(produce_refuses_a_body_that_is_no_object_with_a_payload),
        CASE(produce_refuses_bad_topic_names),
        CASE(produce_decodes_the_topic),
        CASE(produce_refuses_what_the_topic_holds_too_large_but_only_after_a_sync),
        CASE(produce_says_503_when_surely_nothing_was_stored),
        CASE(produce_says_504_when_the_outcome_is_unknown),
        CASE(produce_passes_on_what_the_engine_finds_too_large),
        CASE(produce_resolves_the_name_again_when_the_topic_was_deleted),
        CASE(produce_gives_up_on_a_topic_that_vanishes_again_and_again),
        CASE(produce_is_not_answered_by_the_deadline_once_the_append_has_begun),
        CASE(a_stuck_operation_before_the_append_is_answered_by_the_deadline),
        CASE(calls_under_way_are_forgotten_when_all_is_freed),
        CASE(consume_gives_messages_and_where_to_go_on),
        CASE(consume_says_how_a_value_is_encoded),
        CASE(consume_of_no_topic_is_empty_after_a_sync),
        CASE(consume_sees_what_only_the_sync_brings),
        CASE(consume_at_or_past_the_end_gives_back_the_offset_asked_for),
        CASE(consume_before_the_log_start_reads_from_the_log_start),
        CASE(consume_goes_on_from_the_new_log_start_when_retention_was_faster),
        CASE(consume_takes_limits_as_the_original_did),
        CASE(consume_refuses_numbers_that_are_none),
        CASE(consume_begins_within_a_batch_and_ends_within_one),
        CASE(consume_reads_again_until_it_has_enough),
        CASE(consume_does_not_care_where_pieces_are_cut),
        CASE(consume_skips_control_batches_and_counts_them_in_next_offset),
        CASE(consume_stops_looking_in_an_endless_stretch_without_messages),
        CASE(consume_bounds_the_bytes_of_an_answer_but_gives_one_message),
        CASE(consume_is_refused_while_the_process_holds_too_much),
        CASE(consume_says_that_a_producer_wrote_garbage_but_gives_what_lies_before),
        CASE(consume_never_says_unknown_when_the_store_is_away),
        CASE(a_stuck_read_is_answered_by_the_deadline),
        CASE(health_tells_whether_the_store_answers),
        CASE(wrong_methods_are_told_the_right_ones),
        CASE(head_is_answered_as_get),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Both directions through the real engine on the memory store, with two processes on one store. */
#include "protocol/bytes/be.h"
#include "protocol/bytes/crc32c.h"
#include "protocol/compress.h"

#include "world.h"

/* The same batch compressed: header, attributes, length and CRC as a producer would make them. */
static struct kp_blob *compressed(struct kp_blob *plain, enum kp_codec codec) {
    struct kp_arena arena;
    kp_arena_init(&arena, 64 << 20);
    struct kp_slice records =
        kp_slice_of(plain->data + KP_BATCH_HEADER_SIZE, plain->size - KP_BATCH_HEADER_SIZE), out;
    assert_int_equal(kp_deflate(codec, records, &arena, &out), KP_ERROR_NONE);
    struct kp_blob *blob = kp_blob_new(KP_BATCH_HEADER_SIZE + out.len);
    assert_non_null(blob);
    memcpy(blob->data, plain->data, KP_BATCH_HEADER_SIZE);
    memcpy(blob->data + KP_BATCH_HEADER_SIZE, out.ptr, out.len);
    blob->data[22] = (uint8_t)codec;
    kp_be_store32(blob->data + 8, (uint32_t)(blob->size - KP_BATCH_LENGTH_AT));
    kp_be_store32(blob->data + 17, kp_crc32c(0, blob->data + 21, blob->size - 21));
    kp_arena_release(&arena);
    kp_blob_unref(plain);
    return blob;
}

/* ---- tests ---- */

static void what_one_process_produces_another_consumes_at_the_same_offset(void **state) {
    struct world *world = *state;
    assert_int_equal(ask(world, 0, "POST", "/topics/t/produce", "{\"payload\": {\"a\" : 1e400} }"), 200);
    assert_string_equal(answer_of(world, 0), "{\"topic\":\"t\",\"offset\":1}");
    assert_int_equal(ask(world, 1, "POST", "/v1/topics/t/produce", "{\"payload\":\"two\"}"), 200);
    assert_string_equal(answer_of(world, 1), "{\"topic\":\"t\",\"offset\":2}");
    for (size_t n = 0; n < 2; n++) {
        assert_int_equal(ask(world, n, "GET", "/topics/t/consume?offset=1&limit=1", ""), 200);
        assert_non_null(strstr(answer_of(world, n), "{\"offset\":1,\"payload\":{\"a\" : 1e400},\"timestamp\":17"));
        assert_non_null(strstr(answer_of(world, n), "],\"next_offset\":2}"));
        assert_int_equal(ask(world, n, "GET", "/topics/t/consume?offset=2&limit=10", ""), 200);
        assert_non_null(strstr(answer_of(world, n), "{\"offset\":2,\"payload\":\"two\",\"timestamp\":17000000"));
        assert_non_null(strstr(answer_of(world, n), "],\"next_offset\":3}"));
    }
}

static void a_poller_may_start_before_the_first_producer(void **state) {
    struct world *world = *state;
    assert_int_equal(ask(world, 1, "GET", "/topics/t/consume?offset=1", ""), 200);
    assert_string_equal(answer_of(world, 1), "{\"messages\":[],\"next_offset\":1}");
    assert_int_equal(ask(world, 0, "POST", "/topics/t/produce", "{\"payload\":1}"), 200);
    assert_int_equal(ask(world, 1, "GET", "/topics/t/consume?offset=1", ""), 200);
    assert_non_null(strstr(answer_of(world, 1), "],\"next_offset\":2}"));
    assert_int_equal(ask(world, 1, "GET", "/topics/t/consume?offset=2", ""), 200);
    assert_string_equal(answer_of(world, 1), "{\"messages\":[],\"next_offset\":2}");
}

static void creators_at_the_same_time_use_one_topic(void **state) {
    struct world *world = *state;
    struct door *first = &world->nodes[0].door, *second = &world->nodes[1].door;
    door_begin(first, "POST", "/topics/t/produce", KP_SLICE_LIT("{\"payload\":1}"));
    door_begin(second, "POST", "/topics/t/produce", KP_SLICE_LIT("{\"payload\":2}"));
    assert_true(virtual_run(first->loop, &first->clock, &first->answered, 60 * ST_SECOND));
    assert_true(virtual_run(first->loop, &first->clock, &second->answered, 60 * ST_SECOND));
    assert_int_equal(first->status, 200);
    assert_int_equal(second->status, 200);
    assert_string_not_equal(first->body, second->body);
    assert_int_equal(ask(world, 0, "GET", "/topics/t/consume?offset=2", ""), 200);
    assert_non_null(strstr(answer_of(world, 0), "],\"next_offset\":3}"));
}

static void batches_of_every_codec_are_read_message_by_message(void **state) {
    struct world *world = *state;
    kafka_create(world, "k", 0, NULL);
    struct kp_record_header header = {KP_SLICE_LIT("trace"), KP_SLICE_LIT("\x01\x02")};
    const struct kp_new_record records[] = {
        {.timestamp_ms = 1000, .key = KP_SLICE_LIT("k"), .value = KP_SLICE_LIT("{\"n\":1}"),
         .headers = &header, .header_count = 1},
        {.timestamp_ms = 1001, .value = KP_SLICE_LIT("a log line")},
        {.timestamp_ms = 1002, .value = KP_SLICE_LIT("\xff")},
        {.timestamp_ms = 1003, .key = KP_SLICE_LIT("k")},
    };
    int64_t offset = 0;
    for (enum kp_codec codec = KP_CODEC_NONE; codec <= KP_CODEC_ZSTD; codec++) {
        struct kp_blob *batch = batch_of(records, 4);
        batch = codec == KP_CODEC_NONE ? batch : compressed(batch, codec);
        assert_int_equal(kafka_produce(world, "k", batch), offset);
        char target[64], expected[512];
        snprintf(target, sizeof target, "/topics/k/consume?offset=%d", (int)offset);
        assert_int_equal(ask(world, 1, "GET", target, ""), 200);
        snprintf(expected, sizeof expected,
                 "{\"messages\":[{\"offset\":%d,\"payload\":{\"n\":1},\"timestamp\":1000,\"key\":\"k\","
                 "\"headers\":[{\"name\":\"trace\",\"value\":\"\\u0001\\u0002\"}]},"
                 "{\"offset\":%d,\"payload\":\"a log line\",\"encoding\":\"text\",\"timestamp\":1001},"
                 "{\"offset\":%d,\"payload\":\"/w==\",\"encoding\":\"base64\",\"timestamp\":1002},"
                 "{\"offset\":%d,\"payload\":null,\"timestamp\":1003,\"key\":\"k\"}],\"next_offset\":%d}",
                 (int)offset, (int)offset + 1, (int)offset + 2, (int)offset + 3, (int)offset + 4);
        assert_string_equal(answer_of(world, 1), expected);
        offset += 4;
    }
}

static void a_batch_that_inflates_beyond_the_cap_is_left_to_kafka_clients(void **state) {
    struct world *world = *state;
    kafka_create(world, "k", 0, NULL);
    size_t large = (32 << 20) + 1;
    uint8_t *zeros = calloc(1, large);
    assert_non_null(zeros);
    const struct kp_new_record records[] = {{.timestamp_ms = 1, .value = kp_slice_of(zeros, large)}};
    const struct kp_new_record small[] = {{.timestamp_ms = 1, .value = KP_SLICE_LIT("1")}};
    kafka_produce(world, "k", batch_of(small, 1));
    kafka_produce(world, "k", compressed(batch_of(records, 1), KP_CODEC_ZSTD));
    free(zeros);
    assert_int_equal(ask(world, 0, "GET", "/topics/k/consume", ""), 200);
    assert_string_equal(answer_of(world, 0),
                        "{\"messages\":[{\"offset\":0,\"payload\":1,\"timestamp\":1}],\"next_offset\":1}");
    ask(world, 0, "GET", "/topics/k/consume?offset=1", "");
    assert_error(&world->nodes[0].door, 422, "batch_too_large");
}

static void a_topic_that_kafka_made_goes_on_where_it_is(void **state) {
    struct world *world = *state;
    kafka_create(world, "k", 0, NULL);
    assert_int_equal(ask(world, 1, "POST", "/topics/k/produce", "{\"payload\":1}"), 200);
    assert_string_equal(answer_of(world, 1), "{\"topic\":\"k\",\"offset\":0}");
}

static void append_time_is_what_a_topic_of_append_time_shows(void **state) {
    struct world *world = *state;
    struct st_config config = {KP_SLICE_LIT("message.timestamp.type"), KP_SLICE_LIT("LogAppendTime")};
    kafka_create(world, "k", 0, &config);
    const struct kp_new_record records[] = {{.timestamp_ms = 1, .value = KP_SLICE_LIT("1")}};
    kafka_produce(world, "k", batch_of(records, 1));
    assert_int_equal(ask(world, 0, "GET", "/topics/k/consume", ""), 200);
    assert_null(strstr(answer_of(world, 0), "\"timestamp\":1}"));
}

static void what_the_topic_does_not_take_is_413(void **state) {
    struct world *world = *state;
    struct st_config config = {KP_SLICE_LIT("max.message.bytes"), KP_SLICE_LIT("100")};
    kafka_create(world, "k", 0, &config);
    char body[256];
    snprintf(body, sizeof body, "{\"payload\":\"%0100d\"}", 0);
    ask(world, 1, "POST", "/topics/k/produce", body);
    assert_error(&world->nodes[1].door, 413, "message_too_large");
    assert_int_equal(ask(world, 1, "POST", "/topics/k/produce", "{\"payload\":1}"), 200);
}

static void a_deleted_topic_is_made_anew_by_the_next_producer_anywhere(void **state) {
    struct world *world = *state;
    kafka_create(world, "t", 40, NULL);
    assert_int_equal(ask(world, 1, "POST", "/topics/t/produce", "{\"payload\":1}"), 200);
    assert_string_equal(answer_of(world, 1), "{\"topic\":\"t\",\"offset\":40}");
    kafka_delete(world, "t");
    assert_int_equal(ask(world, 1, "POST", "/topics/t/produce", "{\"payload\":2}"), 200);
    assert_string_equal(answer_of(world, 1), "{\"topic\":\"t\",\"offset\":1}");
    kafka_delete(world, "t");
    assert_int_equal(ask(world, 0, "GET", "/topics/t/consume?offset=1", ""), 200);
    assert_string_equal(answer_of(world, 0), "{\"messages\":[],\"next_offset\":1}");
}

static void what_was_acknowledged_is_there_after_a_restart(void **state) {
    struct world *world = *state;
    for (size_t i = 0; i < 30; i++) {
        assert_int_equal(ask(world, i % 2, "POST", "/topics/t/produce", "{\"payload\":[ ]}"), 200);
    }
    node_close(world, &world->nodes[0]);
    node_open(world, &world->nodes[0]);
    assert_int_equal(ask(world, 0, "GET", "/topics/t/consume?offset=5&limit=100", ""), 200);
    assert_non_null(strstr(answer_of(world, 0), "{\"messages\":[{\"offset\":5,\"payload\":[ ],"));
    assert_non_null(strstr(answer_of(world, 0), "],\"next_offset\":31}"));
    assert_int_equal(ask(world, 0, "POST", "/topics/t/produce", "{\"payload\":1}"), 200);
    assert_string_equal(answer_of(world, 0), "{\"topic\":\"t\",\"offset\":31}");
}

#define MANY 400

struct many {
    struct rest_call call;
    unsigned *left;
    char *seen; /* one byte an offset */
};

static void one_of_many_done(struct rest_call *call) {
    struct many *one = ST_OWNER(call, struct many, call);
    char *text = chain_text(&call->response.body);
    int offset = 0;
    assert_int_equal(call->response.status, 200);
    assert_int_equal(sscanf(text, "{\"topic\":\"t\",\"offset\":%d}", &offset), 1);
    assert_in_range(offset, 1, MANY);
    assert_int_equal(one->seen[offset]++, 0);
    free(text);
    rest_response_release(&call->response);
    flag = --*one->left == 0;
}

static void many_at_once_get_dense_offsets(void **state) {
    struct world *world = *state;
    static struct many calls[MANY];
    static char seen[MANY + 1];
    unsigned left = MANY;
    for (size_t i = 0; i < MANY; i++) {
        calls[i] = (struct many){.left = &left, .seen = seen};
        struct rest_request *request = &calls[i].call.request;
        request->method = KP_SLICE_LIT("POST");
        request->path = KP_SLICE_LIT("/topics/t/produce");
        request->body.bytes = KP_SLICE_LIT("{\"payload\":{\"some\":\"record\"}}");
        calls[i].call.order = i + 1;
        calls[i].call.done = one_of_many_done;
        assert_true(rest_handle(world->nodes[i % 2].door.rest, &calls[i].call));
    }
    wait_for_flag(world);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(what_one_process_produces_another_consumes_at_the_same_offset),
        CASE(a_poller_may_start_before_the_first_producer),
        CASE(creators_at_the_same_time_use_one_topic),
        CASE(batches_of_every_codec_are_read_message_by_message),
        CASE(a_batch_that_inflates_beyond_the_cap_is_left_to_kafka_clients),
        CASE(a_topic_that_kafka_made_goes_on_where_it_is),
        CASE(append_time_is_what_a_topic_of_append_time_shows),
        CASE(what_the_topic_does_not_take_is_413),
        CASE(a_deleted_topic_is_made_anew_by_the_next_producer_anywhere),
        CASE(what_was_acknowledged_is_there_after_a_restart),
        CASE(many_at_once_get_dense_offsets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

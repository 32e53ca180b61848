/* Keys, headers, partitions and several messages in one request, through the real engine on the memory store. */
#include "lambda/base64.h"
#include "lambda/partitioner.h"
#include "lambda/parts.h"

#include "world.h"

static int post(struct world *world, const char *target, const char *body) {
    return ask(world, 0, "POST", target, body);
}

static void assert_answer(struct world *world, const char *expected) {
    assert_string_equal(answer_of(world, 0), expected);
}

static void a_key_is_hashed_as_kafkas_java_client_does(void **state) {
    (void)state;
    static const struct {
        const char *key;
        int32_t hash;
    } cases[] = { /* from the tests of Kafka's own clients */
        {"21", -973932308},
        {"foobar", -790332482},
        {"a-little-bit-long-string", -985981536},
        {"a-little-bit-longer-string", -1486304829},
        {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
        {"abc", 479470107},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kp_slice key = kp_slice_cstr(cases[i].key);
        assert_int_equal((int32_t)rest_murmur2(key), cases[i].hash);
        assert_int_equal(rest_partition_of_key(key, 7), (cases[i].hash & INT32_MAX) % 7);
        assert_int_equal(rest_partition_of_key(key, 1), 0);
    }
}

static void base64_is_read_strictly(void **state) {
    (void)state;
    static const struct {
        const char *text, *bytes;
    } cases[] = {
        {"", ""},          {"Zg==", "f"},          {"Zm8=", "fo"},  {"Zm9v", "foo"}, {"Zm9vYmE=", "fooba"},
        {"/+8=", "\xff\xef"}, {"Zg=", NULL},       {"Zg", NULL},    {"Zh==", NULL},  {"Zm9=", NULL},
        {"Zg==Zg==", NULL}, {"Z===", NULL},        {"====", NULL},  {"Zm9 ", NULL},  {"Zm-v", NULL},
        {"Zm8=\n", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t into[16];
        size_t len;
        bool good = rest_base64_decode(kp_slice_cstr(cases[i].text), into, &len);
        assert_int_equal(good, cases[i].bytes != NULL);
        assert_true(!good || kp_slice_equal(kp_slice_of(into, len), kp_slice_cstr(cases[i].bytes)));
    }
}

static void a_message_keeps_its_key_headers_and_time(void **state) {
    struct world *world = *state;
    assert_int_equal(post(world, "/topics/t/produce",
                          "{\"payload\":1,\"key\":\"k\\u00e9\\n\",\"timestamp\":1700000000123,\"headers\":"
                          "[{\"name\":\"a\",\"value\":\"1\"},{\"name\":\"a\",\"value\":{\"base64\":\"/w==\"}},"
                          "{\"value\":null,\"name\":\"n\"},{\"name\":\"\"}]}"), 200);
    assert_answer(world, "{\"topic\":\"t\",\"partition\":0,\"offset\":1}");
    assert_int_equal(post(world, "/topics/t/produce",
                          "{\"payload\":2,\"key\":{\"base64\":\"//4=\"},\"headers\":{\"x\":\"y\",\"\\u0078\":null}}"),
                     200);
    assert_int_equal(post(world, "/topics/t/produce", "{\"payload\":3,\"key\":null,\"headers\":{},\"partition\":null,"
                                                      "\"timestamp\":null,\"other\":{}}"), 200);
    assert_answer(world, "{\"topic\":\"t\",\"offset\":3}");
    assert_int_equal(ask(world, 1, "GET", "/topics/t/consume?offset=1", ""), 200);
    assert_string_equal(
        answer_of(world, 1),
        "{\"messages\":[{\"offset\":1,\"payload\":1,\"timestamp\":1700000000123,\"key\":\"k\xc3\xa9\\n\",\"headers\":["
        "{\"name\":\"a\",\"value\":\"1\"},{\"name\":\"a\",\"value\":{\"base64\":\"/w==\"}},"
        "{\"name\":\"n\",\"value\":null},{\"name\":\"\",\"value\":null}]},"
        "{\"offset\":2,\"payload\":2,\"timestamp\":1700000001000,\"key\":{\"base64\":\"//4=\"},\"headers\":["
        "{\"name\":\"x\",\"value\":\"y\"},{\"name\":\"x\",\"value\":null}]},"
        "{\"offset\":3,\"payload\":3,\"timestamp\":1700000001000}],\"next_offset\":4}");
}

static void several_messages_are_one_commit_and_answered_in_their_order(void **state) {
    struct world *world = *state;
    kafka_create(world, "t", 0, NULL);
    uint64_t before, after;
    st_engine_state_hash(world->nodes[0].engine, &before);
    assert_int_equal(post(world, "/topics/t/produce",
                          "{\"messages\":[{\"payload\":1,\"partition\":2},{\"payload\":2},{\"payload\":3,\"partition\":"
                          "2},{\"payload\":4,\"partition\":1.00},{\"payload\":5,\"partition\":0}]}"), 200);
    assert_answer(world, "{\"topic\":\"t\",\"messages\":[{\"partition\":2,\"offset\":0},{\"partition\":0,\"offset\":0},"
                         "{\"partition\":2,\"offset\":1},{\"partition\":1,\"offset\":0},"
                         "{\"partition\":0,\"offset\":1}]}");
    st_engine_state_hash(world->nodes[0].engine, &after);
    assert_int_equal(after, before + 1);
    assert_int_equal(ask(world, 0, "GET", "/topics/t/consume?partition=2", ""), 200);
    assert_answer(world, "{\"messages\":[{\"offset\":0,\"partition\":2,\"payload\":1,\"timestamp\":1700000001000},"
                         "{\"offset\":1,\"partition\":2,\"payload\":3,\"timestamp\":1700000001000}],"
                         "\"next_offset\":2}");
}

static void equal_keys_go_into_one_partition(void **state) {
    struct world *world = *state;
    kafka_create(world, "t", 0, NULL);
    int32_t expected = rest_partition_of_key(KP_SLICE_LIT("user-7"), 3);
    char answer[128];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(post(world, "/topics/t/produce", "{\"payload\":1,\"key\":\"user-7\"}"), 200);
        snprintf(answer, sizeof answer, "{\"topic\":\"t\",\"partition\":%d,\"offset\":%d}", (int)expected, i);
        assert_answer(world, answer);
    }
    assert_int_equal(post(world, "/topics/t/produce", "{\"payload\":1,\"key\":\"user-7\",\"partition\":1}"), 200);
    snprintf(answer, sizeof answer, "{\"topic\":\"t\",\"partition\":1,\"offset\":%d}", expected == 1 ? 3 : 0);
    assert_answer(world, answer);
}

/* More bytes than one batch of the topic takes, but no message that is too large. */
static void messages_are_cut_into_batches_that_the_topic_takes(void **state) {
    struct world *world = *state;
    static char body[200 * 1024], message[1400];
    struct st_config small = {KP_SLICE_LIT("max.message.bytes"), KP_SLICE_LIT("3000")};
    kafka_create(world, "t", 0, &small);
    memset(message, 'x', sizeof message - 1);
    size_t len = (size_t)snprintf(body, sizeof body, "{\"messages\":[");
    for (int i = 0; i < 100; i++) {
        len += (size_t)snprintf(body + len, sizeof body - len, "%s{\"payload\":\"%d%s\"}", i > 0 ? "," : "", i,
                                message);
    }
    snprintf(body + len, sizeof body - len, "]}");
    assert_int_equal(post(world, "/topics/t/produce", body), 200);
    assert_int_equal(ask(world, 1, "GET", "/topics/t/consume?limit=100", ""), 200);
    const char *at = answer_of(world, 1);
    for (int i = 0; i < 100; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "{\"offset\":%d,\"payload\":\"%dxxx", i, i);
        at = strstr(at, expected);
        assert_non_null(at);
    }
    memset(message, 'x', sizeof message - 1);
    snprintf(body, sizeof body, "{\"messages\":[{\"payload\":1},{\"payload\":\"%s%s%s\"}]}", message, message, message);
    assert_int_equal(post(world, "/topics/t/produce", body), 413);
    assert_error(&world->nodes[0].door, 413, "message_too_large");
    ask(world, 0, "GET", "/topics/t/consume?offset=100", "");
    assert_answer(world, "{\"messages\":[],\"next_offset\":100}"); /* none of them was stored */
}

static void a_bad_message_refuses_all_and_says_which(void **state) {
    struct world *world = *state;
    static const struct {
        const char *body;
        int status;
        const char *code;
    } cases[] = {
        {"{\"messages\":[]}", 400, "bad_messages"},
        {"{\"messages\":{}}", 400, "bad_messages"},
        {"{\"messages\":null}", 400, "bad_messages"},
        {"{\"messages\":[{\"payload\":1},2]}", 400, "bad_messages"},
        {"{\"messages\":[{\"payload\":1,\"payload\":2}]}", 400, "bad_messages"},
        {"{\"messages\":[{\"payload\":1},{\"key\":\"k\"}]}", 400, "missing_payload"},
        {"{\"messages\":[{\"payload\":1,\"key\":1}]}", 400, "bad_key"},
        {"{\"payload\":1,\"key\":[]}", 400, "bad_key"},
        {"{\"payload\":1,\"key\":true}", 400, "bad_key"},
        {"{\"payload\":1,\"key\":{\"base64\":1}}", 400, "bad_key"},
        {"{\"payload\":1,\"key\":{\"base64\":\"a\"}}", 400, "bad_key"},
        {"{\"payload\":1,\"key\":{}}", 400, "bad_key"},
        {"{\"payload\":1,\"headers\":1}", 400, "bad_headers"},
        {"{\"payload\":1,\"headers\":[1]}", 400, "bad_headers"},
        {"{\"payload\":1,\"headers\":[{\"value\":\"x\"}]}", 400, "bad_headers"},
        {"{\"payload\":1,\"headers\":[{\"name\":null}]}", 400, "bad_headers"},
        {"{\"payload\":1,\"headers\":{\"a\":1}}", 400, "bad_headers"},
        {"{\"payload\":1,\"headers\":[{\"name\":\"a\",\"value\":false}]}", 400, "bad_headers"},
        {"{\"payload\":1,\"partition\":-1}", 400, "bad_partition"},
        {"{\"payload\":1,\"partition\":\"0\"}", 400, "bad_partition"},
        {"{\"payload\":1,\"partition\":0.5}", 400, "bad_partition"},
        {"{\"payload\":1,\"partition\":0.0e1}", 400, "bad_partition"},
        {"{\"payload\":1,\"partition\":2147483648}", 400, "bad_partition"},
        {"{\"payload\":1,\"timestamp\":-1}", 400, "bad_timestamp"},
        {"{\"payload\":1,\"timestamp\":1e3}", 400, "bad_timestamp"},
        {"{\"payload\":1,\"timestamp\":9223372036854775808}", 400, "bad_timestamp"},
        {"{\"payload\":1,\"timestamp\":1700003602000}", 400, "bad_timestamp"}, /* more than an hour ahead */
        {"{\"payload\":1,\"partition\":3}", 404, "unknown_partition"},
        {"{\"messages\":[{\"payload\":1},{\"payload\":1,\"partition\":3}]}", 404, "unknown_partition"},
    };
    kafka_create(world, "t", 0, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        post(world, "/topics/t/produce", cases[i].body);
        assert_error(&world->nodes[0].door, cases[i].status, cases[i].code);
    }
    post(world, "/topics/t/produce", "{\"messages\":[{\"payload\":1},{\"payload\":1,\"key\":1}]}");
    assert_non_null(strstr(answer_of(world, 0), "Message 1: A key must be"));
    post(world, "/topics/new/produce", "{\"payload\":1,\"partition\":1}");
    assert_error(&world->nodes[0].door, 404, "unknown_partition");
    assert_null(st_topic_by_name(world->nodes[0].engine, KP_SLICE_LIT("new"))); /* it was not made for that */
    ask(world, 0, "GET", "/topics/t/consume", "");
    assert_answer(world, "{\"messages\":[],\"next_offset\":0}");
}

static void the_number_of_messages_is_bounded(void **state) {
    struct world *world = *state;
    static const char start[] = "{\"messages\":[";
    size_t count = REST_MESSAGES_MAX + 1, len = sizeof start - 1;
    char *body = malloc(count * 14 + 32);
    assert_non_null(body);
    memcpy(body, start, len);
    for (size_t i = 0; i < count; i++) {
        memcpy(body + len, "{\"payload\":1},", 14);
        len += 14;
    }
    memcpy(body + len - 1, "]}", 3);
    post(world, "/topics/t/produce", body);
    assert_error(&world->nodes[0].door, 400, "bad_messages");
    memcpy(body + len - 15, "]}", 3);
    assert_int_equal(post(world, "/topics/t/produce", body), 200);
    assert_non_null(strstr(answer_of(world, 0), "{\"partition\":0,\"offset\":10000}]}"));
    free(body);
}

static void payload_beside_messages_is_what_it_always_was(void **state) {
    struct world *world = *state;
    assert_int_equal(post(world, "/topics/t/produce", "{\"messages\":[{\"payload\":1}],\"payload\":2}"), 200);
    assert_answer(world, "{\"topic\":\"t\",\"offset\":1}");
}

/* ---- idempotency keys ---- */

static struct rest_header key_header = {KP_SLICE_LIT("idempotency-KEY"), {NULL, 0}};

static int post_key(struct world *world, size_t n, const char *key, const char *target, const char *body) {
    struct door *door = &world->nodes[n].door;
    key_header.value = kp_slice_cstr(key);
    door->headers = &key_header;
    door->header_count = 1;
    int status = ask(world, n, "POST", target, body);
    door->header_count = 0;
    return status;
}

static void a_request_under_a_key_is_stored_once(void **state) {
    struct world *world = *state;
    for (size_t i = 0; i < 4; i++) { /* through both processes */
        assert_int_equal(post_key(world, i % 2, "k 1", "/topics/t/produce", "{\"payload\":1}"), 200);
        assert_string_equal(answer_of(world, i % 2), "{\"topic\":\"t\",\"offset\":1}");
    }
    assert_int_equal(post_key(world, 0, "k 2", "/topics/t/produce", "{\"payload\":1}"), 200);
    assert_answer(world, "{\"topic\":\"t\",\"offset\":2}");
    assert_int_equal(post_key(world, 0, "k 1", "/topics/u/produce", "{\"payload\":7}"), 200); /* another topic's key */
    assert_answer(world, "{\"topic\":\"u\",\"offset\":1}");
    post_key(world, 1, "k 1", "/topics/t/produce", "{\"payload\":2}");
    assert_error(&world->nodes[1].door, 422, "idempotency_key_reused");
    ask(world, 0, "GET", "/topics/t/offsets", "");
    assert_answer(world, "{\"topic\":\"t\",\"partitions\":[{\"partition\":0,\"start\":1,\"end\":3}]}");
}

static void several_messages_under_a_key_are_answered_as_they_were(void **state) {
    struct world *world = *state;
    static const char body[] = "{\"messages\":[{\"payload\":1,\"partition\":2},{\"payload\":2,\"partition\":0},"
                               "{\"payload\":3,\"partition\":2}]}";
    char first[256];
    kafka_create(world, "t", 0, NULL);
    assert_int_equal(post(world, "/topics/t/produce", body), 200);
    assert_int_equal(post_key(world, 0, "k", "/topics/t/produce", body), 200);
    snprintf(first, sizeof first, "%s", answer_of(world, 0));
    assert_non_null(strstr(first, "{\"partition\":2,\"offset\":3}]"));
    assert_int_equal(post(world, "/topics/t/produce", body), 200);
    assert_int_equal(post_key(world, 1, "k", "/topics/t/produce", body), 200);
    assert_string_equal(answer_of(world, 1), first);
}

static void a_request_that_is_refused_leaves_its_key_free(void **state) {
    struct world *world = *state;
    kafka_create(world, "t", 0, NULL);
    post_key(world, 0, "k", "/topics/t/produce", "{\"payload\":1,\"partition\":9}");
    assert_error(&world->nodes[0].door, 404, "unknown_partition");
    assert_int_equal(post_key(world, 0, "k", "/topics/t/produce", "{\"payload\":2}"), 200);
    assert_answer(world, "{\"topic\":\"t\",\"offset\":0}");
}

static void keys_are_forgotten_after_a_day(void **state) {
    struct world *world = *state;
    assert_int_equal(post_key(world, 0, "k", "/topics/t/produce", "{\"payload\":1}"), 200);
    world->nodes[0].door.clock.now_ns += INT64_C(22) * 3600 * ST_SECOND;
    post_key(world, 1, "k", "/topics/t/produce", "{\"payload\":2}");
    assert_error(&world->nodes[1].door, 422, "idempotency_key_reused");
    world->nodes[0].door.clock.now_ns += INT64_C(3) * 3600 * ST_SECOND;
    ask(world, 1, "GET", "/topics", ""); /* a read, by which the process sees the store's clock */
    assert_int_equal(post_key(world, 1, "k", "/topics/t/produce", "{\"payload\":2}"), 200);
    assert_string_equal(answer_of(world, 1), "{\"topic\":\"t\",\"offset\":2}");
    assert_int_equal(post_key(world, 0, "k", "/topics/t/produce", "{\"payload\":2}"), 200);
    assert_answer(world, "{\"topic\":\"t\",\"offset\":2}");
}

static void keys_are_checked(void **state) {
    struct world *world = *state;
    char longest[257];
    memset(longest, 'k', 255);
    longest[255] = 0;
    assert_int_equal(post_key(world, 0, longest, "/topics/t/produce", "{\"payload\":1}"), 200);
    longest[255] = 'k';
    longest[256] = 0;
    const char *const bad[] = {"", "\x1f", "a\tb", "\xc3\xa4", "\x7f", longest};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        post_key(world, 0, bad[i], "/topics/t/produce", "{\"payload\":1}");
        assert_error(&world->nodes[0].door, 400, "bad_idempotency_key");
    }
    static struct rest_header two[] = {{KP_SLICE_LIT("Idempotency-Key"), KP_SLICE_LIT("a")},
                                       {KP_SLICE_LIT("Idempotency-Key"), KP_SLICE_LIT("a")}};
    world->nodes[0].door.headers = two;
    world->nodes[0].door.header_count = 2;
    post(world, "/topics/t/produce", "{\"payload\":1}");
    assert_error(&world->nodes[0].door, 400, "bad_idempotency_key");
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_hashed_as_kafkas_java_client_does),
        cmocka_unit_test(base64_is_read_strictly),
        CASE(a_message_keeps_its_key_headers_and_time),
        CASE(several_messages_are_one_commit_and_answered_in_their_order),
        CASE(equal_keys_go_into_one_partition),
        CASE(messages_are_cut_into_batches_that_the_topic_takes),
        CASE(a_bad_message_refuses_all_and_says_which),
        CASE(the_number_of_messages_is_bounded),
        CASE(payload_beside_messages_is_what_it_always_was),
        CASE(a_request_under_a_key_is_stored_once),
        CASE(several_messages_under_a_key_are_answered_as_they_were),
        CASE(a_request_that_is_refused_leaves_its_key_free),
        CASE(keys_are_forgotten_after_a_day),
        CASE(keys_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

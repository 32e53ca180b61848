/* Topics as such, through the real engine: made, listed, described, deleted, and where they begin and end. */
#include "world.h"

static struct door *door_of(struct world *world, size_t n) {
    return &world->nodes[n].door;
}

static void make(struct world *world, const char *body) {
    assert_int_equal(ask(world, 0, "POST", "/topics", body), 201);
}

static void a_topic_is_made_described_and_deleted(void **state) {
    struct world *world = *state;
    make(world, "{\"name\":\"t\\u002d1\",\"partitions\":3,\"configs\":{\"retention.ms\":60000.0,\"preallocate\":true,"
                "\"cleanup.policy\":\"compact\"}}");
    char made[512];
    snprintf(made, sizeof made, "%s", answer_of(world, 0));
    const char *behind_id = strstr(made, "\",\"partitions\"");
    assert_string_equal(behind_id, "\",\"partitions\":3,\"first_offset\":1,\"configs\":{\"cleanup.policy\":\"compact\","
                                   "\"preallocate\":\"true\",\"retention.ms\":\"60000\"}}");
    assert_int_equal(strncmp(made, "{\"name\":\"t-1\",\"id\":\"", 19), 0);
    assert_int_equal(ask(world, 1, "GET", "/topics/t-1", ""), 200);
    assert_string_equal(answer_of(world, 1), made);
    assert_int_equal(ask(world, 1, "DELETE", "/topics/t-1", ""), 200);
    assert_non_null(strstr(answer_of(world, 1), "\"deleted\":true}"));
    ask(world, 0, "GET", "/topics/t-1", "");
    assert_error(door_of(world, 0), 404, "unknown_topic");
    ask(world, 0, "DELETE", "/topics/t-1", "");
    assert_error(door_of(world, 0), 404, "unknown_topic");
    ask(world, 0, "GET", "/topics/t-1/offsets", "");
    assert_error(door_of(world, 0), 404, "unknown_topic");
}

static void a_topic_exists_once(void **state) {
    struct world *world = *state;
    make(world, "{\"name\":\"t\"}");
    ask(world, 1, "POST", "/topics", "{\"name\":\"t\"}");
    assert_error(door_of(world, 1), 409, "topic_exists");
}

static void bad_topics_are_refused(void **state) {
    struct world *world = *state;
    static const struct {
        const char *body, *code;
    } cases[] = {
        {"", "bad_json"},
        {"[]", "bad_json"},
        {"{}", "bad_topic_name"},
        {"{\"name\":1}", "bad_topic_name"},
        {"{\"name\":\"a b\"}", "bad_topic_name"},
        {"{\"name\":\"\"}", "bad_topic_name"},
        {"{\"name\":\"..\"}", "bad_topic_name"},
        {"{\"name\":\"t\",\"partitions\":0}", "bad_partitions"},
        {"{\"name\":\"t\",\"partitions\":10001}", "bad_partitions"},
        {"{\"name\":\"t\",\"partitions\":\"1\"}", "bad_partitions"},
        {"{\"name\":\"t\",\"configs\":[]}", "bad_config"},
        {"{\"name\":\"t\",\"configs\":{\"no.such\":1}}", "bad_config"},
        {"{\"name\":\"t\",\"configs\":{\"retention.ms\":\"x\"}}", "bad_config"},
        {"{\"name\":\"t\",\"configs\":{\"retention.ms\":null}}", "bad_config"},
        {"{\"name\":\"t\",\"configs\":{\"retention.ms\":[1]}}", "bad_config"},
        {"{\"name\":\"t\",\"configs\":{\"retention.ms\":1,\"retention.ms\":2}}", "bad_config"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ask(world, 0, "POST", "/topics", cases[i].body);
        assert_error(door_of(world, 0), 400, cases[i].code);
    }
    ask(world, 0, "GET", "/topics", "");
    assert_string_equal(answer_of(world, 0), "{\"topics\":[]}");
}

static size_t listed(const struct world *world) {
    size_t count = 0;
    for (const char *at = answer_of(world, 1); (at = strstr(at, "{\"name\":")) != NULL; at++) {
        count++;
    }
    return count;
}

static void topics_are_listed_by_name_and_page(void **state) {
    struct world *world = *state;
    static const char *const names[] = {"b", "a", "ab", "abc", "abd", "ac"};
    for (size_t i = 0; i < 6; i++) {
        char body[64];
        snprintf(body, sizeof body, "{\"name\":\"%s\"}", names[i]);
        make(world, body);
    }
    assert_int_equal(ask(world, 1, "GET", "/topics", ""), 200);
    assert_int_equal(listed(world), 6);
    assert_null(strstr(answer_of(world, 1), "next_after"));
    ask(world, 1, "GET", "/topics?limit=2", "");
    assert_int_equal(listed(world), 2);
    assert_non_null(strstr(answer_of(world, 1), "],\"next_after\":\"ab\"}"));
    ask(world, 1, "GET", "/topics?limit=2&after=ab", "");
    assert_non_null(strstr(answer_of(world, 1), "],\"next_after\":\"abd\"}"));
    ask(world, 1, "GET", "/topics?prefix=ab", "");
    assert_int_equal(listed(world), 3);
    ask(world, 1, "GET", "/topics?prefix=a%62&after=abc", "");
    assert_int_equal(listed(world), 1);
    ask(world, 1, "GET", "/topics?prefix=ab&after=b", "");
    assert_string_equal(answer_of(world, 1), "{\"topics\":[]}");
    ask(world, 1, "GET", "/topics?prefix=ab&after=Z", "");
    assert_int_equal(listed(world), 3);
    ask(world, 1, "GET", "/topics?prefix=zz", "");
    assert_string_equal(answer_of(world, 1), "{\"topics\":[]}");
    ask(world, 1, "GET", "/topics?limit=0", "");
    assert_error(door_of(world, 1), 400, "bad_limit");
    assert_int_equal(ask(world, 1, "GET", "/topics?prefix=..&after=.&limit=5", ""), 200);
    ask(world, 1, "GET", "/topics?prefix=a%20b", "");
    assert_error(door_of(world, 1), 400, "bad_list");
    ask(world, 1, "GET", "/topics?prefix=%f", "");
    assert_error(door_of(world, 1), 400, "bad_list");
}

static void offsets_say_where_partitions_begin_and_end(void **state) {
    struct world *world = *state;
    kafka_create(world, "t", 0, NULL);
    assert_int_equal(ask(world, 0, "POST", "/topics/t/produce",
                         "{\"messages\":[{\"payload\":1,\"partition\":1,\"timestamp\":100},"
                         "{\"payload\":2,\"partition\":1,\"timestamp\":200},{\"payload\":3,\"timestamp\":50}]}"), 200);
    assert_int_equal(ask(world, 1, "GET", "/topics/t/offsets", ""), 200);
    assert_string_equal(answer_of(world, 1),
                        "{\"topic\":\"t\",\"partitions\":[{\"partition\":0,\"start\":0,\"end\":1},"
                        "{\"partition\":1,\"start\":0,\"end\":2},{\"partition\":2,\"start\":0,\"end\":0}]}");
    ask(world, 1, "GET", "/topics/t/offsets?partition=1", "");
    assert_string_equal(answer_of(world, 1),
                        "{\"topic\":\"t\",\"partitions\":[{\"partition\":1,\"start\":0,\"end\":2}]}");
    ask(world, 1, "GET", "/topics/t/offsets?timestamp=101", "");
    assert_string_equal(answer_of(world, 1),
                        "{\"topic\":\"t\",\"partitions\":[{\"partition\":0,\"start\":0,\"end\":1,\"offset\":1},"
                        "{\"partition\":1,\"start\":0,\"end\":2,\"offset\":1,\"timestamp\":200},"
                        "{\"partition\":2,\"start\":0,\"end\":0,\"offset\":0}]}");
    ask(world, 1, "GET", "/topics/t/offsets?timestamp=0&partition=1", "");
    assert_string_equal(answer_of(world, 1), "{\"topic\":\"t\",\"partitions\":[{\"partition\":1,\"start\":0,\"end\":2,"
                                             "\"offset\":0,\"timestamp\":100}]}");
    ask(world, 1, "GET", "/topics/t/offsets?partition=3", "");
    assert_error(door_of(world, 1), 404, "unknown_partition");
    ask(world, 1, "GET", "/topics/t/offsets?partition=x", "");
    assert_error(door_of(world, 1), 400, "bad_partition");
    ask(world, 1, "GET", "/topics/t/offsets?timestamp=-1", "");
    assert_error(door_of(world, 1), 400, "bad_timestamp");
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_topic_is_made_described_and_deleted), CASE(a_topic_exists_once),
        CASE(bad_topics_are_refused),                CASE(topics_are_listed_by_name_and_page),
        CASE(offsets_say_where_partitions_begin_and_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

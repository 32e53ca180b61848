/* Long-polls, lines and events: through the real engine, the records coming from this process or from another one. */
#include "world.h"

#define EVENTS "text/event-stream"
#define LINES "application/x-ndjson"

static struct rest_header headers[2];

static struct door *reader(struct world *world, const char *accept) { /* "": none */
    struct door *door = &world->nodes[1].door;
    headers[0] = (struct rest_header){KP_SLICE_LIT("ACCEPT"), kp_slice_cstr(accept)};
    door->headers = headers;
    door->header_count = accept[0] == 0 ? 0 : 1;
    door->streams = true;
    return door;
}

static void begin(struct door *door, const char *target) {
    door_begin(door, "GET", target, (struct kp_slice){NULL, 0});
}

static int64_t run(struct world *world, const bool *done, int64_t ms) {
    struct door *first = &world->nodes[0].door;
    int64_t before = first->clock.now_ns;
    static const bool never = false;
    virtual_run(first->loop, &first->clock, done != NULL ? done : &never, ms * ST_MS);
    return (first->clock.now_ns - before) / ST_MS;
}

static void produce(struct world *world, const char *payload) {
    char body[128];
    snprintf(body, sizeof body, "{\"payload\":%s}", payload);
    assert_int_equal(ask(world, 0, "POST", "/topics/t/produce", body), 200);
}

/* ---- long-polls ---- */

static void a_poll_at_the_end_waits_for_the_next_record(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, "");
    produce(world, "1");
    begin(door, "/topics/t/consume?offset=2&wait_ms=20000");
    run(world, &door->answered, 5000);
    assert_false(door->answered);
    assert_true(door->waits);
    produce(world, "2");
    assert_true(run(world, &door->answered, 5000) < 2000);
    assert_true(door->answered);
    assert_non_null(strstr(door->body, "{\"messages\":[{\"offset\":2,\"payload\":2,"));
}

static void a_poll_is_answered_empty_when_its_time_is_over(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, "");
    produce(world, "1");
    begin(door, "/topics/t/consume?offset=2&wait_ms=30000"); /* longer than a call may take without waiting */
    assert_in_range(run(world, &door->answered, 60000), 30000, 30100);
    assert_int_equal(door->status, 200);
    assert_string_equal(door->body, "{\"messages\":[],\"next_offset\":2}");
    assert_int_equal(door_get(door, "/topics/t/consume?offset=1&wait_ms=30000"), 200); /* something there: at once */
    assert_non_null(strstr(door->body, "\"next_offset\":2}"));
    assert_false(door->waits);
}

static void a_poll_waits_at_most_a_minute(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, "");
    produce(world, "1");
    begin(door, "/topics/t/consume?offset=2&wait_ms=99999999999999999999");
    assert_in_range(run(world, &door->answered, 100000), 60000, 60100);
}

static void a_poll_for_a_topic_that_does_not_exist_yet_sees_it_come(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, "");
    begin(door, "/topics/t/consume?wait_ms=20000");
    run(world, &door->answered, 3000);
    assert_false(door->answered);
    produce(world, "1");
    run(world, &door->answered, 2000);
    assert_true(door->answered);
    assert_non_null(strstr(door->body, "{\"offset\":1,\"payload\":1,"));
}

static void a_callers_own_timeout_ends_the_wait_in_time(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, "");
    produce(world, "1");
    door->timeout_ms = 3000;
    begin(door, "/topics/t/consume?offset=2&wait_ms=20000");
    assert_in_range(run(world, &door->answered, 60000), 2500, 2999);
    assert_int_equal(door->status, 200);
    door->timeout_ms = 0;
}

static void a_poll_that_is_hurried_is_answered_at_once(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, "");
    produce(world, "1");
    begin(door, "/topics/t/consume?offset=2&wait_ms=20000");
    run(world, &door->answered, 100);
    rest_call_hurry(&door->call);
    assert_false(door->answered);
    assert_int_equal(run(world, &door->answered, 1000), 0);
    assert_string_equal(door->body, "{\"messages\":[],\"next_offset\":2}");
    rest_call_hurry(&door->call); /* over: nothing happens */
    rest_drain(door->rest);
    begin(door, "/topics/t/consume?offset=2&wait_ms=20000");
    assert_true(run(world, &door->answered, 1000) < 100);
    assert_true(door->answered);
}

static void waits_are_bounded_in_number(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, ""), *other = &world->nodes[0].door;
    struct rest_options options = rest_options_default();
    produce(world, "1");
    options.waits_max = 1;
    rest_free(door->rest);
    door->rest = rest_new(door->loop, world->nodes[1].engine, &options);
    struct rest *own = other->rest;
    begin(door, "/topics/t/consume?offset=2&wait_ms=20000");
    run(world, &door->answered, 1000);
    other->rest = door->rest;
    begin(other, "/topics/t/consume?offset=2&wait_ms=20000");
    run(world, &other->answered, 1000);
    assert_error(other, 503, "overloaded");
    assert_int_equal(door_get(other, "/topics/t/consume?offset=1"), 200); /* who does not wait is served */
    run(world, &door->answered, 30000);
    assert_true(door->answered);
    begin(other, "/topics/t/consume?offset=2&wait_ms=1000"); /* the place is free again */
    run(world, &other->answered, 5000);
    assert_int_equal(other->status, 200);
    other->rest = own;
}

static void bad_parameters_are_refused(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, "");
    static const struct {
        const char *target, *code;
        int status;
    } cases[] = {
        {"/topics/t/consume?wait_ms=x", "bad_wait", 400},
        {"/topics/t/consume?wait_ms=-1", "bad_wait", 400},
        {"/topics/t/consume?max_bytes=0", "bad_max_bytes", 400},
        {"/topics/t/consume?max_bytes=", "bad_max_bytes", 400},
        {"/topics/t/consume?partition=a", "bad_partition", 400},
        {"/topics/t/consume?partition=2147483648", "bad_partition", 400},
        {"/topics/t/consume?partition=1", "unknown_partition", 404},
    };
    produce(world, "1");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        door_get(door, cases[i].target);
        assert_error(door, cases[i].status, cases[i].code);
    }
    headers[0] = (struct rest_header){KP_SLICE_LIT("Accept"), KP_SLICE_LIT(EVENTS)};
    headers[1] = (struct rest_header){KP_SLICE_LIT("Last-Event-ID"), KP_SLICE_LIT("1x")};
    door->header_count = 2;
    door_get(door, "/topics/t/consume");
    assert_error(door, 400, "bad_offset");
}

static void max_bytes_bounds_an_answer_but_gives_one_message(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, "");
    for (int i = 0; i < 5; i++) {
        produce(world, "\"0123456789012345678901234567890123456789012345678901234567890123456789\"");
    }
    assert_int_equal(door_get(door, "/topics/t/consume?max_bytes=1"), 200);
    assert_non_null(strstr(door->body, "\"next_offset\":2}"));
    assert_int_equal(door_get(door, "/topics/t/consume?max_bytes=500"), 200);
    assert_true(door->body_len <= 500);
    assert_null(strstr(door->body, "\"next_offset\":2}"));
    assert_null(strstr(door->body, "\"next_offset\":6}"));
}

/* ---- lines ---- */

static void lines_bring_all_there_is_and_say_where_to_go_on(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, "text/html, " LINES ";q=0.9, */*");
    assert_int_equal(ask(world, 0, "POST", "/topics/t/produce", "{\"payload\":{\"a\":\n\r\n[1]}}"), 200);
    for (int i = 0; i < 150; i++) {
        produce(world, "7");
    }
    begin(door, "/topics/t/consume");
    run(world, &door->answered, 5000);
    assert_true(door->answered && door->begun);
    assert_string_equal(door->call.response.content_type, LINES);
    assert_ptr_equal(strstr(door->body, "{\"offset\":1,\"payload\":{\"a\":   [1]},\"timestamp\":"), door->body);
    assert_string_equal(strstr(door->body, "{\"next"), "{\"next_offset\":152}\n");
    size_t lines = 0;
    for (const char *at = door->body; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    assert_int_equal(lines, 152);
}

static void lines_wait_as_long_as_something_comes(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, LINES);
    produce(world, "1");
    begin(door, "/topics/t/consume?wait_ms=2000");
    for (int i = 0; i < 5; i++) {
        run(world, &door->answered, 1500);
        assert_false(door->answered);
        produce(world, "2");
    }
    assert_in_range(run(world, &door->answered, 20000), 1500, 3000);
    assert_non_null(strstr(door->body, "{\"offset\":6,"));
    assert_non_null(strstr(door->body, "{\"next_offset\":7}\n"));
}

static void lines_without_pieces_are_one_answer(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, LINES);
    door->streams = false;
    produce(world, "1");
    assert_int_equal(door_get(door, "/topics/t/consume"), 200);
    assert_non_null(strstr(door->body, "{\"offset\":1,\"payload\":1,"));
    assert_non_null(strstr(door->body, "}\n{\"next_offset\":2}\n"));
    assert_false(door->begun);
}

static void a_limit_ends_lines_and_events(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, LINES);
    for (int i = 0; i < 5; i++) {
        produce(world, "1");
    }
    begin(door, "/topics/t/consume?limit=3&wait_ms=60000");
    assert_true(run(world, &door->answered, 60000) < 1000);
    assert_non_null(strstr(door->body, "{\"offset\":3,"));
    assert_non_null(strstr(door->body, "{\"next_offset\":4}\n"));
    door = reader(world, EVENTS);
    begin(door, "/topics/t/consume?limit=7");
    run(world, &door->answered, 1000);
    assert_false(door->answered);
    produce(world, "6");
    produce(world, "7");
    produce(world, "8");
    run(world, &door->answered, 1000);
    assert_true(door->answered);
    assert_non_null(strstr(door->body, "id: 8\ndata: {\"offset\":7,"));
    assert_null(strstr(door->body, "data: {\"offset\":8,"));
}

/* ---- events ---- */

static void events_follow_the_partition(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, EVENTS);
    begin(door, "/topics/t/consume"); /* even before the topic is there */
    run(world, &door->answered, 1000);
    assert_true(door->begun && door->waits);
    assert_string_equal(door->body, "retry: 1000\n\n");
    assert_string_equal(door->call.response.content_type, EVENTS);
    assert_string_equal(door_header(door, "Cache-Control"), "no-store");
    for (int i = 1; i <= 3; i++) {
        char expected[64];
        produce(world, "{}");
        run(world, &door->answered, 1000);
        snprintf(expected, sizeof expected, "\n\nid: %d\ndata: {\"offset\":%d,\"payload\":{},", i + 1, i);
        assert_non_null(strstr(door->body, expected));
    }
    rest_call_hurry(&door->call);
    run(world, &door->answered, 1000);
    assert_true(door->answered);
}

static void a_silent_stream_of_events_says_that_it_lives(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, EVENTS);
    produce(world, "1");
    begin(door, "/topics/t/consume?offset=2");
    run(world, &door->answered, 14000);
    assert_null(strstr(door->body, "ping"));
    run(world, &door->answered, 2000);
    assert_non_null(strstr(door->body, ": ping\nid: 2\n\n"));
    unsigned before = door->pieces;
    run(world, &door->answered, 30000);
    assert_int_equal(door->pieces, before + 2);
    rest_drain(door->rest);
    run(world, &door->answered, 1000);
    assert_true(door->answered);
}

static void events_resume_where_the_client_has_been(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, EVENTS);
    for (int i = 0; i < 5; i++) {
        produce(world, "1");
    }
    headers[1] = (struct rest_header){KP_SLICE_LIT("last-event-id"), KP_SLICE_LIT("4")};
    door->header_count = 2;
    begin(door, "/topics/t/consume?offset=1&limit=2");
    run(world, &door->answered, 5000);
    assert_null(strstr(door->body, "\"offset\":3,"));
    assert_non_null(strstr(door->body, "id: 5\ndata: {\"offset\":4,"));
    assert_non_null(strstr(door->body, "id: 6\ndata: {\"offset\":5,"));
    headers[1].value = KP_SLICE_LIT(""); /* what a client has that was never told an id */
    begin(door, "/topics/t/consume?offset=5&limit=1");
    run(world, &door->answered, 5000);
    assert_non_null(strstr(door->body, "data: {\"offset\":5,"));
}

static void events_without_pieces_are_a_poll_that_resumes(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, EVENTS);
    door->streams = false;
    produce(world, "1");
    assert_int_equal(door_get(door, "/topics/t/consume"), 200);
    assert_non_null(strstr(door->body, "retry: 1000\n\nid: 2\ndata: {\"offset\":1,"));
    begin(door, "/topics/t/consume?offset=2");
    assert_in_range(run(world, &door->answered, 60000), 20000, 20100);
    assert_string_equal(door->body, "retry: 1000\n\nid: 2\n\n");
}

static void a_stream_ends_with_its_topic_and_with_its_time(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, EVENTS);
    produce(world, "1");
    begin(door, "/topics/t/consume");
    run(world, &door->answered, 1000);
    assert_false(door->answered);
    kafka_delete(world, "t");
    run(world, &door->answered, 5000);
    assert_true(door->answered);
    produce(world, "1");
    begin(door, "/topics/t/consume");
    assert_in_range(run(world, &door->answered, 2 * 3600 * 1000), 3599 * 1000, 3601 * 1000);
}

static void pieces_wait_until_there_is_room(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, EVENTS);
    door->no_room = true;
    produce(world, "1");
    begin(door, "/topics/t/consume");
    run(world, &door->answered, 2000);
    unsigned before = door->pieces;
    for (int i = 0; i < 10; i++) {
        produce(world, "1");
        run(world, &door->answered, 20000);
    }
    assert_int_equal(door->pieces, before);
    door->no_room = false;
    rest_call_resume(&door->call);
    run(world, &door->answered, 1000);
    assert_non_null(strstr(door->body, "\"offset\":11,"));
    door->no_room = true;
    produce(world, "1");
    run(world, &door->answered, 1000);
    rest_call_hurry(&door->call); /* gone while there was no room */
    run(world, &door->answered, 1000);
    assert_true(door->answered);
}

/* Much more than one piece: each is bounded, nothing is lost between them. */
static void a_long_history_comes_in_bounded_pieces(void **state) {
    struct world *world = *state;
    struct door *door = reader(world, LINES);
    char *body = malloc(300 * 1024), *text = malloc(4096);
    assert_true(body != NULL && text != NULL);
    memset(text, 'x', 4095);
    text[4095] = 0;
    for (int i = 0; i < 10; i++) {
        size_t len = (size_t)snprintf(body, 64, "{\"messages\":[");
        for (int n = 0; n < 60; n++) {
            len += (size_t)snprintf(body + len, 5000, "%s{\"payload\":\"%s\"}", n > 0 ? "," : "", text);
        }
        memcpy(body + len, "]}", 3);
        assert_int_equal(ask(world, 0, "POST", "/topics/t/produce", body), 200);
    }
    free(body);
    free(text);
    begin(door, "/topics/t/consume");
    run(world, &door->answered, 5000);
    assert_true(door->answered);
    assert_true(door->pieces >= 8);
    const char *at = door->body;
    for (int i = 1; i <= 600; i++) {
        char expected[32];
        int len = snprintf(expected, sizeof expected, "{\"offset\":%d,", i);
        assert_int_equal(strncmp(at, expected, (size_t)len), 0);
        at = strchr(at, '\n') + 1;
    }
    assert_string_equal(at, "{\"next_offset\":601}\n");
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_poll_at_the_end_waits_for_the_next_record),
        CASE(a_poll_is_answered_empty_when_its_time_is_over),
        CASE(a_poll_waits_at_most_a_minute),
        CASE(a_poll_for_a_topic_that_does_not_exist_yet_sees_it_come),
        CASE(a_callers_own_timeout_ends_the_wait_in_time),
        CASE(a_poll_that_is_hurried_is_answered_at_once),
        CASE(waits_are_bounded_in_number),
        CASE(bad_parameters_are_refused),
        CASE(max_bytes_bounds_an_answer_but_gives_one_message),
        CASE(lines_bring_all_there_is_and_say_where_to_go_on),
        CASE(lines_wait_as_long_as_something_comes),
        CASE(lines_without_pieces_are_one_answer),
        CASE(a_limit_ends_lines_and_events),
        CASE(events_follow_the_partition),
        CASE(a_silent_stream_of_events_says_that_it_lives),
        CASE(events_resume_where_the_client_has_been),
        CASE(events_without_pieces_are_a_poll_that_resumes),
        CASE(a_stream_ends_with_its_topic_and_with_its_time),
        CASE(pieces_wait_until_there_is_room),
        CASE(a_long_history_comes_in_bounded_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

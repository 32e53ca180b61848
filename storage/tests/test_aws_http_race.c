/* Requests that are cancelled, and requests that race each other, against a real server on loopback. */
#include "storage/tests/http_server.h"

#include "storage/backends/aws/http_race.h"

#define GOOD "HTTP/1.1 200 OK\r\nx-amz-request-id: %u\r\nContent-Length: 4\r\n\r\ngood"
#define BUSY "HTTP/1.1 503 Slow Down\r\nContent-Length: 4\r\n\r\nbusy"
#define GONE "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"

enum { LARGE = 300 * 1000, SILENCE_MS = 20, CONNECTIONS = 8 };

/* What the server does on each connection, in the order in which they are made. */
enum act {
    ANSWERS, ANSWERS_LATER, IS_BUSY, IS_BUSY_LATER, FINDS_NOTHING, RESETS, RESETS_LATER, IS_SILENT, WAITS_FOR_GO
};

static enum act script[CONNECTIONS];
static uint8_t sent[LARGE];
static atomic_uint same_bytes, closed_by_us;

static void say_good(struct peer *peer) {
    char text[sizeof GOOD + 16];
    snprintf(text, sizeof text, GOOD, peer->number);
    peer_say(peer, text);
}

static void act(struct peer *peer) {
    while (peer_read_request(peer)) {
        same_bytes += peer->body_len == LARGE && memcmp(peer->body, sent, LARGE) == 0;
        const enum act what = script[peer->number - 1];
        if (what == ANSWERS_LATER || what == IS_BUSY_LATER || what == RESETS_LATER) {
            usleep(5 * SILENCE_MS * 1000);
        }
        switch (what) {
        case ANSWERS:
        case ANSWERS_LATER:
            say_good(peer);
            break;
        case IS_BUSY:
        case IS_BUSY_LATER:
            peer_say(peer, BUSY);
            break;
        case FINDS_NOTHING:
            peer_say(peer, GONE);
            break;
        case RESETS:
        case RESETS_LATER:
            peer_reset(peer);
            return;
        case IS_SILENT:
            peer_wait_for_end(peer);
            closed_by_us++;
            return;
        case WAITS_FOR_GO:
            peer_wait_for_go(peer);
            say_good(peer);
            break;
        }
    }
}

static void serve(struct world *world, const enum act *acts, size_t count) {
    memcpy(script, acts, count * sizeof *acts);
    same_bytes = 0;
    closed_by_us = 0;
    world_serve(world, act);
}
#define SERVE(world, ...)                                                                                              \
    serve(world, (const enum act[]){__VA_ARGS__}, sizeof((const enum act[]){__VA_ARGS__}) / sizeof(enum act))

/* ---- races ---- */

struct runner {
    struct st_http_race race;
    struct world *world;
    char url[100];
    bool allowed;
    unsigned asked, done;
};

static bool may(struct st_http_race *race) {
    struct runner *runner = ST_OWNER(race, struct runner, race);
    runner->asked++;
    return runner->allowed;
}

static void race_done(struct st_http_race *race) {
    struct runner *runner = ST_OWNER(race, struct runner, race);
    runner->done++;
    if (--runner->world->left == 0) {
        world_stop(runner->world);
    }
}

static void race_init(struct runner *runner, struct world *world, int64_t again_ms) {
    static const char *const headers[] = {"x-header: value"};
    for (size_t i = 0; i < LARGE; i++) {
        sent[i] = (uint8_t)(i * i >> 3);
    }
    *runner = (struct runner){.world = world, .allowed = true, .race = {
        .request = {.method = "PUT", .url = runner->url, .headers = headers, .header_count = 1, .timeout_ms = 20000,
                    .body = kp_slice_of(sent, LARGE), .answer_max = 100},
        .again_ms = again_ms, .may = may, .done = race_done}};
    snprintf(runner->url, sizeof runner->url, "http://127.0.0.1:%u/object", world->server->port);
}

static void race_start(struct runner *runner) {
    runner->world->left++;
    st_http_race_start(runner->world->loop, runner->world->client, &runner->race);
    assert_int_equal(runner->done, 0);
}

static void race_run(struct runner *runner) {
    race_start(runner);
    world_run(runner->world);
    assert_int_equal(runner->done, 1);
}

static void check_end(const struct runner *runner, enum st_http_end end, int status, const char *answer) {
    const struct st_http_request *request = &runner->race.request;
    if (request->end != end || request->status != status) {
        fail_msg("ended %d with status %d: %s", (int)request->end, request->status, request->reason);
    }
    assert_int_equal(request->answer.len, strlen(answer));
    assert_memory_equal(request->answer.ptr, answer, request->answer.len);
}

/* Until the server has seen the end of `count` silent connections. */
static void wait_for_closed(unsigned count) {
    for (int i = 0; i < 10000 && closed_by_us < count; i++) {
        usleep(1000);
    }
    assert_int_equal(closed_by_us, count);
}

static void one_that_is_answered_in_time_is_sent_once(void **state) {
    struct world *world = *state;
    SERVE(world, ANSWERS);
    static const int64_t again_ms[] = {10000, -1};
    for (size_t i = 0; i < 2; i++) {
        struct runner runner;
        race_init(&runner, world, again_ms[i]);
        race_run(&runner);
        check_end(&runner, ST_HTTP_ANSWERED, 200, "good");
        assert_false(runner.race.late);
        assert_false(runner.race.twice);
        assert_int_equal(runner.asked, 0);
        assert_int_equal(world->server->requests, i + 1);
        st_http_race_release(&runner.race);
    }
}

static void when_the_first_is_silent_the_second_wins_with_the_same_bytes(void **state) {
    struct world *world = *state;
    SERVE(world, IS_SILENT, ANSWERS);
    struct runner runner;
    race_init(&runner, world, SILENCE_MS);
    race_run(&runner);
    check_end(&runner, ST_HTTP_ANSWERED, 200, "good");
    assert_string_equal(runner.race.request.request_id, "2");
    assert_true(runner.race.late);
    assert_true(runner.race.twice);
    assert_int_equal(runner.race.other.end, ST_HTTP_LOST);
    assert_int_equal(runner.race.request.timeout_ms, 20000);
    assert_int_equal(runner.asked, 1);
    wait_for_closed(1);
    assert_int_equal(world->server->requests, 2);
    assert_int_equal(same_bytes, 2);
    st_http_race_release(&runner.race);
    race_init(&runner, world, 10000); /* the second's connection is good for more */
    race_run(&runner);
    assert_true(runner.race.request.reused);
    st_http_race_release(&runner.race);
}

static void the_first_may_win_against_a_second_that_is_silent(void **state) {
    struct world *world = *state;
    SERVE(world, ANSWERS_LATER, IS_SILENT);
    struct runner runner;
    race_init(&runner, world, SILENCE_MS);
    race_run(&runner);
    check_end(&runner, ST_HTTP_ANSWERED, 200, "good");
    assert_string_equal(runner.race.request.request_id, "1");
    assert_true(runner.race.twice);
    wait_for_closed(1);
    st_http_race_release(&runner.race);
}

static void at_once_means_that_both_are_under_way_from_the_start(void **state) {
    struct world *world = *state;
    SERVE(world, WAITS_FOR_GO, WAITS_FOR_GO);
    struct runner runner;
    race_init(&runner, world, 0);
    race_start(&runner);
    while (world->server->requests < 2) {
        world_step(world);
        usleep(100);
    }
    world->server->go = true;
    usleep(SILENCE_MS * 1000); /* both answers are there: the second ends untold, too */
    world_run(world);
    check_end(&runner, ST_HTTP_ANSWERED, 200, "good");
    assert_int_equal(runner.race.other.end, ST_HTTP_LOST);
    assert_int_equal(same_bytes, 2);
    st_http_race_release(&runner.race);
}

/* What each of two does, and what is told of both; who is silent is so until its time is up. */
static void what_is_told_is_the_better_of_two_answers_or_the_worse_of_two_failures(void **state) {
    static const struct {
        enum act first, second;
        enum st_http_end end;
        int status;
        const char *answer;
        enum st_http_end other;
    } cases[] = {
        {ANSWERS_LATER, RESETS, ST_HTTP_ANSWERED, 200, "good", ST_HTTP_LOST},
        {ANSWERS_LATER, IS_BUSY, ST_HTTP_ANSWERED, 200, "good", ST_HTTP_ANSWERED},
        {RESETS_LATER, ANSWERS, ST_HTTP_ANSWERED, 200, "good", ST_HTTP_LOST},
        {IS_BUSY, ANSWERS_LATER, ST_HTTP_ANSWERED, 200, "good", ST_HTTP_ANSWERED},
        {RESETS, RESETS_LATER, ST_HTTP_LOST, 0, "", ST_HTTP_LOST},
        {IS_SILENT, IS_SILENT, ST_HTTP_LOST, 0, "", ST_HTTP_LOST},
        {IS_BUSY, RESETS_LATER, ST_HTTP_LOST, 0, "", ST_HTTP_ANSWERED},
        {RESETS_LATER, IS_BUSY, ST_HTTP_LOST, 0, "", ST_HTTP_ANSWERED},
        {IS_BUSY_LATER, RESETS, ST_HTTP_LOST, 0, "", ST_HTTP_ANSWERED},
        {IS_BUSY_LATER, FINDS_NOTHING, ST_HTTP_ANSWERED, 503, "busy", ST_HTTP_ANSWERED},
        {FINDS_NOTHING, IS_BUSY_LATER, ST_HTTP_ANSWERED, 503, "busy", ST_HTTP_ANSWERED},
    };
    struct world *world = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const bool ends_at_once = cases[i].first == IS_BUSY || cases[i].first == RESETS ||
                                  cases[i].first == FINDS_NOTHING;
        const struct st_http_options options = st_http_options_default();
        world_open_client(world, &options);
        SERVE(world, cases[i].first, cases[i].second);
        struct runner runner;
        race_init(&runner, world, ends_at_once ? 0 : SILENCE_MS);
        runner.race.request.timeout_ms = cases[i].first == IS_SILENT ? 200 : 20000;
        race_start(&runner);
        world_run(world);
        assert_int_equal(runner.done, 1);
        check_end(&runner, cases[i].end, cases[i].status, cases[i].answer);
        assert_true(runner.race.twice);
        assert_int_equal(runner.race.other.end, cases[i].other);
        st_http_race_release(&runner.race);
        world_close_client(world);
        server_stop(world->server);
        world->server = NULL;
    }
}

static void what_was_not_sent_is_told_only_if_neither_was(void **state) {
    struct world *world = *state;
    struct st_http_options options = st_http_options_default();
    options.connections_max = 1; /* the second waits in vain */
    world_open_client(world, &options);
    SERVE(world, IS_SILENT);
    struct runner runner;
    race_init(&runner, world, SILENCE_MS);
    runner.race.request.timeout_ms = 100;
    race_run(&runner);
    check_end(&runner, ST_HTTP_LOST, 0, "");
    st_http_race_release(&runner.race);
    snprintf(runner.url, sizeof runner.url, "ftp://127.0.0.1");
    runner.done = 0;
    runner.race.again_ms = 0;
    race_run(&runner);
    check_end(&runner, ST_HTTP_NOT_SENT, 0, "");
    st_http_race_release(&runner.race);
}

static void an_end_before_the_second_is_due_is_the_races_end(void **state) {
    struct world *world = *state;
    SERVE(world, RESETS, IS_BUSY);
    struct runner runner;
    race_init(&runner, world, 10000);
    race_run(&runner);
    check_end(&runner, ST_HTTP_LOST, 0, "");
    st_http_race_release(&runner.race);
    runner.done = 0;
    race_run(&runner);
    check_end(&runner, ST_HTTP_ANSWERED, 503, "busy");
    assert_int_equal(runner.asked, 0);
    st_http_race_release(&runner.race);
}

static void who_may_not_is_not_sent_again(void **state) {
    struct world *world = *state;
    SERVE(world, ANSWERS_LATER);
    for (int64_t again_ms = 0; again_ms <= SILENCE_MS; again_ms += SILENCE_MS) {
        struct runner runner;
        race_init(&runner, world, again_ms);
        runner.allowed = false;
        race_run(&runner);
        check_end(&runner, ST_HTTP_ANSWERED, 200, "good");
        assert_int_equal(runner.asked, 1);
        assert_true(runner.race.late);
        assert_false(runner.race.twice);
        st_http_race_release(&runner.race);
    }
    assert_int_equal(world->server->requests, 2);
}

static void what_is_read_into_a_buffer_is_never_sent_twice(void **state) {
    struct world *world = *state;
    SERVE(world, ANSWERS);
    uint8_t into[4];
    struct runner runner;
    race_init(&runner, world, 0);
    runner.race.request.into = into;
    runner.race.request.into_size = sizeof into;
    race_run(&runner);
    assert_memory_equal(into, "good", 4);
    assert_int_equal(runner.race.request.into_len, 4);
    assert_int_equal(runner.asked, 0);
    st_http_race_release(&runner.race);
}

static void no_time_left_means_no_second(void **state) {
    struct world *world = *state;
    SERVE(world, IS_SILENT);
    struct runner runner;
    race_init(&runner, world, 50);
    runner.race.request.timeout_ms = 50;
    race_run(&runner);
    check_end(&runner, ST_HTTP_LOST, 0, "");
    assert_false(runner.race.twice);
    st_http_race_release(&runner.race);
}

static void a_client_that_closes_ends_the_race(void **state) {
    struct world *world = *state;
    SERVE(world, IS_SILENT, IS_SILENT, IS_SILENT);
    struct runner runners[2]; /* one with both under way, the other with its second still to come */
    race_init(&runners[0], world, 0);
    race_init(&runners[1], world, 10000);
    race_start(&runners[0]);
    race_start(&runners[1]);
    while (world->server->requests < 3) {
        world_step(world);
        usleep(100);
    }
    world_close_client(world);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(runners[i].done, 1);
        check_end(&runners[i], ST_HTTP_LOST, 0, "");
        assert_int_equal(runners[i].race.twice, i == 0);
        st_http_race_release(&runners[i].race);
    }
    assert_int_equal(world->left, 0);
}

/* ---- cancel ---- */

static void a_request_that_is_cancelled_is_forgotten_and_its_connection_closed(void **state) {
    struct world *world = *state;
    SERVE(world, IS_SILENT, ANSWERS);
    uint8_t *body = calloc(1, LARGE);
    struct call call;
    call_init(&call, world, "PUT", "/");
    call.request.body = kp_slice_of(body, LARGE);
    call_start(&call);
    while (world->server->requests == 0) {
        world_step(world);
        usleep(100);
    }
    st_http_cancel(world->client, &call.request);
    free(body); /* the sanitizer would see libcurl read it now */
    wait_for_closed(1);
    assert_int_equal(st_metrics.store_http_requests, 0);
    assert_int_equal(st_metrics.store_http_connections, 0);
    world->left = 0;
    get_ends(world, "/", ST_HTTP_ANSWERED);
    assert_int_equal(call.done, 0);
}

static void one_that_waits_can_be_cancelled_and_one_that_is_lets_others_begin(void **state) {
    struct world *world = *state;
    struct st_http_options options = st_http_options_default();
    options.connections_max = 1;
    world_open_client(world, &options);
    SERVE(world, IS_SILENT, ANSWERS);
    struct call calls[5];
    for (unsigned i = 0; i < 5; i++) {
        call_init(&calls[i], world, "GET", "/");
        call_start(&calls[i]);
    }
    st_http_cancel(world->client, &calls[4].request); /* the last that waits */
    st_http_cancel(world->client, &calls[1].request); /* the first */
    while (world->server->requests == 0) {
        world_step(world);
        usleep(100);
    }
    assert_int_equal(world->server->connections, 1);
    st_http_cancel(world->client, &calls[0].request);
    world->left = 2;
    world_run(world);
    for (unsigned i = 0; i < 5; i++) {
        const bool ran = i == 2 || i == 3;
        assert_int_equal(calls[i].done, ran);
        if (ran) {
            assert_int_equal(calls[i].request.end, ST_HTTP_ANSWERED);
            call_release(&calls[i]);
        }
    }
    assert_int_equal(world->server->requests, 3);
    assert_int_equal(st_metrics.store_http_requests, 0);
}

static void one_that_has_ended_untold_is_not_told_any_more(void **state) {
    struct world *world = *state;
    SERVE(world, ANSWERS);
    for (unsigned left_out = 0; left_out < 8; left_out++) { /* those whose bit is set */
        struct call calls[3];
        for (unsigned i = 0; i < 3; i++) {
            call_init(&calls[i], world, "GET", "/");
            calls[i].request.url = "nothing that can be sent";
            call_start(&calls[i]);
        }
        world->left = 0;
        for (unsigned i = 0; i < 3; i++) {
            if ((left_out >> i & 1) != 0) {
                st_http_cancel(world->client, &calls[i].request);
            } else {
                world->left++;
            }
        }
        struct call last; /* goes behind what is left */
        call_init(&last, world, "GET", "/");
        last.request.url = "nothing either";
        call_start(&last);
        world_run(world);
        assert_int_equal(last.done, 1);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(calls[i].done, (left_out >> i & 1) == 0);
        }
    }
    assert_int_equal(st_metrics.store_http_requests, 0);
}

struct pair {
    struct call one, other;
    struct st_http_client *client;
    bool closes;
};

/* Whichever of the two is told first keeps the other from being told. */
static void cancel_other(struct st_http_request *request) {
    struct call *call = ST_OWNER(request, struct call, request);
    const bool is_one = strcmp(request->method, "GET") == 0;
    struct pair *pair = is_one ? ST_OWNER(call, struct pair, one) : ST_OWNER(call, struct pair, other);
    if (pair->closes) {
        st_http_client_close(call->world->client, world_closed, call->world);
        call->world->client = NULL;
    }
    st_http_cancel(pair->client, is_one ? &pair->other.request : &pair->one.request);
    call->world->left--;
    call_done(request);
}

static void who_is_told_may_cancel_another_even_of_a_client_that_closes(void **state) {
    struct world *world = *state;
    SERVE(world, ANSWERS, IS_SILENT, IS_SILENT);
    for (unsigned round = 0; round < 4; round++) {
        if (world->client == NULL) {
            const struct st_http_options options = st_http_options_default();
            world_open_client(world, &options);
        }
        const bool both_ended = round % 2 == 1; /* else the other is inside libcurl */
        struct pair pair = {.closes = round >= 2, .client = world->client};
        call_init(&pair.one, world, "GET", "/");
        call_init(&pair.other, world, "POST", "/");
        pair.one.request.done = cancel_other;
        pair.other.request.done = cancel_other;
        if (both_ended) {
            pair.one.request.url = "nothing that can be sent";
            pair.other.request.url = pair.one.request.url;
        }
        world->closed = false;
        call_start(&pair.one);
        call_start(&pair.other);
        world_run(world);
        while (pair.closes && !world->closed) {
            world_go_on(world);
        }
        assert_int_equal(pair.one.done, 1);
        assert_int_equal(pair.other.done, 0);
        call_release(&pair.one);
    }
}

static void the_answer_of_one_that_is_cancelled_is_released(void **state) {
    struct world *world = *state;
    SERVE(world, WAITS_FOR_GO, WAITS_FOR_GO);
    struct pair pair = {.client = world->client};
    call_init(&pair.one, world, "GET", "/");
    call_init(&pair.other, world, "POST", "/");
    pair.one.request.done = cancel_other;
    pair.other.request.done = cancel_other;
    call_start(&pair.one);
    call_start(&pair.other);
    while (world->server->requests < 2) {
        world_step(world);
        usleep(100);
    }
    world->server->go = true;
    usleep(SILENCE_MS * 1000); /* both answers are there, and are taken in one turn of the loop */
    world_run(world);
    struct call *told = pair.one.done > 0 ? &pair.one : &pair.other;
    struct call *cancelled = pair.one.done > 0 ? &pair.other : &pair.one;
    assert_int_equal(cancelled->done, 0);
    assert_null(cancelled->request.answer.ptr);
    call_release(told);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(one_that_is_answered_in_time_is_sent_once),
        TEST(when_the_first_is_silent_the_second_wins_with_the_same_bytes),
        TEST(the_first_may_win_against_a_second_that_is_silent),
        TEST(at_once_means_that_both_are_under_way_from_the_start),
        TEST(what_is_told_is_the_better_of_two_answers_or_the_worse_of_two_failures),
        TEST(what_was_not_sent_is_told_only_if_neither_was),
        TEST(an_end_before_the_second_is_due_is_the_races_end),
        TEST(who_may_not_is_not_sent_again),
        TEST(what_is_read_into_a_buffer_is_never_sent_twice),
        TEST(no_time_left_means_no_second),
        TEST(a_client_that_closes_ends_the_race),
        TEST(a_request_that_is_cancelled_is_forgotten_and_its_connection_closed),
        TEST(one_that_waits_can_be_cancelled_and_one_that_is_lets_others_begin),
        TEST(one_that_has_ended_untold_is_not_told_any_more),
        TEST(who_is_told_may_cancel_another_even_of_a_client_that_closes),
        TEST(the_answer_of_one_that_is_cancelled_is_released),
    };
    return RUN_ON_BOTH_DRIVERS(tests);
}

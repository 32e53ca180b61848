/* The HTTP client against a real server on loopback: what arrives, and how each request ends. */
#include "storage/tests/http_server.h"

enum { LARGE = 8 * 1024 * 1024 };

/* ---- what is sent and received ---- */

static void heads_go_out_as_they_stand(void **state) {
    struct world *world = *state;
    world_serve(world, echo_head);
    static const char *const headers[] = {"x-b: two", "x-empty:", "Authorization: A, B=/c", "x-blank: "};
    struct call call;
    call_init(&call, world, "GET", "/a/../b/./c//d%2f%2F%7e~?x=%20+&y=[]{}|\"&z");
    call.request.headers = headers;
    call.request.header_count = 4;
    call_run(&call);
    assert_int_equal(call.request.end, ST_HTTP_ANSWERED);
    assert_int_equal(call.request.status, 200);
    char want[500];
    snprintf(want, sizeof want,
             "GET /a/../b/./c//d%%2f%%2F%%7e~?x=%%20+&y=[]{}|\"&z HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nx-b: two\r\n"
             "x-empty:\r\nAuthorization: A, B=/c\r\nx-blank:\r\n",
             world->server->port);
    assert_string_equal((const char *)call.request.answer.ptr, want);
    call_release(&call);
}

static void each_method_has_its_length_and_nothing_that_nobody_asked_for(void **state) {
    static const struct {
        const char *method, *body, *want;
    } cases[] = {
        {"GET", NULL, ""},
        {"DELETE", NULL, ""},
        {"POST", "{}", "Content-Length: 2\r\n"},
        {"PUT", "12345", "Content-Length: 5\r\n"},
        {"PUT", NULL, "Content-Length: 0\r\n"},
        {"POST", "", "Content-Length: 0\r\n"},
        {"DELETE", "x", "Content-Length: 1\r\n"},
    };
    struct world *world = *state;
    world_serve(world, echo_head);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct call call;
        call_init(&call, world, cases[i].method, "/");
        if (cases[i].body != NULL) {
            call.request.body = kp_slice_cstr(cases[i].body);
        }
        call_run(&call);
        char want[200];
        snprintf(want, sizeof want, "%s / HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%s", cases[i].method, world->server->port,
                 cases[i].want);
        assert_string_equal((const char *)call.request.answer.ptr, want);
        assert_int_equal(call.request.reused, i > 0);
        call_release(&call);
    }
    assert_int_equal(world->server->connections, 1);
}

static void the_answer_to_head_has_no_body(void **state) {
    struct world *world = *state;
    world_serve(world, echo_head);
    for (unsigned i = 0; i < 2; i++) {
        struct call call;
        call_init(&call, world, "HEAD", "/");
        call_run(&call);
        assert_int_equal(call.request.end, ST_HTTP_ANSWERED);
        assert_int_equal(call.request.answer.len, 0);
        assert_int_equal(call.request.reused, i);
        call_release(&call);
    }
}

static void a_type_of_the_callers_own_is_sent_once(void **state) {
    struct world *world = *state;
    world_serve(world, echo_head);
    static const char *const headers[] = {"content-type: application/x-amz-json-1.0"};
    struct call call;
    call_init(&call, world, "POST", "/");
    call.request.headers = headers;
    call.request.header_count = 1;
    call.request.body = KP_SLICE_LIT("{}");
    call_run(&call);
    char want[200];
    snprintf(want, sizeof want,
             "POST / HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Length: 2\r\n"
             "content-type: application/x-amz-json-1.0\r\n", world->server->port);
    const char *got = (const char *)call.request.answer.ptr;
    assert_int_equal(strlen(got), strlen(want)); /* in whatever order */
    assert_non_null(strstr(got, "\r\nContent-Length: 2\r\n"));
    assert_non_null(strstr(got, "\r\ncontent-type: application/x-amz-json-1.0\r\n"));
    call_release(&call);
}

static void fill(uint8_t *bytes, size_t len) {
    uint32_t x = 1;
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(x >> 24);
    }
}

static void eight_mebibytes_go_up_and_come_down_the_same(void **state) {
    struct world *world = *state;
    world_serve(world, echo_body);
    uint8_t *up = malloc(LARGE), *down = malloc(LARGE);
    fill(up, LARGE);
    static const size_t sizes[] = {1, 65535, 65536, 70000, 300000, LARGE};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const uint64_t sent = st_metrics.store_http_sent_bytes_total,
                       received = st_metrics.store_http_received_bytes_total;
        struct call call;
        memset(down, 0, sizes[i]);
        call_init(&call, world, "PUT", "/object");
        call.request.body = kp_slice_of(up, sizes[i]);
        call.request.into = down;
        call.request.into_size = sizes[i];
        call.request.stall_ms = 5000;
        call_run(&call);
        assert_int_equal(call.request.end, ST_HTTP_ANSWERED);
        assert_int_equal(call.request.into_len, sizes[i]);
        assert_memory_equal(up, down, sizes[i]);
        assert_int_equal(call.request.answer.len, 0);
        assert_int_equal(st_metrics.store_http_sent_bytes_total - sent, sizes[i]);
        assert_int_equal(st_metrics.store_http_received_bytes_total - received, sizes[i]);
        call_release(&call);
    }
    assert_int_equal(world->server->connections, 1);
    free(up);
    free(down);
}

static void answer_head(struct peer *peer) {
    while (peer_read_request(peer)) {
        peer_say(peer, "HTTP/1.1 100 Continue\r\nDate: Thu, 01 Jan 1970 00:00:09 GMT\r\n\r\n"
                       "HTTP/1.1 503 Slow Down\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-AFTER:  7\r\n"
                       "x-amz-request-id: ABC/123=\r\nContent-Length: 5\r\nX: y\r\n\r\nwords");
    }
}

static void the_head_of_the_final_answer_is_told(void **state) {
    struct world *world = *state;
    world_serve(world, answer_head);
    uint8_t into[100];
    struct call call;
    call_init(&call, world, "GET", "/");
    call.request.into = into; /* an error's body goes into `answer` all the same */
    call.request.into_size = 2;
    call_run(&call);
    assert_int_equal(call.request.end, ST_HTTP_ANSWERED);
    assert_int_equal(call.request.status, 503);
    assert_int_equal(call.request.date_ms, INT64_C(784111777000));
    assert_int_equal(call.request.retry_after_ms, 7000);
    assert_string_equal(call.request.request_id, "ABC/123=");
    assert_string_equal((const char *)call.request.answer.ptr, "words");
    assert_int_equal(call.request.into_len, 0);
    call_release(&call);
}

/* Chunks first, and then a length: libcurl 8.5.0, as in Ubuntu 24.04, leaks trailers when chunks follow. */
static void answer_chunks(struct peer *peer) {
    if (peer_read_request(peer)) {
        peer_say(peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        peer_say(peer, "7;x=y\r\n, world\r\n0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n");
    }
    while (peer_read_request(peer)) {
        peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello, world");
    }
}

static void chunks_are_put_together_and_trailers_say_nothing(void **state) {
    struct world *world = *state;
    world_serve(world, answer_chunks);
    for (unsigned i = 0; i < 2; i++) {
        struct call call;
        call_init(&call, world, "GET", "/");
        call_run(&call);
        assert_int_equal(call.request.end, ST_HTTP_ANSWERED);
        assert_string_equal((const char *)call.request.answer.ptr, "hello, world");
        assert_int_equal(call.request.date_ms, 0);
        assert_int_equal(call.request.reused, i);
        call_release(&call);
    }
}

static void answer_gzip(struct peer *peer) {
    while (peer_read_request(peer)) {
        peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd");
    }
}

static void redirect(struct peer *peer) {
    while (peer_read_request(peer)) {
        peer_say(peer, "HTTP/1.1 307 Go\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
    }
}

static void contents_are_not_decoded(void **state) {
    struct world *world = *state;
    world_serve(world, answer_gzip);
    struct call call;
    call_init(&call, world, "GET", "/");
    call_run(&call);
    assert_string_equal((const char *)call.request.answer.ptr, "abcd");
    call_release(&call);
}

static void redirects_are_not_followed_and_no_proxy_is_asked(void **state) {
    struct world *world = *state;
    world_serve(world, redirect);
    setenv("http_proxy", "http://127.0.0.1:1/", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1/", 1);
    struct call call;
    call_init(&call, world, "GET", "/");
    call_run(&call);
    assert_int_equal(call.request.status, 307);
    assert_int_equal(world->server->requests, 1);
    assert_string_equal((const char *)call.request.answer.ptr, "");
    call_release(&call);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
}

/* ---- how requests end ---- */

/* The target says what the server does. */
static void misbehave(struct peer *peer) {
    while (peer_read_request(peer)) {
        const char *what = strchr(peer->head, '/') + 1;
        if (strncmp(what, "good ", 5) == 0) {
            peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            continue;
        }
        if (strncmp(what, "reset ", 6) == 0) {
            peer_reset(peer);
        } else if (strncmp(what, "half-head ", 10) == 0) {
            peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Le");
        } else if (strncmp(what, "half-body ", 10) == 0) {
            peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        } else if (strncmp(what, "half-chunk ", 11) == 0) {
            peer_say(peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf");
        } else if (strncmp(what, "no-last-chunk ", 14) == 0) {
            peer_say(peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        } else if (strncmp(what, "only-100 ", 9) == 0) {
            peer_say(peer, "HTTP/1.1 100 Continue\r\n\r\n");
        } else if (strncmp(what, "rubbish ", 8) == 0) {
            peer_say(peer, "220 mail.example.org\r\n\r\n");
        } else if (strncmp(what, "negative ", 9) == 0) {
            peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello");
        } else if (strncmp(what, "heads ", 6) == 0) {
            peer_say(peer, "HTTP/1.1 200 OK\r\n");
            while (peer_say(peer, "X-Head: 0123456789012345678901234567890123456789\r\n")) {
            }
        } else if (strncmp(what, "one-head ", 9) == 0) {
            peer_say(peer, "HTTP/1.1 200 OK\r\nX: ");
            while (peer_say(peer, "0123456789012345678901234567890123456789")) {
            }
        } else if (strncmp(what, "heads-100 ", 10) == 0) {
            while (peer_say(peer, "HTTP/1.1 100 Continue\r\nX: y\r\n\r\n")) {
            }
        } else if (strncmp(what, "body ", 5) == 0) {
            peer_say(peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while (peer_say(peer, "a\r\n0123456789\r\n")) {
            }
        } else if (strncmp(what, "long-length ", 12) == 0) {
            peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n");
            while (peer_say(peer, "0123456789")) {
            }
        } else if (strncmp(what, "too-much ", 9) == 0) {
            peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more that nobody asked for");
            peer_wait_for_end(peer);
        } else if (strncmp(what, "silent ", 7) == 0) {
            peer_wait_for_end(peer);
        } else if (strncmp(what, "until-end ", 10) == 0) {
            peer_say(peer, "HTTP/1.1 200 OK\r\n\r\nall of it");
        }
        return;
    }
}

static void what_was_sent_and_not_answered_whole_is_lost(void **state) {
    struct world *world = *state;
    world_serve(world, misbehave);
    static const char *const targets[] = {"/reset",         "/half-head", "/half-body", "/half-chunk",
                                          "/no-last-chunk", "/only-100",  "/rubbish",   "/end"};
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        get_ends(world, targets[i], ST_HTTP_LOST);
        assert_int_equal(world->server->requests, 2 * i + 1);
        get_ends(world, "/good", ST_HTTP_ANSWERED); /* this one's connection is used again by the next */
    }
}

/* libcurl would send it again by itself: then the layer above would not know of the first one. */
static void a_used_connection_that_gives_no_answer_is_lost_and_nothing_is_sent_twice(void **state) {
    struct world *world = *state;
    world_serve(world, misbehave);
    static const char *const targets[] = {"/reset", "/end"};
    for (size_t i = 0; i < 2; i++) {
        for (unsigned idle = 1; idle <= 3; idle += 2) { /* also with others idle, which libcurl would turn to */
            struct call calls[3];
            for (unsigned k = 0; k < idle; k++) {
                call_init(&calls[k], world, "GET", "/good");
                call_start(&calls[k]);
            }
            world_run(world);
            const unsigned requests = world->server->requests;
            struct call call;
            call_init(&call, world, "PUT", targets[i]);
            call.request.body = KP_SLICE_LIT("once");
            call_run(&call);
            assert_int_equal(call.request.end, ST_HTTP_LOST);
            assert_true(call.request.reused);
            assert_string_equal(call.request.reason, "the connection ended without an answer");
            assert_int_equal(world->server->requests, requests + 1);
            call_release(&call);
            for (unsigned k = 0; k < idle; k++) {
                assert_int_equal(calls[k].request.end, ST_HTTP_ANSWERED);
                call_release(&calls[k]);
            }
        }
    }
}

static void answers_longer_than_allowed_are_refused(void **state) {
    struct world *world = *state;
    world_serve(world, misbehave);
    static const char *const targets[] = {"/heads", "/heads-100", "/body", "/long-length"};
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        struct call call;
        call_init(&call, world, "GET", targets[i]);
        call_run(&call);
        if (call.request.end != ST_HTTP_TOO_LONG) {
            fail_msg("%s ended %d: %s", targets[i], (int)call.request.end, call.request.reason);
        }
        assert_true(call.request.answer.len <= 4096);
        call_release(&call);
    }
    uint8_t into[8];
    struct call call;
    call_init(&call, world, "GET", "/body");
    call.request.into = into;
    call.request.into_size = sizeof into;
    call_run(&call);
    assert_int_equal(call.request.end, ST_HTTP_TOO_LONG);
    assert_int_equal(call.request.status, 200);
    call_release(&call);
    get_ends(world, "/one-head", ST_HTTP_LOST); /* libcurl's own limit comes first */
}

static void an_answer_may_be_as_long_as_allowed(void **state) {
    struct world *world = *state;
    world_serve(world, misbehave);
    struct call call;
    call_init(&call, world, "GET", "/good");
    call.request.answer_max = 2;
    call_run(&call);
    assert_int_equal(call.request.end, ST_HTTP_ANSWERED);
    call_release(&call);
    call.request.answer_max = 1;
    call_run(&call);
    assert_int_equal(call.request.end, ST_HTTP_TOO_LONG);
    call_release(&call);
}

static void what_follows_the_stated_length_is_no_answer_to_anything(void **state) {
    struct world *world = *state;
    world_serve(world, misbehave);
    for (unsigned i = 0; i < 2; i++) {
        struct call call;
        call_init(&call, world, "GET", "/too-much");
        call_run(&call);
        assert_int_equal(call.request.end, ST_HTTP_ANSWERED);
        assert_string_equal((const char *)call.request.answer.ptr, "ok");
        assert_false(call.request.reused);
        call_release(&call);
    }
    get_ends(world, "/negative", ST_HTTP_LOST);
    get_ends(world, "/until-end", ST_HTTP_ANSWERED);
}

static void a_silent_server_is_left_in_time(void **state) {
    struct world *world = *state;
    world_serve(world, misbehave);
    struct call call;
    call_init(&call, world, "GET", "/silent");
    call.request.timeout_ms = 60;
    call_run(&call);
    assert_int_equal(call.request.end, ST_HTTP_LOST);
    assert_string_equal(call.request.reason, "no answer for 60 ms");
    call.request.timeout_ms = 20000;
    call.request.stall_ms = 60;
    call_run(&call);
    assert_int_equal(call.request.end, ST_HTTP_LOST);
    assert_string_equal(call.request.reason, "no byte moved for 60 ms");
    call_release(&call);
}

/* Takes a little of the body, then nothing. */
static void take_little(struct peer *peer) {
    if (peer_read_head(peer)) {
        peer_wait_for_go(peer);
    }
}

static void an_upload_that_nobody_takes_stalls(void **state) {
    struct world *world = *state;
    world_serve(world, take_little);
    uint8_t *up = calloc(1, LARGE);
    struct call call;
    call_init(&call, world, "PUT", "/");
    call.request.body = kp_slice_of(up, LARGE);
    call.request.stall_ms = 100;
    call_run(&call);
    free(up); /* the sanitizer would see libcurl read it now */
    assert_int_equal(call.request.end, ST_HTTP_LOST);
    assert_string_equal(call.request.reason, "no byte moved for 100 ms");
    call_release(&call);
}

static void drip(struct peer *peer) {
    while (peer_read_request(peer)) {
        peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
        for (unsigned i = 0; i < 20; i++) {
            usleep(40000);
            peer_say(peer, "x");
        }
    }
}

static void a_slow_answer_is_no_stall(void **state) {
    struct world *world = *state;
    world_serve(world, drip);
    struct call call;
    call_init(&call, world, "GET", "/");
    call.request.stall_ms = 400; /* half of what it takes */
    call_run(&call);
    assert_int_equal(call.request.end, ST_HTTP_ANSWERED);
    assert_int_equal(call.request.answer.len, 20);
    call_release(&call);
}

static void refuse_early(struct peer *peer) {
    if (peer_read_head(peer)) {
        peer_say(peer, "HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        peer_wait_for_end(peer);
    }
}

static void an_error_that_comes_before_the_body_is_sent_is_an_answer(void **state) {
    struct world *world = *state;
    world_serve(world, refuse_early);
    uint8_t *up = calloc(1, LARGE);
    struct call call;
    call_init(&call, world, "PUT", "/");
    call.request.body = kp_slice_of(up, LARGE);
    call_run(&call);
    free(up);
    assert_int_equal(call.request.end, ST_HTTP_ANSWERED);
    assert_int_equal(call.request.status, 403);
    assert_string_equal((const char *)call.request.answer.ptr, "no");
    call_release(&call);
}

static void nothing_left_without_a_connection(void **state) {
    struct world *world = *state;
    world->server = server_start(misbehave); /* listens, to begin with */
    server_accept(world->server);
    struct call call;
    call_init(&call, world, "PUT", "/");
    server_stop(world->server);
    world->server = NULL;
    call.request.body = KP_SLICE_LIT("x");
    call_run(&call);
    assert_int_equal(call.request.end, ST_HTTP_NOT_SENT);
    assert_non_null(strstr(call.request.reason, "onnect"));
    call_release(&call);
    static const char *const urls[] = {"ftp://127.0.0.1/", "http:///x", "http://a b/", "http://127.0.0.1/a b",
                                       "http://u:p@127.0.0.1/", "127.0.0.1/x", "http://127.0.0.1/x#y",
                                       "http://127.0.0.1/\r\nX: y", "http://127.0.0.1?x", "http://127.0.0.1:x/",
                                       "http://nowhere.invalid/"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        call.request.url = urls[i];
        call_run(&call);
        if (call.request.end != ST_HTTP_NOT_SENT || call.request.reason[0] == '\0') {
            fail_msg("%s ended %d: %s", urls[i], (int)call.request.end, call.request.reason);
        }
        call_release(&call);
    }
    static const char *const headers[] = {"x: y\r\nEvil: z"};
    call.request.url = call.url;
    call.request.headers = headers;
    call.request.header_count = 1;
    call_run(&call);
    assert_int_equal(call.request.end, ST_HTTP_NOT_SENT);
    assert_string_equal(call.request.reason, "a header that is no line");
    call_release(&call);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(heads_go_out_as_they_stand),
        TEST(each_method_has_its_length_and_nothing_that_nobody_asked_for),
        TEST(the_answer_to_head_has_no_body),
        TEST(a_type_of_the_callers_own_is_sent_once),
        TEST(eight_mebibytes_go_up_and_come_down_the_same),
        TEST(the_head_of_the_final_answer_is_told),
        TEST(chunks_are_put_together_and_trailers_say_nothing),
        TEST(contents_are_not_decoded),
        TEST(redirects_are_not_followed_and_no_proxy_is_asked),
        TEST(what_was_sent_and_not_answered_whole_is_lost),
        TEST(a_used_connection_that_gives_no_answer_is_lost_and_nothing_is_sent_twice),
        TEST(answers_longer_than_allowed_are_refused),
        TEST(an_answer_may_be_as_long_as_allowed),
        TEST(what_follows_the_stated_length_is_no_answer_to_anything),
        TEST(a_silent_server_is_left_in_time),
        TEST(an_upload_that_nobody_takes_stalls),
        TEST(a_slow_answer_is_no_stall),
        TEST(an_error_that_comes_before_the_body_is_sent_is_an_answer),
        TEST(nothing_left_without_a_connection),
    };
    return RUN_ON_BOTH_DRIVERS(tests);
}

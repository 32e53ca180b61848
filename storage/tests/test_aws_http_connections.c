/* The HTTP client's connections: what is used again, what waits, names, frozen processes, and the client's own end. */
#include <dlfcn.h>

#include <curl/curl.h>
#include <netdb.h>
#include <sys/syscall.h>
#include <time.h>

#include "storage/tests/http_server.h"

/* ---- the system's clock and names, and libcurl's memory, as the tests want them ---- */

static _Atomic int64_t frozen_ns; /* added to the clocks that go on while a process is frozen */
static atomic_uint lookups;
static atomic_bool lookups_hang;

int clock_gettime(clockid_t id, struct timespec *ts) {
    const long result = syscall(SYS_clock_gettime, id, ts);
    if (id == CLOCK_BOOTTIME || id == CLOCK_REALTIME) {
        ts->tv_sec += frozen_ns / ST_SECOND;
    }
    return (int)result;
}

static atomic_bool no_memory;

CURL *curl_easy_init(void) {
    CURL *(*real)(void);
    *(void **)&real = dlsym(RTLD_NEXT, "curl_easy_init");
    return no_memory ? NULL : real();
}

/* libcurl asks this one: names that end in .test are this machine. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    const size_t len = name != NULL ? strlen(name) : 0;
    if (len < 5 || strcmp(name + len - 5, ".test") != 0) {
        return real(name, service, hints, found);
    }
    lookups++;
    while (lookups_hang) {
        usleep(1000);
    }
    return real("127.0.0.1", service, hints, found);
}

/* ---- connections ---- */

static void hold(struct peer *peer) {
    while (peer_read_request(peer)) {
        peer_wait_for_go(peer);
        peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

static void a_hundred_requests_share_four_connections(void **state) {
    enum { COUNT = 100 };
    struct world *world = *state;
    struct st_http_options options = st_http_options_default();
    options.connections_max = 4;
    world_open_client(world, &options);
    world_serve(world, echo_body);
    const uint64_t opened = st_metrics.store_http_connections_total, reused = st_metrics.store_http_reused_total;
    struct call *calls = calloc(COUNT, sizeof *calls);
    unsigned reused_seen = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        call_init(&calls[i], world, "POST", "/");
        calls[i].request.body = kp_slice_cstr(calls[i].url);
        call_start(&calls[i]);
    }
    world_run(world);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(calls[i].done, 1);
        assert_int_equal(calls[i].request.end, ST_HTTP_ANSWERED);
        assert_string_equal((const char *)calls[i].request.answer.ptr, calls[i].url);
        reused_seen += calls[i].request.reused;
        call_release(&calls[i]);
    }
    assert_int_equal(world->server->connections, 4);
    assert_int_equal(reused_seen, COUNT - 4);
    assert_int_equal(st_metrics.store_http_connections_total - opened, 4);
    assert_int_equal(st_metrics.store_http_reused_total - reused, COUNT - 4);
    assert_int_equal(st_metrics.store_http_connections, 4);
    free(calls);
}

static void who_waits_for_a_connection_in_vain_was_not_sent(void **state) {
    struct world *world = *state;
    struct st_http_options options = st_http_options_default();
    options.connections_max = 1;
    world_open_client(world, &options);
    world_serve(world, hold);
    struct call calls[4];
    for (unsigned i = 0; i < 4; i++) {
        call_init(&calls[i], world, "GET", "/");
        calls[i].request.timeout_ms = i == 0 || i == 2 ? 20000 : 50;
        call_start(&calls[i]);
    }
    while (calls[1].done == 0 || calls[3].done == 0) {
        world->left = 1; /* stop at each */
        world_go_on(world);
    }
    world->left = 2;
    world->server->go = true;
    world_run(world);
    assert_int_equal(calls[0].request.end, ST_HTTP_ANSWERED);
    assert_int_equal(calls[2].request.end, ST_HTTP_ANSWERED);
    assert_int_equal(calls[1].request.end, ST_HTTP_NOT_SENT);
    assert_int_equal(calls[3].request.end, ST_HTTP_NOT_SENT);
    assert_string_equal(calls[3].request.reason, "not begun for 50 ms");
    assert_int_equal(world->server->connections, 1);
    for (unsigned i = 0; i < 4; i++) {
        call_release(&calls[i]);
    }
}

static void answer_once(struct peer *peer) {
    if (peer_read_request(peer)) {
        peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

static void an_idle_connection_that_the_peer_closed_fails_nobody(void **state) {
    struct world *world = *state;
    world_serve(world, answer_once);
    for (unsigned i = 1; i <= 20; i++) {
        get_ends(world, "/", ST_HTTP_ANSWERED);
        while (world->server->fds[i - 1] >= 0) { /* until its end is on the way */
            usleep(100);
        }
        assert_int_equal(world->server->connections, i);
    }
}

static void connections_idle_for_too_long_are_not_used_again(void **state) {
    struct world *world = *state;
    world_serve(world, echo_head);
    get_ends(world, "/1", ST_HTTP_ANSWERED);
    frozen_ns += 19 * ST_SECOND;
    get_ends(world, "/2", ST_HTTP_ANSWERED);
    assert_int_equal(world->server->connections, 1);
    frozen_ns += 21 * ST_SECOND;
    get_ends(world, "/3", ST_HTTP_ANSWERED);
    assert_int_equal(world->server->connections, 2);
    get_ends(world, "/4", ST_HTTP_ANSWERED);
    assert_int_equal(world->server->connections, 2);
}

static void what_was_under_way_when_the_process_froze_is_lost_at_once(void **state) {
    struct world *world = *state;
    world_serve(world, hold);
    struct call before, after;
    call_init(&before, world, "GET", "/");
    call_start(&before);
    while (world->server->requests == 0) {
        world_step(world);
        usleep(100);
    }
    frozen_ns += 60 * ST_SECOND;
    call_init(&after, world, "GET", "/");
    call_start(&after);
    world->left = 1; /* the first to end */
    world_run(world);
    assert_int_equal(before.done, 1);
    assert_int_equal(before.request.end, ST_HTTP_LOST);
    world->server->go = true;
    world->left = 1;
    world_run(world);
    assert_int_equal(after.request.end, ST_HTTP_ANSWERED);
    call_release(&before);
    call_release(&after);
}

static void a_fresh_request_makes_a_connection_and_looks_the_name_up_anew(void **state) {
    struct world *world = *state;
    world_serve(world, echo_head);
    lookups = 0;
    static const struct {
        bool fresh;
        unsigned lookups, connections;
    } steps[] = {{false, 1, 1}, {false, 1, 1}, {true, 2, 2}, {true, 3, 3}, {false, 3, 3}};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct call call;
        call_init(&call, world, "GET", "/");
        snprintf(call.url, sizeof call.url, "http://store.test:%u/", world->server->port);
        call.request.fresh = steps[i].fresh;
        call_run(&call);
        assert_int_equal(call.request.end, ST_HTTP_ANSWERED);
        assert_int_equal(lookups, steps[i].lookups);
        assert_int_equal(world->server->connections, steps[i].connections);
        call_release(&call);
    }
}

static void a_name_that_nobody_resolves_does_not_hold_up_the_loop(void **state) {
    struct world *world = *state;
    struct st_http_options options = st_http_options_default();
    options.connect_timeout_ms = 100;
    world_open_client(world, &options);
    world_serve(world, echo_head);
    lookups_hang = true;
    struct call calls[3];
    for (unsigned i = 0; i < 3; i++) {
        call_init(&calls[i], world, "GET", "/");
        if (i > 0) {
            snprintf(calls[i].url, sizeof calls[i].url, "http://hang%u.test:%u/", i, world->server->port);
        }
        calls[i].request.timeout_ms = i == 2 ? 50 : 10000;
        call_start(&calls[i]);
    }
    world_run(world); /* for ever, if ending a lookup waited for it */
    assert_int_equal(calls[0].request.end, ST_HTTP_ANSWERED);
    assert_int_equal(calls[1].request.end, ST_HTTP_NOT_SENT);
    assert_int_equal(calls[2].request.end, ST_HTTP_NOT_SENT);
    assert_string_equal(calls[2].request.reason, "no connection for 50 ms");
    for (unsigned i = 0; i < 3; i++) {
        call_release(&calls[i]);
    }
    world_close_client(world);
    lookups_hang = false;
    usleep(20000); /* the resolver's threads free what is theirs */
}

static void without_memory_nothing_is_sent(void **state) {
    struct world *world = *state;
    world_serve(world, echo_head);
    no_memory = true;
    get_ends(world, "/", ST_HTTP_NO_MEMORY); /* libcurl does not even start */
    no_memory = false;
    get_ends(world, "/", ST_HTTP_ANSWERED);
    no_memory = true;
    struct call calls[3]; /* one has a handle */
    for (unsigned i = 0; i < 3; i++) {
        call_init(&calls[i], world, "GET", "/");
        call_start(&calls[i]);
    }
    world_run(world);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(calls[i].request.end, i == 0 ? ST_HTTP_ANSWERED : ST_HTTP_NO_MEMORY);
        call_release(&calls[i]);
    }
    no_memory = false;
    assert_int_equal(world->server->requests, 2);
    get_ends(world, "/", ST_HTTP_ANSWERED);
}

/* ---- the end of the client ---- */

static void closing_ends_what_is_under_way(void **state) {
    struct world *world = *state;
    struct st_http_options options = st_http_options_default();
    options.connections_max = 2;
    world_open_client(world, &options);
    world_serve(world, hold);
    struct call calls[4];
    for (unsigned i = 0; i < 4; i++) {
        call_init(&calls[i], world, "GET", "/");
        call_start(&calls[i]);
    }
    world->left = 100; /* nobody stops the loop but the closing */
    while (world->server->requests < 2) {
        world_step(world);
        usleep(100);
    }
    world_close_client(world);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(calls[i].done, 1);
        assert_int_equal(calls[i].request.end, i < 2 ? ST_HTTP_LOST : ST_HTTP_NOT_SENT);
        assert_string_equal(calls[i].request.reason, "the client was closed");
        call_release(&calls[i]);
    }
    world->left = 0;
}

static void a_freed_client_calls_nobody(void **state) {
    struct world *world = *state;
    world_serve(world, hold);
    struct call calls[3];
    for (unsigned i = 0; i < 3; i++) {
        call_init(&calls[i], world, "GET", "/");
        if (i == 2) {
            calls[i].request.url = "not one"; /* has ended, and not been told */
        }
        call_start(&calls[i]);
    }
    st_http_client_free(world->client);
    world->client = NULL;
    world_step(world);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(calls[i].done, 0);
    }
}

static void free_client(struct st_http_request *request) {
    struct call *call = ST_OWNER(request, struct call, request);
    st_http_client_free(call->world->client);
    call->world->client = NULL;
    call_done(request);
}

static void a_client_may_be_freed_by_what_it_calls(void **state) {
    struct world *world = *state;
    world_serve(world, echo_head);
    struct call calls[3];
    for (unsigned i = 0; i < 3; i++) {
        call_init(&calls[i], world, "GET", "/");
        calls[i].request.done = free_client;
        call_start(&calls[i]);
    }
    world->left = 1;
    world_run(world);
    assert_int_equal(calls[0].done + calls[1].done + calls[2].done, 1);
    for (unsigned i = 0; i < 3; i++) {
        call_release(&calls[i]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_hundred_requests_share_four_connections),
        TEST(who_waits_for_a_connection_in_vain_was_not_sent),
        TEST(an_idle_connection_that_the_peer_closed_fails_nobody),
        TEST(connections_idle_for_too_long_are_not_used_again),
        TEST(what_was_under_way_when_the_process_froze_is_lost_at_once),
        TEST(a_fresh_request_makes_a_connection_and_looks_the_name_up_anew),
        TEST(a_name_that_nobody_resolves_does_not_hold_up_the_loop),
        TEST(without_memory_nothing_is_sent),
        TEST(closing_ends_what_is_under_way),
        TEST(a_freed_client_calls_nobody),
        TEST(a_client_may_be_freed_by_what_it_calls),
    };
    return RUN_ON_BOTH_DRIVERS(tests);
}

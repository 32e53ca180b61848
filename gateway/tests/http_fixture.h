/*
 * The HTTP door over loopback sockets, with handlers of the test in place of the real ones: they answer "<METHOD path
 * query body-length>" and a short body itself, at once or when they are let go. One fixture a test; its first client is
 * the test's state.
 */
#ifndef GW_TEST_HTTP_FIXTURE_H
#define GW_TEST_HTTP_FIXTURE_H

#include "gateway/http/door.h"
#include "gateway/net/listener.h"
#include "gateway/net/process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS_MAX = 4, INPUT_MAX = 8 * 1024 * 1024 };

struct client {
    int fd;
    char *input; /* NUL-terminated */
    size_t used;
    bool ended, reset; /* reset: by RST, not FIN */
};

struct fixture {
    struct gw_process *process;
    struct gw_config config;
    struct gateway gateway;
    struct gw_listener *listener;
    struct client clients[CLIENTS_MAX];
    struct rest_call *calls[64]; /* under way, oldest first */
    size_t call_count, handled, under_way_most;
    bool held; /* answers wait */
    bool out_of_memory;
    size_t answer_size; /* filler in each answer */
    struct st_task task;
};
static struct fixture fixture;

/* ---- handlers ---- */

static inline void answer(struct rest_call *call) {
    char text[256];
    struct rest_response *response = &call->response;
    const struct rest_request *request = &call->request;
    *response = (struct rest_response){.status = 200, .content_type = "text/plain"};
    kp_chain_init(&response->body);
    int len = snprintf(text, sizeof text, "<%.*s %.*s %.*s %zu>", KP_SLICE_ARG(request->method),
                       KP_SLICE_ARG(request->path), (int)request->query.len,
                       request->query.ptr == NULL ? "" : (const char *)request->query.ptr, request->body.bytes.len);
    kp_chain_copy(&response->body, text, (size_t)len);
    if (request->body.bytes.len < 200) {
        kp_chain_copy(&response->body, request->body.bytes.ptr, request->body.bytes.len);
    }
    static uint8_t filler[1024];
    memset(filler, '.', sizeof filler);
    for (size_t left = fixture.answer_size; left > 0;) {
        size_t part = left < sizeof filler ? left : sizeof filler;
        kp_chain_copy(&response->body, filler, part);
        left -= part;
    }
    call->done(call);
}

static inline void answer_all(struct st_task *task) {
    (void)task;
    while (fixture.call_count > 0 && !fixture.held) {
        struct rest_call *call = fixture.calls[0];
        fixture.call_count--;
        memmove(fixture.calls, fixture.calls + 1, fixture.call_count * sizeof call);
        answer(call);
    }
}

static inline bool handle(struct rest *rest, struct rest_call *call) {
    (void)rest;
    if (fixture.out_of_memory) {
        return false;
    }
    assert_true(call->order > 0);
    assert_true(fixture.call_count < 64);
    fixture.calls[fixture.call_count++] = call;
    fixture.handled++;
    if (fixture.call_count > fixture.under_way_most) {
        fixture.under_way_most = fixture.call_count;
    }
    st_defer(fixture.gateway.loop, &fixture.task);
    return true;
}

static inline void let_go(void) {
    fixture.held = false;
    st_defer(fixture.gateway.loop, &fixture.task);
}

/* ---- clients ---- */

static inline void connect_client(struct client *client) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(gw_listener_port(fixture.listener))};
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client->fd >= 0);
    assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(client->fd, F_SETFL, O_NONBLOCK), 0);
    client->input = calloc(1, INPUT_MAX + 1);
    assert_non_null(client->input);
}

static inline void read_client(struct client *client) {
    ssize_t n;
    while (!client->ended && (n = read(client->fd, client->input + client->used, INPUT_MAX - client->used)) != 0) {
        if (n < 0) {
            client->reset = errno == ECONNRESET;
            client->ended = errno != EAGAIN;
            return;
        }
        client->used += (size_t)n;
        client->input[client->used] = '\0';
    }
    client->ended = true;
}

struct wake {
    struct st_timer timer;
    bool fired;
};

static inline void wake_up(struct st_timer *timer) {
    ST_OWNER(timer, struct wake, timer)->fired = true;
}

static inline void run_ms(int64_t ms) {
    struct wake wake = {.timer = {.fn = wake_up}};
    st_timer_start(fixture.gateway.loop, &wake.timer, ms * ST_MS);
    while (!wake.fired) {
        gw_process_turn(fixture.process);
    }
}

/* Sends all of it while the server runs. */
static inline void write_client(struct client *client, const char *bytes, size_t len) {
    for (int tries = 0; len > 0 && tries < 5000; tries++) {
        ssize_t n = send(client->fd, bytes, len, MSG_NOSIGNAL);
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        } else if (errno != EAGAIN) {
            return; /* closed by the server, which the caller looks at */
        } else {
            run_ms(1);
        }
    }
}

static inline void say(struct client *client, const char *text) {
    write_client(client, text, strlen(text));
}

static inline size_t count_of(const char *text, const char *part) {
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part)) {
        count++;
    }
    return count;
}

/* Until `count` status lines and all that belongs to them are there, or the connection ends. */
static inline void await(struct client *client, size_t count) {
    for (int i = 0; i < 3000; i++) {
        read_client(client);
        if (client->ended || (count > 0 && count_of(client->input, "HTTP/1.1 ") >= count)) {
            run_ms(2);
            read_client(client);
            return;
        }
        run_ms(1);
    }
    fail_msg("no %zu answers in: %s", count, client->input);
}

static inline void await_end(struct client *client) {
    await(client, 0);
    assert_true(client->ended);
}

/* ---- fixture ---- */

static inline int setup(void **state) {
    fixture = (struct fixture){.task = {.fn = answer_all}};
    gw_config_default(&fixture.config);
    fixture.process = gw_process_new(NULL, NULL);
    assert_non_null(fixture.process);
    fixture.gateway.loop = gw_process_loop(fixture.process);
    fixture.gateway.config = &fixture.config;
    assert_true(gw_http_open(&fixture.gateway));
    fixture.gateway.http->handle = handle;
    char message[256];
    const struct gw_listener_options options = {
        .host = "127.0.0.1", .connections_max = CLIENTS_MAX, .accept = gw_http_accept, .arg = &fixture.gateway};
    fixture.listener = gw_listener_new(fixture.gateway.loop, &options, message, sizeof message);
    assert_non_null(fixture.listener);
    for (int i = 0; i < CLIENTS_MAX; i++) {
        fixture.clients[i].fd = -1;
    }
    connect_client(&fixture.clients[0]);
    *state = &fixture.clients[0];
    return 0;
}

static inline int teardown(void **state) {
    (void)state;
    let_go();
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (fixture.clients[i].fd >= 0) {
            close(fixture.clients[i].fd);
        }
        free(fixture.clients[i].input);
    }
    gw_listener_close_all(fixture.listener);
    for (int i = 0; i < 100 && gw_listener_connections(fixture.listener) > 0; i++) {
        run_ms(1);
    }
    assert_int_equal(gw_listener_connections(fixture.listener), 0);
    assert_int_equal(fixture.gateway.http->request_bytes, 0); /* every charge was given back */
    gw_listener_free(fixture.listener);
    gw_http_free(&fixture.gateway);
    gw_process_free(fixture.process);
    gw_config_release(&fixture.config);
    return 0;
}

#define HOST "Host: h\r\n"

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif

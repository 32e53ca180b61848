/*
 * A server for tests of the HTTP client: it listens on loopback and gives each connection a thread, which runs the
 * test's function on a blocking socket. Everything is in the header because each test is one program of one file.
 */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "storage/backends/aws/http.h"
#include "storage/runtime/loop_libevent.h"
#include "storage/runtime/loop_poll.h"
#include "storage/runtime/metrics.h"

#define UNUSED __attribute__((unused))
#define HEAD_MAX (64 * 1024)
#define SERVER_CONNECTIONS 300

struct server;

/* One connection as the test's function sees it. `number` counts from 1. */
struct peer {
    struct server *server;
    int fd;
    unsigned number;
    char head[HEAD_MAX]; /* of the last request */
    uint8_t *body;
    size_t body_len;
    size_t ahead_len; /* bytes in `head` behind the head: of the body, or of the next request */
    /* How bytes move; TLS has its own. */
    ssize_t (*read)(struct peer *peer, void *bytes, size_t len);
    ssize_t (*write)(struct peer *peer, const void *bytes, size_t len);
    void *tls;
    bool resets;
};

struct server {
    int fd;
    uint16_t port;
    void (*serve)(struct peer *peer);
    bool (*greet)(struct peer *peer); /* before serve; NULL: none */
    void (*leave)(struct peer *peer); /* after it; NULL: none */
    void *arg;
    atomic_uint connections, requests;
    atomic_bool go; /* for tests that hold an answer back */
    pthread_t acceptor;
    pthread_t threads[SERVER_CONNECTIONS];
    _Atomic int fds[SERVER_CONNECTIONS];
};

static ssize_t plain_read(struct peer *peer, void *bytes, size_t len) {
    return recv(peer->fd, bytes, len, 0);
}

static ssize_t plain_write(struct peer *peer, const void *bytes, size_t len) {
    return send(peer->fd, bytes, len, MSG_NOSIGNAL);
}

UNUSED static bool peer_send(struct peer *peer, const void *bytes, size_t len) {
    const char *at = bytes;
    while (len > 0) {
        ssize_t sent = peer->write(peer, at, len);
        if (sent <= 0) {
            return false;
        }
        at += sent;
        len -= (size_t)sent;
    }
    return true;
}

UNUSED static bool peer_say(struct peer *peer, const char *text) {
    return peer_send(peer, text, strlen(text));
}

/* Closes with a reset instead of an end. */
UNUSED static void peer_reset(struct peer *peer) {
    const struct linger linger = {1, 0};
    peer->resets = true;
    setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

UNUSED static const char *peer_header(struct peer *peer, const char *name) {
    static _Thread_local char value[1024];
    for (const char *line = strstr(peer->head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, strlen(name)) == 0 && line[2 + strlen(name)] == ':') {
            const char *at = line + 3 + strlen(name);
            at += strspn(at, " ");
            snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
            return value;
        }
    }
    return NULL;
}

/* The head of the next request into peer->head; false at the end of the connection. */
UNUSED static bool peer_read_head(struct peer *peer) {
    static _Thread_local char ahead[HEAD_MAX];
    size_t len = peer->ahead_len;
    memmove(peer->head, ahead, len);
    peer->head[len] = '\0';
    char *end;
    while ((end = strstr(peer->head, "\r\n\r\n")) == NULL) {
        ssize_t got = len + 1 < HEAD_MAX ? peer->read(peer, peer->head + len, HEAD_MAX - 1 - len) : 0;
        if (got <= 0) {
            return false;
        }
        len += (size_t)got;
        peer->head[len] = '\0';
    }
    const size_t head_len = (size_t)(end - peer->head) + 4;
    peer->ahead_len = len - head_len;
    memcpy(ahead, peer->head + head_len, peer->ahead_len);
    peer->head[head_len - 2] = '\0';
    const char *length = peer_header(peer, "content-length");
    peer->body_len = length != NULL ? strtoull(length, NULL, 10) : 0;
    free(peer->body);
    peer->body = malloc(peer->body_len + 1);
    if (peer->ahead_len > 0 && peer->body_len > 0) { /* what is ahead is of the body: there is no pipelining */
        memcpy(peer->body, ahead, peer->ahead_len);
    }
    return true;
}

UNUSED static bool peer_read_body(struct peer *peer) {
    size_t len = peer->ahead_len;
    peer->ahead_len = 0;
    while (len < peer->body_len) {
        ssize_t got = peer->read(peer, peer->body + len, peer->body_len - len);
        if (got <= 0) {
            return false;
        }
        len += (size_t)got;
    }
    return true;
}

UNUSED static bool peer_read_request(struct peer *peer) {
    if (!peer_read_head(peer) || !peer_read_body(peer)) {
        return false;
    }
    peer->server->requests++;
    return true;
}

/* Until the client closes. */
UNUSED static void peer_wait_for_end(struct peer *peer) {
    char bytes[4096];
    while (peer->read(peer, bytes, sizeof bytes) > 0) {
    }
}

UNUSED static void peer_wait_for_go(struct peer *peer) {
    while (!peer->server->go) {
        usleep(1000);
    }
}

/* ---- what servers do ---- */

/* The body of each answer is the request's head. */
UNUSED static void echo_head(struct peer *peer) {
    while (peer_read_request(peer)) {
        char head[256];
        const bool bare = strncmp(peer->head, "HEAD", 4) == 0;
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", strlen(peer->head));
        if (!peer_say(peer, head) || (!bare && !peer_say(peer, peer->head))) {
            return;
        }
    }
}

/* The body of each answer is the request's. */
UNUSED static void echo_body(struct peer *peer) {
    while (peer_read_request(peer)) {
        char head[100];
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", peer->body_len);
        if (!peer_say(peer, head) || !peer_send(peer, peer->body, peer->body_len)) {
            return;
        }
    }
}

static void *connection(void *arg) {
    struct peer *peer = arg;
    struct server *server = peer->server;
    if (server->greet == NULL || server->greet(peer)) {
        server->serve(peer);
    }
    if (server->leave != NULL) {
        server->leave(peer);
    }
    if (!peer->resets) {
        shutdown(peer->fd, SHUT_RDWR); /* who sees the -1 knows that the end is on its way */
    }
    server->fds[peer->number - 1] = -1;
    close(peer->fd);
    free(peer->body);
    free(peer);
    return NULL;
}

static void *accept_all(void *arg) {
    struct server *server = arg;
    int fd;
    while ((fd = accept(server->fd, NULL, NULL)) >= 0) {
        struct peer *peer = calloc(1, sizeof *peer);
        *peer = (struct peer){.server = server, .fd = fd, .read = plain_read, .write = plain_write};
        peer->number = ++server->connections;
        if (peer->number > SERVER_CONNECTIONS) {
            abort();
        }
        server->fds[peer->number - 1] = fd;
        pthread_create(&server->threads[peer->number - 1], NULL, connection, peer);
    }
    return NULL;
}

UNUSED static struct server *server_start(void (*serve)(struct peer *peer)) {
    struct server *server = calloc(1, sizeof *server);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    server->serve = serve;
    server->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(server->fd, 128), 0);
    getsockname(server->fd, (struct sockaddr *)&address, &len);
    server->port = ntohs(address.sin_port);
    return server;
}

/* After greet, leave and arg are set. */
UNUSED static void server_accept(struct server *server) {
    pthread_create(&server->acceptor, NULL, accept_all, server);
}

UNUSED static void server_stop(struct server *server) {
    server->go = true;
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->acceptor, NULL);
    for (unsigned i = 0; i < server->connections; i++) {
        const int fd = server->fds[i];
        if (fd >= 0) {
            shutdown(fd, SHUT_RDWR);
        }
        pthread_join(server->threads[i], NULL);
    }
    close(server->fd);
    free(server);
}

/* ---- the client's side ---- */

struct world {
    struct event_base *base; /* NULL: the poll driver */
    struct st_loop *loop;
    struct st_http_client *client;
    struct server *server;
    unsigned left; /* requests under way */
    bool closed;
};

/* Every test runs on both drivers: the Lambda's and the gateway's. */
static bool on_libevent;

UNUSED static void world_stop(struct world *world) {
    if (world->base != NULL) {
        event_base_loopbreak(world->base);
    } else {
        st_loop_poll_stop(world->loop);
    }
}

/* Until somebody stops it. */
UNUSED static void world_go_on(struct world *world) {
    if (world->base != NULL) {
        assert_int_equal(event_base_dispatch(world->base), 0);
    } else {
        assert_true(st_loop_poll_run(world->loop));
    }
}

/* What can be done now. */
UNUSED static void world_step(struct world *world) {
    if (world->base != NULL) {
        event_base_loop(world->base, EVLOOP_NONBLOCK);
    } else {
        st_loop_poll_stop(world->loop);
        st_loop_poll_run(world->loop);
    }
}

UNUSED static void world_loop_new(struct world *world) {
    world->base = on_libevent ? event_base_new() : NULL;
    world->loop = on_libevent ? st_loop_libevent_new(world->base) : st_loop_poll_new();
}

UNUSED static void world_loop_free(struct world *world) {
    if (world->base != NULL) {
        st_loop_libevent_free(world->loop);
        event_base_free(world->base);
    } else {
        st_loop_poll_free(world->loop);
    }
}

struct call {
    struct st_http_request request;
    struct world *world;
    char url[600];
    unsigned done;
};

static void call_done(struct st_http_request *request) {
    struct call *call = ST_OWNER(request, struct call, request);
    call->done++;
    if (--call->world->left == 0) {
        world_stop(call->world);
    }
}

static void world_closed(void *arg) {
    struct world *world = arg;
    world->closed = true;
    world_stop(world);
}

UNUSED static void world_close_client(struct world *world) {
    world->closed = false;
    st_http_client_close(world->client, world_closed, world);
    assert_false(world->closed);
    while (!world->closed) {
        world_go_on(world);
    }
    world->client = NULL;
}

UNUSED static void world_open_client(struct world *world, const struct st_http_options *options) {
    if (world->client != NULL) {
        world_close_client(world);
    }
    world->client = st_http_client_new(world->loop, options);
}

UNUSED static int world_set_up(void **state) {
    struct world *world = calloc(1, sizeof *world);
    const struct st_http_options options = st_http_options_default();
    world_loop_new(world);
    world->client = st_http_client_new(world->loop, &options);
    *state = world;
    return 0;
}

UNUSED static int world_tear_down(void **state) {
    struct world *world = *state;
    if (world->client != NULL) {
        world_close_client(world);
    }
    if (world->server != NULL) {
        server_stop(world->server);
    }
    world_loop_free(world);
    free(world);
    return st_metrics.store_http_requests == 0 && st_metrics.store_http_connections == 0 ? 0 : 1;
}

UNUSED static void world_serve(struct world *world, void (*serve)(struct peer *peer)) {
    world->server = server_start(serve);
    server_accept(world->server);
}

UNUSED static void call_init(struct call *call, struct world *world, const char *method, const char *target) {
    *call = (struct call){.world = world,
                          .request = {.method = method, .timeout_ms = 20000, .answer_max = 4096, .done = call_done}};
    snprintf(call->url, sizeof call->url, "http://127.0.0.1:%u%s", world->server->port, target);
    call->request.url = call->url;
}

UNUSED static void call_start(struct call *call) {
    call->world->left++;
    st_http_start(call->world->client, &call->request);
    assert_int_equal(call->done, 0);
}

UNUSED static void world_run(struct world *world) {
    while (world->left > 0) {
        world_go_on(world);
    }
}

UNUSED static void call_run(struct call *call) {
    call->done = 0;
    call_start(call);
    world_run(call->world);
    assert_int_equal(call->done, 1);
}

UNUSED static void call_release(struct call *call) {
    st_http_request_release(&call->request);
}

/* A GET that must end so. */
UNUSED static void get_ends(struct world *world, const char *target, enum st_http_end end) {
    struct call call;
    call_init(&call, world, "GET", target);
    call_run(&call);
    if (call.request.end != end) {
        fail_msg("%s ended %d (%s), status %d, not %d", target, (int)call.request.end, call.request.reason,
                 call.request.status, (int)end);
    }
    call_release(&call);
}

/* All tests of an array, on each driver. */
#define RUN_ON_BOTH_DRIVERS(tests)                                                                                     \
    ({                                                                                                                 \
        on_libevent = false;                                                                                           \
        int failed_ = cmocka_run_group_tests_name("poll", tests, NULL, NULL);                                          \
        on_libevent = true;                                                                                            \
        failed_ + cmocka_run_group_tests_name("libevent", tests, NULL, NULL);                                          \
    })

#endif

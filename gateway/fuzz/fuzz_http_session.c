/*
 * A whole connection of the HTTP door: the input, cut into pieces by its first byte, goes through a socketpair to
 * handlers that answer, or have no memory. What comes back must begin as an answer, only one request may be with the
 * handlers at a time, and all memory charged for requests must have been given back.
 */
#include "gateway/http/door.h"
#include "gateway/net/process.h"
#include "storage/runtime/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

enum { OUTPUT_MAX = 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct gw_process *process;
static struct gw_config config;
static struct gateway gateway;
static struct rest_call *under_way;
static struct st_task task;
static bool open_connection;

static void answer(struct st_task *answered) {
    (void)answered;
    struct rest_call *call = under_way;
    under_way = NULL;
    call->response = (struct rest_response){.status = 200, .content_type = "text/plain"};
    kp_chain_init(&call->response.body);
    kp_chain_copy(&call->response.body, call->request.path.ptr, call->request.path.len);
    kp_chain_copy(&call->response.body, call->request.body.bytes.ptr, call->request.body.bytes.len);
    call->done(call);
}

static bool handle(struct rest *rest, struct rest_call *call) {
    (void)rest;
    CHECK(under_way == NULL); /* one at a time */
    if (call->request.path.len % 16 == 7) {
        return false;
    }
    under_way = call;
    st_defer(gateway.loop, &task);
    return true;
}

static void prepare(void) {
    process = gw_process_new(NULL, NULL);
    CHECK(process != NULL);
    gw_config_default(&config);
    config.http_request_max_bytes = 100 * 1024;
    st_log_level(ST_ERROR);
    gateway = (struct gateway){.loop = gw_process_loop(process), .config = &config};
    CHECK(gw_http_open(&gateway));
    gateway.http->handle = handle;
    task.fn = answer;
}

struct wake {
    struct st_timer timer;
    bool fired;
};

static void wake_up(struct st_timer *timer) {
    ST_OWNER(timer, struct wake, timer)->fired = true;
}

static void turn(void) {
    struct wake wake = {.timer = {.fn = wake_up}};
    for (st_timer_start(gateway.loop, &wake.timer, 0); !wake.fired;) {
        gw_process_turn(process);
    }
}

static void gone(void *arg) {
    (void)arg;
    open_connection = false;
}

struct peer {
    int fd;
    uint8_t *output;
    size_t used;
};

static void read_peer(struct peer *peer) {
    ssize_t n;
    while (peer->used < OUTPUT_MAX && (n = read(peer->fd, peer->output + peer->used, OUTPUT_MAX - peer->used)) > 0) {
        peer->used += (size_t)n;
    }
}

static void check_output(const struct peer *peer) {
    static const char start[] = "HTTP/1.1 ";
    size_t most = peer->used < sizeof start - 1 ? peer->used : sizeof start - 1;
    CHECK(memcmp(peer->output, start, most) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int pair[2];
    if (process == NULL) {
        prepare();
    }
    if (size < 1) {
        return 0;
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    struct peer peer = {.fd = pair[1], .output = malloc(OUTPUT_MAX)};
    CHECK(peer.output != NULL && fcntl(peer.fd, F_SETFL, O_NONBLOCK) == 0);
    struct gw_conn *conn = gw_conn_new(gateway.loop, pair[0], gone, NULL);
    open_connection = true;
    CHECK(conn != NULL && gw_http_accept(&gateway, conn));
    size_t piece = data[0] < 128 ? data[0] + 1u : (size_t)data[0] * 64;
    for (size_t at = 1; at < size && open_connection;) {
        size_t len = size - at < piece ? size - at : piece;
        ssize_t n = send(peer.fd, data + at, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) {
            break;
        }
        at += n > 0 ? (size_t)n : 0;
        turn();
        read_peer(&peer);
    }
    shutdown(peer.fd, SHUT_WR);
    for (int turns = 0; open_connection && turns < 1000; turns++) {
        turn();
        read_peer(&peer);
        if (turns == 100) {
            gw_conn_close(conn); /* a pipeline whose answers nobody could hold */
        }
    }
    CHECK(!open_connection && gateway.http->request_bytes == 0 && gateway.http->calls == 0);
    check_output(&peer);
    close(peer.fd);
    free(peer.output);
    return 0;
}

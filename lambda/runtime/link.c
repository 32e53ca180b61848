/*
 * What is to be sent is a chain; `sent` says how much of it the socket has taken. A whole body stays in the chain until
 * the answer is there, so that the same bytes can go again; a streamed one is dropped as it goes.
 *
 *   idle -> (connect) -> sending -> reading -> idle
 *             ^  lost before the whole answer: a new connection, after a pause
 *
 * While it sends, it reads as well: an answer may come early (the event was too large, the time is over).
 */
#include "lambda/runtime/link.h"

#include "storage/runtime/log.h"
#include "storage/runtime/watch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TRIES_MAX = 6, PIECES_AT_ONCE = 64, READ_SIZE = 64 * 1024, STREAM_ROOM = 256 * 1024 };
#define PAUSE_FIRST_NS (20 * ST_MS)

struct rest_link {
    struct st_loop *loop;
    struct sockaddr_in address;
    char host[64]; /* as the Host header has it */
    int fd;        /* -1: not connected */
    bool connecting, kept; /* kept: this connection has answered before */
    struct st_watch watch;
    struct st_timer pause, timeout;
    struct st_task finished;
    struct rest_link_request *request;
    unsigned tries;
    struct kp_chain out;
    size_t sent;
    bool ended; /* a streamed body: its last chunk is in `out` */
    bool waits_for_room;
    struct rest_reply reply;
};

static void begin_try(struct rest_link *link);

/* ---- the address ---- */

static bool parse_port(const char *text, in_port_t *port) {
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != 0 || number == 0 || number > UINT16_MAX) {
        return false;
    }
    *port = htons((uint16_t)number);
    return true;
}

static bool parse_address(const char *text, struct sockaddr_in *address) {
    char host[64];
    const char *colon = strrchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : sizeof host;
    if (len >= sizeof host || !parse_port(colon + 1, &address->sin_port)) {
        return false;
    }
    memcpy(host, text, len);
    host[len] = 0;
    address->sin_family = AF_INET;
    return inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &address->sin_addr) == 1;
}

/* ---- the end of a request ---- */

static void disconnect(struct rest_link *link) {
    st_watch_stop(link->loop, &link->watch);
    if (link->fd >= 0) {
        close(link->fd);
    }
    link->fd = -1;
    link->connecting = link->kept = false;
}

static void finish(struct rest_link *link, enum rest_link_end end) {
    st_timer_stop(link->loop, &link->timeout);
    st_timer_stop(link->loop, &link->pause);
    if (end != REST_LINK_ANSWERED || !link->reply.keep_alive || link->sent < link->out.bytes) {
        disconnect(link);
    } else {
        st_watch_stop(link->loop, &link->watch);
        link->kept = true;
    }
    kp_chain_release(&link->out);
    link->request->end = end;
    link->request->reply = &link->reply;
    st_defer(link->loop, &link->finished);
}

static void run_done(struct st_task *task) {
    struct rest_link *link = ST_OWNER(task, struct rest_link, finished);
    struct rest_link_request *request = link->request;
    link->request = NULL;
    request->done(request);
}

/* The connection has ended, or could not be made. A kept one may have been dead all along, so that says nothing. */
static void lost(struct rest_link *link, const char *why) {
    bool at_once = link->kept;
    disconnect(link);
    if (link->request->streamed || link->tries >= TRIES_MAX) {
        ST_LOG(runtime_api_lost, "target=%s tries=%u reason=%s", link->request->target, link->tries,
               st_log_quote(why, strlen(why)));
        finish(link, REST_LINK_LOST);
        return;
    }
    st_timer_stop(link->loop, &link->timeout);
    st_timer_start(link->loop, &link->pause, at_once ? 0 : PAUSE_FIRST_NS << link->tries);
}

static void pause_over(struct st_timer *timer) {
    begin_try(ST_OWNER(timer, struct rest_link, pause));
}

static void timed_out(struct st_timer *timer) {
    struct rest_link *link = ST_OWNER(timer, struct rest_link, timeout);
    link->kept = false;
    lost(link, "no answer in time");
}

/* ---- sending and reading ---- */

static bool all_sent(const struct rest_link *link) {
    return link->sent >= link->out.bytes;
}

/* The parts of the chain behind `sent`. */
static int gather(const struct rest_link *link, struct iovec *parts) {
    size_t skip = link->sent;
    int count = 0;
    for (size_t i = 0; i < link->out.count && count < PIECES_AT_ONCE; i++) {
        struct kp_slice bytes = link->out.pieces[i].bytes;
        if (skip >= bytes.len) {
            skip -= bytes.len;
            continue;
        }
        parts[count++] = (struct iovec){(void *)(uintptr_t)(bytes.ptr + skip), bytes.len - skip};
        skip = 0;
    }
    return count;
}

/* False: the connection is lost. */
static bool send_some(struct rest_link *link) {
    while (!all_sent(link)) {
        struct iovec parts[PIECES_AT_ONCE];
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)gather(link, parts)};
        ssize_t n = sendmsg(link->fd, &message, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno == EAGAIN;
        }
        if (link->request->streamed) {
            kp_chain_consume(&link->out, (size_t)n);
        } else {
            link->sent += (size_t)n;
        }
    }
    return true;
}

static void watch_again(struct rest_link *link) {
    unsigned events = ST_WATCH_READ | (link->connecting || !all_sent(link) ? ST_WATCH_WRITE : 0);
    if (link->watch.events != events && !st_watch_start(link->loop, &link->watch, link->fd, events)) {
        link->kept = false;
        lost(link, "out of memory");
    }
}

/* Reads what is there. False: the request has ended, one way or the other. */
static bool read_some(struct rest_link *link) {
    static uint8_t buffer[READ_SIZE];
    for (;;) {
        ssize_t n = recv(link->fd, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return true;
        }
        if (n <= 0) {
            if (n == 0 && rest_reply_end(&link->reply) == REST_REPLY_DONE) {
                finish(link, REST_LINK_ANSWERED);
            } else {
                lost(link, n == 0 ? "the connection was closed" : strerror(errno));
            }
            return false;
        }
        size_t used;
        switch (rest_reply_feed(&link->reply, buffer, (size_t)n, &used)) {
        case REST_REPLY_MORE:
            break;
        case REST_REPLY_DONE:
            finish(link, REST_LINK_ANSWERED);
            return false;
        case REST_REPLY_TOO_LARGE:
            finish(link, REST_LINK_TOO_LARGE);
            return false;
        case REST_REPLY_BAD:
            link->kept = false;
            lost(link, "the answer is no HTTP/1.1, or memory is out");
            return false;
        }
    }
}

static void tell_room(struct rest_link *link) {
    if (link->waits_for_room && all_sent(link) && link->request->room != NULL) {
        link->waits_for_room = false;
        link->request->room(link->request);
    }
}

static void ready(struct st_watch *watch, unsigned events) {
    struct rest_link *link = ST_OWNER(watch, struct rest_link, watch);
    if (link->connecting) {
        int error = 0;
        socklen_t size = sizeof error;
        if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
            lost(link, strerror(error));
            return;
        }
        link->connecting = false;
    }
    if ((events & ST_WATCH_READ) != 0 && !read_some(link)) {
        return;
    }
    if (!send_some(link)) {
        if (read_some(link)) { /* an answer that came before the other side closed counts */
            lost(link, "the connection was reset");
        }
        return;
    }
    watch_again(link);
    if (link->fd >= 0) {
        tell_room(link);
    }
}

/* ---- tries ---- */

static bool open_socket(struct rest_link *link) {
    link->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0) {
        return false;
    }
    int on = 1;
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int done = connect(link->fd, (const struct sockaddr *)&link->address, sizeof link->address);
    link->connecting = done != 0;
    return done == 0 || errno == EINPROGRESS;
}

static void begin_try(struct rest_link *link) {
    link->tries++;
    link->sent = 0;
    rest_reply_release(&link->reply);
    rest_reply_init(&link->reply, link->request->answer_max);
    if (link->request->timeout_ms > 0) {
        st_timer_start(link->loop, &link->timeout, link->request->timeout_ms * ST_MS);
    }
    if (link->fd < 0 && !open_socket(link)) {
        lost(link, strerror(errno));
        return;
    }
    watch_again(link);
}

static void write_head(struct rest_link *link, struct rest_link_request *request) {
    char head[1024];
    int len = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: %s\r\n%s", request->method, request->target,
                       link->host, request->headers);
    kp_chain_copy(&link->out, head, (size_t)len < sizeof head ? (size_t)len : sizeof head - 1);
    if (request->streamed) {
        kp_chain_copy(&link->out, "Transfer-Encoding: chunked\r\n\r\n", 30);
    } else if (strcmp(request->method, "GET") != 0) {
        len = snprintf(head, sizeof head, "Content-Length: %zu\r\n\r\n", request->body.bytes);
        kp_chain_copy(&link->out, head, (size_t)len);
    } else {
        kp_chain_copy(&link->out, "\r\n", 2);
    }
}

static void put_chunk(struct rest_link *link, struct kp_chain *piece) {
    char size[24];
    int len = snprintf(size, sizeof size, "%zx\r\n", piece->bytes);
    kp_chain_copy(&link->out, size, (size_t)len);
    kp_chain_move(&link->out, piece);
    kp_chain_copy(&link->out, "\r\n", 2);
}

void rest_link_start(struct rest_link *link, struct rest_link_request *request) {
    link->request = request;
    link->tries = 0;
    link->ended = link->waits_for_room = false;
    kp_chain_init(&link->out);
    write_head(link, request);
    if (!request->streamed) {
        kp_chain_move(&link->out, &request->body);
    } else if (request->body.bytes > 0) {
        put_chunk(link, &request->body);
    }
    if (link->out.failed) {
        kp_chain_release(&request->body);
        finish(link, REST_LINK_LOST);
        return;
    }
    begin_try(link);
}

/* A streamed body has grown. */
static void send_more(struct rest_link *link) {
    if (link->out.failed) {
        link->kept = false;
        lost(link, "out of memory");
    } else if (link->fd >= 0 && !link->connecting) {
        watch_again(link);
    }
}

bool rest_link_write(struct rest_link *link, struct kp_chain *piece) {
    if (link->request == NULL || link->finished.queued || link->ended) {
        kp_chain_release(piece);
        return true; /* nobody listens any more: the stream may run to its end */
    }
    if (piece->bytes > 0) {
        put_chunk(link, piece);
        send_more(link);
    }
    link->waits_for_room = link->out.bytes > STREAM_ROOM;
    return !link->waits_for_room;
}

void rest_link_finish(struct rest_link *link, const char *trailers) {
    if (link->request == NULL || link->finished.queued || link->ended) {
        return;
    }
    link->ended = true;
    kp_chain_copy(&link->out, "0\r\n", 3);
    kp_chain_copy(&link->out, trailers, strlen(trailers));
    kp_chain_copy(&link->out, "\r\n", 2);
    send_more(link);
}

/* ---- life ---- */

struct rest_link *rest_link_new(struct st_loop *loop, const char *address, char *message, size_t message_size) {
    struct rest_link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        snprintf(message, message_size, "out of memory");
        return NULL;
    }
    if (!parse_address(address, &link->address)) {
        snprintf(message, message_size, "AWS_LAMBDA_RUNTIME_API must be ADDRESS:PORT, not \"%.64s\"", address);
        free(link);
        return NULL;
    }
    snprintf(link->host, sizeof link->host, "%s", address);
    link->loop = loop;
    link->fd = -1;
    link->watch.ready = ready;
    link->pause.fn = pause_over;
    link->timeout.fn = timed_out;
    link->finished.fn = run_done;
    rest_reply_init(&link->reply, 0);
    return link;
}

void rest_link_free(struct rest_link *link) {
    if (link == NULL) {
        return;
    }
    disconnect(link);
    st_timer_stop(link->loop, &link->pause);
    st_timer_stop(link->loop, &link->timeout);
    st_defer_cancel(link->loop, &link->finished);
    kp_chain_release(&link->out);
    rest_reply_release(&link->reply);
    free(link);
}

/*
 * Load for the HTTP door: one-record produces on keep-alive connections, one request at a time on each, from one epoll
 * loop. Every answer must be 200.
 *
 *   http_load HOST:PORT TOPIC CONNECTIONS SECONDS      prints requests=N seconds=S requests_s=R p50_ms=A p99_ms=B
 */
#include "measure.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_BYTES = 4096, SILENCE_MS = 10000, EVENTS = 64 };

struct connection {
    int fd;
    uint64_t sent_at;
    size_t used;
    char answer[ANSWER_BYTES + 1];
};

static char request[1024];
static size_t request_len;
static struct histogram latency;

static void compose(const char *address, const char *topic) {
    char body[160];
    int body_len = snprintf(body, sizeof body, "{\"payload\": \"%0100d\"}", 7);
    int len = snprintf(request, sizeof request,
                       "POST /topics/%s/produce HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                       "Content-Length: %d\r\n\r\n%s",
                       topic, address, body_len, body);
    if (len < 0 || (size_t)len >= sizeof request) {
        die("the name of the topic is too long");
    }
    request_len = (size_t)len;
}

static void ask(struct connection *connection) {
    connection->used = 0;
    connection->sent_at = now_ns();
    if (send(connection->fd, request, request_len, MSG_NOSIGNAL) != (ssize_t)request_len) {
        die("send: %s", strerror(errno));
    }
}

/* Whether the answer is whole; dies when it is not the one due. */
static bool answered(const struct connection *connection) {
    const char *end = strstr(connection->answer, "\r\n\r\n");
    if (end == NULL) {
        return false;
    }
    const char *length = strcasestr(connection->answer, "\r\ncontent-length:");
    if (strncmp(connection->answer, "HTTP/1.1 200 ", 13) != 0 || length == NULL || length > end) {
        die("an answer that is not 200 with a length: %.200s", connection->answer);
    }
    size_t whole = (size_t)(end + 4 - connection->answer) + strtoul(length + 17, NULL, 10);
    if (connection->used > whole) {
        die("more than one answer to one request");
    }
    return connection->used == whole;
}

static void take(struct connection *connection) {
    ssize_t got = recv(connection->fd, connection->answer + connection->used, ANSWER_BYTES - connection->used, 0);
    if (got <= 0) {
        die("a connection ended: %s", got == 0 ? "closed by the server" : strerror(errno));
    }
    connection->used += (size_t)got;
    connection->answer[connection->used] = '\0';
    if (connection->used == ANSWER_BYTES) {
        die("an answer is longer than %d bytes", ANSWER_BYTES);
    }
}

int main(int argc, char **argv) {
    if (argc != 5) {
        die("usage: http_load HOST:PORT TOPIC CONNECTIONS SECONDS");
    }
    compose(argv[1], argv[2]);
    size_t count = number(argv[3], 1);
    uint64_t duration = number(argv[4], 1) * 1000000000u;
    allow_many_files();
    struct connection *connections = calloc(count, sizeof *connections);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (connections == NULL || epoll < 0) {
        die("out of memory or descriptors");
    }
    uint64_t began = now_ns();
    for (size_t i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        connections[i].fd = connect_to(argv[1]);
        if (connections[i].fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event) != 0) {
            die("connection %zu: %s", i, strerror(errno));
        }
        ask(&connections[i]);
    }
    uint64_t now = began;
    for (size_t open = count; open > 0;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, SILENCE_MS);
        if (ready <= 0 && errno != EINTR) {
            die("%zu connections have no answer after %d s", open, SILENCE_MS / 1000);
        }
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            take(connection);
            if (answered(connection)) {
                now = now_ns();
                histogram_add(&latency, now - connection->sent_at);
                if (now - began < duration) {
                    ask(connection);
                } else {
                    close(connection->fd);
                    open--;
                }
            }
        }
    }
    double seconds = (double)(now - began) / 1e9;
    printf("requests=%llu seconds=%.3f requests_s=%.0f p50_ms=%.3f p99_ms=%.3f\n", (unsigned long long)latency.count,
           seconds, (double)latency.count / seconds, histogram_ms(&latency, 50), histogram_ms(&latency, 99));
    free(connections);
    close(epoll);
    return 0;
}

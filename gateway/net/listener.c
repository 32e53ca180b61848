/*
 * Accepts in a bounded loop, so that a burst of new clients does not delay the old ones. Each accepted connection has
 * a small node here, by which it is counted and found again when the process ends; the listener's memory lives until
 * the last node is gone.
 */
#include "gateway/net/listener.h"

#include "storage/runtime/log.h"
#include "storage/runtime/loop_libevent.h"
#include "storage/runtime/metrics.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPTS_A_TURN = 64, BACKLOG = 4096 };
#define PAUSE_NS (100 * ST_MS)

struct member {
    struct gw_listener *listener;
    struct gw_conn *conn;
    struct member *next, **link;
};

struct gw_listener {
    struct st_loop *loop;
    struct gw_listener_options options;
    int fd; /* -1: stopped */
    uint16_t port;
    struct event event;
    struct st_timer resume;
    bool short_of_descriptors; /* said so once */
    struct member *members;
    unsigned count;
    bool freed;
};

static void conn_gone(void *arg) {
    struct member *member = arg;
    struct gw_listener *listener = member->listener;
    *member->link = member->next;
    if (member->next != NULL) {
        member->next->link = member->link;
    }
    free(member);
    listener->count--;
    if (listener->freed && listener->count == 0) {
        free(listener);
    }
}

/* False when there is no memory; the socket is closed then. */
static bool take(struct gw_listener *listener, int fd) {
    struct member *member = calloc(1, sizeof *member);
    struct gw_conn *conn = member == NULL ? NULL : gw_conn_new(listener->loop, fd, conn_gone, member);
    if (conn == NULL) {
        free(member);
        close(fd);
        return false;
    }
    *member = (struct member){listener, conn, listener->members, &listener->members};
    if (member->next != NULL) {
        member->next->link = &member->next;
    }
    listener->members = member;
    listener->count++;
    if (!listener->options.accept(listener->options.arg, conn)) {
        conn->ops = NULL; /* nobody to tell */
        gw_conn_close(conn);
    }
    return true;
}

static void pause_accepting(struct gw_listener *listener, const char *why) {
    event_del(&listener->event);
    st_timer_start(listener->loop, &listener->resume, PAUSE_NS);
    if (!listener->short_of_descriptors) {
        listener->short_of_descriptors = true;
        ST_LOG(accept_paused, "port=%u connections=%u error=%s", (unsigned)listener->port,
               listener->count, st_log_quote(why, strlen(why)));
    }
}

static void resume_accepting(struct st_timer *timer) {
    struct gw_listener *listener = ST_OWNER(timer, struct gw_listener, resume);
    event_add(&listener->event, NULL);
}

static void acceptable(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    struct gw_listener *listener = arg;
    for (int i = 0; i < ACCEPTS_A_TURN && listener->fd >= 0; i++) {
        int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                pause_accepting(listener, strerror(errno));
                return;
            }
            if (errno == EAGAIN) {
                return;
            }
            continue; /* this one went away before it was taken */
        }
        if (st_metrics.connections >= (int64_t)listener->options.connections_max) {
            ST_LOG(connection_limit, "port=%u connections=%lld", (unsigned)listener->port,
                   (long long)st_metrics.connections);
            close(accepted);
            continue;
        }
        if (!take(listener, accepted)) {
            pause_accepting(listener, "out of memory");
            return;
        }
        listener->short_of_descriptors = false;
    }
}

/* ---- opening ---- */

/* A bound, listening socket, or -1 with errno. */
static int listen_at(const struct addrinfo *at) {
    int fd = socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, at->ai_protocol);
    if (fd < 0) {
        return -1;
    }
    int on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at->ai_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    if (bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static void explain(const struct gw_listener_options *options, int error, char *message, size_t size) {
    unsigned port = options->port;
    if (error == EADDRINUSE) {
        snprintf(message, size, "port %u of %s is in use", port, options->host);
    } else if (error == EACCES) {
        snprintf(message, size, "this user may not listen on port %u of %s", port, options->host);
    } else if (error == EADDRNOTAVAIL) {
        snprintf(message, size, "%s is not an address of this machine", options->host);
    } else {
        snprintf(message, size, "cannot listen on port %u of %s: %s", port, options->host, strerror(error));
    }
}

static int open_socket(const struct gw_listener_options *options, char *message, size_t size) {
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)options->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int failure = getaddrinfo(options->host, service, &hints, &found);
    if (failure != 0) {
        snprintf(message, size, "cannot resolve %s: %s", options->host, gai_strerror(failure));
        return -1;
    }
    int fd = -1, error = 0;
    for (struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next) {
        fd = listen_at(at);
        error = error == 0 && fd < 0 ? errno : error; /* the first is the one that was meant */
    }
    freeaddrinfo(found);
    if (fd < 0) {
        explain(options, error, message, size);
    }
    return fd;
}

static uint16_t bound_port(int fd) {
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        return 0;
    }
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

struct gw_listener *gw_listener_new(struct st_loop *loop, const struct gw_listener_options *options,
                                    char *message, size_t message_size) {
    struct gw_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL) {
        snprintf(message, message_size, "out of memory");
        return NULL;
    }
    listener->fd = open_socket(options, message, message_size);
    if (listener->fd < 0) {
        free(listener);
        return NULL;
    }
    listener->loop = loop;
    listener->options = *options;
    listener->options.host = NULL; /* not needed any more, and not ours */
    listener->port = bound_port(listener->fd);
    listener->resume.fn = resume_accepting;
    event_assign(&listener->event, st_loop_base(loop), listener->fd, EV_READ | EV_PERSIST, acceptable,
                 listener);
    event_add(&listener->event, NULL);
    return listener;
}

uint16_t gw_listener_port(const struct gw_listener *listener) {
    return listener->port;
}

unsigned gw_listener_connections(const struct gw_listener *listener) {
    return listener->count;
}

void gw_listener_stop(struct gw_listener *listener) {
    if (listener->fd < 0) {
        return;
    }
    event_del(&listener->event);
    st_timer_stop(listener->loop, &listener->resume);
    close(listener->fd);
    listener->fd = -1;
}

void gw_listener_close_all(struct gw_listener *listener) {
    for (struct member *member = listener->members; member != NULL; member = member->next) {
        gw_conn_close(member->conn);
    }
}

void gw_listener_free(struct gw_listener *listener) {
    if (listener == NULL) {
        return;
    }
    gw_listener_stop(listener);
    listener->freed = true;
    if (listener->count == 0) {
        free(listener);
    }
}

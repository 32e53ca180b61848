/*
 * libcurl must not be called from its own callbacks; these only note what it wants. What comes from the loop calls it.
 *
 * An idle connection keeps its watch, because the next request wants the same again: libcurl's "remove" only marks it
 * idle. If it becomes readable all the same, its peer has closed it. libcurl would not see that over TLS, where the end
 * of a connection begins with bytes ("close notify"): it would send the next request into it and lose that. So such a
 * connection is discarded here: read empty and shut down, which libcurl does see. As the loop may not have looked since
 * the bytes came, idle connections are looked at once more before a request starts.
 *
 * How long a connection has been idle is measured in time that passed outside (st_system_elapsed_ns): a process that
 * was frozen finds its monotonic clock, and so libcurl's, where it left it, while the peer and the translators on the
 * way have long forgotten the connection; what is sent into it is answered by nobody. So these are discarded, too.
 * The same goes for requests under way when the freeze began.
 *
 * The descriptors of libcurl's resolver (the pair by which its thread reports, the sockets of c-ares) come without
 * having been opened here; they are watched while libcurl asks for it. They may be closed behind our back, which shows
 * when a new socket has the number of one that is still listed.
 */
#include "storage/backends/aws/http_sockets.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "storage/runtime/metrics.h"
#include "storage/runtime/system.h"
#include "storage/runtime/watch.h"

#define LOOK_AT 64 /* idle connections with one system call */

struct st_http_socket {
    struct st_watch watch;
    struct st_http_sockets *sockets;
    struct st_http_socket *next;
    int fd;
    bool ours, busy;
    int64_t idle_since_ns; /* by st_system_elapsed_ns */
};

static struct st_http_socket *find(struct st_http_sockets *sockets, int fd) {
    struct st_http_socket *socket = sockets->first;
    while (socket != NULL && socket->fd != fd) {
        socket = socket->next;
    }
    return socket;
}

static void forget(struct st_http_sockets *sockets, struct st_http_socket *socket) {
    struct st_http_socket **link = &sockets->first;
    while (*link != socket) {
        link = &(*link)->next;
    }
    *link = socket->next;
    st_watch_stop(sockets->loop, &socket->watch);
    if (socket->ours) {
        st_metrics.store_http_connections--;
    }
    free(socket);
}

/* Makes libcurl see that it is of no use any more. */
static void discard(struct st_http_socket *socket) {
    char bytes[4096];
    st_watch_stop(socket->sockets->loop, &socket->watch);
    while (recv(socket->fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
    shutdown(socket->fd, SHUT_RDWR);
}

static void act(struct st_http_sockets *sockets, curl_socket_t fd, int what) {
    int running;
    curl_multi_socket_action(sockets->multi, fd, what, &running);
    sockets->turned(sockets);
}

static void ready(struct st_watch *watch, unsigned events) {
    struct st_http_socket *socket = ST_OWNER(watch, struct st_http_socket, watch);
    if (!socket->busy) {
        discard(socket);
        return;
    }
    act(socket->sockets, socket->fd,
        ((events & ST_WATCH_READ) != 0 ? CURL_CSELECT_IN : 0) |
            ((events & ST_WATCH_WRITE) != 0 ? CURL_CSELECT_OUT : 0));
}

static struct st_http_socket *add(struct st_http_sockets *sockets, int fd, bool ours) {
    struct st_http_socket *socket = calloc(1, sizeof *socket);
    if (socket != NULL) {
        *socket = (struct st_http_socket){
            .watch.ready = ready, .sockets = sockets, .next = sockets->first, .fd = fd, .ours = ours, .busy = true};
        sockets->first = socket;
    }
    return socket;
}

curl_socket_t st_http_socket_open(struct st_http_sockets *sockets, const struct curl_sockaddr *address) {
    const int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    struct st_http_socket *stale = fd >= 0 ? find(sockets, fd) : NULL;
    if (stale != NULL) {
        forget(sockets, stale);
    }
    if (fd >= 0 && add(sockets, fd, true) == NULL) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    if (fd >= 0) {
        st_metrics.store_http_connections_total++;
        st_metrics.store_http_connections++;
    }
    return fd;
}

int st_http_socket_close(void *arg, curl_socket_t fd) {
    struct st_http_sockets *sockets = arg;
    struct st_http_socket *socket = find(sockets, fd);
    if (socket != NULL) {
        forget(sockets, socket);
    }
    return close(fd);
}

/* CURLMOPT_SOCKETFUNCTION. Without memory to watch it, a socket is as one whose peer is silent, and its request ends by
 * its time limits. (To return -1 would make the multi handle unusable for good.) */
static int wanted(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused) {
    struct st_http_sockets *sockets = arg;
    struct st_http_socket *socket = find(sockets, fd);
    (void)easy;
    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        if (socket != NULL && socket->ours) {
            socket->busy = false;
            socket->idle_since_ns = st_system_elapsed_ns();
            st_watch_start(sockets->loop, &socket->watch, fd, ST_WATCH_READ);
        } else if (socket != NULL) {
            forget(sockets, socket);
        }
        return 0;
    }
    if (socket == NULL) {
        socket = add(sockets, fd, false);
    }
    if (socket != NULL) {
        socket->busy = true;
        st_watch_start(sockets->loop, &socket->watch, fd,
                       ((what & CURL_POLL_IN) != 0 ? ST_WATCH_READ : 0) |
                           ((what & CURL_POLL_OUT) != 0 ? ST_WATCH_WRITE : 0));
    }
    return 0;
}

/* CURLMOPT_TIMERFUNCTION */
static int timer_wanted(CURLM *multi, long timeout_ms, void *arg) {
    struct st_http_sockets *sockets = arg;
    (void)multi;
    if (timeout_ms < 0) {
        st_timer_stop(sockets->loop, &sockets->timer);
    } else {
        st_timer_start(sockets->loop, &sockets->timer, timeout_ms * ST_MS);
    }
    return 0;
}

void st_http_sockets_turn(struct st_http_sockets *sockets) {
    act(sockets, CURL_SOCKET_TIMEOUT, 0);
}

static void timer_due(struct st_timer *timer) {
    st_http_sockets_turn(ST_OWNER(timer, struct st_http_sockets, timer));
}

/* Looks at the idle ones from `socket` on; where to go on, or NULL. */
static struct st_http_socket *look_at_some(struct st_http_socket *socket) {
    struct pollfd fds[LOOK_AT];
    struct st_http_socket *looked_at[LOOK_AT];
    nfds_t count = 0;
    for (; socket != NULL && count < LOOK_AT; socket = socket->next) {
        if (socket->ours && !socket->busy) {
            fds[count] = (struct pollfd){.fd = socket->fd, .events = POLLIN};
            looked_at[count++] = socket;
        }
    }
    if (count > 0 && poll(fds, count, 0) > 0) {
        for (nfds_t i = 0; i < count; i++) {
            if (fds[i].revents != 0) {
                discard(looked_at[i]);
            }
        }
    }
    return socket;
}

void st_http_sockets_expire(struct st_http_sockets *sockets, int64_t idle_ns) {
    const int64_t elapsed_ns = st_system_elapsed_ns(), mono_ns = st_now_ns(sockets->loop);
    const bool thawed = (elapsed_ns - sockets->elapsed_ns) - (mono_ns - sockets->mono_ns) > idle_ns;
    sockets->elapsed_ns = elapsed_ns;
    sockets->mono_ns = mono_ns;
    for (struct st_http_socket *socket = sockets->first; socket != NULL; socket = socket->next) {
        if (socket->ours && socket->busy && thawed) {
            shutdown(socket->fd, SHUT_RDWR); /* libcurl watches it, and fails its request */
        } else if (socket->ours && !socket->busy && elapsed_ns - socket->idle_since_ns > idle_ns) {
            discard(socket);
        }
    }
    struct st_http_socket *socket = sockets->first;
    while (socket != NULL) {
        socket = look_at_some(socket);
    }
}

void st_http_sockets_init(struct st_http_sockets *sockets, struct st_loop *loop, CURLM *multi,
                          void (*turned)(struct st_http_sockets *sockets)) {
    *sockets = (struct st_http_sockets){.loop = loop,
                                        .multi = multi,
                                        .turned = turned,
                                        .timer.fn = timer_due,
                                        .elapsed_ns = st_system_elapsed_ns(),
                                        .mono_ns = st_now_ns(loop)};
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, wanted);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, sockets);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, sockets);
}

void st_http_sockets_release(struct st_http_sockets *sockets) {
    st_timer_stop(sockets->loop, &sockets->timer);
    while (sockets->first != NULL) {
        forget(sockets, sockets->first);
    }
}

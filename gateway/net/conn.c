/*
 * Connections on raw readiness events. libevent's bufferevents would copy every frame through their own chain of
 * buffers; here recv writes where the owner wants the bytes, and sendmsg reads straight from the blobs of an answer.
 *
 * Life: OPEN -> (FINISHING -> LINGERING) -> CLOSED. Whatever ends a connection only marks it; `closed` runs from a
 * task, so that an owner is never freed under the feet of its own callback.
 *
 * FINISHING sends what is queued, then says FIN. LINGERING then throws away what the peer still sends: a socket that is
 * closed over unread bytes answers with RST, and the peer may lose the answer that it was about to read.
 *
 * Fairness: one turn of the loop takes at most TURN_BYTES from, and gives at most TURN_BYTES to, one connection. The
 * events are level-triggered, so what is left over comes up again in the next turn.
 *
 * The timer is lazy: deadlines move with every request, the timer only when it is due. It runs at the earliest time at
 * which there was something to watch, looks, and starts again.
 */
#include "gateway/net/conn.h"

#include "storage/runtime/loop_libevent.h"
#include "storage/runtime/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    TURN_BYTES = 1024 * 1024,
    TURN_CALLS = 16,
    PIECES_A_CALL = 128,
    LINGER_BYTES = 4 * 1024 * 1024,
};
#define LINGER_NS (2 * ST_SECOND)
#define FINISH_NS (30 * ST_SECOND) /* for an owner that finishes without a deadline */

enum conn_state { CONN_OPEN, CONN_FINISHING, CONN_LINGERING, CONN_CLOSED };

struct gw_conn_io {
    struct gw_conn conn;
    struct st_loop *loop;
    int fd;
    enum conn_state state;
    bool paused;      /* the owner wants nothing now */
    bool watches_end; /* ... but would know of the peer's end */
    bool ended;       /* the peer sends no more */
    bool write_armed; /* the kernel refused bytes; waiting for EPOLLOUT */
    bool high;        /* output reached GW_CONN_LOW_WATER; `drained` is owed */
    const char *why;
    struct kp_chain out;
    struct event read_event, write_event;
    struct st_task task; /* sends what is queued, or closes */
    struct st_timer timer;
    int64_t deadline_ns, send_timeout_ns, progress_ns;
    size_t lingered;
    void (*gone)(void *arg);
    void *gone_arg;
};

static void close_because(struct gw_conn_io *io, const char *why) {
    if (io->state == CONN_CLOSED) {
        return;
    }
    io->state = CONN_CLOSED;
    io->why = why;
    event_del(&io->read_event);
    event_del(&io->write_event);
    st_timer_stop(io->loop, &io->timer);
    st_defer(io->loop, &io->task);
}

/* ---- time ---- */

static int64_t next_due(const struct gw_conn_io *io) {
    int64_t due = io->deadline_ns;
    if (io->out.bytes > 0 && io->send_timeout_ns != ST_NEVER) {
        int64_t stalled = io->progress_ns + io->send_timeout_ns;
        due = stalled < due ? stalled : due;
    }
    return due;
}

static void watch_time(struct gw_conn_io *io) {
    int64_t due = next_due(io);
    bool running = io->timer.heap_index != 0;
    if (due == ST_NEVER || (running && io->timer.due_ns <= due)) {
        return;
    }
    int64_t delay = due - st_now_ns(io->loop);
    st_timer_start(io->loop, &io->timer, delay > 0 ? delay : 0);
}

static void time_came(struct st_timer *timer) {
    struct gw_conn_io *io = ST_OWNER(timer, struct gw_conn_io, timer);
    int64_t now = st_now_ns(io->loop);
    if (io->state == CONN_OPEN && io->deadline_ns <= now && io->conn.ops->late != NULL) {
        io->conn.ops->late(&io->conn);
        if (io->state == CONN_FINISHING && io->deadline_ns <= now) {
            io->deadline_ns = now + FINISH_NS;
        }
    }
    if (next_due(io) <= now) {
        close_because(io, io->state == CONN_LINGERING ? "closed" : "deadline");
    } else if (io->state != CONN_CLOSED) {
        watch_time(io);
    }
}

static int64_t after(struct gw_conn_io *io, int64_t delay_ns) {
    int64_t now = st_now_ns(io->loop);
    return delay_ns >= ST_NEVER - now ? ST_NEVER : now + delay_ns;
}

/* ---- output ---- */

/* What was queued has left, and the owner, or the peer, is through. */
static void all_sent(struct gw_conn_io *io) {
    if (io->state != CONN_FINISHING) {
        return;
    }
    if (io->ended) {
        close_because(io, io->why);
        return;
    }
    io->state = CONN_LINGERING;
    shutdown(io->fd, SHUT_WR);
    io->deadline_ns = after(io, LINGER_NS);
    event_add(&io->read_event, NULL);
    watch_time(io);
}

static ssize_t send_pieces(struct gw_conn_io *io) {
    struct iovec parts[PIECES_A_CALL];
    size_t count = io->out.count < PIECES_A_CALL ? io->out.count : PIECES_A_CALL;
    for (size_t i = 0; i < count; i++) {
        struct kp_slice bytes = io->out.pieces[i].bytes;
        parts[i] = (struct iovec){.iov_base = (void *)(uintptr_t)bytes.ptr, .iov_len = bytes.len};
    }
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    return sendmsg(io->fd, &message, MSG_NOSIGNAL);
}

static void await_writable(struct gw_conn_io *io, bool wait) {
    if (wait == io->write_armed) {
        return;
    }
    io->write_armed = wait;
    if (wait) {
        event_add(&io->write_event, NULL);
    } else {
        event_del(&io->write_event);
    }
}

static void flush(struct gw_conn_io *io) {
    size_t sent = 0;
    bool refused = false;
    while (io->out.bytes > 0 && sent < TURN_BYTES && !refused) {
        ssize_t n = send_pieces(io);
        if (n >= 0) {
            sent += (size_t)n;
            kp_chain_consume(&io->out, (size_t)n);
        } else if (errno == EAGAIN) {
            refused = true;
        } else if (errno != EINTR) {
            close_because(io, "error");
            return;
        }
    }
    if (sent > 0) {
        io->progress_ns = st_now_ns(io->loop);
    }
    await_writable(io, io->out.bytes > 0);
    if (io->out.bytes == 0) {
        kp_chain_release(&io->out); /* an idle connection keeps no memory */
        kp_chain_init(&io->out);
        all_sent(io);
    } else {
        watch_time(io);
    }
    if (io->high && io->out.bytes < GW_CONN_LOW_WATER) {
        io->high = false;
        if (io->state == CONN_OPEN && io->conn.ops->drained != NULL) {
            io->conn.ops->drained(&io->conn);
        }
    }
}

/* What a peer does not take would stay in the kernel for minutes after a close. */
static void drop_unsent(struct gw_conn_io *io) {
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(io->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

static void destroy(struct gw_conn_io *io) {
    if (io->out.bytes > 0) {
        drop_unsent(io);
    }
    if (io->conn.ops != NULL) {
        io->conn.ops->closed(&io->conn, io->why);
    }
    st_defer_cancel(io->loop, &io->task);
    kp_chain_release(&io->out);
    close(io->fd);
    st_metrics.connections--;
    if (io->gone != NULL) {
        io->gone(io->gone_arg);
    }
    free(io);
}

static void task_came(struct st_task *task) {
    struct gw_conn_io *io = ST_OWNER(task, struct gw_conn_io, task);
    if (io->state == CONN_CLOSED) {
        destroy(io);
    } else {
        flush(io);
    }
}

static void writable(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct gw_conn_io *io = arg;
    if (io->state != CONN_CLOSED) {
        flush(io);
    }
}

/* ---- input ---- */

static void peer_ended(struct gw_conn_io *io) {
    io->ended = true;
    event_del(&io->read_event);
    if (io->state == CONN_LINGERING) {
        close_because(io, "closed");
        return;
    }
    if (io->conn.ops->ended != NULL && io->conn.ops->ended(&io->conn)) {
        return;
    }
    if (io->state == CONN_OPEN) {
        gw_conn_finish(&io->conn);
        io->why = "peer";
    }
}

/* False: no more in this turn. */
static bool receive(struct gw_conn_io *io, uint8_t *into, size_t size, size_t *received) {
    ssize_t n = recv(io->fd, into, size, 0);
    if (n > 0) {
        *received = (size_t)n;
        return true;
    }
    if (n == 0) {
        peer_ended(io);
    } else if (errno != EAGAIN && errno != EINTR) {
        close_because(io, "error");
    }
    return false;
}

static void linger(struct gw_conn_io *io) {
    uint8_t scrap[16 * 1024];
    size_t n = 0;
    for (int calls = 0; calls < TURN_CALLS && receive(io, scrap, sizeof scrap, &n); calls++) {
        io->lingered += n;
        if (io->lingered > LINGER_BYTES) {
            close_because(io, "closed");
            return;
        }
    }
}

/* The owner wants nothing. True: the socket shows nothing either, and will say so when that changes. */
static bool nothing_to_see(struct gw_conn_io *io) {
    uint8_t byte;
    ssize_t n = io->watches_end ? recv(io->fd, &byte, sizeof byte, MSG_PEEK) : 1;
    if (n > 0) {
        return false;
    }
    if (n < 0) {
        bool later = errno == EAGAIN || errno == EINTR;
        if (!later) {
            close_because(io, "error");
        }
        return later;
    }
    io->watches_end = false;
    if (io->conn.ops->quiet != NULL) {
        io->conn.ops->quiet(&io->conn);
    }
    return false;
}

static void readable(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct gw_conn_io *io = arg;
    if (io->state == CONN_LINGERING) {
        linger(io);
        return;
    }
    size_t budget = TURN_BYTES;
    for (int calls = 0; calls < TURN_CALLS && budget > 0 && io->state == CONN_OPEN; calls++) {
        uint8_t *into = NULL;
        size_t wanted = io->conn.ops->want(&io->conn, &into);
        if (io->state != CONN_OPEN) {
            return;
        }
        if (wanted == 0) {
            if (!nothing_to_see(io) && io->state == CONN_OPEN) {
                io->paused = true;
                event_del(&io->read_event);
            }
            return;
        }
        size_t size = wanted < budget ? wanted : budget;
        size_t n = 0;
        if (!receive(io, into, size, &n)) {
            return;
        }
        budget -= n;
        io->conn.ops->received(&io->conn, n);
        if (n < size) {
            return; /* the socket is empty; if not, the event comes again */
        }
    }
}

/* ---- the seam ---- */

static void name_peer(int fd, char *peer, size_t size) {
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    char host[INET6_ADDRSTRLEN] = "";
    snprintf(peer, size, "local");
    if (getpeername(fd, (struct sockaddr *)&address, &len) != 0) {
        return;
    }
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(peer, size, "%s:%u", host, (unsigned)ntohs(in->sin_port));
    } else if (address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(peer, size, "[%s]:%u", host, (unsigned)ntohs(in6->sin6_port));
    }
}

struct gw_conn *gw_conn_new(struct st_loop *loop, int fd, void (*gone)(void *arg), void *arg) {
    static uint64_t last_id;
    struct gw_conn_io *io = calloc(1, sizeof *io);
    if (io == NULL) {
        return NULL;
    }
    *io = (struct gw_conn_io){
        .conn = {.id = last_id + 1, .io = io},
        .loop = loop,
        .fd = fd,
        .why = "closed",
        .task = {.fn = task_came},
        .timer = {.fn = time_came},
        .deadline_ns = ST_NEVER,
        .send_timeout_ns = ST_NEVER,
        .gone = gone,
        .gone_arg = arg,
    };
    kp_chain_init(&io->out);
    struct event_base *base = st_loop_base(loop);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        event_assign(&io->read_event, base, fd, EV_READ | EV_PERSIST, readable, io) != 0 ||
        event_assign(&io->write_event, base, fd, EV_WRITE | EV_PERSIST, writable, io) != 0 ||
        event_add(&io->read_event, NULL) != 0) {
        free(io);
        return NULL;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* not a TCP socket: no matter */
    name_peer(fd, io->conn.peer, sizeof io->conn.peer);
    last_id++;
    st_metrics.connections++;
    st_metrics.connections_total++;
    return &io->conn;
}

void gw_conn_send(struct gw_conn *conn, struct kp_chain *chain) {
    struct gw_conn_io *io = conn->io;
    if (io->state != CONN_OPEN) {
        kp_chain_release(chain);
        kp_chain_init(chain);
        return;
    }
    if (io->out.bytes == 0) {
        io->progress_ns = st_now_ns(io->loop);
    }
    bool failed = chain->failed;
    kp_chain_move(&io->out, chain);
    if (failed || io->out.failed) {
        close_because(io, "error");
        return;
    }
    io->high = io->high || io->out.bytes >= GW_CONN_LOW_WATER;
    if (!io->write_armed) {
        st_defer(io->loop, &io->task);
    }
}

size_t gw_conn_backlog(const struct gw_conn *conn) {
    return conn->io->out.bytes;
}

void gw_conn_resume(struct gw_conn *conn) {
    struct gw_conn_io *io = conn->io;
    if (io->state == CONN_OPEN && io->paused && !io->ended) {
        io->paused = false;
        event_add(&io->read_event, NULL);
    }
}

void gw_conn_watch_end(struct gw_conn *conn, bool watch) {
    conn->io->watches_end = watch;
    if (watch) {
        gw_conn_resume(conn);
    }
}

void gw_conn_deadline(struct gw_conn *conn, int64_t delay_ns) {
    struct gw_conn_io *io = conn->io;
    if (io->state == CONN_OPEN || io->state == CONN_FINISHING) {
        io->deadline_ns = after(io, delay_ns);
        watch_time(io);
    }
}

void gw_conn_send_timeout(struct gw_conn *conn, int64_t timeout_ns) {
    struct gw_conn_io *io = conn->io;
    io->send_timeout_ns = timeout_ns > ST_NEVER / 2 ? ST_NEVER : timeout_ns;
    if (io->state != CONN_CLOSED) {
        watch_time(io);
    }
}

void gw_conn_close(struct gw_conn *conn) {
    close_because(conn->io, "closed");
}

void gw_conn_finish(struct gw_conn *conn) {
    struct gw_conn_io *io = conn->io;
    if (io->state != CONN_OPEN) {
        return;
    }
    io->state = CONN_FINISHING;
    event_del(&io->read_event);
    if (io->deadline_ns == ST_NEVER) {
        io->deadline_ns = after(io, FINISH_NS);
        watch_time(io);
    }
    st_defer(io->loop, &io->task);
}

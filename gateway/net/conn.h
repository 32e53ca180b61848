/*
 * A connection: bytes in, chains out, and a deadline. The only code that touches sockets (with listener.c); the Kafka
 * and the HTTP protocol are two users of it.
 *
 * Reading is pulled: before each recv the owner says where bytes go and how many it wants, so that a Kafka frame is
 * received straight into its blob. Writing is queued and sent with writev when the loop is idle again, so that several
 * answers leave in one call. A client that does not read, or sends too slowly, is closed by the deadline of its owner.
 */
#ifndef GW_CONN_H
#define GW_CONN_H

#include "protocol/bytes/chain.h"
#include "storage/runtime/loop.h"

struct gw_conn;

struct gw_conn_ops {
    /* Sets *into and returns how many bytes may be received there; 0: do not read until gw_conn_resume. */
    size_t (*want)(struct gw_conn *conn, uint8_t **into);
    /* n > 0 bytes were put there. May close the connection. */
    void (*received)(struct gw_conn *conn, size_t n);
    /* Output had reached GW_CONN_LOW_WATER and fell below it again (see gw_conn_backlog). May be NULL. */
    void (*drained)(struct gw_conn *conn);
    /* The peer will send nothing more but may still read. True: the owner goes on sending and ends with
     * gw_conn_finish or gw_conn_close; `received` is not called any more. NULL or false: closed as soon as what is
     * queued has been sent ("peer"). */
    bool (*ended)(struct gw_conn *conn);
    /* After gw_conn_watch_end, while `want` says 0: the peer will send nothing more. It may still read; `ended` comes
     * too, when `want` wants again. Once. May be NULL. */
    void (*quiet)(struct gw_conn *conn);
    /* The deadline has passed. The owner may say so to the peer and gw_conn_finish, or set another; NULL, or doing
     * neither: closed ("deadline"). */
    void (*late)(struct gw_conn *conn);
    /* Everything is over: peer closed, error, deadline or gw_conn_close. The owner frees its state; conn is freed after
     * this returns and no other callback follows. `why` is a static word for the log ("peer", "error", "deadline",
     * "closed"). */
    void (*closed)(struct gw_conn *conn, const char *why);
};

#define GW_CONN_LOW_WATER (256 * 1024)

struct gw_conn {
    const struct gw_conn_ops *ops;
    void *owner;
    uint64_t id; /* unique in the process, never 0: the `order` of its appends */
    char peer[64]; /* "127.0.0.1:40000" */
    struct gw_conn_io *io;
};

/*
 * A connection on this socket (made non-blocking here; closed with the connection). NULL when memory is out: the socket
 * stays the caller's. The owner sets ops and owner before control returns to the loop. `gone` (may be NULL) runs after
 * `closed`, when the connection is no more. The listener calls this; so do tests, with one end of a socketpair.
 */
struct gw_conn *gw_conn_new(struct st_loop *loop, int fd, void (*gone)(void *arg), void *arg);
/* Beside the deadline: closes when output is queued and the kernel took none of it for timeout_ns. */
void gw_conn_send_timeout(struct gw_conn *conn, int64_t timeout_ns);

/* Queues the chain for sending; it is left empty. Ignored once the connection is closing. */
void gw_conn_send(struct gw_conn *conn, struct kp_chain *chain);
/* Bytes queued and not yet taken by the kernel. */
size_t gw_conn_backlog(const struct gw_conn *conn);
/* `want` has something to say again. */
void gw_conn_resume(struct gw_conn *conn);
/* Looks for the peer's end also while `want` says 0, for an owner that has nothing to read but would stop its work. It
 * cannot be seen behind bytes that wait to be read. */
void gw_conn_watch_end(struct gw_conn *conn, bool watch);
/* Closes when delay_ns have passed, unless set again; ST_NEVER: no deadline. */
void gw_conn_deadline(struct gw_conn *conn, int64_t delay_ns);
/* Closes soon (closed runs from the loop), dropping what is queued... */
void gw_conn_close(struct gw_conn *conn);
/* ...or after what is queued has been sent. Nothing more is received. */
void gw_conn_finish(struct gw_conn *conn);

#endif

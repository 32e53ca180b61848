/*
 * A listening socket that hands over accepted connections. When descriptors run out it pauses instead of spinning;
 * beyond connections_max a connection is closed at once (one rate-limited log line).
 */
#ifndef GW_LISTENER_H
#define GW_LISTENER_H

#include "gateway/net/conn.h"

struct gw_listener;

struct gw_listener_options {
    const char *host; /* numeric IPv4 or IPv6 address, or a name that resolves locally */
    uint16_t port;    /* 0: a free one */
    unsigned connections_max; /* of the whole process: descriptors are shared */
    /* Sets conn->ops and conn->owner; false: refuse the connection. */
    bool (*accept)(void *arg, struct gw_conn *conn);
    void *arg;
};

/* NULL on failure with one sentence in message ("port 9092 of 127.0.0.1 is in use"). */
struct gw_listener *gw_listener_new(struct st_loop *loop, const struct gw_listener_options *options, char *message,
                                    size_t message_size);
uint16_t gw_listener_port(const struct gw_listener *listener);
/* Connections that it accepted and that are still open. */
unsigned gw_listener_connections(const struct gw_listener *listener);
/* Stops accepting and closes the listening socket; connections live on. */
void gw_listener_stop(struct gw_listener *listener);
/* Closes at once every connection that it accepted (each gets its `closed`, from the loop). */
void gw_listener_close_all(struct gw_listener *listener);
/* Stops; the connections that are still open are no more counted. */
void gw_listener_free(struct gw_listener *listener);

#endif

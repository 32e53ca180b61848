/*
 * One client's connection: frames in, exchanges under way, answers out in the order of the requests.
 *
 * A frame is four bytes of length (big-endian) and then so many bytes of request. They are received straight into a
 * blob: it starts with what was claimed, but never more than 4 KiB or what this connection has sent before, and grows
 * as bytes arrive, so that a claim costs its sender as much as it costs us. The first 4 KiB are never refused: whoever
 * asks for little is served, however many large frames wait for room. Until a first request has made sense, the largest
 * frame is small.
 *
 * Nothing is read while `connection.max.requests` requests are under way, while the client does not take its answers,
 * or while memory is short (door.h).
 */
#ifndef GW_KAFKA_LINK_H
#define GW_KAFKA_LINK_H

#include "gateway/kafka/door.h"

struct gw_exchange;

#define GW_FRAME_START (4 * 1024)
#define GW_FRAME_UNPROVEN (2 * 1024 * 1024) /* largest first frame: a client may open a connection just to produce */

struct gw_link {
    struct gw_kafka *door;
    struct gw_conn *conn;
    struct gw_link *previous, *next;
    /* the frame that is arriving */
    uint8_t head[4];
    uint8_t head_got;
    struct kp_blob *frame; /* NULL: the length has not arrived yet */
    size_t size, got, charged, earned;
    size_t rewarded; /* bytes of this frame at which its deadline was last moved */
    size_t inspected; /* ... that had come when memory was short and slow frames were last looked for */
    bool suspect;     /* ... and it was there then */
    /* the requests that are under way, the oldest first */
    struct gw_exchange *first, **last;
    unsigned under_way;
    struct gw_exchange *unsent, **unsent_last; /* Produce requests that the engine has not been handed yet */
    size_t backlog; /* what door->answer_bytes counts of this link */
    bool proven;    /* a request has made sense */
    bool paused;    /* nothing is read from it now */
    bool ended;     /* the peer sends no more */
    bool flushing;
    bool closing;
    struct gw_link *waiting; /* next in the door's line */
    bool in_line;
};

bool gw_link_open(struct gw_kafka *door, struct gw_conn *conn);
/* The link's front exchanges that are answered leave; the next is begun. */
void gw_link_flush(struct gw_link *link);
/* Closes for bytes that are no valid request: one log line, one count. */
void gw_link_refuse(struct gw_link *link, const char *reason);
void gw_link_close(struct gw_link *link);
/* Called now and then while others wait for memory: what waits for records and holds much is answered, and the link is
 * closed when the frame that it holds comes too slowly. */
void gw_link_inspect(struct gw_link *link);
/* Ends the link when it owes nothing any more and nothing more will be asked. */
void gw_link_drain(struct gw_link *link);

#endif

/*
 * What all connections of the Kafka door share: a budget of memory for request frames, and the list of who waits for
 * room in it.
 *
 * The budget (queued.max.request.bytes) is charged with the room that a frame takes, from its first byte until its
 * exchange is over. A connection that finds no room is not closed but stops being read: its client's socket fills up,
 * which is how TCP says "wait". While any waits, whoever holds room must use it: frames that come too slowly are
 * closed, long polls that hold much are answered (gw_link_inspect). Frames half arrived could wait for each other for
 * ever, so one connection at a time may overdraw: the memory bound is the budget plus one frame of the largest size
 * allowed. What a request takes besides, decoded and on its way to an answer, is counted too; it is refused only when
 * it is much and all of it passes that bound. The first bytes of a frame are never refused (link.h).
 *
 * While there is any connection the fold is synced once a second, which bounds for how long what another gateway has
 * changed (a topic deleted, a configuration) is not known here.
 */
#ifndef GW_KAFKA_DOOR_H
#define GW_KAFKA_DOOR_H

#include "gateway/kafka/kafka.h"

struct gw_link;

struct gw_kafka {
    struct gateway *gateway;
    struct gw_link *links;           /* every connection of this door */
    struct gw_link *waiting, **last; /* those that want room, the longest waiting first */
    struct gw_link *overdrawn;       /* the one whose unfinished frame may pass the budget */
    size_t frame_bytes;              /* charged */
    size_t answer_bytes;             /* in answers that clients have not taken yet, about */
    size_t fetches;                  /* so far */
    bool relief_asked;               /* st_append_on_relief was called and has not come back */
    struct st_task wake;
    struct st_timer inspection; /* runs while any waits for room */
    struct st_timer refresh;
    struct st_sync sync;
    bool syncing;
};

/* The first connection has come. */
void gw_door_begin_refresh(struct gw_kafka *door);

bool gw_door_has_room(const struct gw_kafka *door, size_t bytes);
/* False: no room now; the link waits in line and is resumed when there may be some. */
bool gw_door_charge(struct gw_kafka *door, struct gw_link *link, size_t bytes);
/* Counts bytes that are in use already. */
void gw_door_add(struct gw_kafka *door, size_t bytes);
void gw_door_refund(struct gw_kafka *door, size_t bytes);
/* The link's frame is whole, or the link is gone: it overdraws and waits no more. */
void gw_door_settle(struct gw_kafka *door, struct gw_link *link);
/* False while the engine has more to write than it may hold; the link then waits as for room. */
bool gw_door_may_begin(struct gw_kafka *door, struct gw_link *link);

#endif

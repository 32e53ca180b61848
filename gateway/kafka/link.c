#include "gateway/kafka/link.h"

#include "gateway/kafka/dispatch.h"
#include "storage/runtime/log.h"
#include "storage/runtime/metrics.h"

#include <stdlib.h>

enum {
    FRAME_GROWTH = 4,            /* a claim may take this many times what was sent */
    FRAME_PROGRESS = 1024 * 1024, /* every so many bytes of a frame win another receive.timeout.ms */
    FRAME_LEAST_PACE = 16 * 1024  /* bytes between two inspections */
};

static void link_free(struct gw_link *link) {
    struct gw_kafka *door = link->door;
    *(link->previous != NULL ? &link->previous->next : &door->links) = link->next;
    if (link->next != NULL) {
        link->next->previous = link->previous;
    }
    free(link);
}

/* ---- time ---- */

/* One deadline at a time: for the frame that is arriving, or for having nothing to do. Taking one's answers has a
 * deadline of its own in gw_conn. */
static void watch(struct gw_link *link) {
    const struct gw_config *config = link->door->gateway->config;
    int64_t delay = ST_NEVER;
    if (link->in_line) {
        delay = ST_NEVER; /* it is we who do not read */
    } else if (link->frame != NULL || link->head_got > 0) {
        delay = config->receive_timeout_ms * ST_MS;
    } else if (link->first == NULL) {
        delay = config->connections_max_idle_ms * ST_MS;
    }
    gw_conn_deadline(link->conn, delay);
}

/* ---- answers ---- */

static void weigh_backlog(struct gw_link *link) {
    size_t backlog = link->closing ? 0 : gw_conn_backlog(link->conn);
    link->door->answer_bytes += backlog - link->backlog;
    link->backlog = backlog;
}

static void send_front(struct gw_link *link) {
    struct gw_exchange *x = link->first;
    link->first = x->next;
    if (link->first == NULL) {
        link->last = &link->first;
    }
    link->under_way--;
    if (!x->silent && !link->closing) {
        gw_conn_send(link->conn, &x->answer);
    }
    gw_exchange_release(x);
}

static bool owes_nothing(const struct gw_link *link) {
    return link->first == NULL && !link->closing && (link->ended || link->door->gateway->draining);
}

void gw_link_flush(struct gw_link *link) {
    if (link->flushing) {
        return; /* the loop below sees what has changed */
    }
    link->flushing = true;
    bool was_full = link->under_way >= (unsigned)link->door->gateway->config->connection_max_requests;
    bool progress = true;
    while (progress && !link->closing) {
        progress = false;
        while (link->first != NULL && link->first->answered) {
            send_front(link);
            progress = true;
        }
        if (link->first != NULL && !link->first->begun && gw_conn_backlog(link->conn) < GW_CONN_LOW_WATER) {
            gw_dispatch_begin(link->first);
            progress = true;
        }
    }
    link->flushing = false;
    weigh_backlog(link);
    if (owes_nothing(link)) {
        gw_conn_finish(link->conn);
    } else if (!link->closing) {
        watch(link);
        if (was_full) {
            gw_conn_resume(link->conn);
        }
    }
}

void gw_link_close(struct gw_link *link) {
    link->closing = true;
    gw_conn_close(link->conn);
}

void gw_link_refuse(struct gw_link *link, const char *reason) {
    if (!link->closing) {
        st_metrics.bad_frames_total++;
        ST_LOG(bad_frame, "peer=%s reason=%s", link->conn->peer, st_log_quote(reason, strlen(reason)));
        gw_link_close(link);
    }
}

/* ---- frames ---- */

static void begin_request(struct gw_link *link, struct kp_blob *frame, size_t size, size_t charged) {
    struct gw_exchange *x = gw_exchange_new(link, frame, charged);
    if (x == NULL) {
        gw_door_refund(link->door, charged);
        gw_link_close(link);
        return;
    }
    const char *reason = gw_dispatch_decode(x, size);
    if (reason != NULL) {
        gw_link_refuse(link, reason);
        gw_exchange_release(x);
        return;
    }
    gw_exchange_charge(x, x->arena.used);
    link->proven = true;
    *link->last = x;
    link->last = &x->next;
    link->under_way++;
    if (!gw_dispatch_waits_turn(x)) {
        gw_dispatch_begin(x);
    } else {
        gw_link_flush(link);
    }
}

static void frame_whole(struct gw_link *link) {
    struct kp_blob *frame = link->frame;
    size_t size = link->size, charged = link->charged;
    link->frame = NULL;
    link->head_got = 0;
    link->charged = 0;
    link->earned = size > link->earned ? size : link->earned;
    gw_door_settle(link->door, link);
    begin_request(link, frame, size, charged);
    if (!link->closing) {
        watch(link);
    }
}

/* False: the link is closing. */
static bool frame_begin(struct gw_link *link) {
    size_t least = link->size < GW_FRAME_START ? link->size : GW_FRAME_START;
    size_t start = link->earned < link->size ? link->earned : link->size;
    start = start > least && gw_door_has_room(link->door, start) ? start : least;
    gw_door_add(link->door, start);
    link->frame = kp_blob_new(start);
    link->charged = start;
    link->got = 0;
    link->rewarded = 0;
    link->suspect = false;
    if (link->frame == NULL) {
        gw_link_close(link);
    }
    return link->frame != NULL;
}

static bool frame_grow(struct gw_link *link) {
    size_t size = link->frame->size < link->size / FRAME_GROWTH ? link->frame->size * FRAME_GROWTH : link->size;
    size_t more = size - link->frame->size;
    if (!gw_door_charge(link->door, link, more)) {
        return false;
    }
    link->charged += more;
    if (!kp_blob_grow(link->frame, link->got, size)) {
        gw_link_close(link);
        return false;
    }
    return true;
}

static void size_known(struct gw_link *link) {
    size_t limit = (size_t)link->door->gateway->config->socket_request_max_bytes;
    if (!link->proven && limit > GW_FRAME_UNPROVEN) {
        limit = GW_FRAME_UNPROVEN;
    }
    int64_t size = kp_frame_size(link->head, limit);
    if (size < 0) {
        gw_link_refuse(link, "frame size");
        return;
    }
    link->size = (size_t)size;
}

static bool may_begin_frame(struct gw_link *link) {
    struct gateway *gateway = link->door->gateway;
    return !gateway->draining && link->under_way < (unsigned)gateway->config->connection_max_requests &&
           gw_conn_backlog(link->conn) < GW_CONN_LOW_WATER && gw_door_may_begin(link->door, link);
}

void gw_link_inspect(struct gw_link *link) {
    if (link->first != NULL && link->first->hurry != NULL && link->first->besides > GW_EXCHANGE_LITTLE) {
        link->first->hurry(link->first);
    }
    if (link->frame == NULL || link->paused || link->closing || link->charged <= GW_FRAME_START) {
        return;
    }
    if (link->suspect && link->got - link->inspected < FRAME_LEAST_PACE) {
        gw_link_refuse(link, "too slow while memory is short");
    }
    link->suspect = true;
    link->inspected = link->got;
}

/* ---- what the connection calls ---- */

static size_t want_more(struct gw_link *link, uint8_t **into) {
    if (link->frame == NULL && link->head_got < sizeof link->head) {
        if (link->head_got == 0 && !may_begin_frame(link)) {
            return 0;
        }
        *into = link->head + link->head_got;
        return sizeof link->head - link->head_got;
    }
    if (link->frame == NULL && !frame_begin(link)) {
        return 0;
    }
    if (link->got == link->frame->size && !frame_grow(link)) {
        return 0;
    }
    *into = link->frame->data + link->got;
    return link->frame->size - link->got;
}

static size_t want(struct gw_conn *conn, uint8_t **into) {
    struct gw_link *link = conn->owner;
    if (link->closing) {
        return 0;
    }
    bool waited = link->paused;
    size_t wanted = want_more(link, into);
    link->paused = wanted == 0;
    if (link->paused != waited && !link->closing) {
        watch(link);
    }
    return wanted;
}

static void received(struct gw_conn *conn, size_t n) {
    struct gw_link *link = conn->owner;
    if (link->closing) {
        return;
    }
    if (link->frame == NULL) {
        if (link->head_got == 0) {
            link->head_got = (uint8_t)n;
            watch(link);
        } else {
            link->head_got = (uint8_t)(link->head_got + n);
        }
        if (link->head_got == sizeof link->head) {
            size_known(link);
        }
        return;
    }
    link->got += n;
    if (link->got == link->size) {
        frame_whole(link);
    } else if (link->got - link->rewarded >= FRAME_PROGRESS) {
        link->rewarded = link->got;
        watch(link);
    }
}

/* What waits only for time or an event is told to answer now. */
static void hurry_all(struct gw_link *link) {
    for (struct gw_exchange *x = link->first, *next = NULL; x != NULL; x = next) {
        next = x->next;
        if (x->hurry != NULL) {
            x->hurry(x);
            return; /* only the first in the queue can wait (gw_dispatch_waits_turn); it may be gone now */
        }
    }
}

static void drained(struct gw_conn *conn) {
    struct gw_link *link = conn->owner;
    gw_link_flush(link);
    if (!link->closing) {
        gw_conn_resume(conn);
    }
}

static bool ended(struct gw_conn *conn) {
    struct gw_link *link = conn->owner;
    if (link->first == NULL || link->closing) {
        return false;
    }
    link->ended = true;
    hurry_all(link);
    return true;
}

void gw_link_drain(struct gw_link *link) {
    hurry_all(link);
    if (owes_nothing(link)) {
        gw_conn_finish(link->conn);
    }
}

static void closed(struct gw_conn *conn, const char *why) {
    (void)why;
    struct gw_link *link = conn->owner;
    link->closing = true;
    weigh_backlog(link);
    gw_door_settle(link->door, link);
    if (link->charged > 0) {
        gw_door_refund(link->door, link->charged);
    }
    kp_blob_unref(link->frame);
    for (struct gw_exchange *x = link->first, *next = NULL; x != NULL; x = next) {
        next = x->next;
        x->link = NULL;
        if (x->answered || !x->begun) {
            gw_exchange_release(x);
        } else if (x->abandon != NULL) {
            x->abandon(x);
        } else if (x->hurry != NULL) {
            x->hurry(x);
        }
    }
    link_free(link);
}

static const struct gw_conn_ops ops = {
    .want = want, .received = received, .drained = drained, .ended = ended, .closed = closed};

bool gw_link_open(struct gw_kafka *door, struct gw_conn *conn) {
    struct gw_link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        return false;
    }
    link->door = door;
    link->conn = conn;
    link->last = &link->first;
    link->unsent_last = &link->unsent;
    link->next = door->links;
    if (link->next != NULL) {
        link->next->previous = link;
    }
    door->links = link;
    gw_door_begin_refresh(door);
    conn->ops = &ops;
    conn->owner = link;
    gw_conn_send_timeout(conn, door->gateway->config->send_timeout_ms * ST_MS);
    watch(link);
    return true;
}

#include "gateway/kafka/door.h"
#include "gateway/kafka/link.h"
#include "storage/runtime/metrics.h"

#include <stdlib.h>

#define INSPECTION_NS ST_SECOND

/* ---- the line ---- */

static void join_line(struct gw_kafka *door, struct gw_link *link) {
    if (!link->in_line) {
        link->in_line = true;
        link->waiting = NULL;
        *door->last = link;
        door->last = &link->waiting;
    }
}

static void leave_line(struct gw_kafka *door, struct gw_link *link) {
    if (!link->in_line) {
        return;
    }
    struct gw_link **at = &door->waiting;
    while (*at != link) {
        at = &(*at)->waiting;
    }
    *at = link->waiting;
    if (door->last == &link->waiting) {
        door->last = at;
    }
    link->in_line = false;
}

/* Everybody in line looks again, in the order of arrival; who finds no room gets in line again behind the others that
 * are older, because all are resumed in that order. */
static void wake_line(struct st_task *task) {
    struct gw_kafka *door = ST_OWNER(task, struct gw_kafka, wake);
    struct gw_link *link = door->waiting;
    door->waiting = NULL;
    door->last = &door->waiting;
    while (link != NULL) {
        struct gw_link *next = link->waiting;
        link->in_line = false;
        gw_conn_resume(link->conn);
        link = next;
    }
}

/* Nobody is woken to find no room again. */
static void wake_soon(struct gw_kafka *door) {
    bool room = door->overdrawn == NULL || gw_door_has_room(door, 1);
    if (door->waiting != NULL && room) {
        st_defer(door->gateway->loop, &door->wake);
    }
}

static void relieved(void *arg) {
    struct gw_kafka *door = arg;
    door->relief_asked = false;
    if (door->waiting != NULL) {
        st_defer(door->gateway->loop, &door->wake);
    }
}

static void inspection_due(struct st_timer *timer) {
    struct gw_kafka *door = ST_OWNER(timer, struct gw_kafka, inspection);
    for (struct gw_link *link = door->links, *next = NULL; link != NULL; link = next) {
        next = link->next;
        gw_link_inspect(link);
    }
    if (door->waiting != NULL) {
        st_timer_start(door->gateway->loop, timer, INSPECTION_NS);
    }
}

/* ---- the budget ---- */

void gw_door_add(struct gw_kafka *door, size_t bytes) {
    door->frame_bytes += bytes;
    st_metrics.frame_bytes = (int64_t)door->frame_bytes;
}

bool gw_door_has_room(const struct gw_kafka *door, size_t bytes) {
    size_t limit = (size_t)door->gateway->config->queued_max_request_bytes;
    return bytes <= limit && door->frame_bytes <= limit - bytes;
}

bool gw_door_charge(struct gw_kafka *door, struct gw_link *link, size_t bytes) {
    size_t limit = (size_t)door->gateway->config->queued_max_request_bytes;
    size_t largest = (size_t)door->gateway->config->socket_request_max_bytes;
    bool fits = gw_door_has_room(door, bytes);
    if (!fits && (door->overdrawn == NULL || door->overdrawn == link) && door->frame_bytes + bytes <= limit + largest) {
        door->overdrawn = link;
        fits = true;
    }
    if (!fits) {
        join_line(door, link);
        if (door->inspection.heap_index == 0) {
            st_timer_start(door->gateway->loop, &door->inspection, INSPECTION_NS);
        }
        return false;
    }
    gw_door_add(door, bytes);
    return true;
}

void gw_door_refund(struct gw_kafka *door, size_t bytes) {
    door->frame_bytes -= bytes;
    st_metrics.frame_bytes = (int64_t)door->frame_bytes;
    wake_soon(door);
}

void gw_door_settle(struct gw_kafka *door, struct gw_link *link) {
    leave_line(door, link);
    if (door->overdrawn == link) {
        door->overdrawn = NULL;
        wake_soon(door);
    }
}

bool gw_door_may_begin(struct gw_kafka *door, struct gw_link *link) {
    if (!st_append_congested(door->gateway->engine)) {
        return true;
    }
    join_line(door, link);
    if (!door->relief_asked) {
        door->relief_asked = true;
        st_append_on_relief(door->gateway->engine, relieved, door);
    }
    return false;
}

/* ---- freshness ---- */

#define REFRESH_NS ST_SECOND

static void refreshed(struct st_sync *sync) {
    struct gw_kafka *door = ST_OWNER(sync, struct gw_kafka, sync);
    door->syncing = false; /* an unreadable store shows where somebody asks for something */
}

static void refresh_due(struct st_timer *timer) {
    struct gw_kafka *door = ST_OWNER(timer, struct gw_kafka, refresh);
    if (door->links == NULL || door->gateway->draining) {
        return; /* the next connection, if any, begins anew */
    }
    if (!door->syncing) {
        door->syncing = true;
        door->sync = (struct st_sync){.done = refreshed};
        st_sync(door->gateway->engine, &door->sync);
    }
    st_timer_start(door->gateway->loop, &door->refresh, REFRESH_NS);
}

void gw_door_begin_refresh(struct gw_kafka *door) {
    if (door->refresh.heap_index == 0) {
        st_timer_start(door->gateway->loop, &door->refresh, REFRESH_NS);
    }
}

/* ---- the door ---- */

static struct gw_kafka *door_of(struct gateway *gateway) {
    if (gateway->kafka == NULL) {
        struct gw_kafka *door = calloc(1, sizeof *door);
        if (door != NULL) {
            door->gateway = gateway;
            door->last = &door->waiting;
            door->wake.fn = wake_line;
            door->inspection.fn = inspection_due;
            door->refresh.fn = refresh_due;
        }
        gateway->kafka = door;
    }
    return gateway->kafka;
}

bool gw_kafka_accept(void *gateway, struct gw_conn *conn) {
    struct gw_kafka *door = door_of(gateway);
    return door != NULL && gw_link_open(door, conn);
}

void gw_kafka_drain(struct gateway *gateway) {
    gateway->draining = true;
    if (gateway->kafka == NULL) {
        return;
    }
    for (struct gw_link *link = gateway->kafka->links, *next = NULL; link != NULL; link = next) {
        next = link->next;
        gw_link_drain(link);
    }
}

void gw_kafka_free(struct gateway *gateway) {
    if (gateway->kafka != NULL) {
        st_append_on_relief(gateway->engine, NULL, NULL);
        st_defer_cancel(gateway->loop, &gateway->kafka->wake);
        st_timer_stop(gateway->loop, &gateway->kafka->refresh);
        st_timer_stop(gateway->loop, &gateway->kafka->inspection);
        free(gateway->kafka);
        gateway->kafka = NULL;
    }
}

#include "gateway/kafka/exchange.h"

#include "gateway/kafka/link.h"
#include "storage/runtime/log.h"
#include "storage/runtime/metrics.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* A decoded request takes a multiple of its bytes: an empty string of two bytes becomes a slice of sixteen, a partition
 * of 16 bytes a struct of 48. What no honest request needs is refused. */
#define ARENA_LEAST ((size_t)64 * 1024)
#define ARENA_FACTOR 16
#define ARENA_MOST ((size_t)32 * 1024 * 1024)
/* Descriptions of very many partitions are the largest answers that are built from structs. */
#define ROOM_LIMIT ((size_t)128 * 1024 * 1024)
#define ROOM_FAIR ((size_t)1024 * 1024)

struct gw_exchange *gw_exchange_new(struct gw_link *link, struct kp_blob *frame, size_t charged) {
    struct gw_exchange *x = calloc(1, sizeof *x);
    if (x == NULL) {
        kp_blob_unref(frame);
        return NULL;
    }
    x->gateway = link->door->gateway;
    x->link = link;
    x->frame = frame;
    x->charged = charged;
    x->begun_ns = st_now_ns(x->gateway->loop);
    size_t multiple = frame->size < ARENA_MOST / ARENA_FACTOR ? frame->size * ARENA_FACTOR : ARENA_MOST;
    kp_arena_init(&x->arena, ARENA_LEAST + multiple);
    kp_arena_init(&x->room, ROOM_LIMIT);
    kp_chain_init(&x->answer);
    return x;
}

static size_t beyond_little(size_t bytes) {
    return bytes > GW_EXCHANGE_LITTLE ? bytes - GW_EXCHANGE_LITTLE : 0;
}

void gw_exchange_charge(struct gw_exchange *x, size_t bytes) {
    size_t counted = beyond_little(x->besides);
    x->besides += bytes;
    counted = beyond_little(x->besides) - counted;
    x->charged += counted;
    gw_door_add(x->gateway->kafka, counted);
}

static void exchange_free(struct gw_exchange *x) {
    kp_arena_release(&x->room);
    kp_arena_release(&x->arena);
    kp_chain_release(&x->answer);
    kp_blob_unref(x->frame);
    if (x->charged > 0) {
        gw_door_refund(x->gateway->kafka, x->charged);
    }
    free(x);
}

void gw_exchange_release(struct gw_exchange *x) {
    if (x->holds == 0) {
        exchange_free(x);
    } else {
        x->link = NULL;
    }
}

void gw_exchange_hold(struct gw_exchange *x) {
    x->holds++;
}

void gw_exchange_drop(struct gw_exchange *x) {
    x->holds--;
    if (x->holds == 0 && x->answered && x->link == NULL) {
        exchange_free(x);
    }
}

/* The handler is through. */
static void finish(struct gw_exchange *x) {
    x->answered = true;
    x->hurry = NULL;
    x->abandon = NULL;
    if (x->link != NULL) {
        gw_link_flush(x->link);
    } else {
        gw_exchange_release(x);
    }
}

static void measure(struct gw_exchange *x) {
    uint64_t us = (uint64_t)(st_now_ns(x->gateway->loop) - x->begun_ns) / 1000;
    switch (x->header.api->key) {
    case 0:
        st_histogram_add(&st_metrics.produce_latency_us, us);
        break;
    case 1:
        st_histogram_add(&st_metrics.fetch_latency_us, us);
        break;
    default:
        break;
    }
}

static void encoded(struct gw_exchange *x, bool well) {
    measure(x);
    if (!well) {
        x->silent = true;
        if (x->link != NULL) {
            gw_link_close(x->link);
        }
    }
    finish(x);
}

void gw_exchange_answer(struct gw_exchange *x, const void *response) {
    encoded(x, x->link == NULL || kp_response_encode(&x->header, response, &x->answer));
}

void gw_exchange_answer_unsupported(struct gw_exchange *x) {
    encoded(x, kp_response_unsupported(&x->header, &x->answer));
}

void gw_exchange_answer_none(struct gw_exchange *x) {
    measure(x);
    x->silent = true;
    finish(x);
}

void gw_exchange_fail(struct gw_exchange *x, const char *reason) {
    if (x->link != NULL && reason != NULL) {
        gw_link_refuse(x->link, reason);
    } else if (x->link != NULL) {
        gw_link_close(x->link);
    }
    x->silent = true;
    finish(x);
}

static void sync_done(struct st_sync *sync) {
    struct gw_exchange *x = ST_OWNER(sync, struct gw_exchange, sync);
    x->synced(x, sync->error);
}

void gw_exchange_sync(struct gw_exchange *x, void (*then)(struct gw_exchange *x, enum st_error error)) {
    x->synced = then;
    x->sync = (struct st_sync){.done = sync_done};
    st_sync(x->gateway->engine, &x->sync);
}

/* Whoever asks for much is refused when that and others' requests together pass what frames may take: ten requests that
 * describe everything a thousand times must not each get all of ROOM_LIMIT. */
static bool asks_too_much(const struct gw_exchange *x) {
    const struct gw_config *config = x->gateway->config;
    size_t most = (size_t)config->queued_max_request_bytes + (size_t)config->socket_request_max_bytes;
    return x->room.used > ROOM_FAIR && x->gateway->kafka->frame_bytes > most;
}

/* Memory from x->room, which held `before` bytes until now: counts it, or fails the exchange. */
static void *taken(struct gw_exchange *x, size_t before, void *memory) {
    gw_exchange_charge(x, x->room.used - before);
    if (memory == NULL || asks_too_much(x)) {
        ST_LOG(memory_short, "door=kafka api=%s used=%zu", x->header.api->name, x->gateway->kafka->frame_bytes);
        gw_exchange_fail(x, NULL);
        return NULL;
    }
    return memory;
}

void *gw_exchange_room(struct gw_exchange *x, size_t count, size_t size) {
    size_t before = x->room.used;
    return taken(x, before, kp_arena_array(&x->room, count, size));
}

void *gw_exchange_items(struct gw_exchange *x, const struct kp_struct *type, int32_t count) {
    size_t before = x->room.used;
    return taken(x, before, kp_array_new(type, &x->room, count));
}

struct kp_slice gw_exchange_text(struct gw_exchange *x, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    size_t size = len < 0 ? 0 : (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    struct kp_slice copy = kp_arena_copy(&x->room, kp_slice_of(text, size));
    return copy.ptr != NULL ? copy : KP_SLICE_LIT("");
}

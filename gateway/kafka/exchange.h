/*
 * One request under way, from its whole frame to its answer's place in the connection's queue.
 *
 * Handlers (void gw_handle_<api>(struct gw_exchange *x)) may finish at once or after any number of engine operations,
 * in any order among the exchanges of a connection; answers leave in the order of the requests all the same. A handler
 * ends by exactly one call of gw_exchange_answer, gw_exchange_answer_none or gw_exchange_fail, after which it touches
 * x no more (unless it holds it).
 *
 * Lifetimes: the request struct and its slices, everything from x->arena and x->room, and the frame live until the
 * exchange is freed, which is after it was answered and the last hold was dropped. When the client goes away first,
 * x->link becomes NULL and the handler runs on unaware; its answer is thrown away. What only waits for something to
 * happen sets x->hurry or x->abandon, so that it can be told to end now.
 */
#ifndef GW_KAFKA_EXCHANGE_H
#define GW_KAFKA_EXCHANGE_H

#include "gateway/gateway.h"
#include "protocol/frame.h"

struct gw_link;

struct gw_exchange {
    struct gateway *gateway;
    struct gw_link *link; /* NULL: the client is gone */
    struct gw_exchange *next;
    struct gw_exchange *next_unsent; /* produce.c */
    struct kp_request_header header;
    void *request; /* struct kp_<api>_request */
    void *state;   /* the handler's own, from its arena */
    struct kp_arena arena; /* decoded request; capped by the size of the frame */
    struct kp_arena room;  /* the handler's state and its response */
    struct kp_blob *frame;
    size_t besides; /* bytes taken besides the frame */
    size_t charged; /* of the door's budget: the frame, and what is not little besides it */
    struct kp_chain answer;
    int64_t begun_ns;
    unsigned holds;
    bool answered, silent;
    bool begun; /* the handler was called; before that it waits for its turn (dispatch.h) */
    /* Answers at once with what there is: set while nothing but time or an event is waited for. */
    void (*hurry)(struct gw_exchange *x);
    /* The client is gone: set while x waits only for others of its connection. */
    void (*abandon)(struct gw_exchange *x);
    struct st_sync sync;
    void (*synced)(struct gw_exchange *x, enum st_error error);
};

/* Takes over the reference to the frame. NULL: memory is out, the reference is dropped, nothing is charged. */
struct gw_exchange *gw_exchange_new(struct gw_link *link, struct kp_blob *frame, size_t charged);
/* Charges what is held besides the frame; it is refunded with it. A little is free: ten thousand consumers that wait
 * must not use up the room for what producers send. */
#define GW_EXCHANGE_LITTLE ((size_t)8 * 1024)
void gw_exchange_charge(struct gw_exchange *x, size_t bytes);
/* Frees it when it is answered and not held. Called by the link when its answer has left, or can not leave. */
void gw_exchange_release(struct gw_exchange *x);

/* Encodes the response (struct kp_<api>_response), which may point at views of the engine. */
void gw_exchange_answer(struct gw_exchange *x, const void *response);
/* The request is an ApiVersions of a version that is not known (KIP-511). */
void gw_exchange_answer_unsupported(struct gw_exchange *x);
/* Produce with acks=0: the client expects no bytes. */
void gw_exchange_answer_none(struct gw_exchange *x);
/* The request can not be answered as its client would understand: the connection is closed. With a reason it is
 * logged as a bad frame. */
void gw_exchange_fail(struct gw_exchange *x, const char *reason);

/* Keeps x alive beyond its answer, for an operation that goes on. */
void gw_exchange_hold(struct gw_exchange *x);
void gw_exchange_drop(struct gw_exchange *x);

/* Runs `then` when the fold has been brought to a tail read after this call; ST_OK, or why the store can not be read.
 * One at a time. */
void gw_exchange_sync(struct gw_exchange *x, void (*then)(struct gw_exchange *x, enum st_error error));

/* Memory that lives as long as x, zeroed; an array from kp_array_new with `count` elements at their defaults. When it
 * is out the exchange fails, and NULL means: return. */
void *gw_exchange_room(struct gw_exchange *x, size_t count, size_t size);
void *gw_exchange_items(struct gw_exchange *x, const struct kp_struct *type, int32_t count);
/* A formatted sentence for error_message; an empty slice when memory is out. */
struct kp_slice gw_exchange_text(struct gw_exchange *x, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

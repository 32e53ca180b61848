/*
 * One call on its way (private to this layer): what the handlers share. An exchange is the memory that the engine's
 * operations live in, so it outlasts its call when the deadline answers first: `call` is then NULL, and the callback of
 * the operation under way only returns the exchange to its pool.
 *
 * A handler starts in rest_<name>_start and ends with exactly one rest_exchange_done. Each callback of the engine
 * begins with rest_exchange_resume and stops when that is false.
 */
#ifndef REST_EXCHANGE_H
#define REST_EXCHANGE_H

#include "lambda/form.h"
#include "lambda/parts.h"
#include "lambda/rest.h"
#include "lambda/writer.h"

#define REST_FIRST_OFFSET 1 /* of a topic that is made here */

struct rest_produce {
    struct kp_arena arena;
    struct rest_message *messages; /* slices lie in the request's body, or in the arena */
    size_t count;
    struct rest_message only;
    struct kp_slice key; /* Idempotency-Key; ptr NULL: none */
    uint64_t key_hash[2];
    int64_t key_begun_ms;
    bool several; /* the request had an array, so the answer has */
    bool placed;  /* the answer to a single one names its partition */
    struct rest_parts parts;
    struct st_append append;
    struct st_topic_create create;
    unsigned tries;
};

struct rest_consume {
    enum rest_form form;
    bool streams; /* the answer is sent in pieces */
    struct rest_message_form how;
    struct st_read_part part;
    struct st_read read;
    struct rest_writer writer;
    struct kp_arena arena;
    struct kp_uuid topic_id; /* of the topic that was read from */
    bool moved;              /* something was read: the cursor stands */
    bool past_bytes;         /* the next message does not fit max_bytes any more */
    int64_t asked;  /* the parameter; -1: left out */
    int64_t cursor; /* offset of the next record to look at; -1: not known yet */
    size_t limit, count; /* messages still wanted; in what is written now */
    size_t bytes_left;   /* of answer, for the rest of it */
    size_t inflated; /* bytes so far */
    unsigned reads;
    bool opened;
    int64_t wait_ns;  /* how long nothing may come */
    int64_t until_ns; /* when waiting ends */
    int64_t end_ns;   /* when a stream ends */
    int64_t spoke_ns; /* when a stream of events last said something */
};

struct rest_topics {
    struct rest_writer writer;
    struct kp_arena arena;
    uint8_t prefix[ST_TOPIC_NAME_MAX], after[ST_TOPIC_NAME_MAX];
    size_t prefix_len, after_len, limit;
    struct st_topic_create create;
    struct st_topic_delete delete;
    struct st_find_time find;
    struct kp_uuid id;
    bool one, by_time; /* offsets: of one partition; by timestamp */
    int32_t first, partition, beyond;
    int64_t time_ms;
};

struct rest_exchange {
    struct rest *rest;
    struct rest_call *call; /* NULL: answered, but an operation of the engine is still under way */
    bool starting;          /* rest_handle has not returned yet */
    bool busy;              /* an operation is under way */
    bool synced;            /* a sync begun after the request arrived has come back well */
    bool hurried;           /* it shall wait no longer */
    bool counted;           /* among rest.waits */
    bool waited;            /* the caller was told */
    bool parked;            /* the waiter or the timer below is to wake it */
    bool full;              /* the caller has no room for the next piece */
    int64_t deadline_ns; /* of what is under way */
    int64_t end_ns;      /* of the call itself; ST_NEVER: it has no timeout of its own */
    struct st_timer deadline;
    enum st_error late; /* what the deadline answers; ST_OK: that the store is away */
    struct st_task answer;
    struct st_sync sync;
    void (*after_sync)(struct rest_exchange *exchange);
    void (*go_on)(struct rest_exchange *exchange); /* set: it is parked, or full */
    struct st_task going;
    struct st_waiter waiter;
    struct st_timer wake;
    uint8_t topic[ST_TOPIC_NAME_MAX];
    size_t topic_len;
    union {
        struct rest_produce produce;
        struct rest_consume consume;
        struct rest_topics topics;
    };
    void (*release)(struct rest_exchange *exchange); /* frees what the handler holds; may be NULL */
    /* Of a handler that streams: an error's JSON as the stream's last words. */
    void (*last_words)(struct rest_exchange *exchange, struct kp_chain *json, struct kp_chain *out);
    struct rest_exchange *next, **link;              /* in the list of all, or of the spare ones */
};

struct rest {
    struct st_loop *loop;
    struct st_engine *engine;
    struct rest_options options;
    struct rest_exchange *active, *spare;
    size_t spare_count;
    size_t waits; /* calls that wait or stream */
    bool draining;
};

/* The handlers of routes.def. */
#define ROUTE(method, pattern, handler) void rest_##handler##_start(struct rest_exchange *exchange);
#include "lambda/routes.def"
#undef ROUTE

struct kp_slice rest_exchange_topic(const struct rest_exchange *exchange);
int64_t rest_exchange_ms_left(const struct rest_exchange *exchange);

/* Gives the store its time anew, after a wait or a piece; never more than the call's own timeout leaves. */
void rest_exchange_renew(struct rest_exchange *exchange);
/* Before an operation that stores no record and is not bounded in time: the deadline answers in its place. */
void rest_exchange_wait(struct rest_exchange *exchange);
/* Before an append, which has a timeout of its own and alone knows whether the record is surely not stored. */
void rest_exchange_commit(struct rest_exchange *exchange);
/* Before an operation that changes something and is not bounded in time: the deadline answers `late` in its place. */
void rest_exchange_commit_within(struct rest_exchange *exchange, enum st_error late);
/* In an operation's callback: false when the call was answered meanwhile; the exchange is then gone. */
bool rest_exchange_resume(struct rest_exchange *exchange);
/* Brings the fold to the tail, then calls `after`; answers 503 itself when the store cannot be read. */
void rest_exchange_sync(struct rest_exchange *exchange, void (*after)(struct rest_exchange *exchange));

/* ---- waiting for records ---- */

/* True, at any time, when waiting must end: its client has gone, or the process ends. */
bool rest_exchange_hurried(const struct rest_exchange *exchange);
/* Counts the call among those that wait or stream. False: there are too many of them. */
bool rest_exchange_may_wait(struct rest_exchange *exchange);
/* Waits until the partition grows, until delay_ns have passed, or until the call is hurried, then goes on. No topic:
 * only the time counts. Not before rest_exchange_may_wait; nothing of the engine is under way meanwhile. */
void rest_exchange_park(struct rest_exchange *exchange, const struct st_topic *topic, int32_t partition,
                        int64_t delay_ns, void (*go_on)(struct rest_exchange *exchange));

/* ---- answers in pieces ---- */

bool rest_exchange_can_stream(const struct rest_exchange *exchange);
/* The response is filled but for its body. Not within rest_handle. */
void rest_exchange_begin(struct rest_exchange *exchange);
/* Sends one piece, then goes on: now, or when the caller has room again. The chain is left empty. */
void rest_exchange_piece(struct rest_exchange *exchange, struct kp_chain *piece,
                         void (*go_on)(struct rest_exchange *exchange));
/* Ends it. Cut: it is not whole. */
void rest_exchange_end(struct rest_exchange *exchange, bool cut);

/* Answers: response is filled. done runs now, or from the loop when rest_handle has not returned. */
void rest_exchange_done(struct rest_exchange *exchange);
void rest_exchange_error(struct rest_exchange *exchange, enum rest_error error);
/* An error with a sentence of its own, plain ASCII without quotes. */
void rest_exchange_error_text(struct rest_exchange *exchange, enum rest_error error, const char *text);
/* A body that is no JSON object: what is wrong, and where. */
void rest_exchange_json_error(struct rest_exchange *exchange, enum rest_json_error error, size_t at);
void rest_exchange_store_error(struct rest_exchange *exchange, enum st_error error);

#endif

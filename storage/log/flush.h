/*
 * A flush: what one process gathers and commits together. Requests join the open flush of the journal in the order of
 * their calls; flushes are committed in the order in which they were opened, so requests of one connection, and batches
 * of one producer, take effect in order (I5).
 *
 *   open ── close ──> uploading ──> ready ──> committing ──> over
 *                 └── small: no upload ──┘
 *
 * Record bytes are copied once. A flush begins with references to the frames that the batches arrived in; if it stays
 * under the inline limit they are copied into the entry when it is built. When it outgrows the limit, an object buffer
 * is taken, and what is there and what comes is copied into that; the frames are let go. Where the profile has
 * `gathers_frames` all of it is copied when the flush closes, partition by partition (flush_order.c).
 */
#ifndef ST_FLUSH_H
#define ST_FLUSH_H

#include "storage/journal/journal.h"
#include "storage/log/object_buffer.h"
#include "storage/log/pace.h"

enum st_request_kind {
    ST_REQUEST_APPEND,
    ST_REQUEST_TOPIC_CREATE,
    ST_REQUEST_TOPIC_DELETE,
    ST_REQUEST_PRODUCER_IDS,
};

enum st_request_state {
    ST_REQUEST_GATHERED,
    ST_REQUEST_ACCEPTED, /* the entry that is being put makes it true */
    ST_REQUEST_DECIDED,  /* its answer does not depend on that entry */
};

/* One thing that a flush is to make true. Made by the callers' side (append.c, change.c), freed by `over`. */
struct st_request {
    enum st_request_kind kind;
    enum st_request_state state;
    enum st_error error;   /* when decided */
    bool abandoned;        /* its caller was answered: not to be made true unless it perhaps is already */
    struct st_request *next;
    /* The flush is through with it. error: ST_OK, the decision, or ST_REFUSED / ST_UNKNOWN. */
    void (*over)(struct st_request *request, enum st_error error);
};

/* What the parts of an append with an idempotency key share. */
struct st_append_keyed {
    struct st_append_request *parts;
    size_t count;
    struct kp_slice name;
    uint64_t hash[2];
    int64_t begun_ms; /* the store's clock, as it was seen when the request arrived */
    bool was_known; /* when it arrived: for a wrong variant */
};

/* A batch on its way into one partition. */
struct st_append_request {
    struct st_request request;
    struct st_append_state *append;
    struct st_append_keyed *keyed; /* NULL: no key */
    size_t part;                /* index in the caller's parts */
    struct kp_uuid topic_id;
    int32_t partition, count;
    struct kp_slice bytes;
    struct kp_blob *blob;       /* one reference; NULL: bytes lie in the buffer of the flush */
    uint32_t position;          /* in the object or the inline area */
    int64_t max_timestamp_ms;
    int16_t attributes, epoch;
    int64_t producer_id;
    int32_t first_sequence;
    bool stored;                /* the entry being put names its bytes */
    bool hold_over;             /* it was held long enough: decide */
    bool hold_failed;           /* ... but the journal could not be read meanwhile, or the engine closes: refuse */
    bool sync_sent, synced;     /* since it was held */
    struct st_append_request *held_next;
    int64_t held_until_ns;
    int64_t base, append_time_ms, log_start; /* results */
};

enum st_flush_state { ST_FLUSH_OPEN, ST_FLUSH_UPLOADING, ST_FLUSH_READY, ST_FLUSH_COMMITTING };

struct st_flush {
    struct st_engine *engine;
    enum st_flush_state state;
    struct st_flush *next;
    struct st_request *first, **last;
    size_t request_count;
    size_t bytes;            /* record bytes gathered */
    size_t facts_estimate;   /* bytes of encoded facts to come */
    struct st_object_buffer object; /* blob NULL while the flush is inline */
    struct st_object_put put;
    bool put_flying;
    unsigned put_failures;
    struct st_timer put_retry;
    struct st_commit_op commit;
    int64_t closed_ns;
    int64_t opened_ns;
    bool alone;              /* no other was under way when it was opened, and nothing came much later */
};

struct st_flusher {
    struct st_flush *oldest, **newest; /* in order of commit; the last may be open */
    struct st_flush *open;
    unsigned uploading;
    size_t bytes;              /* record bytes of all flushes */
    struct st_slabs slabs;
    struct st_task close_soon; /* so that all requests of one turn of the loop share a flush */
    struct st_pace pace;
    struct st_timer paced;     /* the open flush may close then */
    size_t unit_left;          /* requests still to come of a unit: the open flush takes them */
    size_t unit_bytes;         /* of those requests */
    uint64_t check_mark;       /* of the newest build */
};

void st_flusher_init(struct st_engine *engine);
void st_flusher_release(struct st_engine *engine);
/* The next `count` requests, of `len` record bytes together, are to share a flush and so an entry: makes room. Beyond
 * what one entry can say they are spread over several. */
void st_flusher_unit(struct st_engine *engine, size_t count, size_t len);
/* Adds a request to the open flush. */
void st_flusher_add(struct st_engine *engine, struct st_request *request);
bool st_flusher_idle(const struct st_engine *engine);
/* A request of some flush was abandoned: flushes that nobody waits for are given up. */
void st_flusher_reconsider(struct st_engine *engine);
/* True when the put of the flush that holds the request may have made it true. */
bool st_flusher_perhaps_stored(const struct st_engine *engine, const struct st_request *request);

/* flush_order.c: brings the appends of each partition together, none of whose bytes lies in the object yet. */
void st_flush_order(struct st_flush *flush);
/* check.c: decides every request against the fold and builds the entry; NULL when nothing is to be written. */
struct kp_blob *st_flush_build(struct st_flush *flush, struct st_fold *fold);
/* combine.c: the same by way of the pool, as members of struct st_commit_op. */
struct kp_blob *st_flush_request(struct st_commit_op *op, struct st_fold *fold);
struct kp_blob *st_flush_combine(struct st_commit_op *op, struct st_fold *fold, const struct st_pooled *requests,
                                 size_t count);
void st_flush_decided(struct st_commit_op *op, const struct st_fold *fold, struct kp_slice facts);

/* change.c: topics and producer ids as requests, each with a deadline of its own. */
struct st_change {
    struct st_request request;
    struct st_engine *engine;
    struct st_timer deadline;
    enum st_error early; /* wrong in itself: told at once, never gathered */
    struct st_change *aside_next;
    struct st_sync sync;
    bool synced; /* since it came: a No may be said */
    void (*answer)(struct st_change *change, enum st_error error);
};
struct st_create_request {
    struct st_change change;
    struct st_topic_create *op;
    struct st_pack configs; /* encoded, sorted */
    uint32_t config_count;
    uint8_t name_bytes[ST_TOPIC_NAME_MAX];
    struct kp_slice name;
    int32_t partitions;
    int64_t first_offset;
    struct kp_uuid fresh; /* of the topic, if this request creates it */
    struct kp_uuid id;    /* of the one that stands */
    bool second; /* another request of the same entry creates the topic */
};
struct st_delete_request {
    struct st_change change;
    struct st_topic_delete *op;
    struct kp_uuid id;
};
struct st_producer_ids_request {
    struct st_change change;
    uint64_t first; /* of the block, when accepted */
};
#define ST_PRODUCER_ID_BLOCK 1000

#endif

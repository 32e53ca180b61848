/*
 * The only door to the outside world: immutable objects, ordered journals, checkpoints, leases.
 *
 * All calls are asynchronous. The caller owns the operation struct and every buffer that it names until `done` has run;
 * done runs exactly once, from the loop, never inside the call that started it, and there is no cancel: who has lost
 * interest says so in its own struct and waits. Operations that were started before st_store_close are completed
 * before its own callback.
 *
 * Errors of every operation: ST_OK; ST_REFUSED (definitely had no effect; try again later); ST_UNKNOWN (perhaps had, or
 * will yet have, its effect: only the identical request may follow); ST_DAMAGED; and those named below.
 *
 * Every answer carries date_ms, the store's own clock (S3 and DynamoDB: the Date header), never the process's.
 */
#ifndef ST_STORE_H
#define ST_STORE_H

#include "protocol/bytes/blob.h"
#include "protocol/bytes/uuid.h"
#include "storage/error.h"
#include "storage/runtime/loop.h"

#define ST_FORMAT_VERSION 1      /* of the whole store; a higher one is refused with ST_MISFIT */
#define ST_OBJECT_NAME_MAX 256   /* with the NUL */
#define ST_ENTRY_MAX (256 * 1024) /* bytes of one journal entry */

/* What differs between backends in how flushes are shaped (DESIGN.md, "Commit"). */
struct st_store_profile {
    uint32_t inline_limit;        /* a flush of at most so many record bytes rides in its entry */
    uint32_t inline_bytes_per_s;  /* budget of inline bytes per journal; 0: none */
    uint32_t pacing_ms;           /* least time between flushes that need an object; 0: none */
    uint32_t flush_limit;         /* record bytes at which a flush closes */
    uint32_t uploads_in_flight;
    bool gathers_frames;          /* record bytes stay in the frames that they came in until their flush closes, then
                                     are copied partition by partition: fewer, longer ranges to read, less to say of
                                     them. Else into the object as they come, and frames are let go early */
    uint32_t whole_object_max;    /* objects of at most so many bytes are read as a whole: a request costs more than
                                     they do. 0: none */
    uint32_t object_head_room;    /* bytes in front of an object's data that the backend writes its header into */
    uint32_t object_align;        /* an object's buffer is aligned to and padded to this */
    int64_t poll_least_ns, poll_most_ns; /* reading others' commits while somebody waits */
    uint32_t pool_after;          /* slots that a commit loses before its request goes into the pool; 0: there is no
                                     pool, and its operations may be NULL */
};

enum st_object_kind { ST_OBJECT_INGEST, ST_OBJECT_CHECKPOINT, ST_OBJECT_SEGMENT };
/* How the names of a kind begin where names are paths of a bucket (DESIGN.md, "Layout"): so they lie together. */
const char *st_object_prefix(enum st_object_kind kind);

/*
 * put: writes data[0, len) under `name`, which came from st_store_object_name for this size. The object's part of the
 * buffer begins at `at`, a multiple of object_align: head room, the data, and padding up to a multiple of object_align.
 * The backend may write into head room and padding. Repeating an identical put is harmless.
 */
struct st_object_put {
    char name[ST_OBJECT_NAME_MAX];
    struct kp_blob *buffer;
    size_t at, len;
    bool summed;  /* crc is the CRC-32C of the data, which the caller knew already; else the backend computes it */
    uint32_t crc;
    enum st_error error;
    int64_t date_ms;
    void (*done)(struct st_object_put *op);
    void *backend; /* the backend's own, while it is under way */
};

/* get: reads exactly [position, position + len) into `into`. ST_ABSENT: no such object; ST_DAMAGED: shorter. With
 * `roomy`, `into` lies as `position` does between multiples of object_align, and what lies before and behind it up to
 * the next multiples is room that the backend may write into: then it can read past the page cache. */
struct st_object_get {
    char name[ST_OBJECT_NAME_MAX];
    uint64_t position;
    size_t len;
    uint8_t *into;
    bool roomy;
    enum st_error error;
    int64_t date_ms;
    void (*done)(struct st_object_get *op);
    void *backend;
};

/* delete: ST_OK also when it is not there. */
struct st_object_delete {
    char name[ST_OBJECT_NAME_MAX];
    enum st_error error;
    int64_t date_ms;
    void (*done)(struct st_object_delete *op);
    void *backend;
};

/* list: names of one kind greater than `after`, in order, as many as the backend gives a page. */
struct st_object_list {
    enum st_object_kind kind;
    char after[ST_OBJECT_NAME_MAX]; /* "" to begin */
    char (*names)[ST_OBJECT_NAME_MAX]; /* the caller's room */
    size_t capacity, count;
    bool more;
    enum st_error error;
    int64_t date_ms;
    void (*done)(struct st_object_list *op);
    void *backend;
};

/* put-if-absent of slot `slot` (>= 1). ST_TAKEN: the slot holds an entry (perhaps this very one, from an earlier try).
 * ST_GONE: the slot lies at or below the newest checkpoint, or was trimmed. ST_OK means durable. */
struct st_journal_put {
    uint32_t journal;
    uint64_t slot;
    struct kp_slice body; /* at most ST_ENTRY_MAX */
    struct kp_uuid writer;
    enum st_error error;
    int64_t date_ms;
    void (*done)(struct st_journal_put *op);
    void *backend;
};

struct st_journal_entry {
    uint64_t slot;
    struct kp_slice body; /* in the operation's blob */
};

/* read: entries with slot >= from, in order, strongly consistent, until about max_bytes (at least one if there is one).
 * at_end: there was none after the last one given when the store looked. The bodies lie in `blob`, which the caller
 * unrefs; entries is malloc'ed, the caller frees it. */
struct st_journal_read {
    uint32_t journal;
    uint64_t from;
    size_t max_bytes;
    struct st_journal_entry *entries;
    size_t count;
    struct kp_blob *blob; /* NULL with count 0 */
    bool at_end;
    enum st_error error;
    int64_t date_ms;
    void (*done)(struct st_journal_read *op);
    void *backend;
};

/* trim: deletes the slots below `below`, lowest first. The caller has proved that they may go. */
struct st_journal_trim {
    uint32_t journal;
    uint64_t below;
    enum st_error error;
    int64_t date_ms;
    void (*done)(struct st_journal_trim *op);
    void *backend;
};

/* The newest checkpoint of a journal. get: ST_ABSENT when there is none yet. advance: sets it if the stored slot is
 * lower (or there is none), ST_TAKEN otherwise. made_ms: the store's time when it was set. */
struct st_checkpoint_ref {
    uint32_t journal;
    uint64_t slot;
    char name[ST_OBJECT_NAME_MAX];
    uint64_t size; /* bytes of the object */
    int64_t made_ms;
    enum st_error error;
    int64_t date_ms;
    void (*done)(struct st_checkpoint_ref *op);
    void *backend;
};

/* The store record, put-if-absent: in, the identity to found a new store with; out, the one that stands. It is the
 * first operation on a store. */
#define ST_IDENTIFY_MESSAGE_MAX 512
struct st_identify {
    struct kp_uuid cluster_id;
    uint32_t format_version;
    bool create;  /* in: what the store lies in (a table) is made if it is missing, where the backend can */
    bool founded; /* this call made it */
    char message[ST_IDENTIFY_MESSAGE_MAX]; /* with an error: one sentence for people, or "" */
    enum st_error error;
    int64_t date_ms;
    void (*done)(struct st_identify *op);
    void *backend;
};

/* Leases: one small item per holder, overwritten by renewal; they decide nothing by themselves. */
#define ST_LEASE_BODY_MAX 512
struct st_lease {
    char holder[64];
    uint8_t body[ST_LEASE_BODY_MAX];
    size_t len;
    int64_t renewed_ms; /* store time */
};
struct st_lease_renew {
    struct st_lease lease; /* len 0: the lease is given up */
    enum st_error error;
    int64_t date_ms;
    void (*done)(struct st_lease_renew *op);
    void *backend;
};
struct st_lease_list {
    struct st_lease *leases; /* the caller's room */
    size_t capacity, count;
    enum st_error error;
    int64_t date_ms;
    void (*done)(struct st_lease_list *op);
    void *backend;
};

/*
 * The pool of a journal: requests that wait until somebody commits them (journal/pool.h). A request stands under
 * (slot at which it was begun, id), its body never changes. Nothing rests on what the pool holds or has lost but who is
 * served sooner. Nobody deletes a request: it expires, and is passed over by those who read on from later slots.
 *
 * put: if absent. ST_TAKEN: it is there already, from an earlier try. It may vanish expires_ms after the put.
 * read: the bodies of what stands, has not expired, and was begun at the slots `first` to `last`, at most
 *   ST_POOL_SLOTS_MOST of them (consistent), in descending order of (begun, id), until about max_bytes, but at least
 *   one. As in a journal read, `bodies` is malloc'ed, and they lie in `blob`.
 */
#define ST_POOL_BODY_MAX (192 * 1024)
#define ST_POOL_SLOTS_MOST 256
struct st_pool_put {
    uint32_t journal;
    uint64_t begun;
    struct kp_uuid id;
    struct kp_slice body; /* at most ST_POOL_BODY_MAX */
    int64_t expires_ms;   /* from now */
    enum st_error error;
    int64_t date_ms;
    void (*done)(struct st_pool_put *op);
    void *backend;
};
struct st_pool_read {
    uint32_t journal;
    uint64_t first, last;
    size_t max_bytes;
    struct kp_slice *bodies; /* both NULL with count 0 */
    size_t count;
    struct kp_blob *blob;
    enum st_error error;
    int64_t date_ms;
    void (*done)(struct st_pool_read *op);
    void *backend;
};

struct st_store {
    const struct st_store_ops *ops;
    struct st_store_profile profile;
    /* Called from the loop when another process has perhaps appended to a journal: a hint. May be NULL. */
    void (*changed)(void *arg);
    void *changed_arg;
};

/* A backend. Every member is mandatory, but those of the pool only where the profile has one. Started operations call
 * their done later, from the loop. */
struct st_store_ops {
    void (*identify)(struct st_store *store, struct st_identify *op);
    /* The name of an object before its put; unique for ever. `begun` is the slot applied when it was begun. False when
     * no name can be had now (the flush waits and asks again). */
    bool (*object_name)(struct st_store *store, enum st_object_kind kind, uint32_t journal, uint64_t begun, size_t len,
                        char name[ST_OBJECT_NAME_MAX]);
    void (*object_put)(struct st_store *store, struct st_object_put *op);
    void (*object_get)(struct st_store *store, struct st_object_get *op);
    void (*object_delete)(struct st_store *store, struct st_object_delete *op);
    void (*object_list)(struct st_store *store, struct st_object_list *op);
    void (*journal_put)(struct st_store *store, struct st_journal_put *op);
    void (*journal_read)(struct st_store *store, struct st_journal_read *op);
    void (*journal_trim)(struct st_store *store, struct st_journal_trim *op);
    void (*checkpoint_get)(struct st_store *store, struct st_checkpoint_ref *op);
    void (*checkpoint_advance)(struct st_store *store, struct st_checkpoint_ref *op);
    void (*lease_renew)(struct st_store *store, struct st_lease_renew *op);
    void (*lease_list)(struct st_store *store, struct st_lease_list *op);
    void (*pool_put)(struct st_store *store, struct st_pool_put *op);
    void (*pool_read)(struct st_store *store, struct st_pool_read *op);
    /* Finishes what is under way, then calls closed; the store is freed before that call. */
    void (*close)(struct st_store *store, void (*closed)(void *arg), void *arg);
};

/*
 * Opens a store by URL: "file:DIR" or a plain path (local), "s3://bucket[/prefix]?table=name" (aws; all of it in
 * storage/backends/aws/url.h), "memory:" (tests). On failure NULL and one sentence in message. The local backend makes
 * what is missing, and refuses a store of a newer format here; the aws backend asks the network nothing before
 * identify.
 */
struct st_store *st_store_open(struct st_loop *loop, const char *url, char *message, size_t message_size);
/* The memory backend alone; two engines on one loop may share it. */
struct st_store *st_store_memory_new(struct st_loop *loop);

#endif

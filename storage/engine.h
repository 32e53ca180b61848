/*
 * The engine: topics, ordered appends and reads over one store. Both doors (Kafka, HTTP) speak only to this header;
 * the simulator drives the same code.
 *
 * Rules for callers:
 *  - Single-threaded, on the engine's loop. Operation structs belong to the caller, must stay put until `done`, and
 *    done runs exactly once, from the loop, never inside the call that started it.
 *  - Views (struct st_topic, struct st_partition_view) are good until control returns to the loop.
 *  - A positive answer may come from the view as it is. Every No (no such topic, out of range, ...) and every "nothing
 *    there" may be given only after an st_sync that was started after the request arrived has come back ST_OK. When it
 *    comes back with an error, answer that the store cannot be read: never "unknown topic".
 */
#ifndef ST_ENGINE_H
#define ST_ENGINE_H

#include "protocol/bytes/chain.h"
#include "protocol/bytes/uuid.h"
#include "protocol/record_batch.h"
#include "storage/store.h"

struct st_engine;

struct st_engine_options {
    size_t cache_bytes;              /* record bytes kept for readers; default 64 MiB */
    size_t flush_bytes_max;          /* record bytes gathered and in flight; beyond it appends wait; 0, the default: as
                                        many as the store's uploads in flight hold, at least 32 MiB */
    size_t hold_bytes_max;           /* batches held for their predecessor; default 8 MiB */
    uint32_t checkpoint_entries;     /* a checkpoint is due after so many entries; default 1024 */
    uint32_t checkpoint_bytes;       /* ... or so many bytes of entries; default 4 MiB */
    uint32_t pool_window;            /* slots in which a pooled request may be made true; 0: ST_POOL_WINDOW. The same in
                                        all processes of a store: smaller only in tests */
    uint32_t pool_slots;             /* pooled requests begun at so many slots are read; 0: ST_POOL_SLOTS. More only in
                                        tests */
    int64_t trim_grace_ms;           /* age of a checkpoint before entries below it may go; default 24 h */
    int64_t key_life_ms;             /* how long idempotency keys are remembered, about; default 24 h */
    bool create;                     /* make what the store lies in if it is missing (st_identify); default false */
};
struct st_engine_options st_engine_options_default(void);

/* Neither loop nor store is owned; both must outlive the engine. NULL: out of memory. */
struct st_engine *st_engine_new(struct st_loop *loop, struct st_store *store, const struct st_engine_options *options);
/* Founds or checks the store, loads the newest checkpoint, reads the entries after it. `opened` runs once. On an error
 * the engine may only be freed. */
void st_engine_open(struct st_engine *engine, void (*opened)(void *arg, enum st_error error), void *arg);
/* Finishes what is gathered and in flight, then calls closed. New appends are refused meanwhile. */
void st_engine_close(struct st_engine *engine, void (*closed)(void *arg), void *arg);
/* Forgets everything at once, without callbacks: a crash, for the simulator; or after close. */
void st_engine_free(struct st_engine *engine);

/* After `opened` with an error: what the store said, one sentence for people; "" when it said nothing. */
const char *st_engine_open_message(const struct st_engine *engine);

const struct kp_uuid *st_engine_cluster_id(const struct st_engine *engine);
/* Hash of the folded state and the slot that it stands at: equal slots must give equal hashes in every process
 * (I16). */
uint64_t st_engine_state_hash(const struct st_engine *engine, uint64_t *slot);
/* The store's clock as this process saw it last: never ahead of it, perhaps behind. */
int64_t st_store_time(const struct st_engine *engine);
/* False while the store has not been reachable lately: for /health and readiness. */
bool st_engine_healthy(const struct st_engine *engine);
/* True while a checkpoint or a trim of this process is on its way into the store. A process that is frozen between
 * requests waits for its end: else each thaw would begin it anew, and none might ever be written. */
bool st_engine_upkeep_busy(const struct st_engine *engine);

/* ---- freshness ---- */

/* Brings the fold to a tail that was read after this call. A request joins only a sync that has not been sent yet. */
struct st_sync {
    enum st_error error; /* ST_OK or ST_UNREADABLE */
    void (*done)(struct st_sync *sync);
    struct st_sync *next;
};
void st_sync(struct st_engine *engine, struct st_sync *sync);

/* ---- topics ---- */

#define ST_TOPIC_NAME_MAX 249
#define ST_PARTITIONS_MAX 10000

struct st_config {
    struct kp_slice name, value;
};

struct st_topic {
    struct kp_slice name;
    struct kp_uuid id;
    int32_t partition_count;
    int64_t first_offset; /* 0, or 1 when HTTP made the topic */
    const struct st_config *configs; /* overrides only, sorted by name */
    size_t config_count;
};

struct st_partition_view {
    int64_t log_start, end; /* end: offset of the next record; the high watermark and, today, the last stable offset */
};

/* NULL when the fold does not know it. */
const struct st_topic *st_topic_by_name(struct st_engine *engine, struct kp_slice name);
const struct st_topic *st_topic_by_id(struct st_engine *engine, const struct kp_uuid *id);
/* All topics in order of name: begin with an absent slice. NULL at the end. */
const struct st_topic *st_topic_after(struct st_engine *engine, struct kp_slice name);
size_t st_topic_count(const struct st_engine *engine);
/* False when the partition does not exist. */
bool st_partition_view(struct st_engine *engine, const struct st_topic *topic, int32_t partition,
                       struct st_partition_view *view);

/* 1 to 249 of [a-zA-Z0-9._-], not "." or "..". */
bool st_topic_name_valid(struct kp_slice name);

/* Creates a topic, durably. ST_TOPIC_EXISTS: out.id is the one that stands. Slices must stay until done. */
struct st_topic_create {
    struct kp_slice name;
    int32_t partitions; /* 1 .. ST_PARTITIONS_MAX */
    int64_t first_offset;
    const struct st_config *configs; /* checked against storage/topic_config.def: ST_BAD_CONFIG */
    size_t config_count;
    struct kp_uuid id; /* out */
    enum st_error error;
    void (*done)(struct st_topic_create *op);
    void *engine; /* the engine's own */
};
void st_topic_create(struct st_engine *engine, struct st_topic_create *op);

struct st_topic_delete {
    struct kp_uuid id;
    enum st_error error; /* ST_NO_TOPIC_ID when it is not there */
    void (*done)(struct st_topic_delete *op);
    void *engine;
};
void st_topic_delete(struct st_engine *engine, struct st_topic_delete *op);

/* ---- producing ---- */

/* A fresh producer id, unique in the store for ever; blocks of them are taken by a catalog fact. */
struct st_producer_id {
    int64_t id;
    enum st_error error;
    void (*done)(struct st_producer_id *op);
    struct st_producer_id *next;
};
void st_producer_id(struct st_engine *engine, struct st_producer_id *op);

/* One batch for one partition. The batch has passed kp_batch_check. */
struct st_append_part {
    struct kp_uuid topic_id;
    int32_t partition;
    struct kp_batch batch;    /* batch.bytes lies in blob */
    struct kp_blob *blob;     /* the engine takes its own reference at st_append */
    /* out */
    enum st_error error;
    int64_t base_offset;      /* of this batch, or of the original when it is a duplicate; -1 on error */
    int64_t append_time_ms;   /* for LogAppendTime topics, else -1 */
    int64_t log_start;        /* -1 on error */
};

/*
 * Appends the parts as one unit: those accepted become visible in one entry. `order` names the source whose requests
 * take effect in the order of their calls (a connection); 0: none. After timeout_ms the parts still open get ST_REFUSED
 * when they surely will not be stored, else ST_UNKNOWN (the commit goes on by itself). ST_OK means durable.
 *
 * With an idempotency key the parts (at most ST_KEYED_PARTS_MAX, of one topic, in the order of their partitions, none
 * with a producer) are stored all or not at all, and only if no request with this key was stored in the topic for
 * about options.key_life_ms: then, if the hash is the same, the answer is that of the original, else ST_KEY_REUSED.
 * When the request arrived the caller asked st_store_time, then brought an st_sync to its end: so the store's clock
 * counts the life from then on, and a request that is older than what was forgotten (its process slept) is refused.
 */
#define ST_KEYED_PARTS_MAX 1000
struct st_append {
    struct st_append_part *parts;
    size_t count;
    uint64_t order;
    int64_t timeout_ms;
    struct kp_slice key;  /* 1 to 255 bytes, copied; absent: none */
    uint64_t key_hash[2]; /* of the request, whatever makes it the same to its sender */
    int64_t key_begun_ms; /* st_store_time of the request's arrival */
    void (*done)(struct st_append *op);
    void *engine;
};
void st_append(struct st_engine *engine, struct st_append *op);
/* True when gathered and in-flight bytes are at their limit: the caller should stop reading from its clients, and is
 * told by `relieved` (set once) when there is room again. */
bool st_append_congested(const struct st_engine *engine);
void st_append_on_relief(struct st_engine *engine, void (*relieved)(void *arg), void *arg);

/* ---- reading ---- */

struct st_read_part {
    struct kp_uuid topic_id;
    int32_t partition;
    int64_t offset;
    size_t max_bytes;
    /* out; the caller releases chain */
    enum st_error error;      /* ST_OK also when nothing is there; ST_OFFSET_RANGE, ST_NO_TOPIC_ID, ST_NO_PARTITION */
    struct st_partition_view view;
    struct kp_chain chain;    /* whole batches with their base offsets set; the first contains `offset` */
};

/* Reads from several partitions, in their order: stops giving bytes when max_bytes are reached; the first part that
 * has something gets at least one whole batch whatever the limits say (KIP-74). Never waits for records to come. */
struct st_read {
    struct st_read_part *parts;
    size_t count;
    size_t max_bytes;
    size_t first;  /* index of the part that is served first, then those behind it, then those before it */
    size_t enough; /* answered early with so many bytes, if the rest would have to come from the store; 0: never */
    void (*done)(struct st_read *op);
    void *engine;
};
void st_read(struct st_engine *engine, struct st_read *op);

/* ListOffsets: first record with timestamp >= timestamp_ms, or with the greatest timestamp. offset -1: none. */
struct st_find_time {
    struct kp_uuid topic_id;
    int32_t partition;
    bool greatest;
    int64_t timestamp_ms; /* in; out: of the record found, -1: none */
    int64_t offset;
    enum st_error error;
    void (*done)(struct st_find_time *op);
    void *engine;
};
void st_find_time(struct st_engine *engine, struct st_find_time *op);

/* Runs fn once, from the loop, when the partition's end rises, or the topic is deleted; then it is stopped. While
 * any waiter is there the engine looks for what other processes commit. */
struct st_waiter {
    struct kp_uuid topic_id;
    int32_t partition;
    void (*fn)(struct st_waiter *waiter);
    struct st_waiter *next, **link; /* link NULL: stopped */
    bool fired;
};
void st_wait_start(struct st_engine *engine, struct st_waiter *waiter);
void st_wait_stop(struct st_engine *engine, struct st_waiter *waiter);

#endif

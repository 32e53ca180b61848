/*
 * The fold: the state of one journal after slot n, which is what the facts of slots 1..n add up to and nothing else. It
 * has no clock and no randomness, so that every process folded to the same slot holds the same state (I16).
 *
 * Two kinds of state differ in how they grow. Heads (topics, partitions, the last batches of each producer) are always
 * in memory. The index of a partition (rows: which bytes hold which offsets) grows with the log; the fold keeps only
 * the rows since its checkpoint, older ones stay in the checkpoint's blocks (checkpoint.h) and never change.
 * Each partition carries a running hash of all its rows ever, so that heads alone decide whether two folds agree.
 */
#ifndef ST_FOLD_H
#define ST_FOLD_H

#include "storage/journal/entry.h"
#include "storage/journal/keys.h"

/* Where the bytes of consecutive batches of one partition lie. Batches of one entry that are adjacent share a row. */
struct st_row {
    int64_t base, end;         /* offsets [base, end) */
    uint64_t slot;             /* the entry that brought them */
    uint32_t position, len;    /* in the entry's object, or in its inline area */
    uint32_t flags;            /* enum st_append_flag: INLINE and TIME */
    int64_t max_timestamp_ms;  /* of these batches; with ST_APPEND_TIME the time of each */
    int64_t time_reached_ms;   /* greatest timestamp in the partition up to here: never falls along the rows */
};

/* The last batches of one producer in one partition (Kafka keeps five), newest first. */
#define ST_WINDOW 5
struct st_window {
    int16_t epoch;
    uint8_t count; /* 0: the producer is not known here */
    struct st_window_batch {
        int32_t first_sequence, last_sequence;
        int64_t base, append_time_ms;
    } batches[ST_WINDOW];
};

struct st_producer {
    int64_t id;
    struct st_window window;
    struct st_window *next; /* the window after the entry being built: good while check_mark is the current build's */
    uint64_t check_mark;
};

struct st_partition {
    struct st_topic_state *topic;
    int32_t number;
    int64_t log_start, end;
    int64_t time_reached_ms;    /* greatest timestamp ever appended, INT64_MIN before the first */
    uint64_t rows_hash;         /* running hash of every row */
    int64_t old_end;            /* rows below it lie in the checkpoint */
    int64_t old_time_ms;        /* time_reached_ms at old_end */
    struct st_row *rows;        /* since the checkpoint, by base */
    size_t row_count, row_capacity;
    struct st_producer **producers; /* by id */
    size_t producer_count, producer_capacity;
    int64_t next_end, next_time_ms; /* while an entry is built: as st_producer.next */
    uint64_t check_mark;
    uint64_t staging;               /* not state: good while st_fold.stagings: what the entry being staged will do */
    int64_t staged_end;
    uint32_t staged_rows, staged_producers; /* at most */
    struct st_waiter *waiters;  /* not state: who wants to know when end rises */
};

struct st_topic_state {
    struct st_topic view;
    struct st_partition *partitions;
    struct kp_slice name_copy, configs_copy; /* owned memory behind the view */
    uint32_t message_bytes_max;              /* max.message.bytes */
    bool append_time;                        /* message.timestamp.type=LogAppendTime */
    uint64_t deleted_mark;                   /* the entry being built deletes it: as st_producer.next */
    uint64_t deleted_staging;                /* the entry being staged deletes it: as st_partition.staging */
};

/* The object of an entry, since the checkpoint. */
struct st_object_ref {
    uint64_t slot;
    char *name;
    uint64_t len;
};

/* A request of the pool that an entry decided (journal/pool.h). */
struct st_pooled_outcome {
    struct kp_uuid id;
    uint64_t slot;
    enum st_error verdict; /* ST_OK: something of it was made true, or was before; else why nothing was */
};
/* For so many slots, counted from the one that its writer had applied, a pooled request may be made true; and so many
 * slots back the fold knows which were. */
#define ST_POOL_WINDOW 1024

/* Partitions of one store, over all topics: each takes about 160 bytes in every process, records or not. A fact that
 * would pass it does not fit. */
#define ST_FOLD_PARTITIONS_MAX 200000

struct st_fold {
    uint64_t slot;         /* last applied */
    uint64_t level;
    uint64_t next_producer_id;
    struct st_topic_state **by_name, **by_id; /* sorted */
    size_t topic_count, topic_capacity;
    int32_t partition_count; /* of all topics */
    struct st_object_ref *objects; /* by slot */
    size_t object_count, object_capacity;
    uint64_t objects_hash;
    struct st_pooled_outcome *pooled; /* of the last pool_window slots, as they were decided */
    size_t pooled_count, pooled_capacity;
    uint32_t pool_window; /* ST_POOL_WINDOW but in tests: the same in all processes of a store */
    struct st_keys keys;  /* idempotency keys */
    uint64_t bytes_since_checkpoint, entries_since_checkpoint;
    struct st_checkpoint *checkpoint; /* what older rows are read from; NULL: none */
    uint64_t stagings; /* not state: counts the entries that were to be applied (fold_apply.c) */
    /* Not state: told about what changed, while an entry is applied. */
    void (*on_appended)(void *arg, struct st_partition *partition);
    void (*on_deleted)(void *arg, struct st_topic_state *topic);
    void *arg;
};

struct st_fold *st_fold_new(void);
void st_fold_free(struct st_fold *fold);

enum st_apply {
    ST_APPLY_OK,
    ST_APPLY_DAMAGED, /* the bytes fail their check: the fold is as before */
    ST_APPLY_MISFIT,  /* a fact does not fit: the fold is as before */
    ST_APPLY_NO_MEMORY, /* the fold is as before, and the same entry may be tried again */
};
/* Applies slot fold->slot + 1. */
enum st_apply st_fold_apply(struct st_fold *fold, struct kp_slice body);

struct st_topic_state *st_fold_topic_by_id(const struct st_fold *fold, const struct kp_uuid *id);
struct st_topic_state *st_fold_topic_by_name(const struct st_fold *fold, struct kp_slice name);
/* Index in by_name of the first topic whose name is greater. */
size_t st_fold_name_above(const struct st_fold *fold, struct kp_slice name);
struct st_partition *st_fold_partition(const struct st_fold *fold, const struct kp_uuid *id, int32_t number);
/* NULL when the entry of that slot brought none, or lies below the checkpoint. */
const struct st_object_ref *st_fold_object(const struct st_fold *fold, uint64_t slot);
/* How the request of the pool was decided in a slot above `begun`, as far back as pool_window; NULL: it was not. */
const struct st_pooled_outcome *st_fold_pooled(const struct st_fold *fold, const struct kp_uuid *id, uint64_t begun);
struct st_producer *st_partition_producer(const struct st_partition *partition, int64_t id);
/* The row that holds offset (log_start <= offset < end), NULL when it lies below the rows in memory. */
const struct st_row *st_partition_row(const struct st_partition *partition, int64_t offset);

/* The row of one append, without time_reached_ms; and whether a further append of the same partition lies right
 * behind a row's bytes, in which case the row is extended. */
struct st_row st_row_of(const struct st_fact_append *fact, uint64_t slot);
bool st_row_extend(struct st_row *row, const struct st_fact_append *fact, uint64_t slot);

/* Used by apply and by the loading of a checkpoint. NULL / false: out of memory or not fitting. */
struct st_topic_state *st_fold_add_topic(struct st_fold *fold, const struct st_fact_topic *fact);
struct st_producer *st_partition_add_producer(struct st_partition *partition, int64_t id);

/* How the next batch of a producer stands to what is known of it (kafka-protocol: KIP-98, KIP-360). */
enum st_sequence {
    ST_SEQUENCE_NEXT,      /* append it */
    ST_SEQUENCE_DUPLICATE, /* stored already: *duplicate says where */
    ST_SEQUENCE_EARLY,     /* its predecessor is missing */
    ST_SEQUENCE_UNKNOWN,   /* not the first, from a producer that is not known here */
    ST_SEQUENCE_OLD,       /* below the window: can only be refused */
    ST_SEQUENCE_FENCED,    /* older epoch */
};
enum st_sequence st_window_check(const struct st_window *window, int16_t epoch, int32_t first_sequence, int32_t count,
                                 const struct st_window_batch **duplicate);
void st_window_add(struct st_window *window, int16_t epoch, int32_t first_sequence, int32_t count, int64_t base,
                   int64_t append_time_ms);

/* From now on older rows are read from this checkpoint (taken over), whose heads are at_checkpoint; its slot is at most
 * the fold's. */
void st_fold_adopt(struct st_fold *fold, struct st_checkpoint *checkpoint, const struct st_fold *at_checkpoint);

/* The heads in canonical form: sorted, without what is not state. Equal bytes mean equal folds.
 *   u slot, u level, u next producer id, 8 hash of the objects, u topics, the topics by id,
 *   sections that are not empty, by tag: u tag, its contents
 * tag 1, decided requests of the pool, as they were decided: u count, { id, u slot, u verdict (refusals.def) } ...
 * tag 2, idempotency keys (keys.h) */
enum st_heads_section { ST_HEADS_POOLED = 1, ST_HEADS_KEYS = 2 };
void st_fold_write_heads(const struct st_fold *fold, struct st_pack *out);
/* A fold with the same heads and no rows; NULL: out of memory. */
struct st_fold *st_fold_copy_heads(const struct st_fold *fold);
/* Hash of the canonical heads, never 0; of a fold: 0 when memory is out. */
uint64_t st_heads_hash(struct kp_slice heads);
uint64_t st_fold_hash(const struct st_fold *fold);
/* Mixes 64 bits into a running hash. */
uint64_t st_hash_mix(uint64_t hash, uint64_t value);

#endif

/*
 * What the clients of a simulated world did and were told, and the rules that this must keep (DESIGN.md,
 * "Invariants").
 *
 * The unit is a batch: it carries its number in its first record, so that every read names what it sees. A
 * partition's log is the map offset -> batch; the first evidence of an offset (an acknowledgement or a read)
 * settles it for ever, and every later one must agree. Order in real time needs no search, because the offset is
 * the point at which a batch takes effect: when a send begins, the greatest offset acknowledged until then is
 * noted, and wherever the batch turns up must lie above it; the same number bounds what a read or a view that was
 * synced later may show.
 */
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include "storage/engine.h"
#include "storage/sim/plan.h"

struct sim_world;

struct sim_log {
    struct sim_batch **at; /* by offset - first_offset; NULL: not seen yet */
    size_t room;
    int64_t known_end; /* one more than the greatest offset acknowledged or read: nobody may see less any more */
};

/* One life of a topic. A name may have several, one after the other. */
struct sim_topic {
    unsigned index; /* in the history */
    unsigned name;  /* index in the plan */
    struct kp_uuid id;
    bool log_append_time;
    int32_t partitions;
    int64_t first_offset;
    int64_t created_ns;      /* answered */
    int64_t delete_begun_ns; /* INT64_MAX: not */
    int64_t deleted_ns;      /* answered; INT64_MAX: not */
    struct sim_log logs[SIM_PARTITIONS_MAX];
};

struct sim_batch {
    uint64_t number; /* index + 1; in the first record's value */
    struct sim_topic *topic;
    int32_t partition;
    int32_t records;
    struct kp_blob *blob;        /* as sent */
    struct kp_batch view;        /* of blob */
    uint64_t source, group;      /* first sent from; sent together with. Of the first attempt */
    bool ordered;                /* by its source */
    unsigned attempts, refusals; /* definite ones */
    int64_t floor;               /* it may not take effect below */
    int64_t offset;              /* settled by acknowledgement or read; -1: not */
    int64_t acked_ns;            /* first; -1: not */
    int64_t append_time_ms;      /* told or read; -1: not */
    int64_t *times;              /* of its records, as sent */
    unsigned audit;              /* the last audit that read it */
};

struct sim_history {
    struct sim_batch **batches;
    size_t batch_count, batch_room;
    struct sim_topic **topics;
    size_t topic_count, topic_room;
    struct sim_state_hash {
        bool known;
        uint64_t hash;
        unsigned node;
    } *states; /* by slot */
    size_t state_room;
    int64_t *producer_ids;
    size_t producer_count, producer_room;
    unsigned audit;                           /* 0: none began yet */
    uint64_t reads, acks, refusals, unknowns; /* figures for the summary */
};

void sim_history_release(struct sim_history *history);

struct sim_topic *sim_history_topic(struct sim_world *world, unsigned name, const struct kp_uuid *id);
/* The newest life of a name that was answered; NULL: none. */
struct sim_topic *sim_history_newest(struct sim_world *world, unsigned name);
struct sim_topic *sim_history_topic_by_id(struct sim_world *world, const struct kp_uuid *id);

/* Who sends a batch; id -1: no producer. */
struct sim_sender {
    int64_t id;
    int16_t epoch;
    int32_t sequence;
};
#define SIM_NOBODY ((struct sim_sender){-1, -1, -1})
/* A batch of at most so many records of random size. */
struct sim_batch *sim_history_batch(struct sim_world *world, struct sim_topic *topic, int32_t partition,
                                    int32_t records_most, struct sim_sender sender);
#define SIM_RECORDS_MOST 8
/* An attempt begins; then it ends, once, with `error` (ST_UNKNOWN: was lost). */
void sim_history_begin(struct sim_world *world, struct sim_batch *batch, uint64_t source, bool ordered,
                       uint64_t group);
void sim_history_end(struct sim_world *world, struct sim_batch *batch, enum st_error error, int64_t offset,
                     int64_t append_time_ms);
/* Bytes that a read gave for a partition from `offset`: whole batches, contiguous. Returns the offset after them.
 */
int64_t sim_history_read(struct sim_world *world, struct sim_topic *topic, int32_t partition, int64_t offset,
                         const struct kp_chain *chain);
void sim_history_producer_id(struct sim_world *world, int64_t id);
void sim_history_state(struct sim_world *world, unsigned node, uint64_t slot, uint64_t hash);
/* The log as seen holds nothing at the offset, or this batch. */
struct sim_batch *sim_log_at(const struct sim_topic *topic, int32_t partition, int64_t offset);

/* After an audit has read a partition from its start to `end`: everything that must stand there was read (I1). */
void sim_check_audit(struct sim_world *world, const struct sim_topic *topic, int32_t partition, int64_t log_start,
                     int64_t end);
/* What can only be said of the whole history. */
void sim_check_history(struct sim_world *world);

#endif

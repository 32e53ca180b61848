/*
 * The fact `appends`: partitions got the records of batches at their ends.
 *
 * Batches whose bytes follow one another share a fact; those among them that follow one another in one partition, and
 * came from one producer, share a run, which says once what they have in common. A batch of a run costs five bytes or
 * so: a hundred producers that send each record by itself fit in one kilobyte of an entry, which is what a table's
 * write unit buys.
 *
 * The body, as fact.h names the integers:
 *   appends  u flags (ST_APPEND_INLINE or 0), u position of the first byte, runs
 *   run      u flags (the others of st_append_flag), with ST_APPEND_TOPIC: id topic, else that of the run before it;
 *            u partition, u base offset, with ST_APPEND_PRODUCER: u producer id, u epoch, u first sequence;
 *            batches, behind them a 0 unless the fact ends here
 *   batch    u records, u length, i max timestamp less that of the batch before it in the fact (before the first: 0)
 * The position counts from the start of the object's data, or of the entry's inline area.
 */
#ifndef ST_APPENDS_H
#define ST_APPENDS_H

#include "storage/journal/pack.h"

/* Bytes of one run of a partition's index, so of one batch: whoever reads a row takes so much memory on its word. */
#define ST_RUN_MAX (256u << 20)

enum st_append_flag {
    ST_APPEND_INLINE = 1,   /* bytes ride in the entry, else in its object */
    ST_APPEND_PRODUCER = 2, /* an idempotent producer's batch */
    ST_APPEND_TIME = 4,     /* log append time: max timestamp is the time of all records, set when served */
    ST_APPEND_TOPIC = 8,    /* in stored bytes only: the run names its topic */
};

/* One batch. */
struct st_fact_append {
    struct kp_uuid topic_id;
    int32_t partition;
    int64_t base;
    int32_t count;
    uint32_t flags;
    uint32_t position, len;
    int64_t max_timestamp_ms;
    int64_t producer_id;    /* -1, as epoch and first_sequence: none */
    int16_t epoch;
    int32_t first_sequence;
};

/* As it stands in an entry. */
struct st_fact_appends {
    uint32_t flags, position;
    struct kp_slice runs;
};

/* Writes batches as facts, as few as their places allow. */
struct st_append_writer {
    struct st_pack runs; /* of the fact that is open; empty: none is */
    uint32_t flags, position;
    struct st_fact_append last;
};

void st_append_writer_init(struct st_append_writer *writer, size_t limit);
void st_append_writer_release(struct st_append_writer *writer);
/* The next batch. If it does not follow the one before, the open fact goes to `facts` first. */
void st_append_writer_add(struct st_append_writer *writer, const struct st_fact_append *append, struct st_pack *facts);
/* The open fact, if there is one, goes to `facts`: before any other fact does. */
void st_append_writer_end(struct st_append_writer *writer, struct st_pack *facts);
/* The open fact is forgotten. */
void st_append_writer_drop(struct st_append_writer *writer);

/* Reads the batches of a fact, in their order. */
struct st_append_reader {
    struct st_unpack in; /* failed: the bytes are damaged */
    struct st_fact_append at;
    uint32_t fact_flags;
    bool in_run;
};

struct st_append_reader st_append_reader(const struct st_fact_appends *fact);
/* False at the end, or when the bytes are damaged, which a fact that was read by st_fact_read is not. */
bool st_append_next(struct st_append_reader *reader, struct st_fact_append *append);

/* Sequences count records and wrap from 2^31 - 1 to 0. */
static inline int32_t st_sequence_add(int32_t sequence, int32_t count) {
    return (int32_t)(((int64_t)sequence + count) & INT32_MAX);
}

#endif

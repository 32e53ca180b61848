/*
 * Offsets by time. The index keeps, along the rows of a partition, the greatest timestamp reached so far, which never
 * falls; so the first row that reaches t is found by bisection. Its batches are looked through by their own maxima, and
 * one batch is decoded for the record. On a topic of log append time a batch has one time, and its first record is it.
 *
 * Decoding can mean inflating 64 MiB from a few hundred bytes. So at most one cached batch is opened in a pass of the
 * loop, however many searches there are: between two of them the sockets have their turn.
 */
#include "storage/engine_state.h"

#define INFLATE_MOST (64 * 1024 * 1024)

struct st_time_search {
    struct st_engine *engine;
    struct st_find_time *op;
    struct st_time_search *next;
    struct st_task step;
    struct st_load_wait wait;
    bool waiting;
    int64_t wanted_ms; /* as the run was chosen: the partition may have gone on since */
};

static void search_end(struct st_time_search *search, enum st_error error, int64_t offset, int64_t timestamp_ms) {
    struct st_find_time *op = search->op;
    struct st_time_search **link = &search->engine->time_searches;
    while (*link != search) {
        link = &(*link)->next;
    }
    *link = search->next;
    st_defer_cancel(search->engine->loop, &search->step);
    st_engine_close_soon(search->engine);
    free(search);
    op->error = error;
    op->offset = offset;
    op->timestamp_ms = timestamp_ms;
    op->done(op);
}

/* The record in this batch that is sought; nothing is changed when no record of it can be read and fits. */
static void find_record(const struct st_find_time *op, struct kp_slice batch_bytes, const struct kp_batch *batch,
                        int64_t *offset, int64_t *timestamp_ms) {
    if ((batch->attributes & KP_BATCH_LOG_APPEND_TIME) != 0) {
        *offset = op->greatest ? batch->base_offset + batch->last_offset_delta : batch->base_offset;
        *timestamp_ms = batch->max_timestamp_ms;
        return;
    }
    int64_t wanted = op->greatest ? batch->max_timestamp_ms : op->timestamp_ms;
    struct kp_arena arena;
    kp_arena_init(&arena, 2 * INFLATE_MOST);
    struct kp_record_reader reader;
    struct kp_record record;
    bool found = false;
    if (kp_records_open(&reader, batch_bytes, &arena, INFLATE_MOST) == KP_ERROR_NONE) {
        while (!found && kp_records_next(&reader, &record) == 1) {
            found = record.timestamp_ms >= wanted;
        }
    }
    if (found) {
        *offset = record.offset;
        *timestamp_ms = record.timestamp_ms;
    }
    kp_arena_release(&arena);
}

/* The first batch that claims to reach the time ends the search, whatever its records say: an honest producer's header
 * has its greatest time, and a false one must not make us inflate every batch behind it. */
static void search_run(struct st_time_search *search, struct kp_slice run, int64_t wanted) {
    struct kp_batch batch;
    for (size_t at = 0; at < run.len; at += batch.bytes.len) {
        if (kp_batch_peek(kp_slice_of(run.ptr + at, run.len - at), &batch) != KP_ERROR_NONE) {
            break;
        }
        if (batch.max_timestamp_ms >= wanted) {
            int64_t offset = batch.base_offset, timestamp_ms = batch.max_timestamp_ms;
            find_record(search->op, batch.bytes, &batch, &offset, &timestamp_ms);
            search_end(search, ST_OK, offset, timestamp_ms);
            return;
        }
    }
    search_end(search, ST_DAMAGED, -1, -1);
}

static void rested(struct st_task *task) {
    ST_OWNER(task, struct st_engine, time_rest)->time_resting = false;
}

static void rest_until_next_pass(struct st_engine *engine) {
    engine->time_resting = true;
    engine->time_rest.fn = rested;
    st_defer(engine->loop, &engine->time_rest);
}

static void search_step(struct st_time_search *search) {
    struct st_engine *engine = search->engine;
    if (engine->time_resting) {
        st_defer(engine->loop, &search->step);
        return;
    }
    struct st_find_time *op = search->op;
    const struct st_partition *partition = st_fold_partition(engine->journal.fold, &op->topic_id, op->partition);
    if (partition == NULL) {
        bool topic = st_fold_topic_by_id(engine->journal.fold, &op->topic_id) != NULL;
        search_end(search, topic ? ST_NO_PARTITION : ST_NO_TOPIC_ID, -1, -1);
        return;
    }
    int64_t wanted = op->greatest ? partition->time_reached_ms : op->timestamp_ms;
    if (partition->end == partition->log_start || partition->time_reached_ms < wanted) {
        search_end(search, ST_OK, -1, -1);
        return;
    }
    struct st_row_ref ref;
    enum st_row_search found = st_row_find_time(engine, partition, wanted, &ref, &search->wait);
    if (found == ST_ROW_FOUND) {
        struct st_run *run = st_cache_row(&engine->cache, &ref.row);
        if (run != NULL) {
            rest_until_next_pass(engine);
            search_run(search, run->bytes, wanted);
            return;
        }
        found = st_load_start(engine, &ref, true, &search->wait) ? ST_ROW_LOADING : ST_ROW_NO_MEMORY;
    }
    if (found != ST_ROW_LOADING) {
        search_end(search, ST_UNREADABLE, -1, -1);
        return;
    }
    search->wanted_ms = wanted;
    search->waiting = true;
}

static void wait_done(struct st_load_wait *wait, enum st_error error, struct kp_blob *blob, struct kp_slice bytes) {
    struct st_time_search *search = ST_OWNER(wait, struct st_time_search, wait);
    search->waiting = false;
    if (error != ST_OK) {
        search_end(search, error == ST_DAMAGED || error == ST_ABSENT ? ST_DAMAGED : ST_UNREADABLE, -1, -1);
    } else if (blob != NULL) {
        search_run(search, bytes, search->wanted_ms);
    } else {
        st_defer(search->engine->loop, &search->step);
    }
}

static void step_due(struct st_task *task) {
    search_step(ST_OWNER(task, struct st_time_search, step));
}

void st_find_time(struct st_engine *engine, struct st_find_time *op) {
    struct st_time_search *search = calloc(1, sizeof *search);
    if (search == NULL) {
        st_refuse_find(engine, op);
        return;
    }
    search->engine = engine;
    search->op = op;
    search->step.fn = step_due;
    search->wait.done = wait_done;
    search->next = engine->time_searches;
    engine->time_searches = search;
    st_defer(engine->loop, &search->step);
}

void st_time_searches_release(struct st_engine *engine) {
    st_defer_cancel(engine->loop, &engine->time_rest);
    while (engine->time_searches != NULL) {
        struct st_time_search *search = engine->time_searches;
        engine->time_searches = search->next;
        st_defer_cancel(engine->loop, &search->step);
        free(search);
    }
}

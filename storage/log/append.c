/*
 * Appends from the caller's side: one request per part, a deadline, an answer that is given once. And the hold: a batch
 * whose predecessor has not arrived (it may come through another connection, or through another gateway) waits for it
 * for two seconds, because "out of order" is fatal to some clients.
 */
#include "storage/engine_state.h"
#include "storage/mutants.h"

struct st_append_state {
    struct st_engine *engine;
    struct st_append *op; /* NULL once answered */
    size_t open;          /* parts without an answer */
    size_t alive;         /* requests that flushes or the hold still have */
    struct st_timer deadline;
    struct st_append_state *completed_next;
    bool completed;
    struct st_append_keyed keyed; /* the key itself lies behind the requests */
    struct st_append_request requests[];
};

static void append_free_if_over(struct st_append_state *append) {
    if (append->alive == 0 && append->op == NULL) {
        free(append);
    }
}

/* Every part has its answer: the caller gets it from the loop. */
static void append_complete(struct st_append_state *append) {
    struct st_engine *engine = append->engine;
    st_timer_stop(engine->loop, &append->deadline);
    append->completed = true;
    append->completed_next = NULL;
    *engine->completed_last = append;
    engine->completed_last = &append->completed_next;
    st_defer(engine->loop, &engine->complete);
}

static void answer_part(struct st_append_request *request, enum st_error error) {
    struct st_append_state *append = request->append;
    request->request.abandoned = true;
    struct st_append_part *part = &append->op->parts[request->part];
    bool ok = error == ST_OK;
    part->error = error;
    part->base_offset = ok ? request->base : -1;
    part->append_time_ms = ok ? request->append_time_ms : -1;
    part->log_start = ok ? request->log_start : -1;
    append->open--;
    if (append->open == 0 && !append->completed) {
        append_complete(append);
    }
}

static void complete(struct st_task *task) {
    struct st_engine *engine = ST_OWNER(task, struct st_engine, complete);
    struct st_append_state *list = engine->completed;
    engine->completed = NULL;
    engine->completed_last = &engine->completed;
    while (list != NULL) {
        struct st_append_state *append = list;
        list = append->completed_next;
        struct st_append *op = append->op;
        append->op = NULL;
        append_free_if_over(append);
        op->done(op);
    }
    st_engine_close_soon(engine);
}

/* A flush, or the hold, is through with a request. */
static void request_over(struct st_request *base, enum st_error error) {
    struct st_append_request *request = ST_OWNER(base, struct st_append_request, request);
    struct st_append_state *append = request->append;
    if (append->engine->dying) {
        st_timer_stop(append->engine->loop, &append->deadline);
        if (!append->completed) { /* else the list of the completed frees it */
            append->op = NULL;
        }
    } else if (!base->abandoned) {
        answer_part(request, error);
    }
    kp_blob_unref(request->blob);
    request->blob = NULL;
    append->alive--;
    append_free_if_over(append);
}

static void deadline_due(struct st_timer *timer) {
    struct st_append_state *append = ST_OWNER(timer, struct st_append_state, deadline);
    struct st_engine *engine = append->engine;
    size_t count = append->op->count;
    for (size_t i = 0; i < count; i++) {
        struct st_append_request *request = &append->requests[i];
        if (!request->request.abandoned) {
            bool perhaps = st_flusher_perhaps_stored(engine, &request->request) && !ST_MUTANT(definite_after_put);
            answer_part(request, perhaps ? ST_UNKNOWN : ST_REFUSED);
        }
    }
    st_append_recheck_held(engine); /* lets go what nobody waits for */
    st_flusher_reconsider(engine);
}

static void request_fill(struct st_append_state *append, size_t i) {
    const struct st_append_part *part = &append->op->parts[i];
    append->requests[i] = (struct st_append_request){
        .request = {.kind = ST_REQUEST_APPEND, .over = request_over},
        .append = append,
        .keyed = append->keyed.count > 0 ? &append->keyed : NULL,
        .part = i,
        .topic_id = part->topic_id,
        .partition = part->partition,
        .count = part->batch.record_count,
        .bytes = part->batch.bytes,
        .blob = kp_blob_ref(part->blob),
        .max_timestamp_ms = part->batch.max_timestamp_ms,
        .attributes = part->batch.attributes,
        .epoch = part->batch.producer_epoch,
        .producer_id = part->batch.producer_id,
        .first_sequence = part->batch.base_sequence,
    };
}

void st_append(struct st_engine *engine, struct st_append *op) {
    size_t requests = op->count * sizeof(struct st_append_request);
    bool misfit = op->key.len > ST_KEY_MAX || (op->key.len > 0 && op->count > ST_KEYED_PARTS_MAX);
    struct st_append_state *append = misfit ? NULL : calloc(1, sizeof *append + requests + op->key.len);
    if (append == NULL) {
        st_refuse_append(engine, op);
        return;
    }
    append->engine = engine;
    append->op = op;
    append->open = append->alive = op->count;
    append->deadline.fn = deadline_due;
    if (op->key.len > 0) {
        uint8_t *key = (uint8_t *)append->requests + requests;
        memcpy(key, op->key.ptr, op->key.len);
        append->keyed = (struct st_append_keyed){.parts = append->requests,
                                                 .count = op->count,
                                                 .name = kp_slice_of(key, op->key.len),
                                                 .hash = {op->key_hash[0], op->key_hash[1]},
                                                 .begun_ms = op->key_begun_ms};
        append->keyed.was_known = ST_MUTANT(key_checked_early) && op->count > 0 &&
                                  st_keys_find(&engine->journal.fold->keys, &op->parts[0].topic_id, op->key) != NULL;
    }
    st_timer_start(engine->loop, &append->deadline, op->timeout_ms * ST_MS);
    size_t len = 0;
    for (size_t i = 0; i < op->count; i++) {
        request_fill(append, i);
        len += append->requests[i].bytes.len;
    }
    if (op->count == 0) {
        append_complete(append);
        return;
    }
    bool refused = engine->closing || !engine->open;
    if (!refused) {
        st_flusher_unit(engine, op->count, len);
    }
    for (size_t i = 0, count = op->count; i < count; i++) {
        if (refused) {
            request_over(&append->requests[i].request, ST_REFUSED);
        } else {
            st_flusher_add(engine, &append->requests[i].request);
        }
    }
}

bool st_append_congested(const struct st_engine *engine) {
    return engine->flusher.bytes >= engine->options.flush_bytes_max;
}

void st_append_on_relief(struct st_engine *engine, void (*relieved)(void *arg), void *arg) {
    engine->relieved = relieved;
    engine->relieved_arg = arg;
}

void st_append_relief(struct st_engine *engine) {
    if (engine->relieved != NULL && engine->flusher.bytes <= engine->options.flush_bytes_max / 2) {
        engine->relieved(engine->relieved_arg);
    }
}

/* ---- the hold ---- */

static void hold_end(struct st_engine *engine, struct st_append_request *request) {
    struct st_append_request **link = &engine->held;
    while (*link != request) {
        link = &(*link)->held_next;
    }
    *link = request->held_next;
    request->held_next = NULL;
    engine->held_bytes -= request->bytes.len;
}

static void hold_timer_set(struct st_engine *engine) {
    if (engine->held == NULL) {
        st_timer_stop(engine->loop, &engine->hold_timer);
        return;
    }
    int64_t first = engine->held->held_until_ns;
    for (struct st_append_request *r = engine->held; r != NULL; r = r->held_next) {
        first = r->held_until_ns < first ? r->held_until_ns : first;
    }
    int64_t delay = first - st_now_ns(engine->loop);
    st_timer_start(engine->loop, &engine->hold_timer, delay > 0 ? delay : 0);
}

static bool same_stream(const struct st_append_request *a, const struct st_append_request *b) {
    return a->producer_id == b->producer_id && a->partition == b->partition &&
           kp_uuid_equal(&a->topic_id, &b->topic_id);
}

static bool must_stay(struct st_engine *engine, const struct st_append_request *request) {
    const struct st_partition *partition =
        st_fold_partition(engine->journal.fold, &request->topic_id, request->partition);
    if (partition == NULL || request->hold_over) {
        return false;
    }
    const struct st_producer *producer = st_partition_producer(partition, request->producer_id);
    const struct st_window_batch *original;
    enum st_sequence standing = st_window_check(producer != NULL ? &producer->window : NULL, request->epoch,
                                                request->first_sequence, request->count, &original);
    return standing == ST_SEQUENCE_EARLY || standing == ST_SEQUENCE_UNKNOWN;
}

/* The held batch of this stream with the least sequence, ahead of `from` on the circle of sequences. */
static struct st_append_request *next_of_stream(struct st_engine *engine, const struct st_append_request *of,
                                                int32_t from) {
    struct st_append_request *best = NULL;
    uint32_t best_ahead = 0;
    for (struct st_append_request *r = engine->held; r != NULL; r = r->held_next) {
        uint32_t ahead = ((uint32_t)r->first_sequence - (uint32_t)from) & INT32_MAX;
        if (same_stream(r, of) && (best == NULL || ahead < best_ahead)) {
            best = r;
            best_ahead = ahead;
        }
    }
    return best;
}

/* The whole stream goes back into flushes, in order of sequence, and is decided again: what is still early is held
 * again until its own time is over. Each goes once: a flush that fills up may be decided, and hold its batches,
 * meanwhile. */
static void release_stream(struct st_engine *engine, struct st_append_request *first) {
    struct st_append_request *list = first, *last = first;
    hold_end(engine, first);
    for (struct st_append_request *r; (r = next_of_stream(engine, first, first->first_sequence)) != NULL;) {
        hold_end(engine, r);
        last->held_next = r;
        last = r;
    }
    while (list != NULL) {
        struct st_append_request *r = list;
        list = r->held_next;
        r->held_next = NULL;
        st_flusher_add(engine, &r->request);
    }
}

void st_append_recheck_held(struct st_engine *engine) {
    for (bool again = true; again;) {
        again = false;
        for (struct st_append_request *r = engine->held; r != NULL; r = r->held_next) {
            if (r->request.abandoned) {
                hold_end(engine, r);
                request_over(&r->request, ST_REFUSED);
                again = true;
                break;
            }
            if (!must_stay(engine, r)) {
                release_stream(engine, r);
                again = true;
                break;
            }
            if (r->hold_failed) {
                hold_end(engine, r);
                request_over(&r->request, ST_REFUSED);
                again = true;
                break;
            }
        }
    }
    hold_timer_set(engine);
}

void st_append_release_held(struct st_engine *engine) {
    for (struct st_append_request *r = engine->held; r != NULL; r = r->held_next) {
        r->hold_failed = true;
    }
    st_append_recheck_held(engine);
}

static void hold_due(struct st_timer *timer) {
    struct st_engine *engine = ST_OWNER(timer, struct st_engine, hold_timer);
    int64_t now = st_now_ns(engine->loop);
    for (struct st_append_request *r = engine->held; r != NULL; r = r->held_next) {
        bool due = r->held_until_ns <= now, may_say_no = r->synced || ST_MUTANT(no_without_sync);
        r->hold_over |= due && may_say_no;
        r->hold_failed |= due && !may_say_no;
    }
    st_append_recheck_held(engine);
}

static void hold_synced(struct st_sync *sync);

static void hold_sync_start(struct st_engine *engine) {
    for (struct st_append_request *r = engine->held; r != NULL; r = r->held_next) {
        r->sync_sent = true;
    }
    engine->hold_syncing = true;
    engine->hold_sync.done = hold_synced;
    st_journal_sync(&engine->journal, &engine->hold_sync);
}

/* "Out of order" is a No: only who was held before a sync that came back may be told it. */
static void hold_synced(struct st_sync *sync) {
    struct st_engine *engine = ST_OWNER(sync, struct st_engine, hold_sync);
    bool others = false;
    engine->hold_syncing = false;
    for (struct st_append_request *r = engine->held; r != NULL; r = r->held_next) {
        r->synced |= r->sync_sent && sync->error == ST_OK;
        others |= !r->sync_sent;
        r->sync_sent = false;
    }
    if (others && sync->error == ST_OK) {
        hold_sync_start(engine);
    }
    st_append_recheck_held(engine);
}

void st_append_hold(struct st_engine *engine, struct st_append_request *request) {
    size_t stream = 0, held = 0;
    struct st_append_request **link = &engine->held;
    for (; *link != NULL; link = &(*link)->held_next) {
        stream += same_stream(*link, request);
        held++;
    }
    if (stream >= ST_HOLD_MOST || held >= ST_HELD_MOST || engine->closing ||
        engine->held_bytes + request->bytes.len > engine->options.hold_bytes_max) {
        request_over(&request->request, ST_REFUSED); /* surely not stored, and worth another try */
        return;
    }
    request->held_next = NULL;
    *link = request;
    engine->held_bytes += request->bytes.len;
    if (request->held_until_ns == 0) {
        request->held_until_ns = st_now_ns(engine->loop) + ST_HOLD_NS;
    }
    if (!engine->hold_syncing && !ST_MUTANT(no_without_sync)) {
        hold_sync_start(engine);
    }
    hold_timer_set(engine);
}

/* ---- life ---- */

void st_appends_init(struct st_engine *engine) {
    engine->completed_last = &engine->completed;
    engine->complete.fn = complete;
    engine->hold_timer.fn = hold_due;
}

void st_appends_release(struct st_engine *engine) {
    st_timer_stop(engine->loop, &engine->hold_timer);
    st_defer_cancel(engine->loop, &engine->complete);
    while (engine->held != NULL) {
        struct st_append_request *request = engine->held;
        hold_end(engine, request);
        request_over(&request->request, ST_UNKNOWN);
    }
    while (engine->completed != NULL) {
        struct st_append_state *append = engine->completed;
        engine->completed = append->completed_next;
        append->op = NULL;
        append_free_if_over(append);
    }
}

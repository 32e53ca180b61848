/* The pipeline of flushes: gather, close, upload, commit in order. */
#include "storage/log/flush.h"

#include "storage/engine_state.h"
#include "storage/mutants.h"
#include "storage/runtime/backoff.h"
#include "storage/runtime/metrics.h"

#define FACT_ESTIMATE 80 /* an append is at most this: a fact and a run of its own, with a producer */
#define KEY_ESTIMATE 352 /* a key fact with one part, counted for each part */
#define AT_ONCE (10 * ST_MS) /* within this time come those back who were answered together */

static void pump(struct st_engine *engine);

/* ---- record bytes ---- */

/* Copies a batch into the object and lets its frame go. */
static bool object_add(struct st_flush *flush, struct st_append_request *append) {
    struct st_engine *engine = flush->engine;
    const struct st_store_profile *profile = &engine->store->profile;
    size_t position = flush->object.used;
    bool moved;
    if (!st_object_buffer_add(&engine->flusher.slabs, profile, &flush->object, append->bytes, &moved)) {
        return false;
    }
    kp_blob_unref(append->blob);
    append->blob = NULL;
    append->position = (uint32_t)position;
    const uint8_t *data = st_object_buffer_data(profile, &flush->object);
    append->bytes.ptr = data + position;
    for (struct st_request *r = flush->first; moved && r != NULL; r = r->next) {
        struct st_append_request *earlier = ST_OWNER(r, struct st_append_request, request);
        if (r->kind == ST_REQUEST_APPEND && earlier->blob == NULL) {
            earlier->bytes.ptr = data + earlier->position;
        }
    }
    return true;
}

/* Its bytes are too many for the entry. */
static bool is_large(const struct st_flush *flush) {
    return flush->object.blob != NULL || flush->bytes > flush->engine->store->profile.inline_limit;
}

/* The flush outgrew the inline limit: from here on its bytes live in an object. `more` are sure to come. */
static bool object_begin(struct st_flush *flush, size_t more) {
    struct st_engine *engine = flush->engine;
    if (!st_object_buffer_begin(&engine->flusher.slabs, &engine->store->profile, &flush->object,
                                flush->bytes + more)) {
        return false;
    }
    for (struct st_request *r = flush->first; r != NULL; r = r->next) {
        if (r->kind == ST_REQUEST_APPEND && !object_add(flush, ST_OWNER(r, struct st_append_request, request))) {
            return false;
        }
    }
    return true;
}

/* ---- ends ---- */

static void request_end(struct st_engine *engine, struct st_request *request, enum st_error error) {
    if (request->kind == ST_REQUEST_APPEND) {
        engine->flusher.bytes -= ST_OWNER(request, struct st_append_request, request)->bytes.len;
    }
    request->over(request, error);
}

static void flush_free(struct st_flush *flush) {
    if (ST_MUTANT(ack_before_upload) && flush->put_flying) {
        return;
    }
    st_timer_stop(flush->engine->loop, &flush->put_retry);
    kp_blob_unref(flush->object.blob);
    free(flush);
}

static void flush_end(struct st_flush *flush, enum st_error error) {
    struct st_engine *engine = flush->engine;
    struct st_request *list = flush->first;
    flush->first = NULL;
    while (list != NULL) {
        struct st_request *request = list;
        list = request->next;
        enum st_error own = request->state == ST_REQUEST_DECIDED ? request->error : error;
        request_end(engine, request, own);
    }
    st_metrics.flush_bytes = (int64_t)engine->flusher.bytes;
    flush_free(flush);
    st_append_relief(engine);
    st_engine_close_soon(engine);
}

static void queue_remove(struct st_flush *flush) {
    struct st_flusher *flusher = &flush->engine->flusher;
    struct st_flush **link = &flusher->oldest;
    while (*link != flush) {
        link = &(*link)->next;
    }
    *link = flush->next;
    if (flusher->newest == &flush->next) {
        flusher->newest = link;
    }
    if (flusher->open == flush) {
        flusher->open = NULL;
    }
}

/* It leaves the queue, and all its requests end. */
static void flush_leave(struct st_flush *flush, enum st_error error) {
    queue_remove(flush);
    flush_end(flush, error);
}

/* ---- commit ---- */

static struct kp_blob *commit_build(struct st_commit_op *op, struct st_fold *fold) {
    return st_flush_build(ST_OWNER(op, struct st_flush, commit), fold);
}

static bool flush_wanted(const struct st_flush *flush) {
    for (const struct st_request *r = flush->first; r != NULL; r = r->next) {
        if (!r->abandoned) {
            return true;
        }
    }
    return false;
}

static bool commit_wanted(struct st_commit_op *op) {
    return flush_wanted(ST_OWNER(op, struct st_flush, commit));
}

static void commit_finished(struct st_commit_op *op, enum st_error error, uint64_t slot, struct kp_blob *body) {
    struct st_flush *flush = ST_OWNER(op, struct st_flush, commit);
    struct st_engine *engine = flush->engine;
    if (error == ST_OK && slot != 0) {
        st_metrics.commits_total++;
        st_histogram_add(&st_metrics.commit_latency_us, (uint64_t)(st_now_ns(engine->loop) - flush->closed_ns) / 1000);
        st_cache_committed(engine, flush, slot, body);
        if (body != NULL) { /* of all whose requests share an entry, who wrote it */
            st_checkpoints_consider(engine);
        }
    }
    flush_leave(flush, error);
    pump(engine);
}

/* ---- upload ---- */

static void upload_send(struct st_flush *flush);

static void upload_retry_due(struct st_timer *timer) {
    upload_send(ST_OWNER(timer, struct st_flush, put_retry));
}

static void upload_retry(struct st_flush *flush) {
    struct st_loop *loop = flush->engine->loop;
    st_timer_start(loop, &flush->put_retry, st_backoff_ns(loop, flush->put_failures++));
}

static void upload_done(struct st_object_put *op) {
    struct st_flush *flush = ST_OWNER(op, struct st_flush, put);
    struct st_engine *engine = flush->engine;
    flush->put_flying = false;
    st_engine_op_ended(engine);
    if (op->error == ST_OK || ST_MUTANT(upload_failure_ignored) || ST_MUTANT(ack_before_upload)) {
        st_engine_store_answered(engine);
        engine->flusher.uploading--;
        flush->state = ST_MUTANT(ack_before_upload) ? flush->state : ST_FLUSH_READY;
        pump(engine);
        return;
    }
    st_engine_store_failed(engine, op->error);
    if (!flush_wanted(flush)) {
        engine->flusher.uploading--;
        flush_leave(flush, ST_REFUSED); /* no entry ever named the object */
        pump(engine);
        return;
    }
    upload_retry(flush);
}

/* Each try goes under a new name: a try whose outcome is unknown leaves an orphan at worst. */
static void upload_send(struct st_flush *flush) {
    struct st_engine *engine = flush->engine;
    flush->put = (struct st_object_put){
        .buffer = flush->object.blob,
        .at = flush->object.at,
        .len = flush->object.used,
        .summed = true,
        .crc = flush->object.crc,
        .done = upload_done,
    };
    uint64_t begun = engine->journal.fold->slot;
    if (!engine->store->ops->object_name(engine->store, ST_OBJECT_INGEST, engine->journal.number, begun,
                                         flush->object.used, flush->put.name)) {
        upload_retry(flush);
        return;
    }
    flush->put_flying = true;
    st_metrics.object_puts_total++;
    st_engine_op_started(engine);
    engine->store->ops->object_put(engine->store, &flush->put);
}

/* ---- gather ---- */

static bool flush_is_full(const struct st_flush *flush) {
    return flush->bytes >= flush->engine->store->profile.flush_limit ||
           flush->facts_estimate >= ST_ENTRY_COMMITS_MAX;
}

static struct st_pace_flush pace_of(const struct st_flush *flush) {
    return (struct st_pace_flush){.bytes = flush->bytes, .object = is_large(flush), .alone = flush->alone};
}

static void flush_close(struct st_flush *flush) {
    struct st_flusher *flusher = &flush->engine->flusher;
    const struct st_store_profile *profile = &flush->engine->store->profile;
    const struct st_pace_flush pace = pace_of(flush);
    flusher->open = NULL;
    flush->closed_ns = st_now_ns(flush->engine->loop);
    st_pace_closed(&flusher->pace, profile, flush->closed_ns, &pace);
    if (flush->object.blob == NULL) {
        st_flush_order(flush);
    }
    if (!pace.object) {
        flush->state = ST_FLUSH_READY;
        return;
    }
    if (flush->object.blob == NULL && !object_begin(flush, 0)) {
        flush_leave(flush, ST_NO_MEMORY);
        return;
    }
    flush->state = ST_FLUSH_UPLOADING;
    flusher->uploading++;
    st_object_buffer_close(&flusher->slabs, profile, &flush->object);
    upload_send(flush);
    if (ST_MUTANT(ack_before_upload) && flush->put_flying) {
        flush->state = ST_FLUSH_READY;
    }
}

/* When an open flush that is not full may close: not yet where PUTs cost money and one closed a moment ago. */
static int64_t paced_from(const struct st_engine *engine, const struct st_flush *flush) {
    const struct st_pace_flush pace = pace_of(flush);
    return st_pace_from(&engine->flusher.pace, &engine->store->profile, st_now_ns(engine->loop), &pace);
}

/* An open flush closes when nothing is in flight; a large one also while the commit before it is under way, so that the
 * upload of one and the commit of the other overlap; and when it is full and an upload is free. Where flushes are paced
 * the pace alone says how many uploads there are: one that takes long does not hold up the next. */
static bool may_close(const struct st_engine *engine, const struct st_flush *flush) {
    const struct st_flusher *flusher = &engine->flusher;
    const struct st_store_profile *profile = &engine->store->profile;
    bool full = flush_is_full(flush);
    if (!full && paced_from(engine, flush) > st_now_ns(engine->loop)) {
        return false;
    }
    if (flusher->oldest == flush) {
        return true;
    }
    if (!is_large(flush)) {
        return full;
    }
    bool upload_free = flusher->uploading < profile->uploads_in_flight;
    return flusher->uploading == 0 || (upload_free && (full || profile->pacing_ms > 0));
}

static void pump(struct st_engine *engine) {
    struct st_flusher *flusher = &engine->flusher;
    struct st_flush *oldest = flusher->oldest;
    while (ST_MUTANT(commit_order) && oldest != NULL && oldest->state != ST_FLUSH_READY) {
        oldest = oldest->next;
    }
    if (oldest != NULL && oldest->state == ST_FLUSH_READY && engine->journal.commit == NULL) {
        oldest->state = ST_FLUSH_COMMITTING;
        st_journal_commit(&engine->journal, &oldest->commit);
    }
    if (flusher->open == NULL) {
        st_timer_stop(engine->loop, &flusher->paced);
    } else if (may_close(engine, flusher->open)) {
        st_defer(engine->loop, &flusher->close_soon);
    } else if (flusher->paced.heap_index == 0) {
        int64_t wait_ns = paced_from(engine, flusher->open) - st_now_ns(engine->loop);
        if (wait_ns > 0) {
            st_timer_start(engine->loop, &flusher->paced, wait_ns);
        }
    }
}

static void paced_due(struct st_timer *timer) {
    pump(ST_OWNER(timer, struct st_engine, flusher.paced));
}

static void close_soon(struct st_task *task) {
    struct st_engine *engine = ST_OWNER(task, struct st_engine, flusher.close_soon);
    struct st_flush *open = engine->flusher.open;
    if (open != NULL && may_close(engine, open)) {
        flush_close(open);
        pump(engine);
    }
}

static struct st_flush *flush_open(struct st_engine *engine) {
    struct st_flusher *flusher = &engine->flusher;
    struct st_flush *flush = calloc(1, sizeof *flush);
    if (flush == NULL) {
        return NULL;
    }
    flush->engine = engine;
    flush->opened_ns = st_now_ns(engine->loop);
    flush->alone = flusher->oldest == NULL;
    flush->last = &flush->first;
    flush->put_retry.fn = upload_retry_due;
    flush->commit = (struct st_commit_op){
        .build = commit_build,
        .request = st_flush_request,
        .combine = st_flush_combine,
        .decided = st_flush_decided,
        .wanted = commit_wanted,
        .finished = commit_finished,
    };
    *flusher->newest = flush;
    flusher->newest = &flush->next;
    flusher->open = flush;
    return flush;
}

/* Puts the batch where the flush keeps its bytes. */
static bool flush_take_bytes(struct st_flush *flush, struct st_append_request *append) {
    const struct st_store_profile *profile = &flush->engine->store->profile;
    bool fits_entry = flush->object.blob == NULL && flush->bytes + append->bytes.len <= profile->inline_limit;
    if (fits_entry || profile->gathers_frames) {
        return true;
    }
    size_t unit = flush->engine->flusher.unit_bytes;
    size_t more = unit > append->bytes.len ? unit : append->bytes.len;
    return (flush->object.blob != NULL || object_begin(flush, more)) && object_add(flush, append);
}

/* True when the request does not fit behind what the open flush holds. */
static bool needs_new_flush(const struct st_flush *flush, size_t len) {
    const struct st_store_profile *profile = &flush->engine->store->profile;
    bool fits = flush->bytes + len <= profile->flush_limit &&
                (flush->object.blob == NULL || st_object_buffer_fits(profile, &flush->object, len));
    return flush_is_full(flush) || (flush->bytes > 0 && !fits);
}

void st_flusher_unit(struct st_engine *engine, size_t count, size_t len) {
    struct st_flusher *flusher = &engine->flusher;
    struct st_flush *open = flusher->open;
    size_t facts = count * FACT_ESTIMATE;
    flusher->unit_left = !ST_MUTANT(split_append) && count > 1 && facts <= ST_ENTRY_COMMITS_MAX ? count : 0;
    flusher->unit_bytes = flusher->unit_left > 0 ? len : 0;
    if (open != NULL && open->request_count > 0 && flusher->unit_left > 0 &&
        (needs_new_flush(open, len) || open->facts_estimate + facts > ST_ENTRY_COMMITS_MAX)) {
        flush_close(open);
    }
}

void st_flusher_add(struct st_engine *engine, struct st_request *request) {
    struct st_flusher *flusher = &engine->flusher;
    struct st_append_request *append = NULL;
    size_t len = 0;
    if (request->kind == ST_REQUEST_APPEND) {
        append = ST_OWNER(request, struct st_append_request, request);
        len = append->bytes.len;
    }
    bool in_unit = flusher->unit_left > 0;
    flusher->unit_left -= in_unit ? 1 : 0;
    if (flusher->open != NULL && !in_unit && needs_new_flush(flusher->open, len)) {
        flush_close(flusher->open);
    }
    struct st_flush *flush = flusher->open != NULL ? flusher->open : flush_open(engine);
    request->next = NULL;
    request->state = ST_REQUEST_GATHERED;
    flusher->bytes += len;
    bool taken = flush != NULL && (append == NULL || flush_take_bytes(flush, append));
    flusher->unit_bytes -= in_unit ? len : 0;
    if (!taken) {
        request_end(engine, request, ST_NO_MEMORY);
        pump(engine); /* a flush that was opened for it closes empty */
        return;
    }
    *flush->last = request;
    flush->last = &request->next;
    flush->alone = flush->alone && st_now_ns(engine->loop) - flush->opened_ns <= AT_ONCE;
    flush->request_count++;
    flush->bytes += len;
    flush->facts_estimate += FACT_ESTIMATE;
    if (request->kind == ST_REQUEST_APPEND && ST_OWNER(request, struct st_append_request, request)->keyed != NULL) {
        flush->facts_estimate += KEY_ESTIMATE;
    }
    if (request->kind == ST_REQUEST_TOPIC_CREATE) {
        const struct st_create_request *create = ST_OWNER(request, struct st_create_request, change.request);
        flush->facts_estimate += create->configs.len + ST_TOPIC_NAME_MAX;
    }
    st_metrics.flush_bytes = (int64_t)flusher->bytes;
    pump(engine);
}

/* ---- the rest ---- */

bool st_flusher_idle(const struct st_engine *engine) {
    return engine->flusher.oldest == NULL;
}

void st_flusher_reconsider(struct st_engine *engine) {
    struct st_flush *flush = engine->flusher.oldest;
    while (flush != NULL) {
        struct st_flush *next = flush->next;
        if (flush->state == ST_FLUSH_UPLOADING && !flush->put_flying && !flush_wanted(flush)) {
            engine->flusher.uploading--;
            flush_leave(flush, ST_REFUSED);
        }
        flush = next;
    }
    st_journal_reconsider(&engine->journal);
    pump(engine);
}

bool st_flusher_perhaps_stored(const struct st_engine *engine, const struct st_request *request) {
    const struct st_flush *flush = engine->flusher.oldest; /* only the oldest can be committing */
    if (flush == NULL || flush->state != ST_FLUSH_COMMITTING || request->state != ST_REQUEST_ACCEPTED) {
        return false;
    }
    return st_journal_perhaps_stored(&engine->journal, &flush->commit);
}

void st_flusher_init(struct st_engine *engine) {
    engine->flusher = (struct st_flusher){.close_soon = {.fn = close_soon}, .paced = {.fn = paced_due}};
    engine->flusher.newest = &engine->flusher.oldest;
}

void st_flusher_release(struct st_engine *engine) {
    st_defer_cancel(engine->loop, &engine->flusher.close_soon);
    st_timer_stop(engine->loop, &engine->flusher.paced);
    while (engine->flusher.oldest != NULL) {
        struct st_flush *flush = engine->flusher.oldest;
        engine->flusher.oldest = flush->next;
        while (flush->first != NULL) {
            struct st_request *request = flush->first;
            flush->first = request->next;
            request->abandoned = true;
            request->over(request, ST_UNKNOWN);
        }
        flush_free(flush);
    }
    kp_blob_unref(engine->flusher.slabs.slab);
    engine->flusher.slabs.slab = NULL;
}

/*
 * A flush as a request of the pool, requests of the pool as an entry, and the answers that a flush takes from the entry
 * that holds its request, whoever wrote it (journal/pool.h).
 *
 * Each request is decided by the very code that decides a flush (check.c), append by append, in the order of the entry:
 * a request sees what those before it will have done. A request is made true whole or left: when one of its batches
 * turns out to be early, everything is decided anew without it.
 */
#include "storage/log/check.h"

#include "storage/engine_state.h"
#include "storage/mutants.h"
#include "storage/runtime/metrics.h"

/* ---- a flush becomes a request ---- */

/* Only appends without a key can wait in the pool. */
static bool only_appends(const struct st_flush *flush) {
    for (const struct st_request *r = flush->first; r != NULL; r = r->next) {
        if (r->kind != ST_REQUEST_APPEND && !r->abandoned) {
            return false;
        }
    }
    return true;
}

static struct st_pooled_append pooled_of(const struct st_append_request *append) {
    bool numbered = append->producer_id >= 0;
    return (struct st_pooled_append){
        .topic_id = append->topic_id,
        .partition = append->partition,
        .count = append->count,
        .flags = (numbered ? (uint32_t)ST_POOLED_PRODUCER : 0) | (append->hold_over ? (uint32_t)ST_POOLED_HELD : 0),
        .position = append->position,
        .len = (uint32_t)append->bytes.len,
        .max_timestamp_ms = append->max_timestamp_ms,
        .producer_id = append->producer_id,
        .epoch = append->epoch,
        .first_sequence = append->first_sequence,
    };
}

/* The accepted appends, and how many. Their inline bytes will lie in this order. */
static size_t write_appends(struct st_flush *flush, struct st_pack *out) {
    size_t count = 0, inline_len = 0;
    for (struct st_request *r = flush->first; r != NULL; r = r->next) {
        struct st_append_request *append = ST_OWNER(r, struct st_append_request, request);
        if (r->state != ST_REQUEST_ACCEPTED) {
            continue;
        }
        if (flush->object.blob == NULL) {
            append->position = (uint32_t)inline_len;
            inline_len += append->bytes.len;
        }
        append->stored = false; /* until it is decided */
        struct st_pooled_append pooled = pooled_of(append);
        const struct st_append_keyed *keyed = append->keyed;
        if (keyed != NULL && append == &keyed->parts[0]) {
            pooled.flags |= ST_POOLED_KEYED;
            pooled.key = keyed->name;
            pooled.key_hash[0] = keyed->hash[0];
            pooled.key_hash[1] = keyed->hash[1];
            pooled.key_begun_ms = keyed->begun_ms;
            pooled.key_parts = (uint32_t)keyed->count;
        }
        st_pooled_write(out, &pooled);
        count++;
    }
    return count;
}

static void write_inline(const struct st_flush *flush, struct st_pack *out) {
    for (struct st_request *r = flush->first; r != NULL && flush->object.blob == NULL; r = r->next) {
        if (r->state == ST_REQUEST_ACCEPTED) {
            const struct st_append_request *append = ST_OWNER(r, struct st_append_request, request);
            st_pack_bytes(out, append->bytes.ptr, append->bytes.len);
            st_metrics.produce_copied_bytes_total += append->bytes.len;
        }
    }
}

static struct kp_blob *blob_of(const struct st_pack *pack) {
    struct kp_blob *blob = pack->failed ? NULL : kp_blob_new(pack->len);
    if (blob != NULL) {
        memcpy(blob->data, pack->data, pack->len);
    }
    return blob;
}

struct kp_blob *st_flush_request(struct st_commit_op *op, struct st_fold *fold) {
    struct st_flush *flush = ST_OWNER(op, struct st_flush, commit);
    if (!only_appends(flush)) {
        return NULL;
    }
    struct st_build build;
    st_build_begin(&build, flush->engine, fold);
    build.flush = flush;
    build.in_object = flush->object.blob != NULL;
    build.pooled = true;
    st_build_decide(&build);
    st_build_end(&build);
    struct st_pack appends, out;
    st_pack_init(&appends, ST_POOL_BODY_MAX);
    st_pack_init(&out, ST_POOL_BODY_MAX);
    struct st_pooled request = {.id = op->id, .begun = fold->slot, .count = write_appends(flush, &appends)};
    if (flush->object.blob != NULL) {
        request.object_name = kp_slice_cstr(flush->put.name);
        request.object_len = flush->object.used;
    }
    st_pooled_begin(&out, &request);
    st_pack_bytes(&out, appends.data, appends.len);
    write_inline(flush, &out);
    st_pooled_end(&out);
    out.failed |= appends.failed;
    bool whole = !out.failed && st_pooled_read(kp_slice_of(out.data, out.len), &request);
    struct kp_blob *blob = whole && st_pooled_fits_alone(&request) ? blob_of(&out) : NULL;
    st_pack_release(&appends);
    st_pack_release(&out);
    return blob;
}

/* ---- requests become an entry ---- */

struct combining {
    struct st_build build;
    const struct kp_uuid *own;
    struct st_pack commits;
    bool level_written, forgotten_written;
};

static struct st_append_request append_of(const struct st_pooled *request, const struct st_pooled_append *pooled) {
    bool inline_bytes = request->object_len == 0;
    return (struct st_append_request){
        .request = {.kind = ST_REQUEST_APPEND, .state = ST_REQUEST_GATHERED},
        .topic_id = pooled->topic_id,
        .partition = pooled->partition,
        .count = pooled->count,
        .bytes = {inline_bytes ? request->inline_bytes.ptr + pooled->position : NULL, pooled->len},
        .position = pooled->position,
        .max_timestamp_ms = pooled->max_timestamp_ms,
        .producer_id = pooled->producer_id,
        .epoch = pooled->epoch,
        .first_sequence = pooled->first_sequence,
        .hold_over = (pooled->flags & ST_POOLED_HELD) != 0,
    };
}

/* An append that was accepted became a fact when it was decided; what became of any other is written here. */
static void write_outcome(struct st_build *build, const struct st_append_request *append) {
    struct st_fact fact = {.type = ST_FACT_duplicate};
    if (append->stored) {
        return;
    }
    if (append->request.state == ST_REQUEST_DECIDED && append->request.error != ST_OK) {
        fact.type = ST_FACT_refused;
        fact.u.refused = append->request.error;
    } else {
        fact.u.duplicate.base = append->base;
        fact.u.duplicate.append_time_ms = append->append_time_ms;
    }
    st_build_fact(build, &fact);
}

/* The appends that a key is for, the first of which was read: they are decided together. What they share lives as long
 * as the build, since another request of the entry may have the same key. */
static void decide_keyed(struct st_build *build, const struct st_pooled *request, const struct st_pooled_append *first,
                         struct st_unpack *in) {
    struct st_append_keyed *keyed = kp_arena_alloc(&build->arena, sizeof *keyed);
    struct st_append_request *parts = kp_arena_alloc(&build->arena, first->key_parts * sizeof *parts);
    struct st_pooled_append pooled = *first;
    if (keyed == NULL || parts == NULL) {
        build->facts.failed = true;
        return;
    }
    *keyed = (struct st_append_keyed){.parts = parts,
                                      .count = first->key_parts,
                                      .name = first->key,
                                      .hash = {first->key_hash[0], first->key_hash[1]},
                                      .begun_ms = first->key_begun_ms};
    for (size_t i = 0; i < keyed->count; i++) {
        parts[i] = append_of(request, &pooled);
        parts[i].keyed = keyed;
        if (i + 1 < keyed->count && !st_pooled_next(in, &pooled)) {
            build->facts.failed = true;
            return;
        }
    }
    for (size_t i = 0; i < keyed->count; i++) {
        st_build_append(build, &parts[i]);
    }
    for (size_t i = 0; i < keyed->count; i++) {
        write_outcome(build, &parts[i]);
    }
}

/* False: a batch of it is early, the request is to be left. */
static bool decide_request(struct combining *combining, const struct st_pooled *request) {
    struct st_build *build = &combining->build;
    struct st_unpack in = st_unpack_of(request->appends);
    struct st_pooled_append pooled;
    build->facts.len = 0;
    st_append_writer_drop(&build->appends);
    build->in_object = request->object_len > 0;
    build->stores_records = false;
    while (!build->facts.failed && st_unpack_left(&in) > 0 && st_pooled_next(&in, &pooled)) {
        if ((pooled.flags & ST_POOLED_KEYED) != 0) {
            decide_keyed(build, request, &pooled, &in);
            continue;
        }
        struct st_append_request append = append_of(request, &pooled);
        if (!st_build_append(build, &append)) {
            if (!kp_uuid_equal(&request->id, combining->own)) {
                return false;
            }
            append.request.state = ST_REQUEST_DECIDED; /* else it might wait for ever */
            append.request.error = ST_REFUSED;
        }
        write_outcome(build, &append);
    }
    st_build_facts_end(build);
    return true;
}

static void write_commit(struct combining *combining, const struct st_pooled *request) {
    struct st_build *build = &combining->build;
    struct st_pack head;
    st_pack_init(&head, 1024);
    struct st_fact pooled = {.type = ST_FACT_pooled, .u.begun = request->begun};
    st_fact_write(&head, &pooled);
    if (build->fold->level < ST_LEVEL && !combining->level_written) {
        struct st_fact level = {.type = ST_FACT_level, .u.level = ST_LEVEL};
        st_fact_write(&head, &level);
        combining->level_written = true;
    }
    if (build->forget_ms != INT64_MIN && !combining->forgotten_written) { /* before any key that the entry brings */
        struct st_fact forgotten = {.type = ST_FACT_forgotten, .u.forgotten = build->forget_ms};
        st_fact_write(&head, &forgotten);
        combining->forgotten_written = true;
    }
    if (build->stores_records && build->in_object) {
        struct st_fact object = {
            .type = ST_FACT_object, .u.object = {.name = request->object_name, .len = request->object_len}};
        st_fact_write(&head, &object);
    } else if (build->stores_records) {
        build->inline_len += request->inline_bytes.len;
    }
    st_pack_uuid(&combining->commits, &request->id);
    st_pack_u(&combining->commits, head.len + build->facts.len);
    st_pack_bytes(&combining->commits, head.data, head.len);
    st_pack_bytes(&combining->commits, build->facts.data, build->facts.len);
    combining->commits.failed |= head.failed || build->facts.failed;
    st_pack_release(&head);
}

enum outcome { COMBINED, LEFT_ONE };

/* Decides them all but those that are left; LEFT_ONE: one more is, and everything is to be decided again. areas: where
 * the inline bytes of each lie. */
static enum outcome decide_requests(struct combining *combining, const struct st_pooled *requests, size_t count,
                                    bool *left, size_t *areas) {
    for (size_t i = 0; i < count; i++) {
        if (left[i]) {
            continue;
        }
        if (!decide_request(combining, &requests[i])) {
            left[i] = true;
            return LEFT_ONE;
        }
        areas[i] = combining->build.inline_len;
        write_commit(combining, &requests[i]);
        if (combining->build.inline_len == areas[i]) {
            areas[i] = SIZE_MAX;
        }
    }
    return COMBINED;
}

static struct kp_blob *entry_of(struct combining *combining, struct st_engine *engine, const struct st_pooled *requests,
                                size_t count, const bool *left, const size_t *areas) {
    uint8_t *inline_at = NULL;
    struct st_pack *commits = &combining->commits;
    struct kp_blob *entry = commits->failed ? NULL
                                            : st_entry_build_commits(&engine->journal_host.writer,
                                                                     combining->build.now_wall_ms,
                                                                     kp_slice_of(commits->data, commits->len),
                                                                     combining->build.inline_len, &inline_at);
    for (size_t i = 0; entry != NULL && i < count; i++) {
        if (!left[i] && areas[i] != SIZE_MAX) {
            memcpy(inline_at + areas[i], requests[i].inline_bytes.ptr, requests[i].inline_bytes.len);
        }
    }
    if (entry != NULL) {
        st_entry_seal(entry);
    }
    return entry;
}

struct kp_blob *st_flush_combine(struct st_commit_op *op, struct st_fold *fold, const struct st_pooled *requests,
                                 size_t count) {
    struct st_engine *engine = ST_OWNER(op, struct st_flush, commit)->engine;
    bool *left = calloc(count + 1, sizeof *left);
    size_t *areas = calloc(count + 1, sizeof *areas);
    struct kp_blob *entry = NULL;
    bool again = left != NULL && areas != NULL;
    while (again) {
        struct combining combining = {.own = &op->id};
        st_build_begin(&combining.build, engine, fold);
        combining.build.pooled = true;
        st_build_forget(&combining.build, engine);
        st_pack_init(&combining.commits, ST_ENTRY_MAX);
        again = decide_requests(&combining, requests, count, left, areas) == LEFT_ONE;
        if (!again) {
            entry = entry_of(&combining, engine, requests, count, left, areas);
        }
        st_pack_release(&combining.commits);
        st_build_end(&combining.build);
    }
    free(left);
    free(areas);
    return entry;
}

/* ---- the entry answers the flush ---- */

/* The outcomes of a commit's requests, one by one. */
struct outcomes {
    struct st_unpack facts;
    struct st_append_reader appends; /* of the fact read last */
};

/* The next one: a batch that was appended, or a fact that is an outcome. */
static bool next_outcome(struct outcomes *outcomes, struct st_fact *fact, struct st_fact_append *appended) {
    if (st_append_next(&outcomes->appends, appended)) {
        fact->type = ST_FACT_appends;
        return true;
    }
    while (st_unpack_left(&outcomes->facts) > 0 && st_fact_read(&outcomes->facts, fact)) {
        if (fact->type == ST_FACT_appends) {
            outcomes->appends = st_append_reader(&fact->u.appends);
            return st_append_next(&outcomes->appends, appended);
        }
        if (fact->type == ST_FACT_refused || fact->type == ST_FACT_duplicate) {
            return true;
        }
    }
    return false;
}

static void take_outcome(struct st_append_request *append, const struct st_fold *fold, const struct st_fact *fact,
                         const struct st_fact_append *appended) {
    const struct st_partition *partition = st_fold_partition(fold, &append->topic_id, append->partition);
    append->log_start = partition != NULL ? partition->log_start : -1;
    switch (fact->type) {
    case ST_FACT_appends:
        append->base = appended->base;
        append->append_time_ms = (appended->flags & ST_APPEND_TIME) != 0 ? appended->max_timestamp_ms : -1;
        append->position = appended->position;
        append->stored = true;
        break;
    case ST_FACT_duplicate:
        append->base = fact->u.duplicate.base;
        append->append_time_ms = fact->u.duplicate.append_time_ms;
        break;
    default:
        append->request.state = ST_REQUEST_DECIDED;
        append->request.error = fact->u.refused;
    }
}

void st_flush_decided(struct st_commit_op *op, const struct st_fold *fold, struct kp_slice facts) {
    struct st_flush *flush = ST_OWNER(op, struct st_flush, commit);
    struct outcomes outcomes = {.facts = st_unpack_of(facts)};
    for (struct st_request *r = flush->first; r != NULL; r = r->next) {
        struct st_fact fact;
        struct st_fact_append appended;
        if (r->state != ST_REQUEST_ACCEPTED) {
            continue;
        }
        if (next_outcome(&outcomes, &fact, &appended)) {
            take_outcome(ST_OWNER(r, struct st_append_request, request), fold, &fact, &appended);
        } else { /* no writer leaves one out */
            r->state = ST_REQUEST_DECIDED;
            r->error = ST_UNKNOWN;
        }
    }
}

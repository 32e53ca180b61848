/*
 * Deciding a flush against the fold. What is accepted becomes facts, in the order of the requests; what is refused,
 * or a duplicate, gets its answer. A flush may be decided several times, once per slot that it tries: each time
 * everything starts over from the state that the slot would follow.
 *
 * Within one flush a request sees what those before it will have done: partitions and producers carry a "next" value
 * that is good while check_mark is that of the build under way.
 */
#include "storage/log/check.h"

#include "storage/engine_state.h"
#include "storage/mutants.h"
#include "storage/runtime/metrics.h"

/* A producer that the partition does not know yet, with what this entry will say of it. */
struct st_fresh_producer {
    struct st_partition *partition;
    int64_t id;
    struct st_window window;
    struct st_fresh_producer *next;
};

static void decide(struct st_request *request, enum st_error error) {
    request->state = ST_REQUEST_DECIDED;
    request->error = error;
}

static void partition_begin(const struct st_build *build, struct st_partition *partition) {
    if (partition->check_mark != build->mark) {
        partition->check_mark = build->mark;
        partition->next_end = partition->end;
        partition->next_time_ms = partition->time_reached_ms;
    }
}

/* The window as this entry leaves it so far; NULL when memory is out. */
static struct st_window *producer_window(struct st_build *build, struct st_partition *partition, int64_t id) {
    struct st_producer *known = st_partition_producer(partition, id);
    if (known != NULL && ST_MUTANT(state_before_commit)) {
        return &known->window;
    }
    if (known != NULL && known->check_mark == build->mark) {
        return known->next;
    }
    if (known != NULL) {
        struct st_window *window = kp_arena_alloc(&build->arena, sizeof *window);
        if (window != NULL) {
            *window = known->window;
            known->next = window;
            known->check_mark = build->mark;
        }
        return window;
    }
    for (struct st_fresh_producer *fresh = build->fresh; fresh != NULL; fresh = fresh->next) {
        if (fresh->partition == partition && fresh->id == id) {
            return &fresh->window;
        }
    }
    struct st_fresh_producer *fresh = kp_arena_alloc(&build->arena, sizeof *fresh);
    if (fresh == NULL) {
        return NULL;
    }
    *fresh = (struct st_fresh_producer){.partition = partition, .id = id, .next = build->fresh};
    build->fresh = fresh;
    return &fresh->window;
}

void st_build_fact(struct st_build *build, const struct st_fact *fact) {
    st_build_facts_end(build);
    st_fact_write(&build->facts, fact);
}

void st_build_facts_end(struct st_build *build) {
    st_append_writer_end(&build->appends, &build->facts);
}

/* Writes the fact and moves the partition's next end. */
static void accept_append(struct st_build *build, struct st_append_request *append, struct st_partition *partition,
                          struct st_window *window) {
    int64_t time_ms = append->max_timestamp_ms;
    append->append_time_ms = -1;
    uint32_t flags = 0;
    if (partition->topic->append_time) {
        bool later = build->now_wall_ms > partition->next_time_ms || ST_MUTANT(append_time_falls);
        time_ms = later ? build->now_wall_ms : partition->next_time_ms;
        append->append_time_ms = time_ms;
        flags |= ST_APPEND_TIME;
    }
    uint32_t position = append->position;
    if (!build->in_object) {
        flags |= ST_APPEND_INLINE;
        position = (uint32_t)build->inline_len + (build->pooled ? append->position : 0);
    }
    if (!build->in_object && !build->pooled) {
        append->position = position;
        build->inline_len += append->bytes.len;
    }
    append->base = partition->next_end;
    append->log_start = partition->log_start;
    struct st_fact_append fact = {
        .topic_id = append->topic_id,
        .partition = append->partition,
        .base = append->base,
        .count = append->count,
        .flags = flags | (window != NULL ? (uint32_t)ST_APPEND_PRODUCER : 0),
        .position = position,
        .len = (uint32_t)append->bytes.len,
        .max_timestamp_ms = time_ms,
        .producer_id = append->producer_id,
        .epoch = append->epoch,
        .first_sequence = append->first_sequence,
    };
    st_append_writer_add(&build->appends, &fact, &build->facts);
    build->stores_records = true;
    append->stored = true;
    if (window != NULL) {
        st_window_add(window, append->epoch, append->first_sequence, append->count, append->base,
                      append->append_time_ms);
    }
    partition->next_end += append->count;
    partition->next_time_ms = time_ms > partition->next_time_ms ? time_ms : partition->next_time_ms;
    append->request.state = ST_REQUEST_ACCEPTED;
}

/* A batch stored before: its original place. Stored by this very entry: true only once the entry is. */
static void accept_duplicate(struct st_append_request *append, const struct st_partition *partition,
                             const struct st_window_batch *original) {
    append->base = ST_MUTANT(duplicate_new_offset) ? partition->next_end : original->base;
    append->append_time_ms = original->append_time_ms;
    append->log_start = partition->log_start;
    if (original->base >= partition->end && !ST_MUTANT(duplicate_acked_early)) {
        append->request.state = ST_REQUEST_ACCEPTED;
    } else {
        decide(&append->request, ST_OK);
    }
}

/* False: the request is to be held, it leaves the flush. */
static bool decide_sequence(struct st_build *build, struct st_append_request *append, struct st_partition *partition) {
    struct st_window *window = producer_window(build, partition, append->producer_id);
    const struct st_window_batch *original = NULL;
    if (window == NULL) {
        decide(&append->request, ST_NO_MEMORY);
        return true;
    }
    switch (st_window_check(window, append->epoch, append->first_sequence, append->count, &original)) {
    case ST_SEQUENCE_NEXT:
        accept_append(build, append, partition, window);
        return true;
    case ST_SEQUENCE_DUPLICATE:
        if (ST_MUTANT(duplicate_appended)) {
            accept_append(build, append, partition, window);
            return true;
        }
        accept_duplicate(append, partition, original);
        return true;
    case ST_SEQUENCE_UNKNOWN:
        if (append->hold_over) {
            accept_append(build, append, partition, window);
        }
        return append->hold_over;
    case ST_SEQUENCE_EARLY:
        if (ST_MUTANT(hold_ignored) || (ST_MUTANT(pool_early) && build->pooled)) {
            accept_append(build, append, partition, window);
            return true;
        }
        if (append->hold_over) {
            decide(&append->request, ST_BAD_SEQUENCE);
        }
        return append->hold_over;
    case ST_SEQUENCE_OLD:
        decide(&append->request, ST_BAD_SEQUENCE);
        return true;
    case ST_SEQUENCE_FENCED:
        if (ST_MUTANT(unfenced)) {
            accept_append(build, append, partition, window);
            return true;
        }
        decide(&append->request, ST_BAD_EPOCH);
        return true;
    }
    return true;
}

enum st_error st_build_refusal(struct st_build *build, const struct st_append_request *append) {
    struct st_topic_state *topic = st_fold_topic_by_id(build->fold, &append->topic_id);
    if (topic == NULL) {
        return ST_NO_TOPIC_ID;
    }
    if (append->partition < 0 || append->partition >= topic->view.partition_count) {
        return ST_NO_PARTITION;
    }
    if (topic->deleted_mark == build->mark) {
        return ST_REFUSED; /* this very entry deletes it: not yet true */
    }
    if (append->bytes.len > topic->message_bytes_max) {
        return ST_TOO_LARGE;
    }
    if ((append->attributes & KP_BATCH_TRANSACTIONAL) != 0) {
        return ST_BAD_TXN_STATE;
    }
    struct st_partition *partition = &topic->partitions[append->partition];
    partition_begin(build, partition);
    return partition->next_end > INT64_MAX - append->count ? ST_REFUSED : ST_OK;
}

void st_build_accept(struct st_build *build, struct st_append_request *append) {
    struct st_partition *partition = st_fold_partition(build->fold, &append->topic_id, append->partition);
    accept_append(build, append, partition, NULL);
}

bool st_build_append(struct st_build *build, struct st_append_request *append) {
    if (append->keyed != NULL) {
        st_build_keyed(build, append);
        return true;
    }
    enum st_error error = st_build_refusal(build, append);
    if (error != ST_OK) {
        decide(&append->request, error);
        return true;
    }
    struct st_partition *partition = st_fold_partition(build->fold, &append->topic_id, append->partition);
    if (append->producer_id >= 0) {
        return decide_sequence(build, append, partition);
    }
    accept_append(build, append, partition, NULL);
    return true;
}

static void decide_create(struct st_build *build, struct st_create_request *create) {
    struct st_request *request = &create->change.request;
    struct st_topic_state *existing = st_fold_topic_by_name(build->fold, create->name);
    create->second = false;
    create->id = create->fresh; /* an earlier decision may have found a topic that is gone by now */
    if (existing != NULL) {
        create->id = existing->view.id;
        decide(request, ST_TOPIC_EXISTS);
        return;
    }
    for (struct st_request *r = build->flush->first; r != request; r = r->next) {
        struct st_create_request *other = ST_OWNER(r, struct st_create_request, change.request);
        if (r->kind == ST_REQUEST_TOPIC_CREATE && r->state == ST_REQUEST_ACCEPTED &&
            kp_slice_equal(other->name, create->name)) {
            create->id = other->id;
            create->second = true; /* it exists once this entry does, and is told then */
            request->state = ST_REQUEST_ACCEPTED;
            return;
        }
    }
    if (create->partitions > ST_FOLD_PARTITIONS_MAX - build->fold->partition_count - build->partitions) {
        decide(request, ST_BAD_PARTITIONS);
        return;
    }
    build->partitions += create->partitions;
    struct st_fact fact = {
        .type = ST_FACT_topic_created,
        .u.topic =
            {
                .id = create->id,
                .name = create->name,
                .partitions = create->partitions,
                .first_offset = create->first_offset,
                .config_count = create->config_count,
                .configs = kp_slice_of(create->configs.data, create->configs.len),
            },
    };
    st_build_fact(build, &fact);
    request->state = ST_REQUEST_ACCEPTED;
}

static void decide_delete(struct st_build *build, struct st_delete_request *delete) {
    struct st_topic_state *topic = st_fold_topic_by_id(build->fold, &delete->id);
    if (topic == NULL) {
        decide(&delete->change.request, ST_NO_TOPIC_ID);
        return;
    }
    if (topic->deleted_mark != build->mark) { /* one fact makes all deletes of it true */
        struct st_fact fact = {.type = ST_FACT_topic_deleted, .u.topic_id = delete->id};
        st_build_fact(build, &fact);
        topic->deleted_mark = build->mark;
    }
    delete->change.request.state = ST_REQUEST_ACCEPTED;
}

static void decide_producer_ids(struct st_build *build, struct st_producer_ids_request *ids) {
    ids->first = build->fold->next_producer_id + build->producer_ids;
    build->producer_ids += ST_PRODUCER_ID_BLOCK;
    struct st_fact fact = {.type = ST_FACT_producer_ids, .u.producer_ids = ST_PRODUCER_ID_BLOCK};
    if (!ST_MUTANT(ids_unwritten)) {
        st_build_fact(build, &fact);
    }
    ids->change.request.state = ST_REQUEST_ACCEPTED;
}

/* False: the request is to be held. */
static bool decide_request(struct st_build *build, struct st_request *request) {
    switch (request->kind) {
    case ST_REQUEST_APPEND:
        return st_build_append(build, ST_OWNER(request, struct st_append_request, request));
    case ST_REQUEST_TOPIC_CREATE:
        decide_create(build, ST_OWNER(request, struct st_create_request, change.request));
        return true;
    case ST_REQUEST_TOPIC_DELETE:
        decide_delete(build, ST_OWNER(request, struct st_delete_request, change.request));
        return true;
    case ST_REQUEST_PRODUCER_IDS:
        decide_producer_ids(build, ST_OWNER(request, struct st_producer_ids_request, change.request));
        return true;
    }
    return true;
}

/* A held batch outlives its flush: it takes the bytes along. */
static void leave_for_hold(struct st_flush *flush, struct st_append_request *append) {
    struct kp_blob *lies_in = append->blob != NULL ? append->blob : flush->object.blob;
    struct kp_blob *copy = lies_in->size / 4 > append->bytes.len ? kp_blob_new(append->bytes.len) : NULL;
    if (copy != NULL) { /* what is held counts by its own bytes: it must not keep a whole slab or frame */
        memcpy(copy->data, append->bytes.ptr, append->bytes.len);
        st_metrics.produce_copied_bytes_total += append->bytes.len;
        append->bytes.ptr = copy->data;
        kp_blob_unref(append->blob);
        append->blob = copy;
    } else if (append->blob == NULL) {
        append->blob = kp_blob_ref(lies_in);
    }
    flush->request_count--;
    flush->engine->flusher.bytes -= append->bytes.len;
    st_append_hold(flush->engine, append);
}

void st_build_decide(struct st_build *build) {
    struct st_request **link = &build->flush->first;
    while (*link != NULL) {
        struct st_request *request = *link;
        request->state = ST_REQUEST_GATHERED;
        if (request->kind == ST_REQUEST_APPEND) {
            ST_OWNER(request, struct st_append_request, request)->stored = false;
        }
        if (!request->abandoned && !decide_request(build, request)) {
            *link = request->next;
            leave_for_hold(build->flush, ST_OWNER(request, struct st_append_request, request));
            continue;
        }
        link = &request->next;
    }
    build->flush->last = link;
    st_build_facts_end(build);
}

static void copy_inline(const struct st_flush *flush, uint8_t *inline_at) {
    for (struct st_request *r = flush->first; r != NULL; r = r->next) {
        struct st_append_request *append = ST_OWNER(r, struct st_append_request, request);
        if (r->kind == ST_REQUEST_APPEND && append->stored && append->blob != NULL) {
            memcpy(inline_at + append->position, append->bytes.ptr, append->bytes.len);
            st_metrics.produce_copied_bytes_total += append->bytes.len;
        }
    }
}

/* The facts of the requests, behind those that they rest on. */
static void write_facts(struct st_build *build, struct st_pack *out) {
    struct st_flush *flush = build->flush;
    if (build->fold->level < ST_LEVEL) {
        struct st_fact level = {.type = ST_FACT_level, .u.level = ST_LEVEL};
        st_fact_write(out, &level);
    }
    if (build->forget_ms != INT64_MIN) {
        struct st_fact forgotten = {.type = ST_FACT_forgotten, .u.forgotten = build->forget_ms};
        st_fact_write(out, &forgotten);
    }
    if (build->stores_records && flush->object.blob != NULL) {
        struct st_fact object = {
            .type = ST_FACT_object,
            .u.object = {.name = kp_slice_cstr(flush->put.name), .len = flush->object.used},
        };
        st_fact_write(out, &object);
    }
    st_pack_bytes(out, build->facts.data, build->facts.len);
    out->failed |= build->facts.failed;
}

static struct kp_blob *assemble(struct st_build *build) {
    struct st_engine *engine = build->flush->engine;
    struct st_pack facts;
    st_pack_init(&facts, ST_FACTS_LIMIT);
    write_facts(build, &facts);
    uint8_t *inline_at = NULL;
    struct kp_blob *entry = NULL;
    if (!facts.failed) {
        entry = st_entry_build(&engine->journal_host.writer, build->now_wall_ms, &build->flush->commit.id,
                               kp_slice_of(facts.data, facts.len), build->inline_len, &inline_at);
    }
    st_pack_release(&facts);
    if (entry != NULL) {
        copy_inline(build->flush, inline_at);
        st_entry_seal(entry);
    }
    return entry;
}

/* Memory ran out, or the entry would be too large: nothing of it is made true. */
static void refuse_accepted(struct st_flush *flush) {
    for (struct st_request *r = flush->first; r != NULL; r = r->next) {
        if (r->state == ST_REQUEST_ACCEPTED) {
            decide(r, ST_NO_MEMORY);
        }
    }
}

void st_build_begin(struct st_build *build, struct st_engine *engine, struct st_fold *fold) {
    *build = (struct st_build){
        .fold = fold,
        .mark = ++engine->flusher.check_mark,
        .now_wall_ms = st_now_wall_ms(engine->loop),
        .store_ms = engine->journal.proven_ms,
        .forget_ms = INT64_MIN,
    };
    kp_arena_init(&build->arena, 16 * 1024 * 1024);
    st_pack_init(&build->facts, ST_FACTS_LIMIT);
    st_append_writer_init(&build->appends, ST_FACTS_LIMIT);
}

void st_build_forget(struct st_build *build, const struct st_engine *engine) {
    int64_t forget_ms = build->store_ms - engine->options.key_life_ms;
    build->forget_ms = build->fold->keys.oldest_ms <= forget_ms ? forget_ms : INT64_MIN;
}

void st_build_end(struct st_build *build) {
    st_pack_release(&build->facts);
    st_append_writer_release(&build->appends);
    kp_arena_release(&build->arena);
}

struct kp_blob *st_flush_build(struct st_flush *flush, struct st_fold *fold) {
    struct st_build build;
    st_build_begin(&build, flush->engine, fold);
    build.flush = flush;
    build.in_object = flush->object.blob != NULL;
    st_build_forget(&build, flush->engine);
    st_build_decide(&build);
    struct kp_blob *entry = NULL;
    if (build.facts.len > 0 || build.facts.failed) {
        entry = assemble(&build);
        if (entry == NULL) {
            refuse_accepted(flush);
        }
    }
    st_build_end(&build);
    return entry;
}

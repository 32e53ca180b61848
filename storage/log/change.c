/* Topics and producer ids: changes of the catalog, as requests of a flush like any other. */
#include "storage/engine_state.h"
#include "storage/topic_config.h"

#define CHANGE_TIMEOUT (30 * ST_SECOND)

/* ---- what all have in common ---- */

static void change_free(struct st_change *change) {
    st_timer_stop(change->engine->loop, &change->deadline);
    if (change->request.kind == ST_REQUEST_TOPIC_CREATE) {
        st_pack_release(&ST_OWNER(change, struct st_create_request, change)->configs);
    }
    free(change); /* the first member of each kind of change */
}

/* Out of any flush: the engine's to free. */
static void change_aside(struct st_change *change) {
    change->aside_next = change->engine->changes_aside;
    change->engine->changes_aside = change;
}

static void change_back(struct st_change *change) {
    struct st_change **link = &change->engine->changes_aside;
    while (*link != change) {
        link = &(*link)->aside_next;
    }
    *link = change->aside_next;
}

static void change_synced(struct st_sync *sync) {
    struct st_change *change = ST_OWNER(sync, struct st_change, sync);
    struct st_engine *engine = change->engine;
    change_back(change);
    change->synced = true;
    if (!change->request.abandoned && sync->error == ST_OK && !engine->closing) {
        st_flusher_add(engine, &change->request);
        return;
    }
    if (!change->request.abandoned) {
        change->answer(change, sync->error == ST_OK ? ST_REFUSED : ST_UNREADABLE);
    }
    change_free(change);
    st_engine_close_soon(engine);
}

/* "It exists already" and "there is none" may come from a fold that is behind: what it says is decided again after the
 * journal was read. */
static bool is_no(enum st_error error) {
    return error == ST_TOPIC_EXISTS || error == ST_NO_TOPIC_ID;
}

static void change_over(struct st_request *request, enum st_error error) {
    struct st_change *change = ST_OWNER(request, struct st_change, request);
    struct st_engine *engine = change->engine;
    if (!request->abandoned && is_no(error) && !change->synced && !engine->dying) {
        change->sync = (struct st_sync){.done = change_synced};
        change_aside(change);
        st_journal_sync(&engine->journal, &change->sync);
        return;
    }
    if (!request->abandoned) {
        change->answer(change, error);
    }
    change_free(change);
}

static void change_due(struct st_timer *timer) {
    struct st_change *change = ST_OWNER(timer, struct st_change, deadline);
    struct st_engine *engine = change->engine;
    if (change->early != ST_OK) {
        change_back(change);
        change->synced = true; /* it is wrong whatever the journal holds */
        change_over(&change->request, change->early);
        st_engine_close_soon(engine);
        return;
    }
    bool perhaps = st_flusher_perhaps_stored(engine, &change->request);
    change->request.abandoned = true;
    change->answer(change, perhaps ? ST_UNKNOWN : ST_REFUSED);
    st_flusher_reconsider(engine);
}

static void *change_new(struct st_engine *engine, size_t size, enum st_request_kind kind,
                        void (*answer)(struct st_change *change, enum st_error error)) {
    struct st_change *change = calloc(1, size);
    if (change == NULL) {
        return NULL;
    }
    change->request = (struct st_request){.kind = kind, .over = change_over};
    change->engine = engine;
    change->deadline.fn = change_due;
    change->answer = answer;
    return change;
}

static void change_begin(struct st_change *change, enum st_error early) {
    struct st_engine *engine = change->engine;
    change->early = early == ST_OK && (engine->closing || !engine->open) ? ST_REFUSED : early;
    st_timer_start(engine->loop, &change->deadline, change->early != ST_OK ? 0 : CHANGE_TIMEOUT);
    if (change->early == ST_OK) {
        st_flusher_add(engine, &change->request);
    } else {
        change_aside(change);
    }
}

/* ---- create ---- */

static void create_answer(struct st_change *change, enum st_error error) {
    struct st_create_request *request = ST_OWNER(change, struct st_create_request, change);
    request->op->id = request->id;
    request->op->error = error == ST_OK && request->second ? ST_TOPIC_EXISTS : error;
    request->op->done(request->op);
}

static int config_order(const void *a, const void *b) {
    const struct st_config *const *left = a, *const *right = b;
    return kp_slice_compare((*left)->name, (*right)->name);
}

/* Checks and encodes the overrides, sorted by name. False: not valid, or named twice. */
static bool encode_configs(const struct st_topic_create *op, struct st_pack *out) {
    const struct st_config *sorted[ST_CONFIGS_MAX];
    if (op->config_count > ST_CONFIGS_MAX) {
        return false;
    }
    for (size_t i = 0; i < op->config_count; i++) {
        const struct st_config_rule *rule = st_config_rule(op->configs[i].name);
        if (rule == NULL || !st_config_valid(rule, op->configs[i].value)) {
            return false;
        }
        sorted[i] = &op->configs[i];
    }
    qsort(sorted, op->config_count, sizeof sorted[0], config_order);
    for (size_t i = 0; i < op->config_count; i++) {
        if (i > 0 && kp_slice_equal(sorted[i]->name, sorted[i - 1]->name)) {
            return false;
        }
        st_pack_slice(out, sorted[i]->name);
        st_pack_slice(out, sorted[i]->value);
    }
    return !out->failed;
}

void st_topic_create(struct st_engine *engine, struct st_topic_create *op) {
    struct st_create_request *request =
        change_new(engine, sizeof *request, ST_REQUEST_TOPIC_CREATE, create_answer);
    if (request == NULL) {
        st_refuse_create(engine, op);
        return;
    }
    request->op = op;
    request->partitions = op->partitions;
    request->first_offset = op->first_offset;
    request->config_count = (uint32_t)op->config_count;
    st_pack_init(&request->configs, 32 * 1024);
    st_random(engine->loop, request->fresh.bytes, sizeof request->fresh.bytes);
    enum st_error error = ST_OK;
    if (!st_topic_name_valid(op->name)) {
        error = ST_BAD_TOPIC_NAME;
    } else if (op->partitions < 1 || op->partitions > ST_PARTITIONS_MAX || op->first_offset < 0) {
        error = ST_BAD_PARTITIONS;
    } else if (!encode_configs(op, &request->configs)) {
        error = ST_BAD_CONFIG;
    } else {
        memcpy(request->name_bytes, op->name.ptr, op->name.len);
        request->name = kp_slice_of(request->name_bytes, op->name.len);
    }
    change_begin(&request->change, error);
}

/* ---- delete ---- */

static void delete_answer(struct st_change *change, enum st_error error) {
    struct st_delete_request *request = ST_OWNER(change, struct st_delete_request, change);
    request->op->error = error;
    request->op->done(request->op);
}

void st_topic_delete(struct st_engine *engine, struct st_topic_delete *op) {
    struct st_delete_request *request =
        change_new(engine, sizeof *request, ST_REQUEST_TOPIC_DELETE, delete_answer);
    if (request == NULL) {
        st_refuse_delete(engine, op);
        return;
    }
    request->op = op;
    request->id = op->id;
    change_begin(&request->change, ST_OK);
}

/* ---- producer ids ---- */

static void producer_ids_serve(struct st_engine *engine, enum st_error error) {
    while (engine->producer_id_waiting != NULL &&
           (error != ST_OK || engine->producer_id_next < engine->producer_id_end)) {
        struct st_producer_id *op = engine->producer_id_waiting;
        engine->producer_id_waiting = op->next;
        if (op->next == NULL) {
            engine->producer_id_last = &engine->producer_id_waiting;
        }
        op->error = error;
        op->id = error == ST_OK ? (int64_t)engine->producer_id_next++ : -1;
        op->done(op);
    }
}

static void producer_ids_answer(struct st_change *change, enum st_error error) {
    struct st_producer_ids_request *request = ST_OWNER(change, struct st_producer_ids_request, change);
    struct st_engine *engine = change->engine;
    engine->producer_ids_asked = false;
    if (error == ST_OK) {
        engine->producer_id_next = request->first;
        engine->producer_id_end = request->first + ST_PRODUCER_ID_BLOCK;
    }
    producer_ids_serve(engine, error);
    st_defer(engine->loop, &engine->producer_ids_ready); /* more may wait than a block holds */
}

static void producer_ids_ready(struct st_task *task) {
    struct st_engine *engine = ST_OWNER(task, struct st_engine, producer_ids_ready);
    producer_ids_serve(engine, ST_OK);
    if (engine->producer_id_waiting != NULL && !engine->producer_ids_asked) {
        struct st_producer_ids_request *request =
            change_new(engine, sizeof *request, ST_REQUEST_PRODUCER_IDS, producer_ids_answer);
        if (request == NULL) {
            producer_ids_serve(engine, ST_NO_MEMORY);
            return;
        }
        engine->producer_ids_asked = true;
        change_begin(&request->change, ST_OK);
    }
}

void st_producer_id(struct st_engine *engine, struct st_producer_id *op) {
    op->next = NULL;
    *engine->producer_id_last = op;
    engine->producer_id_last = &op->next;
    st_defer(engine->loop, &engine->producer_ids_ready);
}

void st_changes_init(struct st_engine *engine) {
    engine->producer_id_last = &engine->producer_id_waiting;
    engine->producer_ids_ready.fn = producer_ids_ready;
}

void st_changes_release(struct st_engine *engine) {
    st_defer_cancel(engine->loop, &engine->producer_ids_ready);
    while (engine->changes_aside != NULL) {
        struct st_change *change = engine->changes_aside;
        engine->changes_aside = change->aside_next;
        change_free(change);
    }
}

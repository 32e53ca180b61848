/*
 * The engine's life, its topics, and the small services that its parts share. The work is in journal/ (what is true,
 * and how it becomes so) and log/ (flushes, reads, waiting).
 */
#include "storage/engine_state.h"

#include "storage/mutants.h"
#include "storage/runtime/log.h"
#include "storage/runtime/metrics.h"

#define LOAD_RETRY_LEAST (25 * ST_MS)
#define LOAD_RETRY_MOST (1000 * ST_MS)
#define OPEN_FAILURES_MOST 8
#define FLUSH_BYTES_LEAST ((size_t)32 << 20)

struct st_engine_options st_engine_options_default(void) {
    return (struct st_engine_options){
        .cache_bytes = 64u << 20,
        .hold_bytes_max = 8u << 20,
        .checkpoint_entries = 1024,
        .checkpoint_bytes = 4u << 20,
        .trim_grace_ms = INT64_C(24) * 60 * 60 * 1000,
        .key_life_ms = ST_KEY_LIFE_MS,
    };
}

/* With less the store would wait: those who upload all end at about the same time, and begin anew only when the next
 * appends have arrived. */
static size_t flush_bytes_for(const struct st_store_profile *profile) {
    size_t uploads = (size_t)profile->uploads_in_flight * profile->flush_limit;
    return uploads > FLUSH_BYTES_LEAST ? uploads : FLUSH_BYTES_LEAST;
}

/* ---- store operations under way ---- */

void st_engine_op_started(struct st_engine *engine) {
    engine->ops++;
}

void st_engine_op_ended(struct st_engine *engine) {
    engine->ops--;
    st_engine_close_soon(engine);
}

void st_engine_close_soon(struct st_engine *engine) {
    if (engine->closing && !engine->dying) {
        st_defer(engine->loop, &engine->close_check);
    }
}

void st_engine_store_answered(struct st_engine *engine) {
    engine->store_away = false;
}

void st_engine_store_failed(struct st_engine *engine, enum st_error error) {
    engine->store_away = true;
    ST_LOG(store_unavailable, "error=%s", st_error_code(error));
}

int64_t st_store_time(const struct st_engine *engine) {
    return engine->journal.proven_ms;
}

bool st_engine_healthy(const struct st_engine *engine) {
    return engine->open && !engine->store_away && !engine->journal.stopped;
}

const char *st_engine_open_message(const struct st_engine *engine) {
    return engine->identify.message;
}

const struct kp_uuid *st_engine_cluster_id(const struct st_engine *engine) {
    return &engine->cluster_id;
}

/* ---- syncs ---- */

void st_sync(struct st_engine *engine, struct st_sync *sync) {
    st_journal_sync(&engine->journal, sync);
}

static void fail_syncs(struct st_task *task) {
    struct st_engine *engine = ST_OWNER(task, struct st_engine, fail_syncs);
    while (engine->failed_syncs != NULL) {
        struct st_sync *sync = engine->failed_syncs;
        engine->failed_syncs = sync->next;
        sync->next = NULL;
        sync->error = ST_UNREADABLE;
        sync->done(sync);
    }
}

/* ---- what the journal tells ---- */

static struct st_engine *host_of(struct st_journal *journal) {
    return ST_OWNER(journal, struct st_engine, journal);
}

static void host_op_started(struct st_journal *journal) {
    st_engine_op_started(host_of(journal));
}

static void host_op_ended(struct st_journal *journal) {
    st_engine_op_ended(host_of(journal));
}

static void host_store_answered(struct st_journal *journal) {
    st_engine_store_answered(host_of(journal));
}

static void host_store_failed(struct st_journal *journal, enum st_error error) {
    st_engine_store_failed(host_of(journal), error);
}

static void host_fail_soon(struct st_journal *journal, struct st_sync *list) {
    struct st_engine *engine = host_of(journal);
    struct st_sync **link = &engine->failed_syncs;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = list;
    st_defer(engine->loop, &engine->fail_syncs);
}

static void host_applied(struct st_journal *journal) {
    struct st_engine *engine = host_of(journal);
    const struct st_fold *fold = journal->fold;
    if (fold->entries_since_checkpoint >= 2 * (uint64_t)engine->options.checkpoint_entries) {
        st_checkpoints_consider(engine); /* who only reads takes over what others wrote, or writes at last */
    }
    if (engine->held != NULL) {
        st_defer(engine->loop, &engine->recheck_held);
    }
}

static void recheck_held(struct st_task *task) {
    st_append_recheck_held(ST_OWNER(task, struct st_engine, recheck_held));
}

/* ---- loading ---- */

static void on_appended(void *arg, struct st_partition *partition) {
    if (ST_MUTANT(wakeup_lost)) {
        return;
    }
    st_waits_fire(arg, partition);
}

static void on_deleted(void *arg, struct st_topic_state *topic) {
    for (int32_t p = 0; p < topic->view.partition_count; p++) {
        st_waits_fire(arg, &topic->partitions[p]);
    }
}

static void load_failed(struct st_engine *engine, enum st_error error) {
    st_engine_store_failed(engine, error);
    st_journal_load_failed(&engine->journal);
    engine->load_failures++;
    if (engine->opened != NULL && engine->load_failures >= OPEN_FAILURES_MOST) {
        void (*opened)(void *arg, enum st_error error) = engine->opened;
        engine->opened = NULL;
        opened(engine->opened_arg, error);
        return;
    }
    int64_t delay = LOAD_RETRY_LEAST << (engine->load_failures < 6 ? engine->load_failures : 6);
    st_timer_start(engine->loop, &engine->load_retry, delay < LOAD_RETRY_MOST ? delay : LOAD_RETRY_MOST);
}

static void host_synced(struct st_journal *journal, enum st_error error, bool news) {
    struct st_engine *engine = host_of(journal);
    if (error != ST_OK && engine->opened != NULL) {
        load_failed(engine, error); /* nobody else asks again before it is open */
    } else if (error == ST_OK) {
        st_waits_synced(engine, news);
        if (engine->opened != NULL) {
            void (*opened)(void *arg, enum st_error error) = engine->opened;
            engine->opened = NULL;
            engine->open = true;
            opened(engine->opened_arg, ST_OK);
        }
    }
}

/* The blocks of the checkpoint were gone, not the entries above the fold: it rests on the newer one, and never goes
 * back to an earlier slot. */
static void load_blocks_only(struct st_engine *engine, struct st_fold *standing, struct st_fold *loaded) {
    if (loaded->checkpoint != NULL &&
        (standing->checkpoint == NULL || standing->checkpoint->slot < loaded->checkpoint->slot)) {
        st_fold_adopt(standing, loaded->checkpoint, loaded);
        loaded->checkpoint = NULL;
    }
    st_fold_free(loaded);
    st_journal_install(&engine->journal, standing, engine->checkpoint_ref.date_ms);
}

void st_engine_loaded(struct st_engine *engine, enum st_error error, struct st_fold *fold) {
    if (error != ST_OK) {
        load_failed(engine, error);
        return;
    }
    engine->load_failures = 0;
    if (engine->options.pool_window > 0) {
        fold->pool_window = engine->options.pool_window;
    }
    struct st_fold *standing = engine->journal.fold;
    if (standing != NULL && fold->slot <= standing->slot && !ST_MUTANT(reload_goes_back)) {
        load_blocks_only(engine, standing, fold);
        return;
    }
    fold->on_appended = on_appended;
    fold->on_deleted = on_deleted;
    fold->arg = engine;
    if (standing != NULL) {
        st_waits_fire_all(engine, standing); /* they look again, at the new fold */
    }
    st_journal_install(&engine->journal, fold, engine->checkpoint_ref.date_ms);
}

static void checkpoint_known(struct st_checkpoint_ref *op) {
    struct st_engine *engine = ST_OWNER(op, struct st_engine, checkpoint_ref);
    st_engine_op_ended(engine);
    if (op->error == ST_ABSENT) {
        struct st_fold *fold = st_fold_new();
        st_engine_loaded(engine, fold != NULL ? ST_OK : ST_NO_MEMORY, fold);
    } else if (op->error != ST_OK) {
        load_failed(engine, op->error);
    } else {
        st_checkpoint_load(engine, op);
    }
}

static void load_begin(struct st_engine *engine) {
    engine->checkpoint_ref = (struct st_checkpoint_ref){.journal = engine->journal.number, .done = checkpoint_known};
    st_engine_op_started(engine);
    engine->store->ops->checkpoint_get(engine->store, &engine->checkpoint_ref);
}

static void load_retry_due(struct st_timer *timer) {
    load_begin(ST_OWNER(timer, struct st_engine, load_retry));
}

void st_engine_reload(struct st_engine *engine) {
    if (!engine->journal.loading) {
        engine->journal.loading = true;
        load_begin(engine);
    }
}

static void host_fell_behind(struct st_journal *journal) {
    st_engine_reload(host_of(journal));
}

/* ---- open, close ---- */

struct st_engine *st_engine_new(struct st_loop *loop, struct st_store *store, const struct st_engine_options *options) {
    struct st_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        return NULL;
    }
    engine->loop = loop;
    engine->store = store;
    engine->options = *options;
    if (options->flush_bytes_max == 0) {
        engine->options.flush_bytes_max = flush_bytes_for(&store->profile);
    }
    engine->load_retry.fn = load_retry_due;
    engine->fail_syncs.fn = fail_syncs;
    engine->recheck_held.fn = recheck_held;
    engine->journal_host = (struct st_journal_host){
        .loop = loop,
        .store = store,
        .pool_slots = options->pool_slots > 0 ? options->pool_slots : ST_POOL_SLOTS,
        .applied = host_applied,
        .synced = host_synced,
        .fell_behind = host_fell_behind,
        .fail_soon = host_fail_soon,
        .op_started = host_op_started,
        .op_ended = host_op_ended,
        .store_answered = host_store_answered,
        .store_failed = host_store_failed,
    };
    st_random(loop, engine->journal_host.writer.bytes, sizeof engine->journal_host.writer.bytes);
    st_journal_init(&engine->journal, &engine->journal_host, 0);
    st_flusher_init(engine);
    st_cache_init(&engine->cache, options->cache_bytes);
    st_refusals_init(engine);
    st_appends_init(engine);
    st_changes_init(engine);
    st_waits_init(engine);
    if (!st_checkpoints_init(engine)) {
        st_engine_free(engine);
        return NULL;
    }
    return engine;
}

static void identified(struct st_identify *op) {
    struct st_engine *engine = ST_OWNER(op, struct st_engine, identify);
    st_engine_op_ended(engine);
    enum st_error error = op->error;
    if (error == ST_OK && op->format_version > ST_FORMAT_VERSION) {
        error = ST_MISFIT;
    }
    if (error != ST_OK) {
        void (*opened)(void *arg, enum st_error error) = engine->opened;
        engine->opened = NULL;
        opened(engine->opened_arg, error);
        return;
    }
    engine->cluster_id = op->cluster_id;
    load_begin(engine);
}

void st_engine_open(struct st_engine *engine, void (*opened)(void *arg, enum st_error error), void *arg) {
    engine->opened = opened;
    engine->opened_arg = arg;
    engine->identify = (struct st_identify){
        .format_version = ST_FORMAT_VERSION, .create = engine->options.create, .done = identified};
    st_random(engine->loop, engine->identify.cluster_id.bytes, sizeof engine->identify.cluster_id.bytes);
    st_engine_op_started(engine);
    engine->store->ops->identify(engine->store, &engine->identify);
}

static void close_check(struct st_task *task) {
    struct st_engine *engine = ST_OWNER(task, struct st_engine, close_check);
    bool idle = engine->ops == 0 && st_flusher_idle(engine) && engine->held == NULL && engine->completed == NULL &&
                engine->readers == NULL && engine->loads_unsent == NULL && engine->time_searches == NULL &&
                engine->changes_aside == NULL && st_refusals_idle(engine);
    if (idle && engine->closed != NULL) {
        void (*closed)(void *arg) = engine->closed;
        engine->closed = NULL;
        closed(engine->closed_arg);
    }
}

void st_engine_close(struct st_engine *engine, void (*closed)(void *arg), void *arg) {
    engine->closing = true;
    engine->closed = closed;
    engine->closed_arg = arg;
    engine->close_check.fn = close_check;
    st_append_release_held(engine);
    st_timer_stop(engine->loop, &engine->poll);
    st_defer(engine->loop, &engine->close_check);
}

void st_engine_free(struct st_engine *engine) {
    if (engine == NULL) {
        return;
    }
    engine->dying = true;
    st_timer_stop(engine->loop, &engine->load_retry);
    st_defer_cancel(engine->loop, &engine->fail_syncs);
    st_defer_cancel(engine->loop, &engine->recheck_held);
    st_defer_cancel(engine->loop, &engine->close_check);
    st_waits_release(engine);
    st_reads_release(engine);
    st_time_searches_release(engine);
    st_loads_release(engine);
    st_flusher_release(engine);
    st_appends_release(engine);
    st_refusals_release(engine);
    st_changes_release(engine);
    st_checkpoints_release(engine);
    st_blocks_release(engine);
    st_cache_release(&engine->cache);
    st_journal_release(&engine->journal);
    free(engine);
}

/* ---- topics ---- */

const struct st_topic *st_topic_by_name(struct st_engine *engine, struct kp_slice name) {
    const struct st_topic_state *topic = st_fold_topic_by_name(engine->journal.fold, name);
    return topic != NULL ? &topic->view : NULL;
}

const struct st_topic *st_topic_by_id(struct st_engine *engine, const struct kp_uuid *id) {
    const struct st_topic_state *topic = st_fold_topic_by_id(engine->journal.fold, id);
    return topic != NULL ? &topic->view : NULL;
}

const struct st_topic *st_topic_after(struct st_engine *engine, struct kp_slice name) {
    const struct st_fold *fold = engine->journal.fold;
    size_t at = st_fold_name_above(fold, name);
    return at < fold->topic_count ? &fold->by_name[at]->view : NULL;
}

size_t st_topic_count(const struct st_engine *engine) {
    return engine->journal.fold->topic_count;
}

bool st_partition_view(struct st_engine *engine, const struct st_topic *topic, int32_t partition,
                       struct st_partition_view *view) {
    const struct st_partition *state = st_fold_partition(engine->journal.fold, &topic->id, partition);
    if (state == NULL) {
        return false;
    }
    *view = (struct st_partition_view){.log_start = state->log_start, .end = state->end};
    return true;
}

uint64_t st_engine_state_hash(const struct st_engine *engine, uint64_t *slot) {
    const struct st_fold *fold = engine->journal.fold;
    *slot = fold != NULL ? fold->slot : 0;
    return fold != NULL ? st_fold_hash(fold) : 0;
}

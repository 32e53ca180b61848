/* Answers that need no memory. */
#include "storage/log/refusal.h"

#include "storage/engine_state.h"

/* Takes a list; each operation's `engine` is its link. */
#define ANSWER_ALL(type, list) \
    for (struct type *op = (list), *next; op != NULL; op = next) { \
        next = op->engine; \
        op->done(op); \
    }

static void answer_all(struct st_task *task) {
    struct st_refusals *refusals = ST_OWNER(task, struct st_refusals, task);
    struct st_engine *engine = ST_OWNER(refusals, struct st_engine, refusals);
    struct st_refusals taken = *refusals; /* who is refused again meanwhile waits for the next turn */
    refusals->appends = NULL;
    refusals->reads = NULL;
    refusals->finds = NULL;
    refusals->creates = NULL;
    refusals->deletes = NULL;
    ANSWER_ALL(st_append, taken.appends)
    ANSWER_ALL(st_read, taken.reads)
    ANSWER_ALL(st_find_time, taken.finds)
    ANSWER_ALL(st_topic_create, taken.creates)
    ANSWER_ALL(st_topic_delete, taken.deletes)
    st_engine_close_soon(engine);
}

void st_refusals_init(struct st_engine *engine) {
    engine->refusals.task.fn = answer_all;
}

void st_refusals_release(struct st_engine *engine) {
    st_defer_cancel(engine->loop, &engine->refusals.task);
}

bool st_refusals_idle(const struct st_engine *engine) {
    const struct st_refusals *refusals = &engine->refusals;
    return refusals->appends == NULL && refusals->reads == NULL && refusals->finds == NULL &&
           refusals->creates == NULL && refusals->deletes == NULL;
}

void st_refuse_append(struct st_engine *engine, struct st_append *op) {
    for (size_t i = 0; i < op->count; i++) {
        op->parts[i].error = ST_NO_MEMORY;
        op->parts[i].base_offset = -1;
        op->parts[i].append_time_ms = -1;
        op->parts[i].log_start = -1;
    }
    op->engine = engine->refusals.appends;
    engine->refusals.appends = op;
    st_defer(engine->loop, &engine->refusals.task);
}

void st_refuse_create(struct st_engine *engine, struct st_topic_create *op) {
    op->error = ST_NO_MEMORY;
    op->engine = engine->refusals.creates;
    engine->refusals.creates = op;
    st_defer(engine->loop, &engine->refusals.task);
}

void st_refuse_delete(struct st_engine *engine, struct st_topic_delete *op) {
    op->error = ST_NO_MEMORY;
    op->engine = engine->refusals.deletes;
    engine->refusals.deletes = op;
    st_defer(engine->loop, &engine->refusals.task);
}

void st_refuse_read(struct st_engine *engine, struct st_read *op) {
    for (size_t i = 0; i < op->count; i++) {
        op->parts[i].error = ST_UNREADABLE;
        op->parts[i].view = (struct st_partition_view){-1, -1};
        kp_chain_init(&op->parts[i].chain);
    }
    op->engine = engine->refusals.reads;
    engine->refusals.reads = op;
    st_defer(engine->loop, &engine->refusals.task);
}

void st_refuse_find(struct st_engine *engine, struct st_find_time *op) {
    op->error = ST_UNREADABLE;
    op->offset = -1;
    op->timestamp_ms = -1;
    op->engine = engine->refusals.finds;
    engine->refusals.finds = op;
    st_defer(engine->loop, &engine->refusals.task);
}

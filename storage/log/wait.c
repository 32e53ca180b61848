/*
 * Who waits for records: woken by what this process commits at once, by what others commit as soon as it is read. While
 * somebody waits, the journal is read on a timer that backs off from the store's least to its most interval while
 * nothing comes; a hint from the store (another process on the same machine) reads at once.
 */
#include "storage/engine_state.h"

static void poll_schedule(struct st_engine *engine) {
    bool wanted = engine->waiter_count > 0 && engine->open && !engine->closing && !engine->polling;
    if (wanted && engine->poll.heap_index == 0) {
        st_timer_start(engine->loop, &engine->poll, engine->poll_ns);
    }
}

static void poll_now(struct st_engine *engine);

static void poll_done(struct st_sync *sync) {
    struct st_engine *engine = ST_OWNER(sync, struct st_engine, poll_sync);
    bool again = engine->poll_again && sync->error == ST_OK;
    engine->polling = engine->poll_again = false;
    if (again) {
        poll_now(engine);
    }
    poll_schedule(engine);
}

static void poll_now(struct st_engine *engine) {
    if (!engine->polling && engine->waiter_count > 0 && engine->open && !engine->closing) {
        engine->polling = true;
        st_timer_stop(engine->loop, &engine->poll);
        engine->poll_sync.done = poll_done;
        st_journal_sync(&engine->journal, &engine->poll_sync);
    }
}

static void poll_due(struct st_timer *timer) {
    poll_now(ST_OWNER(timer, struct st_engine, poll));
}

/* What came during a read may have been missed by it. */
static void store_changed(void *arg) {
    struct st_engine *engine = arg;
    engine->poll_again = engine->polling;
    poll_now(engine);
}

void st_waits_synced(struct st_engine *engine, bool news) {
    const struct st_store_profile *profile = &engine->store->profile;
    engine->poll_ns = news ? profile->poll_least_ns : engine->poll_ns * 2;
    if (engine->poll_ns > profile->poll_most_ns) {
        engine->poll_ns = profile->poll_most_ns;
    }
}

static void waiter_unlink(struct st_engine *engine, struct st_waiter *waiter) {
    *waiter->link = waiter->next;
    if (waiter->next != NULL) {
        waiter->next->link = waiter->link;
    }
    waiter->link = NULL;
    waiter->next = NULL;
    if (--engine->waiter_count == 0) {
        st_timer_stop(engine->loop, &engine->poll);
    }
}

static void waiter_link(struct st_engine *engine, struct st_waiter *waiter, struct st_waiter **list) {
    waiter->next = *list;
    waiter->link = list;
    if (waiter->next != NULL) {
        waiter->next->link = &waiter->next;
    }
    *list = waiter;
    engine->waiter_count++;
}

void st_wait_start(struct st_engine *engine, struct st_waiter *waiter) {
    struct st_partition *partition = st_fold_partition(engine->journal.fold, &waiter->topic_id, waiter->partition);
    waiter->fired = partition == NULL; /* deleted already: told from the loop */
    waiter_link(engine, waiter, partition != NULL ? &partition->waiters : &engine->fired);
    if (waiter->fired) {
        st_defer(engine->loop, &engine->fire);
    } else if (engine->waiter_count == 1) {
        engine->poll_ns = engine->store->profile.poll_least_ns;
    }
    poll_schedule(engine);
}

void st_wait_stop(struct st_engine *engine, struct st_waiter *waiter) {
    if (waiter->link != NULL) {
        waiter_unlink(engine, waiter);
    }
}

void st_waits_fire(struct st_engine *engine, struct st_partition *partition) {
    while (partition->waiters != NULL) {
        struct st_waiter *waiter = partition->waiters;
        waiter_unlink(engine, waiter);
        waiter->fired = true;
        waiter_link(engine, waiter, &engine->fired);
        st_defer(engine->loop, &engine->fire);
    }
}

void st_waits_fire_all(struct st_engine *engine, struct st_fold *fold) {
    for (size_t i = 0; i < fold->topic_count; i++) {
        struct st_topic_state *topic = fold->by_id[i];
        for (int32_t p = 0; p < topic->view.partition_count; p++) {
            st_waits_fire(engine, &topic->partitions[p]);
        }
    }
}

static void fire(struct st_task *task) {
    struct st_engine *engine = ST_OWNER(task, struct st_engine, fire);
    struct st_waiter *due = engine->fired; /* who waits for a deleted topic again is told in the next pass */
    engine->fired = NULL;
    if (due != NULL) {
        due->link = &due;
    }
    while (due != NULL) {
        struct st_waiter *waiter = due;
        waiter_unlink(engine, waiter);
        waiter->fn(waiter);
    }
}

void st_waits_init(struct st_engine *engine) {
    engine->poll.fn = poll_due;
    engine->fire.fn = fire;
    engine->poll_ns = engine->store->profile.poll_least_ns;
    engine->store->changed = store_changed;
    engine->store->changed_arg = engine;
}

void st_waits_release(struct st_engine *engine) {
    st_timer_stop(engine->loop, &engine->poll);
    st_defer_cancel(engine->loop, &engine->fire);
    engine->store->changed = NULL;
}

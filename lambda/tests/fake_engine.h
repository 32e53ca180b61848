/*
 * An engine that does what the test says: it stands in for storage/engine.h in one program, so that every answer of
 * the real one, however rare, meets the handlers. It keeps topics and batches; "hidden" ones are those that another
 * process has committed and that only a sync brings into view.
 */
#ifndef REST_TESTS_FAKE_ENGINE_H
#define REST_TESTS_FAKE_ENGINE_H

#include "storage/engine.h"
#include "virtual_loop.h"

#include <stdio.h>
#include <stdlib.h>

#define FAKE_TOPICS 4
#define FAKE_BATCHES 256

struct fake_topic {
    struct st_topic topic;
    char name[ST_TOPIC_NAME_MAX + 1];
    struct st_config config; /* the one override that it may have */
    struct kp_blob *batches[FAKE_BATCHES];
    size_t batch_count, hidden_batches;
    int64_t log_start, end;
    bool hidden, deleted;
    bool closing; /* deleted by another process: known here until the next sync, but appends find out */
};

struct st_engine {
    struct st_loop *loop;
    struct fake_topic topics[FAKE_TOPICS];
    size_t topic_count;
    bool healthy;
    enum st_error sync_error, read_error;
    enum st_error append_errors[8], create_errors[8]; /* of the next calls, then ST_OK */
    unsigned syncs, appends, creates, reads;
    bool stuck;            /* operations are kept and not answered */
    bool trimmed_by_sync;  /* the next sync moves log_start of topic 0 to trim_to */
    int64_t trim_to;
    struct kp_slice config_by_sync; /* the next sync gives topic 0 this max.message.bytes */
    size_t piece_bytes;    /* st_read cuts its chains into pieces of so many bytes; 0: one a batch */
    size_t read_batches;   /* st_read gives at most so many; 0: no limit */
    uint64_t order;        /* of the last append */
    int64_t timeout_ms;    /* of the last append */
    struct st_task task;
    struct st_sync *sync;
    struct st_append *append;
    struct st_topic_create *create;
    struct st_read *read;
    struct st_topic_delete *delete;
    struct st_find_time *find;
    struct st_waiter *waiters;
    size_t waiter_count;
};

static struct fake_topic *fake_find(struct st_engine *fake, const struct kp_uuid *id) {
    for (size_t i = 0; i < fake->topic_count; i++) {
        if (!fake->topics[i].deleted && kp_uuid_equal(&fake->topics[i].topic.id, id)) {
            return &fake->topics[i];
        }
    }
    return NULL;
}

static struct fake_topic *fake_topic(struct st_engine *fake, const char *name, int64_t first_offset) {
    struct fake_topic *topic = &fake->topics[fake->topic_count++];
    *topic = (struct fake_topic){.log_start = first_offset, .end = first_offset};
    snprintf(topic->name, sizeof topic->name, "%s", name);
    topic->topic = (struct st_topic){.name = kp_slice_cstr(topic->name),
                                     .id.bytes = {(uint8_t)fake->topic_count},
                                     .partition_count = 1,
                                     .first_offset = first_offset};
    return topic;
}

static inline void fake_config(struct fake_topic *topic, const char *name, const char *value) {
    topic->config = (struct st_config){kp_slice_cstr(name), kp_slice_cstr(value)};
    topic->topic.configs = &topic->config;
    topic->topic.config_count = 1;
}

/* Takes over the batch; it gets the next offsets. */
static void fake_add(struct fake_topic *topic, struct kp_blob *batch) {
    struct kp_batch head;
    if (topic->batch_count == FAKE_BATCHES ||
        kp_batch_peek(kp_slice_of(batch->data, batch->size), &head) != KP_ERROR_NONE) {
        abort();
    }
    kp_batch_patch(batch->data, topic->end, -1);
    topic->batches[topic->batch_count++] = batch;
    topic->end += head.last_offset_delta + 1;
}

static void fake_release(struct st_engine *fake) {
    for (size_t i = 0; i < fake->topic_count; i++) {
        for (size_t n = 0; n < fake->topics[i].batch_count; n++) {
            kp_blob_unref(fake->topics[i].batches[n]);
        }
    }
}

static void fake_finish_sync(struct st_engine *fake, struct st_sync *sync) {
    sync->error = fake->sync_error;
    if (sync->error == ST_OK) {
        for (size_t i = 0; i < fake->topic_count; i++) {
            struct fake_topic *topic = &fake->topics[i];
            topic->hidden = false;
            topic->hidden_batches = 0;
            topic->deleted = topic->deleted || topic->closing;
        }
        if (fake->trimmed_by_sync) {
            fake->topics[0].log_start = fake->trim_to;
        }
        if (fake->config_by_sync.ptr != NULL) {
            fake->topics[0].config.value = fake->config_by_sync;
        }
    }
    sync->done(sync);
}

static void fake_finish_append(struct st_engine *fake, struct st_append *append) {
    enum st_error told = fake->append_errors[0];
    memmove(fake->append_errors, fake->append_errors + 1, sizeof fake->append_errors - sizeof told);
    for (size_t i = 0; i < append->count; i++) {
        struct st_append_part *part = &append->parts[i];
        struct fake_topic *topic = fake_find(fake, &part->topic_id);
        part->base_offset = -1;
        part->error = told != ST_OK ? told : topic == NULL || topic->closing ? ST_NO_TOPIC_ID : ST_OK;
        if (part->error == ST_OK && topic->batch_count < FAKE_BATCHES) {
            part->base_offset = topic->end;
            fake_add(topic, kp_blob_ref(part->blob));
        }
    }
    append->done(append);
}

static void fake_finish_create(struct st_engine *fake, struct st_topic_create *create) {
    create->error = fake->create_errors[0];
    memmove(fake->create_errors, fake->create_errors + 1, sizeof fake->create_errors - sizeof create->error);
    if (create->error == ST_TOPIC_EXISTS) {
        for (size_t i = 0; i < fake->topic_count; i++) {
            fake->topics[i].hidden = false; /* who loses the slot has applied the winner's entry */
        }
    } else if (create->error == ST_OK) {
        char name[ST_TOPIC_NAME_MAX + 1] = "";
        memcpy(name, create->name.ptr, create->name.len);
        struct fake_topic *topic = fake_topic(fake, name, create->first_offset);
        topic->topic.partition_count = create->partitions;
    }
    create->done(create);
}

static void fake_read_batch(const struct st_engine *fake, struct kp_blob *batch, struct kp_chain *chain) {
    size_t step = fake->piece_bytes > 0 ? fake->piece_bytes : batch->size;
    for (size_t at = 0; at < batch->size; at += step) {
        size_t len = batch->size - at < step ? batch->size - at : step;
        kp_chain_piece(chain, (struct kp_piece){batch, kp_slice_of(batch->data + at, len)});
    }
}

static void fake_finish_read(struct st_engine *fake, struct st_read *read) {
    struct st_read_part *part = &read->parts[0];
    kp_chain_init(&part->chain);
    struct fake_topic *topic = fake_find(fake, &part->topic_id);
    part->error = fake->read_error != ST_OK ? fake->read_error
                  : topic == NULL           ? ST_NO_TOPIC_ID
                  : part->offset < topic->log_start || part->offset > topic->end ? ST_OFFSET_RANGE
                                                                                 : ST_OK;
    size_t given = 0;
    for (size_t i = 0; part->error == ST_OK && i < topic->batch_count - topic->hidden_batches; i++) {
        struct kp_batch head;
        kp_batch_peek(kp_slice_of(topic->batches[i]->data, topic->batches[i]->size), &head);
        bool wanted = head.base_offset + head.last_offset_delta >= part->offset;
        bool room = part->chain.bytes == 0 || part->chain.bytes + topic->batches[i]->size <= part->max_bytes;
        if (wanted && (!room || (fake->read_batches > 0 && given == fake->read_batches))) {
            break;
        }
        if (wanted) {
            fake_read_batch(fake, topic->batches[i], &part->chain);
            given++;
        }
    }
    read->done(read);
}

static void fake_finish_delete(struct st_engine *fake, struct st_topic_delete *delete) {
    struct fake_topic *topic = fake_find(fake, &delete->id);
    delete->error = topic == NULL ? ST_NO_TOPIC_ID : ST_OK;
    if (topic != NULL) {
        topic->deleted = true;
    }
    delete->done(delete);
}

/* Every record here is as old as its offset. */
static void fake_finish_find(struct st_engine *fake, struct st_find_time *find) {
    struct fake_topic *topic = fake_find(fake, &find->topic_id);
    bool there = topic != NULL && find->timestamp_ms < topic->end;
    find->error = topic == NULL ? ST_NO_TOPIC_ID : fake->read_error;
    find->offset = !there ? -1 : find->timestamp_ms > topic->log_start ? find->timestamp_ms : topic->log_start;
    find->timestamp_ms = find->offset;
    find->done(find);
}

/* Records have come, or a topic has gone. */
static inline void fake_wake(struct st_engine *fake) {
    while (fake->waiters != NULL) {
        struct st_waiter *waiter = fake->waiters;
        st_wait_stop(fake, waiter);
        waiter->fn(waiter);
    }
}

static void fake_finish(struct st_task *task) {
    struct st_engine *fake = ST_OWNER(task, struct st_engine, task);
    struct st_sync *sync = fake->sync;
    struct st_append *append = fake->append;
    struct st_topic_create *create = fake->create;
    struct st_read *read = fake->read;
    struct st_topic_delete *delete = fake->delete;
    struct st_find_time *find = fake->find;
    if (fake->stuck) {
        return;
    }
    fake->delete = NULL;
    fake->find = NULL;
    fake->sync = NULL;
    fake->append = NULL;
    fake->create = NULL;
    fake->read = NULL;
    if (sync != NULL) {
        fake_finish_sync(fake, sync);
    }
    if (append != NULL) {
        fake_finish_append(fake, append);
    }
    if (create != NULL) {
        fake_finish_create(fake, create);
    }
    if (read != NULL) {
        fake_finish_read(fake, read);
    }
    if (delete != NULL) {
        fake_finish_delete(fake, delete);
    }
    if (find != NULL) {
        fake_finish_find(fake, find);
    }
}

static void fake_init(struct st_engine *fake, struct st_loop *loop) {
    *fake = (struct st_engine){.loop = loop, .healthy = true, .task.fn = fake_finish};
}

/* ---- storage/engine.h, as far as this layer uses it ---- */

bool st_engine_healthy(const struct st_engine *engine) {
    return engine->healthy;
}

int64_t st_store_time(const struct st_engine *engine) {
    (void)engine;
    return VIRTUAL_WALL_MS;
}

void st_sync(struct st_engine *engine, struct st_sync *sync) {
    engine->syncs++;
    engine->sync = sync;
    st_defer(engine->loop, &engine->task);
}

void st_append(struct st_engine *engine, struct st_append *op) {
    engine->appends++;
    engine->append = op;
    engine->order = op->order;
    engine->timeout_ms = op->timeout_ms;
    st_defer(engine->loop, &engine->task);
}

void st_topic_create(struct st_engine *engine, struct st_topic_create *op) {
    engine->creates++;
    engine->create = op;
    st_defer(engine->loop, &engine->task);
}

void st_read(struct st_engine *engine, struct st_read *op) {
    engine->reads++;
    engine->read = op;
    st_defer(engine->loop, &engine->task);
}

void st_topic_delete(struct st_engine *engine, struct st_topic_delete *op) {
    engine->delete = op;
    st_defer(engine->loop, &engine->task);
}

void st_find_time(struct st_engine *engine, struct st_find_time *op) {
    engine->find = op;
    st_defer(engine->loop, &engine->task);
}

void st_wait_start(struct st_engine *engine, struct st_waiter *waiter) {
    waiter->next = engine->waiters;
    waiter->link = &engine->waiters;
    if (waiter->next != NULL) {
        waiter->next->link = &waiter->next;
    }
    engine->waiters = waiter;
    engine->waiter_count++;
}

void st_wait_stop(struct st_engine *engine, struct st_waiter *waiter) {
    if (waiter->link != NULL) {
        *waiter->link = waiter->next;
        if (waiter->next != NULL) {
            waiter->next->link = waiter->link;
        }
        waiter->link = NULL;
        engine->waiter_count--;
    }
}

const struct st_topic *st_topic_after(struct st_engine *engine, struct kp_slice name) {
    const struct st_topic *next = NULL;
    for (size_t i = 0; i < engine->topic_count; i++) {
        const struct st_topic *topic = &engine->topics[i].topic;
        bool seen = !engine->topics[i].hidden && !engine->topics[i].deleted;
        if (seen && (name.ptr == NULL || kp_slice_compare(topic->name, name) > 0) &&
            (next == NULL || kp_slice_compare(topic->name, next->name) < 0)) {
            next = topic;
        }
    }
    return next;
}

const struct st_topic *st_topic_by_id(struct st_engine *engine, const struct kp_uuid *id) {
    const struct fake_topic *topic = fake_find(engine, id);
    return topic == NULL ? NULL : &topic->topic;
}

const struct st_topic *st_topic_by_name(struct st_engine *engine, struct kp_slice name) {
    for (size_t i = 0; i < engine->topic_count; i++) {
        struct fake_topic *topic = &engine->topics[i];
        if (!topic->hidden && !topic->deleted && kp_slice_equal(topic->topic.name, name)) {
            return &topic->topic;
        }
    }
    return NULL;
}

bool st_topic_name_valid(struct kp_slice name) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    char text[ST_TOPIC_NAME_MAX + 1] = "";
    if (name.len < 1 || name.len > ST_TOPIC_NAME_MAX || memchr(name.ptr, 0, name.len) != NULL) {
        return false;
    }
    memcpy(text, name.ptr, name.len);
    return strspn(text, allowed) == name.len && strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
}

bool st_partition_view(struct st_engine *engine, const struct st_topic *topic, int32_t partition,
                       struct st_partition_view *view) {
    const struct fake_topic *found = fake_find(engine, &topic->id);
    if (found == NULL || partition >= topic->partition_count) {
        return false;
    }
    int64_t end = found->end;
    if (found->hidden_batches > 0) {
        struct kp_batch head;
        const struct kp_blob *first = found->batches[found->batch_count - found->hidden_batches];
        kp_batch_peek(kp_slice_of(first->data, first->size), &head);
        end = head.base_offset;
    }
    *view = (struct st_partition_view){.log_start = found->log_start, .end = end};
    return true;
}

#endif

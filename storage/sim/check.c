/*
 * The rules that need the whole history: run once, after the store was healed and an audit has read every partition
 * from start to end.
 */
#include "storage/sim/world.h"

#include <inttypes.h>
#include <stdlib.h>

static bool deleted(const struct sim_topic *topic) {
    return topic->delete_begun_ns != INT64_MAX;
}

void sim_check_audit(struct sim_world *world, const struct sim_topic *topic, int32_t partition, int64_t log_start,
                     int64_t end) {
    const struct sim_history *history = &world->history;
    const struct sim_log *log = &topic->logs[partition];
    if (log_start != topic->first_offset) {
        sim_broken(world, "I1: the log of partition %d begins at %" PRId64 ", nothing had expired", partition,
                   log_start);
    }
    if (end != log->known_end) {
        sim_broken(world, "I6: partition %d ends at %" PRId64 ", known was %" PRId64, partition, end,
                   log->known_end);
    }
    for (int64_t offset = log_start; offset < end; offset++) {
        if (sim_log_at(topic, partition, offset) == NULL) {
            sim_broken(world, "I3: nothing stands at offset %" PRId64 " of [%" PRId64 ", %" PRId64 ")", offset,
                       log_start, end);
        }
    }
    for (size_t i = 0; i < history->batch_count; i++) {
        const struct sim_batch *batch = history->batches[i];
        if (batch->topic == topic && batch->partition == partition && batch->offset >= 0 &&
            batch->audit != history->audit) {
            sim_broken(world, "I1: batch %" PRIu64 " stood at %" PRId64 " and cannot be read any more",
                       batch->number, batch->offset);
        }
    }
}

/* I5: what one connection sends to one partition takes effect in the order of its calls. */
static int by_source(const void *left, const void *right) {
    const struct sim_batch *a = *(struct sim_batch *const *)left, *b = *(struct sim_batch *const *)right;
    if (a->source != b->source) {
        return a->source < b->source ? -1 : 1;
    }
    if (a->topic->index != b->topic->index) {
        return a->topic->index < b->topic->index ? -1 : 1;
    }
    if (a->partition != b->partition) {
        return a->partition < b->partition ? -1 : 1;
    }
    return (a->number > b->number) - (a->number < b->number);
}

static void check_sources(struct sim_world *world, struct sim_batch **sorted, size_t count) {
    const struct sim_batch *last = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct sim_batch *batch = sorted[i];
        if (batch->offset < 0 || !batch->ordered) {
            continue;
        }
        if (last != NULL && last->source == batch->source && last->topic == batch->topic &&
            last->partition == batch->partition && last->offset > batch->offset) {
            sim_broken(world, "I5: batches %" PRIu64 " and %" PRIu64 " of one connection stand in the wrong order",
                       last->number, batch->number);
        }
        last = batch;
    }
}

/* The parts of one append become visible together: those that were not refused stand all, or none does. */
static void check_groups(struct sim_world *world) {
    const struct sim_history *history = &world->history;
    const struct sim_batch **stands = calloc(world->groups + 1, sizeof(struct sim_batch *));
    for (size_t i = 0; stands != NULL && i < history->batch_count; i++) {
        const struct sim_batch *batch = history->batches[i];
        if (batch->offset >= 0 && !deleted(batch->topic)) {
            stands[batch->group] = batch;
        }
    }
    for (size_t i = 0; stands != NULL && i < history->batch_count; i++) {
        const struct sim_batch *batch = history->batches[i], *other = stands[batch->group];
        if (batch->group != 0 && batch->offset < 0 && !deleted(batch->topic) && other != NULL &&
            batch->attempts > batch->refusals) {
            sim_broken(world, "I7: batch %" PRIu64 " stands, batch %" PRIu64 " of the same append does not",
                       other->number, batch->number);
        }
    }
    free(stands);
}

/* I11 and the idempotent producer's promise: along a partition the sequences of a producer follow without gap or
 * repetition, and its epoch never falls. (The first batch that a partition sees may have any sequence.) */
struct lane {
    int64_t producer;
    int16_t epoch;
    int32_t next;
};

static void check_sequence(struct sim_world *world, const struct sim_batch *batch, struct lane *lane) {
    const struct kp_batch *view = &batch->view;
    if (lane->producer >= 0) {
        bool same = view->producer_epoch == lane->epoch && view->base_sequence == lane->next;
        bool bumped = view->producer_epoch > lane->epoch && view->base_sequence == 0;
        if (!same && !bumped) {
            sim_broken(world, "I11: batch %" PRIu64 " has epoch %d and sequence %d where %d and %d follow",
                       batch->number, view->producer_epoch, view->base_sequence, lane->epoch, lane->next);
        }
    }
    *lane = (struct lane){view->producer_id, view->producer_epoch, view->base_sequence + batch->records};
}

static void check_partition(struct sim_world *world, const struct sim_topic *topic, int32_t partition) {
    struct lane *lanes = calloc(world->history.producer_count + 1, sizeof *lanes);
    size_t count = 0;
    int64_t time_ms = INT64_MIN;
    for (int64_t offset = topic->first_offset; lanes != NULL && offset < topic->logs[partition].known_end;) {
        const struct sim_batch *batch = sim_log_at(topic, partition, offset);
        if (batch == NULL) {
            break;
        }
        offset = batch->offset + batch->records;
        if (topic->log_append_time && batch->append_time_ms < time_ms) {
            sim_broken(world, "the append time of batch %" PRIu64 " lies before its predecessor's", batch->number);
        }
        time_ms = batch->append_time_ms;
        if (batch->view.producer_id < 0) {
            continue;
        }
        size_t i = 0;
        while (i < count && lanes[i].producer != batch->view.producer_id) {
            i++;
        }
        if (i == count) {
            lanes[count++].producer = -1;
        }
        check_sequence(world, batch, &lanes[i]);
    }
    free(lanes);
}

void sim_check_history(struct sim_world *world) {
    struct sim_history *history = &world->history;
    for (size_t i = 0; i < history->batch_count; i++) {
        const struct sim_batch *batch = history->batches[i];
        if (batch->offset >= 0 && batch->attempts == batch->refusals) {
            sim_broken(world, "I8: batch %" PRIu64 " was refused and stands at %" PRId64, batch->number,
                       batch->offset);
        }
    }
    for (size_t t = 0; t < history->topic_count; t++) {
        for (int32_t p = 0; p < history->topics[t]->partitions; p++) {
            check_partition(world, history->topics[t], p);
        }
    }
    check_groups(world);
    struct sim_batch **sorted = calloc(history->batch_count + 1, sizeof(struct sim_batch *));
    if (sorted != NULL && history->batch_count > 0) {
        memcpy(sorted, history->batches, history->batch_count * sizeof(struct sim_batch *));
        qsort(sorted, history->batch_count, sizeof(struct sim_batch *), by_source);
        check_sources(world, sorted, history->batch_count);
    }
    free(sorted);
}

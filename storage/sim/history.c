#include "storage/sim/history.h"

#include "protocol/bytes/crc32c.h"
#include "storage/sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define NUMBER_SIZE 8 /* bytes of a first record's value that name its batch */
#define TOPICS_MAX (SIM_NAMES_MAX * 8)

static void *must(void *memory) {
    if (memory == NULL) {
        fputs("simulator: out of memory\n", stderr);
        abort();
    }
    return memory;
}

/* Room for one more element of `size` bytes. */
static void *room_for(void *array, size_t count, size_t *room, size_t size) {
    if (count < *room) {
        return array;
    }
    *room = *room == 0 ? 64 : 2 * *room;
    return must(realloc(array, *room * size));
}

void sim_history_release(struct sim_history *history) {
    for (size_t i = 0; i < history->batch_count; i++) {
        kp_blob_unref(history->batches[i]->blob);
        free(history->batches[i]->times);
        free(history->batches[i]);
    }
    for (size_t i = 0; i < history->topic_count; i++) {
        for (int p = 0; p < SIM_PARTITIONS_MAX; p++) {
            free(history->topics[i]->logs[p].at);
        }
        free(history->topics[i]);
    }
    free(history->batches);
    free(history->topics);
    free(history->states);
    free(history->producer_ids);
    *history = (struct sim_history){0};
}

/* ---- topics ---- */

struct sim_topic *sim_history_topic_by_id(struct sim_world *world, const struct kp_uuid *id) {
    for (size_t i = 0; i < world->history.topic_count; i++) {
        if (kp_uuid_equal(&world->history.topics[i]->id, id)) {
            return world->history.topics[i];
        }
    }
    return NULL;
}

struct sim_topic *sim_history_topic(struct sim_world *world, unsigned name, const struct kp_uuid *id) {
    struct sim_history *history = &world->history;
    struct sim_topic *topic = sim_history_topic_by_id(world, id);
    if (topic != NULL) {
        if (topic->name != name) {
            sim_broken(world, "one topic id was given to two names");
        }
        return topic;
    }
    if (history->topic_count == TOPICS_MAX) {
        sim_broken(world, "more topics were made than the simulator asked for");
        return NULL;
    }
    history->topics =
        room_for(history->topics, history->topic_count, &history->topic_room, sizeof(struct sim_topic *));
    const struct sim_plan_topic *plan = &world->plan.topics[name];
    topic = must(calloc(1, sizeof *topic));
    topic->index = (unsigned)history->topic_count;
    topic->name = name;
    topic->id = *id;
    topic->log_append_time = plan->log_append_time;
    topic->partitions = plan->partitions;
    topic->first_offset = plan->first_offset;
    topic->created_ns = sim_now(world);
    topic->delete_begun_ns = topic->deleted_ns = INT64_MAX;
    for (int p = 0; p < SIM_PARTITIONS_MAX; p++) {
        topic->logs[p].known_end = topic->first_offset;
    }
    history->topics[history->topic_count++] = topic;
    return topic;
}

struct sim_topic *sim_history_newest(struct sim_world *world, unsigned name) {
    for (size_t i = world->history.topic_count; i > 0; i--) {
        if (world->history.topics[i - 1]->name == name) {
            return world->history.topics[i - 1];
        }
    }
    return NULL;
}

/* ---- batches ---- */

static void put_big_endian(uint8_t *at, uint64_t value, size_t width) {
    for (size_t i = width; i > 0; i--) {
        at[i - 1] = (uint8_t)value;
        value >>= 8;
    }
}

/* As a producer with an id would have made it. */
static void set_producer(uint8_t *batch, size_t len, struct sim_sender sender) {
    put_big_endian(batch + 43, (uint64_t)sender.id, 8);
    put_big_endian(batch + 51, (uint16_t)sender.epoch, 2);
    put_big_endian(batch + 53, (uint32_t)sender.sequence, 4);
    put_big_endian(batch + 17, kp_crc32c(0, batch + 21, len - 21), 4);
}

static void build(struct sim_world *world, struct sim_batch *batch) {
    static uint8_t filler[SIM_RECORDS_MOST][NUMBER_SIZE + 65536];
    struct kp_new_record records[SIM_RECORDS_MOST] = {{0}};
    int64_t now_ms = st_sim_date_ms(world->store);
    batch->times = must(malloc((size_t)batch->records * sizeof(int64_t)));
    for (int32_t i = 0; i < batch->records; i++) {
        size_t len = NUMBER_SIZE + (size_t)st_dice_below(&world->dice, world->plan.record_most);
        put_big_endian(filler[i], batch->number, NUMBER_SIZE);
        memset(filler[i] + NUMBER_SIZE, (int)('a' + (batch->number + (uint64_t)i) % 26), len - NUMBER_SIZE);
        batch->times[i] = now_ms + st_dice_between(&world->dice, -3000, 1000);
        records[i].timestamp_ms = batch->times[i];
        records[i].value = kp_slice_of(filler[i], len);
    }
    batch->blob = must(kp_batch_build(records, batch->records));
}

struct sim_batch *sim_history_batch(struct sim_world *world, struct sim_topic *topic, int32_t partition,
                                    int32_t records_most, struct sim_sender sender) {
    struct sim_history *history = &world->history;
    history->batches =
        room_for(history->batches, history->batch_count, &history->batch_room, sizeof(struct sim_batch *));
    struct sim_batch *batch = must(calloc(1, sizeof *batch));
    history->batches[history->batch_count++] = batch;
    batch->number = history->batch_count;
    batch->topic = topic;
    batch->partition = partition;
    batch->offset = batch->acked_ns = batch->append_time_ms = -1;
    bool one = st_dice_below(&world->dice, 2) == 0;
    batch->records = one ? 1 : (int32_t)st_dice_between(&world->dice, 1, records_most);
    build(world, batch);
    if (sender.id >= 0) {
        set_producer(batch->blob->data, batch->blob->size, sender);
    }
    const char *reason = NULL;
    if (kp_batch_check(kp_slice_of(batch->blob->data, batch->blob->size), &batch->view, &reason) != KP_ERROR_NONE) {
        sim_broken(world, "the simulator made a bad batch: %s", reason);
    }
    return batch;
}

struct sim_batch *sim_log_at(const struct sim_topic *topic, int32_t partition, int64_t offset) {
    const struct sim_log *log = &topic->logs[partition];
    int64_t at = offset - topic->first_offset;
    return at < 0 || at >= (int64_t)log->room ? NULL : log->at[at];
}

/* The batch stands at `offset`: by an acknowledgement or by a read. */
static void settle(struct sim_world *world, struct sim_batch *batch, int64_t offset, const char *how) {
    struct sim_topic *topic = batch->topic;
    struct sim_log *log = &topic->logs[batch->partition];
    int64_t end = offset + batch->records;
    if (offset < topic->first_offset) {
        sim_broken(world, "I3: batch %" PRIu64 " %s below the first offset, at %" PRId64, batch->number, how,
                   offset);
        return;
    }
    if (batch->offset >= 0 && batch->offset != offset) {
        sim_broken(world, "I2, I11: batch %" PRIu64 " stands at %" PRId64 " and is %s at %" PRId64, batch->number,
                   batch->offset, how, offset);
        return;
    }
    if (offset < batch->floor) {
        sim_broken(world, "I5: batch %" PRIu64 " %s at %" PRId64 ", but %" PRId64 " was known before it was sent",
                   batch->number, how, offset, batch->floor - 1);
        return;
    }
    while (end - topic->first_offset > (int64_t)log->room) {
        size_t room = log->room == 0 ? 256 : 2 * log->room;
        log->at = must(realloc(log->at, room * sizeof(struct sim_batch *)));
        memset(log->at + log->room, 0, (room - log->room) * sizeof(struct sim_batch *));
        log->room = room;
    }
    for (int64_t o = offset; o < end; o++) {
        struct sim_batch **at = &log->at[o - topic->first_offset];
        if (*at != NULL && *at != batch) {
            sim_broken(world, "I3, I4: batch %" PRIu64 " %s at %" PRId64 ", where batch %" PRIu64 " stands",
                       batch->number, how, o, (*at)->number);
            return;
        }
        *at = batch;
    }
    if (batch->offset < 0) {
        st_sim_trace(&world->clock, how, topic->index * 10 + (unsigned)batch->partition, batch->number,
                     (uint64_t)offset);
    }
    batch->offset = offset;
    log->known_end = end > log->known_end ? end : log->known_end;
}

void sim_history_begin(struct sim_world *world, struct sim_batch *batch, uint64_t source, bool ordered,
                       uint64_t group) {
    if (batch->attempts++ == 0) {
        batch->source = source;
        batch->ordered = ordered;
        batch->group = group;
        batch->floor = batch->topic->logs[batch->partition].known_end;
    }
    st_sim_trace(&world->clock, "send", source, batch->number, batch->attempts);
}

static void refused(struct sim_world *world, struct sim_batch *batch) {
    if (batch->attempts == batch->refusals && batch->offset >= 0) {
        sim_broken(world, "I8: batch %" PRIu64 " was refused, and stands at %" PRId64, batch->number,
                   batch->offset);
    }
}

void sim_history_end(struct sim_world *world, struct sim_batch *batch, enum st_error error, int64_t offset,
                     int64_t append_time_ms) {
    st_sim_trace(&world->clock, st_error_code(error), batch->source, batch->number, (uint64_t)offset);
    if (error != ST_OK) {
        bool definite = !st_error_outcome_unknown(error);
        batch->refusals += definite ? 1 : 0;
        world->history.refusals += definite ? 1 : 0;
        world->history.unknowns += definite ? 0 : 1;
        refused(world, batch);
        return;
    }
    world->history.acks++;
    settle(world, batch, offset, "acknowledged");
    if (batch->topic->log_append_time != (append_time_ms >= 0) ||
        (batch->append_time_ms >= 0 && batch->append_time_ms != append_time_ms)) {
        sim_broken(world, "batch %" PRIu64 ": the append time told is %" PRId64 ", before it was %" PRId64,
                   batch->number, append_time_ms, batch->append_time_ms);
    }
    batch->append_time_ms = append_time_ms;
    if (batch->acked_ns < 0) {
        batch->acked_ns = sim_now(world);
    }
}

/* ---- reads ---- */

/* The batch that these bytes name; NULL: nobody sent it. */
static struct sim_batch *named(struct sim_world *world, struct kp_slice bytes) {
    struct kp_arena arena;
    kp_arena_init(&arena, 1024 * 1024);
    struct kp_record_reader reader;
    struct kp_record record;
    uint64_t number = 0;
    if (kp_records_open(&reader, bytes, &arena, 1024 * 1024) == KP_ERROR_NONE &&
        kp_records_next(&reader, &record) == 1 && record.value.len >= NUMBER_SIZE) {
        for (size_t i = 0; i < NUMBER_SIZE; i++) {
            number = number << 8 | record.value.ptr[i];
        }
    }
    kp_arena_release(&arena);
    return number == 0 || number > world->history.batch_count ? NULL : world->history.batches[number - 1];
}

/* I9: what was read is what was sent, but for the fields that a broker sets. */
static bool same_bytes(struct sim_batch *batch, const struct kp_batch *read) {
    if (read->bytes.len != batch->blob->size) {
        return false;
    }
    uint8_t *sent = must(malloc(batch->blob->size));
    memcpy(sent, batch->blob->data, batch->blob->size);
    if (batch->topic->log_append_time) {
        kp_batch_set_append_time(sent, batch->blob->size, read->max_timestamp_ms);
    }
    kp_batch_patch(sent, read->base_offset, read->leader_epoch);
    bool same = memcmp(sent, read->bytes.ptr, batch->blob->size) == 0;
    free(sent);
    return same;
}

static void read_batch(struct sim_world *world, struct sim_topic *topic, int32_t partition,
                       const struct kp_batch *read) {
    struct sim_batch *batch = named(world, read->bytes);
    if (batch == NULL) {
        sim_broken(world, "phantom: nobody sent what was read at %" PRId64, read->base_offset);
        return;
    }
    if (batch->topic != topic || batch->partition != partition) {
        sim_broken(world, "I13: batch %" PRIu64 " was read from another partition than it was sent to",
                   batch->number);
        return;
    }
    if (!same_bytes(batch, read)) {
        sim_broken(world, "I9: the bytes of batch %" PRIu64 " were read changed", batch->number);
        return;
    }
    settle(world, batch, read->base_offset, "read");
    refused(world, batch);
    if (topic->log_append_time) {
        if (batch->append_time_ms >= 0 && batch->append_time_ms != read->max_timestamp_ms) {
            sim_broken(world, "I4: the append time of batch %" PRIu64 " changed", batch->number);
        }
        batch->append_time_ms = read->max_timestamp_ms;
    }
    batch->audit = world->history.audit;
    world->history.reads++;
}

int64_t sim_history_read(struct sim_world *world, struct sim_topic *topic, int32_t partition, int64_t offset,
                         const struct kp_chain *chain) {
    uint8_t *flat = must(malloc(chain->bytes + 1));
    size_t len = 0;
    for (size_t i = 0; i < chain->count; i++) {
        memcpy(flat + len, chain->pieces[i].bytes.ptr, chain->pieces[i].bytes.len);
        len += chain->pieces[i].bytes.len;
    }
    int64_t next = offset;
    for (size_t at = 0; at < len && !world->broken;) {
        struct kp_batch read;
        if (kp_batch_peek(kp_slice_of(flat + at, len - at), &read) != KP_ERROR_NONE) {
            sim_broken(world, "I7: a read ends within a batch, after offset %" PRId64, next);
            break;
        }
        bool first = at == 0;
        int64_t end = read.base_offset + read.last_offset_delta + 1;
        if (first ? read.base_offset > offset || end <= offset : read.base_offset != next) {
            sim_broken(world, "I3: reading at %" PRId64 " gave a batch of [%" PRId64 ", %" PRId64 ")", next,
                       read.base_offset, end);
            break;
        }
        if (kp_crc32c(0, read.bytes.ptr + 21, read.bytes.len - 21) != read.crc) {
            sim_broken(world, "I9: the CRC at offset %" PRId64 " is wrong", read.base_offset);
            break;
        }
        read_batch(world, topic, partition, &read);
        next = end;
        at += read.bytes.len;
    }
    free(flat);
    return next;
}

/* ---- the rest ---- */

void sim_history_producer_id(struct sim_world *world, int64_t id) {
    struct sim_history *history = &world->history;
    for (size_t i = 0; i < history->producer_count; i++) {
        if (history->producer_ids[i] == id) {
            sim_broken(world, "producer id %" PRId64 " was given twice", id);
        }
    }
    history->producer_ids =
        room_for(history->producer_ids, history->producer_count, &history->producer_room, sizeof id);
    history->producer_ids[history->producer_count++] = id;
}

void sim_history_state(struct sim_world *world, unsigned node, uint64_t slot, uint64_t hash) {
    struct sim_history *history = &world->history;
    while (slot >= history->state_room) {
        size_t room = history->state_room == 0 ? 1024 : 2 * history->state_room;
        history->states = must(realloc(history->states, room * sizeof *history->states));
        memset(history->states + history->state_room, 0, (room - history->state_room) * sizeof *history->states);
        history->state_room = room;
    }
    struct sim_state_hash *state = &history->states[slot];
    if (!state->known) {
        *state = (struct sim_state_hash){true, hash, node};
    } else if (state->hash != hash) {
        sim_broken(world, "I16: nodes %u and %u hold different states at slot %" PRIu64, state->node, node, slot);
    }
}

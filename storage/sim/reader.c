/*
 * Readers: from the start, from the end, or from anywhere; they follow what they read and now and then move
 * elsewhere.
 *
 * A reader keeps to the rules of storage/engine.h as a gateway must: what it is given it takes as it is; a No and a
 * "nothing there" it believes only after a sync that began after it asked, and then it must not be less than what
 * was known before that sync.
 */
#include "storage/sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PARTS_MAX 3

enum step { RESTING, READING, SYNCING, READING_AGAIN, WAITING, FINDING };

struct reader {
    struct sim_client client;
    enum step step;
    struct sim_node *node;
    uint64_t life;
    int64_t reads_left; /* of this period */
    struct sim_topic *topic;
    size_t count;
    struct st_read_part parts[PARTS_MAX];
    int64_t known_end[PARTS_MAX]; /* when the sync began */
    bool deleted_before;          /* the topic was gone before the sync began */
    bool stood_before;            /* it had been made before the sync began */
    struct sim_call call;
    struct st_read read;
    struct st_sync sync;
    struct st_waiter waiter;
    int64_t waited_end; /* when it began to wait */
    struct st_find_time find;
    int64_t find_floor; /* records acknowledged below this were there when the search began */
    int64_t wanted_ms;
    uint64_t rambling; /* goes elsewhere after about so many reads */
};

static void step_read(struct reader *reader, enum step step);

static void rest(struct reader *reader, int64_t delay_ns) {
    reader->step = RESTING;
    sim_client_tick(&reader->client, delay_ns);
}

static void reader_lost(struct sim_call *call) {
    struct reader *reader = ST_OWNER(call, struct reader, call);
    reader->node = NULL;
    rest(reader, st_dice_spread(&reader->client.dice, 1000, 100 * ST_MS));
}

/* ---- what an answer must satisfy ---- */

static bool is_no_topic(enum st_error error) {
    return error == ST_NO_TOPIC || error == ST_NO_TOPIC_ID || error == ST_NO_PARTITION;
}

static void check_part(struct reader *reader, size_t i, bool synced) {
    struct sim_world *world = reader->client.world;
    struct st_read_part *part = &reader->parts[i];
    bool deleting = reader->topic->delete_begun_ns != INT64_MAX;
    if (part->error == ST_OK) {
        if (synced && reader->deleted_before) {
            sim_broken(world, "stale: a topic that was deleted before is still read after a sync");
        }
        sim_node_view(reader->node, reader->topic, part->partition, &part->view);
        part->offset = sim_history_read(world, reader->topic, part->partition, part->offset, &part->chain);
        if (part->offset > part->view.end) {
            sim_broken(world, "I6: a read gave offset %" PRId64 " beside an end of %" PRId64, part->offset - 1,
                       part->view.end);
        }
    }
    kp_chain_release(&part->chain);
    if (!synced || deleting) {
        return;
    }
    if (is_no_topic(part->error)) {
        sim_broken(world, "stale: a topic that stands is unknown after a sync");
    }
    if (part->error == ST_OFFSET_RANGE && part->offset >= reader->topic->first_offset &&
        part->offset <= reader->known_end[i]) {
        sim_broken(world, "stale: offset %" PRId64 " is out of range after a sync, the end was %" PRId64,
                   part->offset, reader->known_end[i]);
    }
    if (part->error == ST_OK && part->view.end < reader->known_end[i]) {
        sim_broken(world, "stale: partition %d ends at %" PRId64 " after a sync, before it was %" PRId64,
                   part->partition, part->view.end, reader->known_end[i]);
    }
}

/* ---- reading ---- */

static void waiter_fired(struct st_waiter *waiter) {
    struct reader *reader = ST_OWNER(waiter, struct reader, waiter);
    sim_call_end(&reader->call);
    rest(reader, 1000);
}

static int64_t end_now(const struct reader *reader) {
    struct st_partition_view view = {-1, -1};
    const struct st_topic *topic = st_topic_by_id(reader->node->engine, &reader->topic->id);
    if (topic != NULL) {
        st_partition_view(reader->node->engine, topic, reader->parts[0].partition, &view);
    }
    return view.end;
}

/* A waiter that has not been called waits for an end that has not risen. */
static void check_awake(const struct reader *reader) {
    int64_t end = end_now(reader);
    if (!reader->waiter.fired && end < 0 && reader->waited_end >= 0) {
        sim_broken(reader->client.world, "a waiter slept while its topic was deleted");
    }
    if (!reader->waiter.fired && end > reader->waited_end) {
        sim_broken(reader->client.world, "a waiter slept while the end rose from %" PRId64 " to %" PRId64,
                   reader->waited_end, end);
    }
}

static void wait_for_more(struct reader *reader) {
    reader->step = WAITING;
    reader->waited_end = end_now(reader);
    reader->waiter = (struct st_waiter){
        .topic_id = reader->topic->id, .partition = reader->parts[0].partition, .fn = waiter_fired};
    sim_call_begin(&reader->call, reader->node, reader_lost);
    st_wait_start(reader->node->engine, &reader->waiter);
    sim_client_tick(&reader->client, st_dice_spread(&reader->client.dice, 10 * ST_MS, 2 * ST_SECOND));
}

static void move_on(struct reader *reader, bool got) {
    struct st_dice *dice = &reader->client.dice;
    if (st_dice_below(dice, reader->rambling) == 0) {
        reader->topic = NULL; /* elsewhere */
    }
    if (st_dice_below(dice, 30) == 0) {
        reader->node = NULL;
    }
    if (got || reader->topic == NULL || reader->node == NULL || reader->parts[0].error != ST_OK) {
        rest(reader, st_dice_spread(dice, 1000, got ? 50 * ST_MS : 300 * ST_MS));
    } else {
        wait_for_more(reader);
    }
}

static void read_answered(struct st_read *read) {
    struct reader *reader = ST_OWNER(read, struct reader, read);
    bool synced = reader->step == READING_AGAIN, got = false, unreadable = false, no = false;
    bool behind = false; /* something readable was known to be there */
    sim_call_end(&reader->call);
    for (size_t i = 0; i < reader->count; i++) {
        struct st_read_part *part = &reader->parts[i];
        int64_t from = part->offset;
        check_part(reader, i, synced);
        got = got || part->offset > from;
        no = no || part->error != ST_OK;
        unreadable = unreadable || part->error == ST_UNREADABLE;
        behind = behind || (part->error == ST_OK && from < reader->known_end[i]);
        if (part->error == ST_OFFSET_RANGE && synced) {
            part->offset = reader->topic->first_offset;
        }
    }
    if (synced && behind && !got && !unreadable && reader->topic->delete_begun_ns == INT64_MAX) {
        sim_broken(reader->client.world, "stale: a read after a sync gave nothing below the known end");
    }
    if (!synced && !unreadable && (!got || no)) {
        step_read(reader, SYNCING);
    } else {
        move_on(reader, got);
    }
}

static void synced(struct st_sync *sync) {
    struct reader *reader = ST_OWNER(sync, struct reader, sync);
    sim_call_end(&reader->call);
    if (sync->error == ST_OK) {
        step_read(reader, READING_AGAIN);
    } else {
        rest(reader, 10 * ST_MS);
    }
}

static void start_sync(struct reader *reader) {
    for (size_t i = 0; i < reader->count; i++) {
        reader->known_end[i] = reader->topic->logs[reader->parts[i].partition].known_end;
    }
    reader->deleted_before = reader->topic->deleted_ns < sim_now(reader->client.world);
    reader->sync = (struct st_sync){.done = synced};
    st_sync(reader->node->engine, &reader->sync);
}

/* Begins the step at the node; when that cannot serve now, later. */
static void step_read(struct reader *reader, enum step step) {
    if (!sim_node_ready(reader->node, reader->life)) {
        reader->node = NULL;
        rest(reader, 10 * ST_MS);
        return;
    }
    reader->step = step;
    sim_call_begin(&reader->call, reader->node, reader_lost);
    if (step == SYNCING) {
        start_sync(reader);
        return;
    }
    reader->reads_left--;
    for (size_t i = 0; i < reader->count; i++) {
        kp_chain_init(&reader->parts[i].chain);
    }
    size_t most = (size_t)st_dice_spread(&reader->client.dice, 1, 100000);
    reader->read =
        (struct st_read){.parts = reader->parts, .count = reader->count, .max_bytes = most, .done = read_answered};
    st_read(reader->node->engine, &reader->read);
}

static bool pick_place(struct reader *reader) {
    struct sim_world *world = reader->client.world;
    struct st_dice *dice = &reader->client.dice;
    reader->topic = sim_history_newest(world, (unsigned)st_dice_below(dice, world->plan.names));
    if (reader->topic == NULL) {
        return false;
    }
    reader->count = (size_t)st_dice_between(dice, 1, reader->topic->partitions);
    int32_t first = (int32_t)st_dice_below(dice, (uint64_t)reader->topic->partitions);
    for (size_t i = 0; i < reader->count; i++) {
        int32_t partition = (first + (int32_t)i) % reader->topic->partitions;
        int64_t start = reader->topic->first_offset, end = reader->topic->logs[partition].known_end;
        int64_t offset = st_dice_between(dice, start, end);
        if (st_dice_below(dice, 3) == 0) {
            offset = start;
        } else if (st_dice_below(dice, 3) == 0) {
            offset = end;
        }
        reader->parts[i] = (struct st_read_part){.topic_id = reader->topic->id,
                                                 .partition = partition,
                                                 .offset = offset,
                                                 .max_bytes = (size_t)st_dice_spread(dice, 1, 100000)};
    }
    return true;
}

/* ---- offsets by time ---- */

/* The first record, in the order of the log as it is known by now, whose time is at least `time_ms`; -1: none. */
static int64_t first_at(const struct sim_topic *topic, int32_t partition, int64_t time_ms, int64_t below) {
    for (int64_t offset = topic->first_offset; offset < below;) {
        const struct sim_batch *batch = sim_log_at(topic, partition, offset);
        if (batch == NULL) {
            return -2; /* not known yet: nothing can be said */
        }
        for (int32_t i = 0; i < batch->records; i++) {
            int64_t time = topic->log_append_time ? batch->append_time_ms : batch->times[i];
            if (time >= time_ms) {
                return batch->offset + i;
            }
        }
        offset = batch->offset + batch->records;
    }
    return -1;
}

static void find_answered(struct st_find_time *find) {
    struct reader *reader = ST_OWNER(find, struct reader, find);
    struct sim_world *world = reader->client.world;
    const struct sim_topic *topic = reader->topic;
    sim_call_end(&reader->call);
    if (find->error == ST_OK && !find->greatest) {
        int64_t below = find->offset < 0 ? reader->find_floor : find->offset + 1;
        int64_t first = first_at(topic, find->partition, reader->wanted_ms, below);
        if (first != -2 && first != find->offset) {
            sim_broken(world, "the first record at %" PRId64 " ms is %" PRId64 ", found was %" PRId64,
                       reader->wanted_ms, first, find->offset);
        }
    } else if (find->error == ST_OK && find->offset >= 0) {
        int64_t later = first_at(topic, find->partition, find->timestamp_ms + 1, reader->find_floor);
        if (later >= 0) {
            sim_broken(world, "offset %" PRId64 " has a greater time than %" PRId64 ", said to be the greatest",
                       later, find->offset);
        }
    }
    if (is_no_topic(find->error) && topic->delete_begun_ns == INT64_MAX && reader->stood_before) {
        sim_broken(world, "stale: a topic that stands is unknown to a search by time");
    }
    move_on(reader, true);
}

static void start_find(struct reader *reader) {
    struct st_dice *dice = &reader->client.dice;
    const struct st_read_part *part = &reader->parts[0];
    reader->step = FINDING;
    reader->wanted_ms = st_sim_date_ms(reader->client.world->store) - st_dice_spread(dice, 1, 10000) + 1000;
    /* It answers from the view as it is: that holds at least what this node has shown before. */
    reader->find_floor = reader->node->ends[reader->topic->index][part->partition];
    reader->stood_before = reader->find_floor > reader->topic->first_offset;
    reader->find = (struct st_find_time){.topic_id = part->topic_id,
                                         .partition = part->partition,
                                         .greatest = st_dice_below(dice, 3) == 0,
                                         .timestamp_ms = reader->wanted_ms,
                                         .done = find_answered};
    sim_call_begin(&reader->call, reader->node, reader_lost);
    st_find_time(reader->node->engine, &reader->find);
}

/* ---- the client ---- */

static void reader_tick(struct st_sim_event *event) {
    struct reader *reader = ST_OWNER(event, struct reader, client.tick);
    struct sim_world *world = reader->client.world;
    if (reader->step == WAITING) {
        if (reader->node->frozen) { /* its answer will come when it thaws, or never */
            sim_client_tick(&reader->client, world->phase == SIM_NIGHT ? 10 * ST_SECOND : 50 * ST_MS);
            return;
        }
        check_awake(reader);
        st_wait_stop(reader->node->engine, &reader->waiter);
        sim_call_end(&reader->call);
        reader->step = RESTING;
    }
    if (reader->step != RESTING || world->phase != SIM_BUSY || reader->reads_left <= 0) {
        return;
    }
    if (!sim_node_ready(reader->node, reader->life)) {
        reader->node = sim_node_any(world, &reader->client.dice);
        if (reader->node == NULL) {
            rest(reader, 20 * ST_MS);
            return;
        }
        reader->life = reader->node->life;
    }
    if (reader->topic == NULL && !pick_place(reader)) {
        rest(reader, 50 * ST_MS);
    } else if (st_dice_below(&reader->client.dice, 12) == 0) {
        start_find(reader);
    } else {
        step_read(reader, READING);
    }
}

static void reader_morning(struct sim_client *client) {
    struct reader *reader = ST_OWNER(client, struct reader, client);
    reader->reads_left = st_dice_between(&client->dice, 10, 150);
    if (reader->step == RESTING) {
        rest(reader, st_dice_spread(&client->dice, 1000, 500 * ST_MS));
    }
}

static bool reader_idle(const struct sim_client *client) {
    return ST_OWNER(client, struct reader, client)->step == RESTING;
}

static void reader_free(struct sim_client *client) {
    free(ST_OWNER(client, struct reader, client));
}

void sim_reader_new(struct sim_world *world, unsigned number) {
    struct reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) {
        fputs("simulator: out of memory\n", stderr);
        abort();
    }
    sim_client_start(world, &reader->client, "reader", number);
    reader->rambling = (uint64_t)st_dice_spread(&reader->client.dice, 1, 40);
    reader->client.tick.fn = reader_tick;
    reader->client.morning = reader_morning;
    reader->client.idle = reader_idle;
    reader->client.free = reader_free;
}
